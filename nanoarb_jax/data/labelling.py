"""From books to labelled rows: splits, scales and thresholds learnt from the training part, features and labels.

Books may be memory-mapped from disk: nothing here holds more than a block of their rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.counts import Counts, ValueCounts
from nanoarb_jax.data.labels import (
    count_magnitudes,
    label_moves,
    label_threshold,
    quantile_thresholds,
    reach,
    signed_moves,
)
from nanoarb_jax.data.splits import Parts, by_day, chronological, chronological_sessions
from nanoarb_jax.errors import DataError, ShortSeriesError
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.features.lob44 import FEATURE_NAMES
from nanoarb_jax.market.series import BookSeries

BLOCK = 1 << 16  # rows that are read or made at a time
LEAST_PART_ROWS = 100  # a part with fewer labelled rows is too short to learn from or to judge on


def _blocks(rows: int) -> Iterator[slice]:
    """Consecutive blocks that hold rows 0 … rows - 1, each of at most BLOCK rows."""
    return (slice(start, min(start + BLOCK, rows)) for start in range(0, rows, BLOCK))


def split_rows(rows: int, config: DataConfig, ts_ns: NDArray[np.int64] | None = None) -> Parts:
    """Chronological train, validation and test ranges of anchor rows, purged before each boundary.

    The train range starts at the first row with enough earlier rows for the label rule.

    Args:
        rows: of the stream.
        config: shares, purge, label rule, and whether rows or days are shared out.
        ts_ns: (rows,) time stamps, needed for `split="day"`.

    Raises:
        DataError: fewer than three days, or no time stamps.
    """
    first = reach(config.label_rule, config.horizons, config.smoothing_ticks).back
    shares = (config.train_fraction, config.validation_fraction)
    if config.split == "fraction":
        return chronological(rows, *shares, config.purge, first)
    if ts_ns is None:
        raise DataError("split_rows: no time stamps; expected ts_ns (rows,) for data.split='day'")
    sessions = by_day(ts_ns, config.timezone, config.session_start)
    return chronological_sessions(sessions, *shares, config.purge, first)


def _usable_parts(ts_ns: NDArray[np.int64], config: DataConfig, name: str) -> Parts:
    """`split_rows` of the stream `name`; an error where a part has fewer than LEAST_PART_ROWS labelled rows."""
    rows = len(ts_ns)
    try:
        parts = split_rows(rows, config, ts_ns)
    except DataError as error:
        raise ShortSeriesError(f"stream {name!r}: {error}") from None
    labelled = [stop - start for start, stop in parts]
    labelled[-1] -= max(config.horizons)
    if min(labelled) >= LEAST_PART_ROWS:
        return parts
    if config.split == "day":
        raise ShortSeriesError(
            f"stream {name!r}: {labelled} labelled rows in train, validation and test, split by day; expected at least "
            f"{LEAST_PART_ROWS} in each after a purge of {config.purge}; give fuller days or split by fraction"
        )
    least = min(
        config.train_fraction, config.validation_fraction, 1 - config.train_fraction - config.validation_fraction
    )
    needed = math.ceil((LEAST_PART_ROWS + config.purge + parts.train[0] + 1) / least)
    raise ShortSeriesError(
        f"stream {name!r}: {rows} rows; expected at least {needed}, for {LEAST_PART_ROWS} labelled rows in each of "
        f"train, validation and test after a purge of {config.purge}; give a longer stream or shorter horizons"
    )


class Level1Medians(NamedTuple):
    """Median quantity and spread of the best level over some rows of a stream.

    Attributes:
        qty: of bids and asks together, in units of quantity.
        spread_ticks: best ask minus best bid, in ticks.
    """

    qty: float
    spread_ticks: float

    @property
    def spread_scale(self) -> float:
        """The unit in which this instrument's price moves are expressed: half the median spread, at least one tick."""
        return max(1.0, self.spread_ticks / 2)


def level1_medians(books: BookSeries, stop: int) -> Level1Medians:
    """Medians over the rows before `stop`, read block by block; exact for up to 2^18 distinct values, see `Counts`."""
    lots, spreads = Counts(), Counts()
    for block in _blocks(stop):
        lots.add(books.bid_lots[block, 0])
        lots.add(books.ask_lots[block, 0])
        spreads.add(books.ask_px[block, 0] - books.bid_px[block, 0])
    return Level1Medians(lots.sorted().median() / books.lots_per_unit, spreads.sorted().median() / books.tick)


def first_medians(books: BookSeries, share: float) -> Level1Medians:
    """`level1_medians` over the first share of the rows, one row at least: for series that need no labels."""
    return level1_medians(books, max(1, int(share * books.rows)))


class StreamFacts(NamedTuple):
    """Splits of a stream, and the scales and label thresholds learnt from its training part; fields as in `Stream`."""

    parts: Parts
    quantity_scale: float
    spread_scale: float
    threshold_ticks: tuple[float, ...]


