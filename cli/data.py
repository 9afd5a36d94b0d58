"""`nanoarb-jax data`: simulate a market, prepare datasets, look into files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from nanoarb_jax.config import DataConfig, load_config
from nanoarb_jax.errors import ConfigError
from nanoarb_jax.files import claim_folder, new_folder
from nanoarb_jax.units.workers import Workers

from .convert import convert
from .inspection import inspect
from .options import InstrumentOption, InstrumentsOption, parse_instruments
from .output import JsonOption, bar, claim_json, console, say, write_json
from .reader_options import Reader, reader_options
from .settings_options import Given, settings_of, settings_options
from .tables import counts
from .workers_options import workers_options

app = typer.Typer(help="Simulate markets, prepare datasets, look into files.", no_args_is_help=True)
app.command()(inspect)
app.command()(convert)
Preset: TypeAlias = Literal["shallow", "es", "crypto"]
TICK_SIZES = (0.25, 0.01, 0.1, 1.0)  # of synthetic streams, in turn


@app.command()
def synth(
    folder: Path | None = typer.Argument(None, hidden=True, help="Older form of --output."),
    output: Path | None = typer.Option(None, help="Folder for the files, new or empty.  [required]"),
    rows: int = typer.Option(50_000, min=1, help="Books per stream, or events."),
    streams: int = typer.Option(4, min=1, help="Independent streams."),
    seed: int = typer.Option(0, min=0, help="The same seed gives the same market."),
    market: Preset = typer.Option("shallow", help="shallow (of several tick sizes), es or crypto."),
    events: bool = typer.Option(False, "--events", help="Write hftbacktest event files instead of books."),
    json_path: JsonOption = None,
) -> None:
    """Simulate order books, or the events that make them, of a seeded market."""
    claim_json(json_path)
    if folder is not None and output is not None:
        raise ConfigError(f"--output {output}: {folder} is given, too; leave one out")
    out = output or folder
    if out is None:
        raise ConfigError("--output: missing; give a folder for the files, new or empty")
    write_synthetic(out, rows=rows, streams=streams, seed=seed, market=market, events=events)
    say(f"{streams} streams of {rows:,} {'events' if events else 'books'} in {out}")
    write_json(json_path, {"folder": str(out), "streams": streams, "rows": rows, "seed": seed, "market": market})


def write_synthetic(
    out: Path, *, rows: int, streams: int, seed: int, market: Preset = "shallow", events: bool = False
) -> None:
    """Fill the folder `out` with book-npz or event files of a seeded market, showing progress.

    Raises:
        OutputError: `out` is not a new or empty folder.
        DataError: there is no such market.
    """
    import numpy as np
    from rich.progress import track

    from nanoarb_jax.readers.book_npz import write_book_npz
    from nanoarb_jax.simulation.config import MarketConfig
    from nanoarb_jax.simulation.market import synthetic_books, synthetic_events

    config = MarketConfig.preset(market)
    new_folder(out, "--output")
    for i in track(range(streams), "simulating", console=console, disable=not console.is_terminal):
        name = f"synthetic_{i:02d}"
        if market == "shallow":
            config = dataclasses.replace(config, tick_size=TICK_SIZES[i % len(TICK_SIZES)])
        if events:
            np.savez_compressed(out / f"{name}.npz", data=synthetic_events(rows, (seed, i), config))
        else:
            write_book_npz(out / f"{name}.npz", synthetic_books(rows, (seed, i), config, name=name))


@app.command()
@settings_options(*settings_of("data", DataConfig))
@reader_options
@workers_options("different sources")
def prepare(
    *,
    sources: Annotated[list[Path], typer.Argument(help="Files and folders of market data.", metavar="SOURCE...")],
    output: Annotated[Path, typer.Option(help="Folder for the dataset, new or empty.")],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file with a data table; options given beside it win.")
    ] = None,
    given: Given,
    reader: Reader,
    reading: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help='TOML file of these for single sources: ["btc_*"] tick_size = 0.1; repeat.'),
    ] = None,
    instrument: InstrumentOption = None,
    instruments: InstrumentsOption = None,
    workers: Workers,
) -> None:
    """Turn market data into features, labels and splits on disk."""
    from nanoarb_jax.data.prepare import prepare as prepare_dataset
    from nanoarb_jax.data.reading import join_readings
    from nanoarb_jax.data.stored import read_accounts

    claim_folder(output, "--output")
    settings = dataclasses.replace(load_config(config).data if config else DataConfig(), **given["data"])
    with bar("preparing") as tell:
        made = prepare_dataset(
            sources,
            output,
            settings,
            tell,
            options=reader.options,
            policy=reader.policy,
            readings=join_readings(reading or ()),
            instruments=parse_instruments(instrument, instruments),
            workers=workers,
        )
    say(f"{len(made.streams)} streams, {made.rows:,} rows in {output}")
    for name, account in read_accounts(output).items():
        if lost := counts(account):
            say(f"{name}: {lost}")
        if account["notes"]:
            say(f"{name}: {'; '.join(account['notes'])}")
    guessed = sorted({stream.instrument for stream in made.streams if not stream.instrument_declared})
    if guessed:
        say(f"instruments guessed from names: {len(guessed)}; --instruments FILE declares them")
