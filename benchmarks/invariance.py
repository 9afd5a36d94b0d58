"""What do changes in how a market is described do to forecasts? Some must change nothing, others show what counts.

    D=../shared/data/derived_more
    python benchmarks/invariance.py --checkpoint checkpoints/nano --books $D/lobster_GOOG_20120621_L10.npz \
        --books $D/nbbo_IBM_20131007.npz --json benchmarks/results/invariance.json

Every series is changed in one way at a time, its scales and labels are measured anew, and the model forecasts it from
its first row. MCC and log loss are of the test part, decisions prior-corrected as in `evaluate`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint
from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.evaluation.judging import judge
from nanoarb_jax.evaluation.own_past import forecast_streams
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries
from nanoarb_jax.readers.book_npz import read_book_npz

Change = Callable[[BookSeries], BookSeries]


def _prices(books: BookSeries, change: Callable[[NDArray], NDArray]) -> BookSeries:
    return books._replace(
        bid_px=np.where(books.bid_px == EMPTY_PRICE, EMPTY_PRICE, change(books.bid_px)),
        ask_px=np.where(books.ask_px == EMPTY_PRICE, EMPTY_PRICE, change(books.ask_px)),
    )


def _quantities(books: BookSeries, factor: int) -> BookSeries:
    names = ("bid_lots", "ask_lots", "bought", "sold")
    return books._replace(**{name: getattr(books, name) * factor for name in names if getattr(books, name) is not None})


def _levels(books: BookSeries, levels: int) -> BookSeries:
    """Only the best levels, the others empty."""
    sides = {}
    for side in ("bid", "ask"):
        px, lots = getattr(books, f"{side}_px").copy(), getattr(books, f"{side}_lots").copy()
        px[:, levels:], lots[:, levels:] = EMPTY_PRICE, 0
        sides |= {f"{side}_px": px, f"{side}_lots": lots}
    return books._replace(**sides)


def _every(books: BookSeries, step: int) -> BookSeries:
    """Every so many-th book, with all trades since the one before."""
    last = np.arange(step - 1, books.rows, step)
    rows = {name: array[last] for name, array in books._asdict().items() if isinstance(array, np.ndarray)}
    for name in ("bought", "sold"):
        if getattr(books, name) is not None:
            rows[name] = np.diff(np.cumsum(getattr(books, name))[last], prepend=0)
    return books._replace(**rows)


CHANGES: dict[str, Change] = {
    "as it is": lambda books: books,
    "prices + 1,000,000 ticks": lambda books: _prices(books, lambda px: px + 1_000_000 * books.tick),
    "prices around zero": lambda books: _prices(books, lambda px: px - books.bid_px[0, 0]),
    "tick and prices × 7": lambda books: _prices(books, lambda px: px * 7)._replace(tick=books.tick * 7),
    "quantities × 13": lambda books: _quantities(books, 13),
    "time × 10": lambda books: books._replace(ts_ns=books.ts_ns[0] + 10 * (books.ts_ns - books.ts_ns[0])),
    "every second book": lambda books: _every(books, 2),
    "five levels": lambda books: _levels(books, 5),
    "one level": lambda books: _levels(books, 1),
    "without trades": lambda books: books._replace(bought=None, sold=None),
}


def figures(checkpoint: Checkpoint, streams: Sequence[Stream], usual: Sequence[NDArray] | None) -> tuple[Any, Any]:
    """Means over the series, and the log-probabilities."""
    horizons = checkpoint.config.horizons
    scored = forecast_streams(checkpoint, streams).log_probs
    judged = [judge(stream, log_p, "test", horizons) for stream, log_p in zip(streams, scored, strict=True)]
    keys = ("mcc", "log_loss")
    means = {key: [float(np.mean([one[f"h{h}"][key] for one in judged])) for h in horizons] for key in keys}
    if usual is not None and all(one.shape == other.shape for one, other in zip(scored, usual, strict=True)):
        moved = [np.abs(np.exp(one) - np.exp(other)) for one, other in zip(scored, usual, strict=True)]
        means["mean_change"] = float(np.mean([one.mean() for one in moved]))
        means["largest_change"] = float(max(one.max() for one in moved))
    return means, scored


def main(
    checkpoint: Annotated[Path, typer.Option(help="Model to ask.")],
    books: Annotated[list[Path], typer.Option(help="book-npz files; repeat the option.")],
    json_path: Annotated[Path, typer.Option("--json")],
) -> None:
    model, series = load_checkpoint(checkpoint), [read_book_npz(path) for path in books]
    config = DataConfig(feature_set=model.config.input_transform, horizons=model.config.horizons)
    usual, found = None, {}
    print("| change | mean change of p | largest | MCC | log loss |\n|---|---|---|---|---|")
    for name, change in CHANGES.items():
        streams = [make_stream(change(one), config) for one in series]
        found[name], scored = figures(model, streams, usual)
        usual = scored if usual is None else usual
        mcc, loss = (" / ".join(f"{x:.3f}" for x in found[name][key]) for key in ("mcc", "log_loss"))
        moved = [f"{found[name][key]:.1e}" if key in found[name] else "–" for key in ("mean_change", "largest_change")]
        print(f"| {name} | {moved[0]} | {moved[1]} | {mcc} | {loss} |", flush=True)
    result = {"version": model.version, "series": [one.name for one in series], "changes": found}
    json_path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