def measure_stream(books: BookSeries, config: DataConfig) -> StreamFacts:
    """Split a valid series, and learn its scales and label thresholds from the training part alone.

    Medians and quantiles come from counts of distinct values, block by block, so that memory-mapped books
    are never loaded whole.

    Raises:
        DataError: too short for the splits.
    """
    parts = _usable_parts(books.ts_ns, config, books.name)
    stop = parts.train[1]
    medians = level1_medians(books, stop)
    spread = np.array([medians.spread_ticks])
    floor = label_threshold(spread, config.threshold_ticks, config.threshold_spreads)
    thresholds: tuple[float, ...] = (floor,) * len(config.horizons)
    if config.threshold_quantile is not None:
        magnitudes = _count_train_magnitudes(books, config, stop)
        try:
            thresholds = quantile_thresholds(magnitudes, config.threshold_quantile, floor)
        except DataError as error:
            raise DataError(f"stream {books.name!r}: {error}") from None
    scales = (config.quantity_scale or medians.qty, config.spread_scale or medians.spread_scale)
    return StreamFacts(parts, *scales, thresholds)


def _count_train_magnitudes(books: BookSeries, config: DataConfig, stop: int) -> list[ValueCounts]:
    """Sizes of the moves per horizon, from rows before `stop` alone: no label counted ends beyond them."""
    magnitudes = [Counts() for _ in config.horizons]
    for block in _blocks(stop):
        moves = _block_moves(books, config, block, stop)
        for counts, found in zip(magnitudes, count_magnitudes(moves), strict=True):
            counts.merge(found)
    return [counts.sorted() for counts in magnitudes]


def _block_moves(books: BookSeries, config: DataConfig, block: slice, known: int) -> NDArray[np.float64]:
    """Signed moves (n, h) of the n rows of a block, made from the rows before `known` alone."""
    back, ahead = reach(config.label_rule, config.horizons, config.smoothing_ticks)
    first = max(block.start - back, 0)
    part = books.part(first, min(block.stop + ahead, known))
    price_ticks = (part.mid if config.label_price == "mid" else part.microprice) / books.tick_size
    moves = signed_moves(price_ticks, config.horizons, config.label_rule, config.smoothing_ticks)
    _unset_across_sessions(moves, part, config)
    return moves[block.start - first : block.stop - first]


def session_gap_ns(config: DataConfig, timed: bool) -> int:
    """The time without a tick that ends a session; longer than any where times say nothing, so there is one session."""
    return config.input.session_gap_ns if timed else int(np.iinfo(np.int64).max)


def _unset_across_sessions(moves: NDArray[np.float64], books: BookSeries, config: DataConfig) -> None:
    """Make those moves (n, h) NaN, in place, whose label would read rows of two sessions."""
    ts_ns = books.ts_ns
    begins = np.flatnonzero(np.diff(ts_ns) > session_gap_ns(config, books.timed)) + 1  # first rows of sessions
    if len(begins) == 0:
        return
    rows = np.arange(len(ts_ns))
    session = np.searchsorted(begins, rows, side="right")  # number of the session of each row
    for column, horizon in enumerate(config.horizons):
        back, ahead = reach(config.label_rule, (horizon,), config.smoothing_ticks)
        before = session[np.maximum(rows - back, 0)]
        after = session[np.minimum(rows + ahead, len(rows) - 1)]
        moves[before != after, column] = np.nan


class Block(NamedTuple):
    """Columns of some rows of a stream, see `Stream`."""

    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    moves: NDArray[np.float32]
    mid: NDArray[np.float64]
    spread: NDArray[np.float32]
    ts_ns: NDArray[np.int64]


def stream_blocks(books: BookSeries, config: DataConfig, facts: StreamFacts) -> Iterator[tuple[int, Block]]:
    """The rows of a stream, block by block, as (first row, columns); the size of the blocks changes no number.

    Raises:
        DataError: features that are not finite.
    """
    feature_set = FEATURE_SETS[config.feature_set]
    memory, gap_ns = feature_set.new_memory(), session_gap_ns(config, books.timed)
    for block in _blocks(books.rows):
        part = books.part(block.start, block.stop)
        features = feature_set.rows(
            part, facts.quantity_scale, memory, spread_scale=facts.spread_scale, session_gap_ns=gap_ns
        )
        check_finite(features, books.name, feature_set.names, block.start)
        labels, moves = label_moves(_block_moves(books, config, block, books.rows), facts.threshold_ticks)
        spread = part.spread_ticks.astype(np.float32)
        yield block.start, Block(features, labels, moves, part.mid, spread, part.ts_ns)


def check_finite(
    features: NDArray[np.float32], name: str, names: Sequence[str] = FEATURE_NAMES, first: int = 0
) -> None:
    """Check that all features (n, f) are finite; block by block, for files larger than memory.

    Args:
        features: some rows of a stream.
        name: of the stream, for the error.
        names: of the f features.
        first: row of the stream that is row 0 here.

    Raises:
        DataError: a feature is NaN or infinite; names the first one.
    """
    for block in _blocks(len(features)):
        finite = np.isfinite(features[block])
        if not finite.all():
            row, column = (int(i[0]) for i in np.nonzero(~finite))
            met = f"feature {names[column]} is NaN or infinite"
            raise DataError(
                f"stream {name!r}, row {first + block.start + row}: {met}; expected numbers, mend or drop that book"
            )
