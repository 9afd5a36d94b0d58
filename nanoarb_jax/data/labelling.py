"""From books to labelled rows: splits, what the training part teaches, features and labels block by block.

Books may lie on disk, mapped: nothing here holds more than a block of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.counts import Counts
from nanoarb_jax.data.labels import (
    count_magnitudes,
    counted_quantile,
    label_moves,
    label_threshold,
    reach,
    signed_moves,
)
from nanoarb_jax.data.splits import Parts, by_day, chronological, chronological_sessions
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.features.lob44 import FEATURE_NAMES
from nanoarb_jax.market.series import SESSION_GAP_NS, BookSeries

BLOCK = 1 << 16  # rows made at a time
LEAST_PART_ROWS = 100  # labelled rows below which a part says nothing


def split_rows(rows: int, config: DataConfig, ts_ns: NDArray[np.int64] | None = None) -> Parts:
    """Chronological train, validation and test ranges of anchor rows, purged before each boundary.

    The train range starts where the label rule has seen its past, so no row of train or validation is unlabelled.

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


def _splits(ts_ns: NDArray[np.int64], config: DataConfig, name: str) -> Parts:
    """`split_rows` of the stream `name`, refused where a part says nothing."""
    rows = len(ts_ns)
    try:
        splits = split_rows(rows, config, ts_ns)
    except DataError as error:
        raise DataError(f"stream {name!r}: {error}") from None
    labelled = [stop - start for start, stop in splits]
    labelled[-1] -= max(config.horizons)
    if min(labelled) >= LEAST_PART_ROWS:
        return splits
    if config.split == "day":
        raise DataError(
            f"stream {name!r}: {labelled} labelled rows in train, validation and test, split by day; expected at least "
            f"{LEAST_PART_ROWS} in each after a purge of {config.purge}; give fuller days or split by fraction"
        )
    least = min(
        config.train_fraction, config.validation_fraction, 1 - config.train_fraction - config.validation_fraction
    )
    needed = math.ceil((LEAST_PART_ROWS + config.purge + splits.train[0] + 1) / least)
    raise DataError(
        f"stream {name!r}: {rows} rows; expected at least {needed}, for {LEAST_PART_ROWS} labelled rows in each of "
        f"train, validation and test after a purge of {config.purge}; give a longer series or shorter horizons"
    )


class Plan(NamedTuple):
    """What a stream's training part teaches, before any row is made: see `Stream` for the fields."""

    parts: Parts
    quantity_scale: float
    spread_scale: float
    threshold_ticks: tuple[float, ...]


def plan_stream(books: BookSeries, config: DataConfig) -> Plan:
    """Splits, scales and label thresholds of a valid series, in one pass over its training part.

    Medians and quantiles come from counts of distinct values, block by block, so that books on disk stay there.

    Raises:
        DataError: too short for the splits.
    """
    parts = _splits(books.ts_ns, config, books.name)
    sizes, spreads, stop = Counts(), Counts(), parts.train[1]
    for start in range(0, stop, BLOCK):
        block = slice(start, min(start + BLOCK, stop))
        sizes.add(books.bid_lots[block, 0])
        sizes.add(books.ask_lots[block, 0])
        spreads.add(books.ask_px[block, 0] - books.bid_px[block, 0])
    quantity_scale = config.quantity_scale or sizes.median() / books.lots_per_unit
    median_spread = spreads.median() / books.tick
    spread_scale = config.spread_scale or scale_of_spread(median_spread)
    floor = label_threshold(np.array([median_spread]), config.threshold_ticks, config.threshold_spreads)
    if config.threshold_quantile is None:
        return Plan(parts, quantity_scale, spread_scale, (floor,) * len(config.horizons))
    return Plan(parts, quantity_scale, spread_scale, _quantile_thresholds(books, config, stop, floor))


def scale_of_spread(median_ticks: float) -> float:
    """What moves of an instrument are measured by, in ticks: its half-spread, but no less than the price can move."""
    return max(1.0, median_ticks / 2)


