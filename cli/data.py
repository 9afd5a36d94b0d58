"""`nanoarb-jax data`: simulate a market, prepare datasets, look into files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal, TypeAlias

import typer

from nanoarb_jax.errors import DataError

from .inspection import inspect
from .options import parse_policy
from .output import JsonOption, bar, claim_json, console, say, write_json

app = typer.Typer(help="Simulate markets, prepare datasets, look into files.", no_args_is_help=True)
app.command()(inspect)
Preset: TypeAlias = Literal["shallow", "es", "crypto"]
TICK_SIZES = (0.25, 0.01, 0.1, 1.0)  # of synthetic streams, in turn


@app.command()
def synth(
    out: Path = typer.Argument(help="Folder for the files, new or empty."),
    rows: int = typer.Option(50_000, min=1, help="Books per stream, or events."),
    streams: int = typer.Option(4, min=1, help="Independent streams."),
    seed: int = typer.Option(0, min=0, help="The same seed gives the same market."),
    market: Preset = typer.Option("shallow", help="shallow (of several tick sizes), es or crypto."),
    events: bool = typer.Option(False, "--events", help="Write hftbacktest event files instead of books."),
    json_path: JsonOption = None,
) -> None:
    """Simulate order books, or the events that make them, of a seeded market."""
    claim_json(json_path)
    write_synthetic(out, rows=rows, streams=streams, seed=seed, market=market, events=events)
    say(f"{streams} streams of {rows:,} {'events' if events else 'books'} in {out}")
    write_json(json_path, {"folder": str(out), "streams": streams, "rows": rows, "seed": seed, "market": market})


def write_synthetic(
    out: Path, *, rows: int, streams: int, seed: int, market: Preset = "shallow", events: bool = False
) -> None:
    """Fill the folder `out` with book-npz or event files of a seeded market, showing progress.

    Raises:
        DataError: `out` is not a new or empty folder, or there is no such market.
    """
    import numpy as np
    from rich.progress import track

    from nanoarb_jax.readers.book_npz import write_book_npz
    from nanoarb_jax.simulation.config import MarketConfig
    from nanoarb_jax.simulation.market import synthetic_books, synthetic_events

    config = MarketConfig.preset(market)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"folder {out}: cannot be created ({error.strerror}); give another folder") from error
    if any(out.iterdir()):
        raise DataError(f"folder {out}: exists and is not empty; nothing is overwritten, give another folder")
    for i in track(range(streams), "simulating", console=console, disable=not console.is_terminal):
        name = f"synthetic_{i:02d}"
        if market == "shallow":
            config = dataclasses.replace(config, tick_size=TICK_SIZES[i % len(TICK_SIZES)])
        if events:
            np.savez_compressed(out / f"{name}.npz", data=synthetic_events(rows, (seed, i), config))
        else:
            write_book_npz(out / f"{name}.npz", synthetic_books(rows, (seed, i), config, name=name))


@app.command()
def prepare(
    sources: list[Path] = typer.Argument(help="Files and folders of market data.", metavar="SOURCE..."),
    out: Path = typer.Option(..., "--output", "--out", help="Folder for the dataset, new or empty."),
    config: Path | None = typer.Option(None, help="TOML file whose data table gives the settings.", metavar="FILE"),
    feature_set: str | None = typer.Option(None, help="lob44 or flow."),
    clock: str | None = typer.Option(None, help="What makes a tick: book, bbo, trade or time."),
    clock_interval_ms: float | None = typer.Option(None, help="Of the time clock."),
    timestamps: str | None = typer.Option(None, help="local (when received) or exchange."),
    label_rule: str | None = typer.Option(None, help="move, smoothed, deeplob or tlob."),
    smoothing_ticks: int | None = typer.Option(None, help="Window of the rule tlob."),
    label_price: str | None = typer.Option(None, help="mid or microprice."),
    threshold_ticks: float | None = typer.Option(None, help="Least move that is up or down, in ticks ..."),
    threshold_spreads: float | None = typer.Option(None, help="... and in median training spreads ..."),
    threshold_quantile: float | None = typer.Option(None, help="... and as a quantile of training moves."),
    split: str | None = typer.Option(None, help="fraction (of rows) or day."),
    timezone: str | None = typer.Option(None, help="Of days and sessions, e.g. America/Chicago."),
    session_start: str | None = typer.Option(None, help="When a day begins there, e.g. 17:00."),
    tick_size: float | None = typer.Option(None, help="Where the files do not say it (else inferred)."),
    lot_size: float | None = typer.Option(None, help="Smallest quantity kept apart (else inferred)."),
    symbol: str | None = typer.Option(None, help="The instrument, of files that hold several."),
    policy: list[str] = typer.Option([], help="What to do about an anomaly, e.g. crossed=raise or gap=skip; repeat."),
    jobs: int = typer.Option(0, min=0, help="Processes at work on different sources; 0: one per core."),
) -> None:
    """Turn market data into features, labels and splits on disk."""
    from nanoarb_jax.config import DataConfig, load_config
    from nanoarb_jax.data import prepare as preparing
    from nanoarb_jax.readers.feed import ReadOptions

    options = {
        "feature_set": feature_set,
        "clock": clock,
        "clock_interval_ms": clock_interval_ms,
        "timestamps": timestamps,
        "label_rule": label_rule,
        "smoothing_ticks": smoothing_ticks,
        "label_price": label_price,
        "threshold_ticks": threshold_ticks,
        "threshold_spreads": threshold_spreads,
        "threshold_quantile": threshold_quantile,
        "split": split,
        "timezone": timezone,
        "session_start": session_start,
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    settings = dataclasses.replace(load_config(config).data if config else DataConfig(), **given)
    with bar("preparing") as tell:
        made = preparing.prepare(
            sources,
            out,
            settings,
            tell,
            options=ReadOptions(tick_size, lot_size, symbol),
            policy=parse_policy(policy),
            jobs=jobs or len(os.sched_getaffinity(0)),
        )
    say(f"{len(made.streams)} streams, {made.rows:,} rows in {out}; `data inspect {out}` tells what was dropped")
