"""`nanoarb-jax data`: make synthetic books, prepare datasets, look into both."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import typer

from nanoarb_jax.errors import DataError

from .output import JsonOption, claim_json, console, figure_table, say, write_json

app = typer.Typer(help="Make synthetic books, prepare and inspect datasets.", no_args_is_help=True)
TICK_SIZES = (0.25, 0.01, 0.1, 1.0)  # of synthetic streams, in turn


@app.command()
def synth(
    out: Path = typer.Argument(help="Folder for the book-npz files, new or empty."),
    rows: int = typer.Option(50_000, min=1, help="Books per stream."),
    streams: int = typer.Option(4, min=1, help="Independent streams, of different tick sizes."),
    seed: int = typer.Option(0, min=0, help="The same seed gives the same books."),
    json_path: JsonOption = None,
) -> None:
    """Simulate order books of a seeded market."""
    claim_json(json_path)
    write_synthetic(out, rows=rows, streams=streams, seed=seed)
    say(f"{streams} streams of {rows:,} books in {out}")
    write_json(json_path, {"folder": str(out), "streams": streams, "rows": rows, "seed": seed})


def write_synthetic(out: Path, *, rows: int, streams: int, seed: int) -> None:
    """Fill the folder `out` with book-npz files of a seeded market, showing progress.

    Raises:
        DataError: `out` is not a new or empty folder.
    """
    from rich.progress import track

    from nanoarb_jax.market.readers.book_npz import write_book_npz
    from nanoarb_jax.market.synthetic import synthetic_books

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"folder {out}: cannot be created ({error.strerror}); give another folder") from error
    if any(out.iterdir()):
        raise DataError(f"folder {out}: exists and is not empty; nothing is overwritten, give another folder")
    for i in track(range(streams), "simulating", console=console, disable=not console.is_terminal):
        name = f"synthetic_{i:02d}"
        books = synthetic_books(rows, (seed, i), tick_size=TICK_SIZES[i % len(TICK_SIZES)], name=name)
        write_book_npz(out / f"{name}.npz", books)


@app.command()
def prepare(
    sources: list[Path] = typer.Argument(help="book-npz files, or folders of them.", metavar="SOURCE..."),
    out: Path = typer.Option(..., help="Folder for the dataset, new or empty."),
    config: Path | None = typer.Option(None, help="TOML file whose data table gives the settings.", metavar="FILE"),
    label_price: str | None = typer.Option(None, help="mid or microprice."),
    threshold_ticks: float | None = typer.Option(None, help="Least move that is up or down, in ticks ..."),
    threshold_spreads: float | None = typer.Option(None, help="... and in median training spreads."),
) -> None:
    """Turn books into features, labels and splits on disk."""
    from rich.progress import Progress

    from nanoarb_jax import prepare as preparing
    from nanoarb_jax.config import DataConfig, load_config

    options = {"label_price": label_price, "threshold_ticks": threshold_ticks, "threshold_spreads": threshold_spreads}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    settings = dataclasses.replace(load_config(config).data if config else DataConfig(), **given)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("preparing")
        made = preparing.prepare(
            sources,
            out,
            settings,
            lambda done, total, name: bar.update(task, completed=done, total=total, description=name),
        )
    say(f"{len(made.streams)} streams, {made.rows:,} rows in {out}")


@app.command()
def inspect(
    path: Path = typer.Argument(help="A prepared dataset, a folder of book-npz files, or one such file."),
    json_path: JsonOption = None,
) -> None:
    """Show rows, span, tick size, spread and class shares."""
    from nanoarb_jax.dataset import describe_stream, open_dataset

    claim_json(json_path)
    data = open_dataset(path, verify=True)
    described = [describe_stream(stream, data.horizons) for stream in data.streams]
    rows = [
        [
            row["name"],
            f"{row['rows']:,}",
            f"{row['span_s']:,.0f} s",
            f"{row['tick_size']:g}",
            f"{row['median_spread_ticks']:g}",
            *("/".join(f"{100 * share:.0f}" for share in cell.values()) for cell in row["class_shares"].values()),
        ]
        for row in described
    ]
    say(f"{path}: {data.rows:,} rows; spread in ticks; labels down/neutral/up in %")
    headings = ["series", "rows", "span", "tick", "spread", *(f"h{horizon}" for horizon in data.horizons)]
    console.print(figure_table(headings, rows))
    config = dataclasses.asdict(data.config)
    write_json(json_path, {"path": str(path), "rows": data.rows, "config": config, "streams": described})
