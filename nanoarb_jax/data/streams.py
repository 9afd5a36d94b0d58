"""Labelled and split streams, made of books in memory.

A stream is one instrument and session. Streams are never joined, every row keeps its own book's features, and what is
learnt from data (quantity scale, label threshold) is learnt from the training part alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import CLASS_NAMES, DataConfig
from nanoarb_jax.data.declaration import Declared, Instruments, instrument_of
from nanoarb_jax.data.labelling import Block, StreamFacts, measure_stream, session_gap_ns, stream_blocks
from nanoarb_jax.data.labels import UNDEFINED, mirror_labels
from nanoarb_jax.data.splits import RowRange
from nanoarb_jax.features.feature_set import mirror_features
from nanoarb_jax.features.lob44 import SESSION_GAP_NS
from nanoarb_jax.market.series import BookSeries, validate_books


class Stream(NamedTuple):
    """One labelled stream of n ticks; train, validation and test are (start, stop) ranges of anchor rows.

    The rows between train.stop and validation.start (and so on) are purged: their labels look into the next part.
    They, and the rows before a part, may still warm up a model's state.

    Attributes:
        name: of the stream, e.g. "btcusdt_20240808".
        instrument: that was traded, see `declaration.instrument_of`.
        tick_size: price of one tick.
        lot_size: quantity of one lot; NaN where the dataset was made before it was noted.
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
        session_gap_ns: a longer time between two ticks begins another session; longer than any where `timed` is False.
        instrument_declared: the user said which instrument it is; False: its name suggests it.
        sources: sha256 of the files that it was made of.
        timed: False where `ts_ns` only puts the rows in order: nothing that is said of time may be made of it.
    """

    name: str
    instrument: str
    tick_size: float
    lot_size: float
    quantity_scale: float
    spread_scale: float
    threshold_ticks: tuple[float, ...]
    train: RowRange
    validation: RowRange
    test: RowRange
    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    moves: NDArray[np.float32]
    mid: NDArray[np.float64]
    spread: NDArray[np.float32]
    ts_ns: NDArray[np.int64]
    session_gap_ns: int = SESSION_GAP_NS
    instrument_declared: bool = False
    sources: tuple[str, ...] = ()
    timed: bool = True

    @property
    def rows(self) -> int:
        return len(self.ts_ns)

    def sessions(self, start: int, stop: int) -> list[RowRange]:
        """The rows from `start` to `stop`, cut where a session begins."""
        begins = start + 1 + np.flatnonzero(np.diff(self.ts_ns[start:stop]) > self.session_gap_ns)
        return list(pairwise([start, *begins.tolist(), stop]))

    @property
    def session_starts(self) -> NDArray[np.int64]:
        """The first row of every row's session, (n,)."""
        sessions = self.sessions(0, self.rows)
        return np.repeat([start for start, _ in sessions], [stop - start for start, stop in sessions])


def make_stream(
    books: BookSeries, config: DataConfig, instruments: Instruments | None = None, sources: Sequence[str] = ()
) -> Stream:
    """Features, labels and splits of the books of one stream, in memory.

    Args:
        books: of one series.
        config: how streams are made.
        instruments: what the user declares, see `declaration.instrument_of`.
        sources: sha256 of the files.

    Raises:
        DataError: books that are not valid, too short for the splits, of no declared instrument, or whose features
            are not finite.
    """
    validate_books(books)
    facts = measure_stream(books, config)
    blocks = [block for _, block in stream_blocks(books, config, facts)]
    columns = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in Block._fields}
    scalars = stream_scalars(books, facts, instrument_of(books.name, instruments))
    gap_ns = session_gap_ns(config, books.timed)
    return Stream(**scalars, **columns, session_gap_ns=gap_ns, sources=tuple(sources))


def stream_scalars(books: BookSeries, facts: StreamFacts, instrument: Declared) -> dict[str, Any]:
    """The fields of `Stream` that are not columns."""
    return {
        "name": books.name,
        "instrument": instrument.instrument,
        "instrument_declared": instrument.declared,
        "tick_size": books.tick_size,
        "lot_size": 1.0 / books.lots_per_unit,
        "quantity_scale": facts.quantity_scale,
        "spread_scale": facts.spread_scale,
        "threshold_ticks": facts.threshold_ticks,
        "timed": books.timed,
        **facts.parts._asdict(),
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
    """Size, scales, splits and class shares of a stream as plain values; shares are of its labelled rows."""
    shares = {}
    for column, horizon in enumerate(horizons):
        labels = stream.labels[:, column]
        counts = np.bincount(labels[labels != UNDEFINED], minlength=3)
        shares[f"h{horizon}"] = dict(zip(CLASS_NAMES, (counts / counts.sum()).tolist(), strict=True))
    return {
        "name": stream.name,
        "instrument": stream.instrument,
        "instrument_declared": stream.instrument_declared,
        "rows": stream.rows,
        "timed": stream.timed,
        "span_s": float(stream.ts_ns[-1] - stream.ts_ns[0]) / 1e9 if stream.timed else None,
        "tick_size": stream.tick_size,
        "lot_size": stream.lot_size,
        "quantity_scale": stream.quantity_scale,
        "spread_scale": stream.spread_scale,
        "median_spread_ticks": float(np.median(stream.spread)),
        "threshold_ticks": stream.threshold_ticks,
        "splits": {"train": stream.train, "validation": stream.validation, "test": stream.test},
        "class_shares": shares,
    }
