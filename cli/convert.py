"""`nanoarb-jax data convert`: market data as files of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nanoarb_jax.errors import DataError

from .options import LotSizeOption, SnapshotOption, SortOption, SymbolOption, TickSizeOption
from .output import JsonOption, claim_json, say, write_json
from .tables import counts


def convert(
    source: Annotated[Path, typer.Argument(help="A file or folder of market data; one series of events.")],
    output: Annotated[Path, typer.Option(help="OUT.npz; the book at the beginning goes into OUT_snapshot.npz.")],
    to: Annotated[Literal["hftbacktest"], typer.Option("--to", help="The program that is to read it.")] = "hftbacktest",
    tick_size: TickSizeOption = None,
    lot_size: LotSizeOption = None,
    symbol: SymbolOption = None,
    sort: SortOption = False,
    snapshot: SnapshotOption = None,
    json_path: JsonOption = None,
) -> None:
    """Write events as a day that hftbacktest runs on: lost messages leave an empty book, not a wrong one."""
    from nanoarb_jax.data.convert import convert_to_hftbacktest
    from nanoarb_jax.readers.feed import ReadOptions
    from nanoarb_jax.readers.sources import find_sources

    claim_json(json_path)
    sources = find_sources([source], symbol)
    if len(sources) > 1:
        names = ", ".join(found.name for found in sources[:8])
        raise DataError(f"data {source}: {len(sources)} series ({names}); name one, or choose it with --symbol")
    options = ReadOptions(tick_size, lot_size, symbol, sort=sort, snapshot=snapshot)
    made = convert_to_hftbacktest(sources[0], output, options)
    say(f"{made.events:,} events in {output}; tick size {made.tick_size:g}, lot size {made.lot_size:g}")
    if made.snapshot:
        say(f"the book that they begin with, {made.levels:,} levels, in {made.snapshot}: give it as initial_snapshot")
    if made.dropped:
        say(f"left out: {counts({'dropped': made.dropped, 'anomalies': {}})}")
    for note in made.notes:
        say(f"note: {note}")
    figures = made._asdict() | {"snapshot": made.snapshot and str(made.snapshot), "dropped": dict(made.dropped)}
    write_json(json_path, {"source": str(source), "to": to, "output": str(output), **figures})
