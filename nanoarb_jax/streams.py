"""Books in, labelled and split streams or windows out, in memory.

A stream is one instrument and session. Streams are never joined, every row keeps its own book's features, and what is
learnt from data (quantity scale, label threshold) is learnt from the training part alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nanoarb_jax.collect import read_books
from nanoarb_jax.config import DataConfig
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.extractor import FEATURE_SETS
from nanoarb_jax.market.features import FEATURE_NAMES, lob44
from nanoarb_jax.market.flow import flow, flow_memory
from nanoarb_jax.market.labels import (
    UNDEFINED,
    count_magnitudes,
    counted_quantile,
    direction_labels,
    label_moves,
    label_threshold,
    mirror_labels,
    reach,
    signed_moves,
)
from nanoarb_jax.market.mirror import mirror_features
from nanoarb_jax.market.readers.sources import find_sources
from nanoarb_jax.market.series import SESSION_GAP_NS, BookSeries, validate_books
from nanoarb_jax.splits import Parts, by_day, chronological, chronological_sessions

BLOCK = 1 << 16  # rows made at a time
_MOST_VALUES = 1 << 18
LEAST_PART_ROWS = 100  # labelled rows below which a part says nothing


class Stream(NamedTuple):
    """One labelled series of n ticks; train, validation and test are (start, stop) ranges of anchor rows.

    The rows between train.stop and validation.start (and so on) are purged: their labels look into the next part.
    They, and the rows before a part, may still warm up a model's state.

    Attributes:
        name, instrument: of the series, and of what was traded (the name without its date).
        tick_size: price of one tick.
        quantity_scale: quantity that counts as 1 in the features.
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
    threshold_ticks: tuple[float, ...]


def plan_stream(books: BookSeries, config: DataConfig) -> Plan:
    """Splits, quantity scale and label thresholds of a valid series, in one pass over its training part.

    Medians and quantiles come from counts of distinct values, block by block, so that books on disk stay there.

    Raises:
        DataError: too short for the splits.
    """
    parts = _splits(books.ts_ns, config, books.name)
    sizes, spreads, stop = Counts(), Counts(), parts.train[1]
    for start in range(0, stop, BLOCK):
        block = slice(start, min(start + BLOCK, stop))
        sizes.add(books.bid_sz[block, 0])
        sizes.add(books.ask_sz[block, 0])
        spreads.add(books.ask_px[block, 0] - books.bid_px[block, 0])
    quantity_scale = config.quantity_scale or sizes.median() / books.sz_scale
    median_spread = np.array([spreads.median() / books.tick])
    floor = label_threshold(median_spread, config.threshold_ticks, config.threshold_spreads)
    if config.threshold_quantile is None:
        return Plan(parts, quantity_scale, (floor,) * len(config.horizons))
    return Plan(parts, quantity_scale, _quantile_thresholds(books, config, stop, floor))


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


class Counts:
    """How often each integer was met: medians and quantiles without all the values.

    Exact up to _MOST_VALUES distinct values; with more, values keep their leading 14 bits (1 part in 16,000).
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._coarse = False

    def add(self, values: NDArray[np.int64]) -> None:
        self.merge(*np.unique(values, return_counts=True))

    def merge(self, values: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._counts[self._kept(value)] += count
        if len(self._counts) > _MOST_VALUES and not self._coarse:
            self._coarse = True
            exact, self._counts = self._counts, Counter()
            for value, count in exact.items():
                self._counts[self._kept(value)] += count

    def _kept(self, value: int) -> int:
        shift = max(abs(value).bit_length() - 14, 0) if self._coarse else 0
        return value >> shift << shift

    def sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Distinct values, ascending, and their counts."""
        values = sorted(self._counts)
        return np.array(values, np.int64), np.array([self._counts[value] for value in values], np.int64)

    def quantile(self, share: float) -> int:
        """Least value that at least this share of all does not exceed."""
        values, counts = self.sorted()
        reached = np.cumsum(counts)
        return int(values[np.searchsorted(reached, share * reached[-1])])

    def median(self) -> float:
        """As `numpy.median` of all values; of none, NaN."""
        values, counts = self.sorted()
        if len(values) == 0:
            return math.nan
        reached, total = np.cumsum(counts), int(counts.sum())
        low, high = np.searchsorted(reached, [(total - 1) // 2, total // 2], side="right")
        return (int(values[low]) + int(values[high])) / 2


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
    memory = flow_memory()
    for start in range(0, books.rows, BLOCK):
        part = books.part(start, min(start + BLOCK, books.rows))
        if config.feature_set == "flow":
            features = flow(part, plan.quantity_scale, memory)
        else:
            features = lob44(part, plan.quantity_scale)
        check_finite(features, books.name, FEATURE_SETS[config.feature_set], start)
        moves, _ = _block_moves(books, config, start, start + part.rows, books.rows)
        labels, signed = label_moves(moves, plan.threshold_ticks)
        yield start, Block(features, labels, signed, part.mid, part.spread_ticks.astype(np.float32), part.ts_ns)


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
        "threshold_ticks": plan.threshold_ticks,
        **plan.parts._asdict(),
    }


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
        sizes = np.concatenate([books.bid_sz[:stop, 0], books.ask_sz[:stop, 0]])
        quantity_scale = float(np.median(sizes)) / books.sz_scale
    windows = sliding_window_view(lob44(books, quantity_scale), sequence_length, axis=0).transpose(0, 2, 1)
    labels, _ = direction_labels(books.mid / books.tick_size, horizons, threshold_ticks=1.0)
    return windows[:samples], labels[sequence_length - 1 :][:samples].astype(np.int64)


def _read_one(path: Path) -> BookSeries:
    sources = find_sources([path])
    if len(sources) > 1:
        names = ", ".join(source.name for source in sources)
        raise DataError(f"data {path}: {len(sources)} series ({names}); expected one, windows never cross a series")
    return read_books(sources[0], DataConfig())[0]