def _quantile_thresholds(books: BookSeries, config: DataConfig, stop: int, floor: float) -> tuple[float, ...]:
    """Least move per horizon, learnt from rows before `stop` alone: no label counted ends beyond them."""
    magnitudes = [Counts() for _ in config.horizons]
    for start in range(0, stop, BLOCK):
        moves, _ = _block_moves(books, config, start, min(start + BLOCK, stop), stop)
        for column, counts in enumerate(magnitudes):
            counts.merge(*count_magnitudes(moves[:, column]))
    try:
        quantile = config.threshold_quantile or 0.0
        return tuple(max(floor, counted_quantile(*counts.sorted(), quantile)) for counts in magnitudes)
    except DataError as error:
        raise DataError(f"stream {books.name!r}: {error}") from None


def _block_moves(
    books: BookSeries, config: DataConfig, start: int, stop: int, known: int
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Signed moves (stop - start, h) of rows start … stop, of which rows before `known` may be read."""
    back, ahead = reach(config.label_rule, config.horizons, config.smoothing_ticks)
    first, last = max(start - back, 0), min(stop + ahead, known)
    part = books.part(first, last)
    price_ticks = (part.mid if config.label_price == "mid" else part.microprice) / books.tick_size
    moves = signed_moves(price_ticks, config.horizons, config.label_rule, config.smoothing_ticks)
    _unknow_across_sessions(moves, part.ts_ns, config)
    return moves[start - first : stop - first], (first, last)


def _unknow_across_sessions(moves: NDArray[np.float64], ts_ns: NDArray[np.int64], config: DataConfig) -> None:
    """Make those moves (n, h) NaN, in place, whose label would read rows of two sessions."""
    begins = np.flatnonzero(np.diff(ts_ns) > SESSION_GAP_NS) + 1  # first rows of sessions
    if len(begins) == 0:
        return
    rows = np.arange(len(ts_ns))
    number = np.searchsorted(begins, rows, side="right")  # of sessions begun by then
    for column, horizon in enumerate(config.horizons):
        back, ahead = reach(config.label_rule, (horizon,), config.smoothing_ticks)
        before = number[np.maximum(rows - back, 0)]
        after = number[np.minimum(rows + ahead, len(rows) - 1)]
        moves[before != after, column] = np.nan


class Block(NamedTuple):
    """Rows start … of a stream: its columns, see `Stream`."""

    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    moves: NDArray[np.float32]
    mid: NDArray[np.float64]
    spread: NDArray[np.float32]
    ts_ns: NDArray[np.int64]


def stream_blocks(books: BookSeries, config: DataConfig, plan: Plan) -> Iterator[tuple[int, Block]]:
    """The rows of a stream, block by block, as (first row, columns); the blocks' size changes no number.

    Raises:
        DataError: features that are not finite.
    """
    feature_set = FEATURE_SETS[config.feature_set]
    memory = feature_set.new_memory()
    for start in range(0, books.rows, BLOCK):
        part = books.part(start, min(start + BLOCK, books.rows))
        features = feature_set.rows(part, plan.quantity_scale, memory, spread_scale=plan.spread_scale)
        check_finite(features, books.name, feature_set.names, start)
        moves, _ = _block_moves(books, config, start, start + part.rows, books.rows)
        labels, signed = label_moves(moves, plan.threshold_ticks)
        yield start, Block(features, labels, signed, part.mid, part.spread_ticks.astype(np.float32), part.ts_ns)


def check_finite(
    features: NDArray[np.float32], name: str, names: Sequence[str] = FEATURE_NAMES, first: int = 0
) -> None:
    """Refuse features (n, f) that no model can read; block by block, for files larger than memory.

    Raises:
        DataError: a first NaN or infinite feature of the stream `name`, whose row `first` is row 0 here.
    """
    for start in range(0, len(features), BLOCK):
        finite = np.isfinite(features[start : start + BLOCK])
        if not finite.all():
            row, column = (int(i[0]) for i in np.nonzero(~finite))
            met = f"feature {names[column]} is NaN or infinite"
            raise DataError(
                f"stream {name!r}, row {first + start + row}: {met}; expected numbers, mend or drop that book"
            )
