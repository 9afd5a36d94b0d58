"""Where the scales of replayed market data come from: another feed or dataset, the model, or the feed's first ticks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import Dataset, check_input, open_dataset
from nanoarb_jax.data.instrument import Instrument, measure
from nanoarb_jax.data.labelling import level1_medians, measure_stream
from nanoarb_jax.data.stored import SIZES, is_dataset
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import FORMATS, Source, find_sources


@dataclass(frozen=True)
class ScaleSource:
    """Where the scales of replayed market data come from.

    Without `path`, a series of the name among `trained` gives them; else they are measured on the feed itself, before
    the first prediction that counts: on its training part where only a later part is asked for, else on its first
    ticks.

    Args:
        path: feed or dataset to measure them on, see `Instrument.measure`.
        series: which series there, or of those trained on; None: the one that is called as the replayed one.
        trained: series that the model was trained on, as its card lists them.
        warm_up: how many ticks are measured and not predicted, where nothing is known from before.
    """

    path: Path | None = None
    series: str | None = None
    trained: Sequence[Mapping[str, Any]] = ()
    warm_up: int = 1_000


class Scales(NamedTuple):
    """What a series is measured by, and how that is known.

    Attributes:
        tick_size, lot_size, quantity_scale, spread_scale: as in `Instrument`.
        origin: in words.
        warm_up: first rows of the series that were measured, and whose predictions do not count.
        last_ns: time of the last tick of another feed or dataset that they were measured on.
    """

    tick_size: float
    lot_size: float
    quantity_scale: float
    spread_scale: float
    origin: str
    warm_up: int = 0
    last_ns: int | None = None


def scales_elsewhere(
    scales: ScaleSource, config: DataConfig, options: ReadOptions
) -> Callable[[Source], Scales | None]:
    """Finds the scales of a source in another feed or dataset, or among those that the model was trained with."""
    path = scales.path
    if path is None:
        return lambda source: _as_trained(source, scales)
    place: Path | Dataset = open_dataset(path) if is_dataset(path) else path
    if isinstance(place, Dataset):  # whatever its features are
        check_input(place, dataclasses.replace(config.input, feature_set=place.config.feature_set))
        names, formats = {stream.name for stream in place.streams}, set()
    else:
        found = find_sources([path], options.symbol)
        names, formats = {one.name for one in found}, {one.format for one in found}
    options = _heeded(options, formats)

    @functools.cache  # several sources may share one past
    def measured(series: str | None) -> Scales:
        one = measure(place, series=series, spec=config.input, options=options)
        return scales_of(one.instrument, f"{path}, {one.series}")._replace(last_ns=one.last_ns)

    return lambda source: measured(scales.series or (source.name if source.name in names else None))


def _heeded(options: ReadOptions, formats: Iterable[str]) -> ReadOptions:
    """Those options that all these formats heed: a feed's past may be of a format that says more than the feed.

    A snapshot is the book at the beginning of the feed, not of its past.
    """
    fresh = ReadOptions()
    names = ("tick_size", "lot_size", "symbol", "sort")
    nothing: dict[str, Any] = {
        name: getattr(fresh, name) for name in names for one in formats if name not in FORMATS[one].options
    }
    return options._replace(**nothing, snapshot=None)


def scales_of(one: Stream | Instrument, origin: str) -> Scales:
    return Scales(one.tick_size, one.lot_size, one.quantity_scale, one.spread_scale, origin)


def _as_trained(source: Source, scales: ScaleSource) -> Scales | None:
    """What the model was trained with: on the series that is named, or on one called as the replayed one."""
    for stream in scales.trained:
        if stream["name"] == (scales.series or source.name):
            missing = [size for size in SIZES if size != "lot_size" and size not in stream]
            if not missing:
                sizes = {size: stream.get(size, np.nan) for size in SIZES}  # a lot size was not always noted
                return Scales(**sizes, origin=f"the model: its series {stream['name']}")
            if scales.series is not None:
                raise DataError(f"--series {scales.series}: the model does not know its {missing[0]}; measure them")
    if scales.series is not None:
        known = ", ".join(stream["name"] for stream in scales.trained) or "none"
        raise DataError(f"--series {scales.series}: not among those that the model was trained on ({known})")
    return None


def own_scales(books: BookSeries, config: DataConfig, warm_up: int, split: str | None) -> Scales:
    """Scales measured on the feed itself, before the rows that are asked for."""
    sizes = books.tick_size, 1.0 / books.lots_per_unit
    if config.quantity_scale is not None and config.spread_scale is not None:
        return Scales(*sizes, config.quantity_scale, config.spread_scale, "the settings of the model's data")
    if split in ("validation", "test"):
        rows, origin, unready = _training_rows(books, config), "its own training part", 0
    else:
        rows = min(warm_up, books.rows)
        origin, unready = f"its own first {rows:,} ticks, whose predictions do not count", rows
    medians = level1_medians(books, max(1, rows))
    return Scales(
        *sizes, config.quantity_scale or medians.qty, config.spread_scale or medians.spread_scale, origin, unready
    )


def _training_rows(books: BookSeries, config: DataConfig) -> int:
    try:
        return measure_stream(books, config).parts.train[1]
    except DataError:  # too short to be split; whoever asks for its part is told so
        return books.rows


def as_read(scales: Scales, books: BookSeries) -> Scales:
    """The scales with the sizes that the books were read with, saying so where they are not of the past alone."""
    origin = scales.origin
    if scales.last_ns is not None and books.timed and scales.last_ns >= books.ts_ns[0]:
        origin += ": measured on ticks of the time that is replayed, or later"
    return scales._replace(tick_size=books.tick_size, lot_size=1.0 / books.lots_per_unit, origin=origin)


def check_tick(books: BookSeries, scales: Scales) -> None:
    if not np.isclose(books.tick_size, scales.tick_size, rtol=1e-9, atol=0):
        raise DataError(
            f"series {books.name!r}: tick size {books.tick_size:g}, its scales ({scales.origin}) are of a tick size of "
            f"{scales.tick_size:g}; give the scales of this instrument with --scales-from, or its --tick-size"
        )
