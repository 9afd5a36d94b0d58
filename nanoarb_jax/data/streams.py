"""Books in, labelled and split streams or windows out, in memory.

A stream is one instrument and session. Streams are never joined, every row keeps its own book's features, and what is
learnt from data (quantity scale, label threshold) is learnt from the training part alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.labelling import Block, Plan, plan_stream, stream_blocks
from nanoarb_jax.data.labels import (
    UNDEFINED,
    direction_labels,
    mirror_labels,
)
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import mirror_features
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.market.series import BookSeries, validate_books
from nanoarb_jax.readers.sources import find_sources


class Stream(NamedTuple):
    """One labelled series of n ticks; train, validation and test are (start, stop) ranges of anchor rows.

    The rows between train.stop and validation.start (and so on) are purged: their labels look into the next part.
    They, and the rows before a part, may still warm up a model's state.

    Attributes:
        name, instrument: of the series, and of what was traded (the name without its date).
        tick_size: price of one tick.
        quantity_scale: quantity that counts as 1 in the features.
        spread_scale: half the training-median spread, in ticks, at least 1; one of the `flow` features.
        threshold_ticks: h least moves that are labelled a direction, one per horizon.
        features: (n, f) float32, raw features of the config's feature set.
        labels: (n, h) int8, 0 down, 1 neutral, 2 up, -1 undefined (the last `horizon` rows of a session, and the first
            ones where the label rule looks back).
        moves: (n, h) float32, signed move of the label price, in ticks.
        mid: (n,) float64, in price.
        spread: (n,) float32, in ticks.
        ts_ns: (n,) int64.
    """

    name: str
    instrument: str
    tick_size: float
    quantity_scale: float
    spread_scale: float
    threshold_ticks: tuple[float, ...]
    train: tuple[int, int]
    validation: tuple[int, int]
    test: tuple[int, int]
    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    moves: NDArray[np.float32]
    mid: NDArray[np.float64]
    spread: NDArray[np.float32]
    ts_ns: NDArray[np.int64]

    @property
    def rows(self) -> int:
        return len(self.ts_ns)


def make_stream(books: BookSeries, config: DataConfig) -> Stream:
    """Features, labels and splits of one series, in memory.

    Raises:
        DataError: books that are not valid, too short for the splits, or whose features are not finite.
    """
    validate_books(books)
    plan = plan_stream(books, config)
    blocks = [block for _, block in stream_blocks(books, config, plan)]
    columns = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in Block._fields}
    return Stream(**stream_scalars(books, plan), **columns)


def instrument_of(name: str) -> str:
    """What was traded, by a series' name: what stands before its date.

    >>> instrument_of("btcusdt_20240808"), instrument_of("AAPL_2012-06-21_first1000_orderbook_10")
    ('btcusdt', 'AAPL')
    """
    return re.sub(r"[_-](\d{8}|\d{4}-\d\d-\d\d).*$", "", name) or name


def stream_scalars(books: BookSeries, plan: Plan) -> dict[str, Any]:
    """The fields of `Stream` that are not columns."""
    return {
        "name": books.name,
        "instrument": instrument_of(books.name),
        "tick_size": books.tick_size,
        "quantity_scale": plan.quantity_scale,
        "spread_scale": plan.spread_scale,
        "threshold_ticks": plan.threshold_ticks,
        **plan.parts._asdict(),
    }


def mirror_stream(stream: Stream) -> Stream:
    """The stream of the mirrored market: prices reflected about its first microprice, labels and moves flipped."""
    pivot = float(stream.features[0, 0])
    return stream._replace(
        features=mirror_features(stream.features, pivot),
        labels=mirror_labels(stream.labels),
        moves=-stream.moves,
        mid=2 * pivot - stream.mid,
    )


def describe_stream(stream: Stream, horizons: Sequence[int]) -> dict[str, Any]:
    """What a person wants to know of a stream first, as plain values; shares are of its labelled rows."""
    shares = {}
    for column, horizon in enumerate(horizons):
        labels = stream.labels[:, column]
        counts = np.bincount(labels[labels != UNDEFINED], minlength=3)
        shares[f"h{horizon}"] = dict(zip(("down", "neutral", "up"), (counts / counts.sum()).tolist(), strict=True))
    return {
        "name": stream.name,
        "instrument": stream.instrument,
        "rows": stream.rows,
        "span_s": float(stream.ts_ns[-1] - stream.ts_ns[0]) / 1e9,
        "tick_size": stream.tick_size,
        "quantity_scale": stream.quantity_scale,
        "spread_scale": stream.spread_scale,
        "median_spread_ticks": float(np.median(stream.spread)),
        "threshold_ticks": stream.threshold_ticks,
        "splits": {"train": stream.train, "validation": stream.validation, "test": stream.test},
        "class_shares": shares,
    }


def create_training_samples(
    updates: BookSeries | str | Path,
    sequence_length: int = 100,
    prediction_horizons: Sequence[int] = (10, 50, 100),
    *,
    quantity_scale: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Windows of raw features and their direction labels, for every anchor tick that has both.

    A window *includes* its anchor tick, X[i, -1], the last book known when the prediction is made; the PyTorch
    original's windows end one tick before it. The label is 2 (up) or 0 (down) where the mid moves at least one tick
    from the anchor to anchor + horizon, else 1.

    Args:
        updates: books of one instrument and session, or the path of a file of them in any format of
            `readers.sources` (its ticks by the book clock).
        sequence_length: ticks per window.
        prediction_horizons: in ticks.
        quantity_scale: quantity that counts as 1; None means the median level-1 quantity of the first 70 % of rows.

    Returns:
        X (N, sequence_length, 44) float32, a read-only view that costs no memory until a batch is copied out of it,
        and y (N, h) int64, with N = n - max(prediction_horizons) - sequence_length + 1.

    Raises:
        DataError: the books are not valid, or too few for one sample.
    """
    books = updates if isinstance(updates, BookSeries) else _read_one(Path(updates))
    validate_books(books)
    horizons = tuple(prediction_horizons)
    if sequence_length < 1 or not horizons or min(horizons) < 1 or not (quantity_scale is None or quantity_scale > 0):
        met = f"{sequence_length=}, prediction_horizons={horizons}, {quantity_scale=}"
        raise DataError(f"{met}: expected a length of at least 1, positive horizons and a positive scale or None")
    samples = books.rows - max(horizons) - sequence_length + 1
    if samples < 1:
        needed = sequence_length + max(horizons)
        raise DataError(
            f"books {books.name!r}: {books.rows} rows give no sample; expected at least {needed} (sequence_length "
            f"{sequence_length} + longest horizon {max(horizons)})"
        )
    if quantity_scale is None:
        stop = max(1, int(0.7 * books.rows))
        sizes = np.concatenate([books.bid_lots[:stop, 0], books.ask_lots[:stop, 0]])
        quantity_scale = float(np.median(sizes)) / books.lots_per_unit
    windows = sliding_window_view(lob44(books, quantity_scale), sequence_length, axis=0).transpose(0, 2, 1)
    labels, _ = direction_labels(books.mid / books.tick_size, horizons, threshold_ticks=1.0)
    return windows[:samples], labels[sequence_length - 1 :][:samples].astype(np.int64)


def _read_one(path: Path) -> BookSeries:
    sources = find_sources([path])
    if len(sources) > 1:
        names = ", ".join(source.name for source in sources)
        raise DataError(f"data {path}: {len(sources)} series ({names}); expected one, windows never cross a series")
    return read_books(sources[0], DataConfig())[0]
