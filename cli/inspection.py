"""`nanoarb-jax data inspect`: what is in a dataset, or in files of market data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanoarb_jax.config import DataConfig
from nanoarb_jax.errors import DataError
from nanoarb_jax.reports.figure import claim_picture

from .output import JsonOption, bar, claim_json, console, say, write_json
from .reader_options import Reader, reader_options
from .settings_options import Given, settings_of, settings_options
from .tables import counts, figure_table

if TYPE_CHECKING:
    from nanoarb_jax.data.period import Period

_LACKS = {
    "trades": "trades",
    "times": "times",
    "definition": "a definition (the tick size is inferred or assumed; --tick-size says it)",
}


@settings_options(*settings_of("data", DataConfig, ["clock", "clock_interval_ms", "timestamps"]))
@reader_options
def inspect(
    *,
    path: Annotated[Path, typer.Argument(help="A prepared dataset, or a file or folder of market data.")],
    given: Given,
    reader: Reader,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Figures and picture of the ticks from this time on: ISO 8601, UTC where no zone is given, or a time "
            "of the first tick's day such as 14:30:00. The files are still read from their beginning, of which the "
            "book is made.",
        ),
    ] = None,
    stop: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="The same, up to and with this time.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw book, spread and trades of one source.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Say what was recognised, how it moves, and what is wrong with it."""
    from nanoarb_jax.data.period import parse_period
    from nanoarb_jax.data.stored import is_dataset

    claim_json(json_path)
    period = parse_period(start, stop)
    if is_dataset(path):
        if period:
            raise DataError("--from and --to: datasets are shown as a whole; inspect the market data they were made of")
        if picture:
            raise DataError(f"--picture {picture}: datasets hold no books; inspect the market data they were made of")
        write_json(json_path, _inspect_dataset(path))
        return
    figures = _inspect_sources(path, DataConfig(**given["data"]), reader, picture, period)
    write_json(json_path, {"path": str(path), "sources": figures})


def _inspect_dataset(path: Path) -> dict[str, Any]:
    """Rows, span, tick size, spread, class shares of every stream, and what its source lost."""
    import json

    from nanoarb_jax.data.dataset import open_dataset
    from nanoarb_jax.data.stored import MANIFEST
    from nanoarb_jax.data.streams import describe_stream

    data = open_dataset(path, verify=True)
    entries = json.loads((path / MANIFEST).read_text())["streams"]
    described = [
        describe_stream(stream, data.horizons) | {"account": entry["account"]}
        for stream, entry in zip(data.streams, entries, strict=True)
    ]
    rows = [
        [
            row["name"],
            f"{row['rows']:,}",
            f"{row['span_s']:,.0f} s" if row["timed"] else "no times",
            f"{row['tick_size']:g}",
            f"{row['median_spread_ticks']:g}",
            *("/".join(f"{100 * share:.0f}" for share in cell.values()) for cell in row["class_shares"].values()),
        ]
        for row in described
    ]
    say(f"{path}: {data.rows:,} rows; spread in ticks; labels down/neutral/up in %")
    headings = ["series", "rows", "span", "tick", "spread", *(f"h{horizon}" for horizon in data.horizons)]
    console.print(figure_table(headings, rows))
    for row in described:
        if lost := counts(row["account"]):
            say(f"{row['name']}: {lost}")
    config = dataclasses.asdict(data.config)
    return {"path": str(path), "rows": data.rows, "config": config, "streams": described}


def _inspect_sources(
    path: Path, config: DataConfig, reader: Reader, picture: Path | None, period: Period | None
) -> list[dict[str, Any]]:
    """Survey the sources one by one."""
    from nanoarb_jax.data.survey import survey
    from nanoarb_jax.readers.sources import check_snapshots, find_sources
    from nanoarb_jax.reports.book import book_picture, book_title

    sources = find_sources([path], reader.options.symbol)
    check_snapshots((source, reader.options.snapshot) for source in sources)
    if picture and len(sources) > 1:
        raise DataError(f"--picture {picture}: {len(sources)} sources in {path}; inspect one of them")
    if picture is not None:
        claim_picture(picture, "--picture")
    figures = []
    for i, source in enumerate(sources):
        with bar("reading") as tell:

            def note(ticks: int, i: int = i, name: str = source.name) -> None:
                tell(i, len(sources), f"{name}: {ticks:,} ticks")

            found = survey(source, config, reader.options, reader.policy, note, period)
        _show(found.figures)
        figures.append(found.figures)
        if picture:
            book_picture(found.sample, picture, book_title(found.figures, found.sample.rows), timed=found.timed)
            say(f"  picture     {picture}")
    return figures


def _show(figures: Mapping[str, Any]) -> None:
    """One source, a line per question."""
    span = "the files have no real times"
    if figures["span_s"] is not None:
        first, last = (figures[name][:23] for name in ("first_tick", "last_tick"))
        digits = 1 if figures["span_s"] >= 10 else 6
        span = f"{first} to {last} UTC, {figures['span_s']:,.{digits}f} s"
    rate = f", {figures['ticks_per_s']:,.1f} ticks/s" if figures["ticks_per_s"] else ""
    spread = dict(zip(("median", "90 %", "99 %", "most"), figures["spread_ticks"].values(), strict=True))
    traded = figures["traded"]
    ticks = f"{figures['ticks']:,}"
    if figures["period"]:
        ticks += f" in the period, {figures['ticks_read']:,} in all,"
    lines = {
        "instrument": figures["instrument"],
        "format": f"{figures['format']}, {', '.join(figures['files'])}",
        "span": span,
        "ticks": f"{ticks} of {figures['messages']:,} messages and {figures['events']:,} events{rate}",
        "tick, lot": f"{figures['tick_size']:g}, {figures['lot_size']:g}",
        "mid": f"{figures['mid']['first']:.10g} at the first tick, {figures['mid']['last']:.10g} at the last",
        "spread": f"ticks: {', '.join(f'{value:,} ({name})' for name, value in spread.items())}",
        "book": f"{figures['median_best_quantity']:g} at a best price, {figures['median_levels']:g} levels (medians)",
        "traded": _traded(traded),
        "invalid": f"{100 * figures['invalid_share']:.3g} % of messages left a crossed, one-sided or impossible book",
    }
    if notes := figures.get("notes"):
        lines["notes"] = "; ".join(notes)
    if figures["lacks"]:
        lines["lacks"] = ", ".join(_LACKS[name] for name in figures["lacks"])
    say(f"{figures['name']}")
    for name, line in lines.items():
        say(f"  {name:11s} {line}")
    if lost := counts(figures):
        say(f"  {'counted':11s} {lost}")
    if figures["period"]:
        say(f"  {'period':11s} messages, events and what is invalid or counted are those of all the files")


def _traded(traded: Mapping[str, float] | None) -> str:
    if traded is None:
        return "not known"
    unsided = f", {traded['unsided']:,.6g} no side told" if traded["unsided"] else ""
    return f"bought {traded['bought']:,.6g}, sold {traded['sold']:,.6g} by takers{unsided}"
