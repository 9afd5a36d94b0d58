"""Market data opened to be replayed: the ticks that a model reads, in scales that are known before its predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import Dataset, check_input, open_dataset
from nanoarb_jax.data.declaration import instrument_of
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.data.labelling import check_finite, level1_medians, measure_stream
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.data.stored import MANIFEST, SIZES, file_entry
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.market.anomaly import Policy
from nanoarb_jax.market.series import BookSeries, validate_books
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import FORMATS, Source, find_sources

WARM_UP = 1_000  # ticks that scales are measured on where nothing is known from before


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
    warm_up: int = WARM_UP


class Scales(NamedTuple):
    """What a series is measured by, and how that is known.

    Attributes:
        tick_size, lot_size, quantity_scale, spread_scale: as in `Instrument`.
        origin: in words.
        warm_up: first rows of the series that were measured, and whose predictions do not count.
    """

    tick_size: float
    lot_size: float
    quantity_scale: float
    spread_scale: float
    origin: str
    warm_up: int = 0


class Feeds(NamedTuple):
    """Streams to replay.

    Attributes:
        dataset: the streams.
        unlabelled: why some have no labels and no parts, {name: reason}; most often because they are too short.
        scales: of each stream, by its name.
    """

    dataset: Dataset
    unlabelled: dict[str, str]
    scales: dict[str, Scales]


def open_feeds(
    path: str | Path,
    config: DataConfig | None = None,
    scales: ScaleSource = ScaleSource(),
    *,
    split: str | None = None,
    options: ReadOptions = ReadOptions(),  # noqa: B008
    policy: Mapping[str, Policy] | None = None,
) -> Feeds:
    """As `open_dataset`, but market data that cannot be labelled are opened too, and scales come from the past.

    Labels are made by thresholds that are learnt from each series' own training part: they judge, and no model reads
    them.

    Args:
        path: prepared folder, folder of market data, or one file of it.
        config: what the model reads, and how market data are labelled (None: the defaults). A prepared folder must
            have been made with the same input.
        scales: for market data; a prepared folder has its own, those of its training parts.
        split: the part of each series that is asked for; None: all of it.
        options, policy: for market data, what the files do not say, and what is done about anomalies.

    Raises:
        DataError: see `open_dataset`; another input, no scales where they are said to be, or scales of another tick
            size than the feed's.
    """
    path = Path(path)
    if (path / MANIFEST).is_file():
        return _prepared(path, config, options, policy)
    config = config or DataConfig()
    streams, unlabelled, found = [], {}, {}
    for source in find_sources([path]):
        known = _known_scales(source, scales, config, options)
        sized = options if known is None else _sized(source, options, known)
        try:
            books = read_books(source, config, sized, policy)[0]
        except DataError as error:
            if sized == options or known is None:
                raise
            raise DataError(f"{error} (tick and lot size are those of its scales: {known.origin})") from error
        validate_books(books)
        measured = known or _own_scales(books, config, scales.warm_up, split)
        _check_tick(books, measured)
        found[books.name] = measured._replace(tick_size=books.tick_size, lot_size=1.0 / books.lots_per_unit)
        stream, reason = _open_stream(source, books, config, measured)
        streams.append(stream)
        if reason is not None:
            unlabelled[books.name] = reason
    return Feeds(Dataset(tuple(streams), config, []), unlabelled, found)


def _prepared(
    path: Path, config: DataConfig | None, options: ReadOptions, policy: Mapping[str, Policy] | None
) -> Feeds:
    if options != ReadOptions() or policy:
        raise DataError(
            f"dataset {path}: was read when it was prepared; leave out --tick-size, --lot-size, --symbol and --policy"
        )
    dataset = open_dataset(path, verify=True)
    if config is not None:
        check_input(dataset, config.input)
    origin = "its dataset: the training part of each series"
    scales = {one.name: _scales_of(one, origin) for one in dataset.streams}
    return Feeds(dataset, {}, scales)


def _known_scales(source: Source, scales: ScaleSource, config: DataConfig, options: ReadOptions) -> Scales | None:
    """Scales from elsewhere: another feed or dataset, or what the model was trained with."""
    if scales.path is not None:
        options = options._replace(exchange_time=config.timestamps == "exchange")
        one = _measure(source, scales.path, scales.series, config, options)
        the_same = not (scales.path / MANIFEST).is_file() and one.name == source.name and _holds(scales.path, source)
        origin = f"{scales.path}" + (": the very ticks that are replayed" if the_same else f", {one.name}")
        return _scales_of(one, origin)
    return _as_trained(source, scales)


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


def _scales_of(one: Stream | Instrument, origin: str) -> Scales:
    return Scales(one.tick_size, one.lot_size, one.quantity_scale, one.spread_scale, origin)


def _measure(source: Source, path: Path, series: str | None, config: DataConfig, options: ReadOptions) -> Instrument:
    """The instrument of `series` in a feed or dataset; of the series called as the replayed one, or of the only one."""
    if series is None:
        if (path / MANIFEST).is_file():
            names = [stream.name for stream in open_dataset(path).streams]
        else:
            names = [one.name for one in find_sources([path])]
        series = source.name if source.name in names else None
    return Instrument.measure(path, series=series, spec=config.input, options=options)


def _holds(path: Path, source: Source) -> bool:
    """Whether the files of a source are among those at a path."""
    there = {file.resolve() for one in find_sources([path]) for file in one.files}
    return any(file.resolve() in there for file in source.files)


def _sized(source: Source, options: ReadOptions, known: Scales) -> ReadOptions:
    """Read with the sizes of the scales, where the format lets them be chosen and the user does not choose."""
    heeded = FORMATS[source.format].options
    return options._replace(
        tick_size=options.tick_size or (known.tick_size if "tick_size" in heeded else None),
        lot_size=options.lot_size or (known.lot_size if "lot_size" in heeded and known.lot_size > 0 else None),
    )


def _own_scales(books: BookSeries, config: DataConfig, warm_up: int, split: str | None) -> Scales:
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


def _check_tick(books: BookSeries, scales: Scales) -> None:
    if not np.isclose(books.tick_size, scales.tick_size, rtol=1e-9, atol=0):
        raise DataError(
            f"series {books.name!r}: tick size {books.tick_size:g}, its scales ({scales.origin}) are of a tick size of "
            f"{scales.tick_size:g}; give the scales of this instrument with --scales-from, or its --tick-size"
        )


def _open_stream(source: Source, books: BookSeries, config: DataConfig, scales: Scales) -> tuple[Stream, str | None]:
    """The stream in these scales, and why it has no labels, if it has none."""
    config = dataclasses.replace(config, quantity_scale=scales.quantity_scale, spread_scale=scales.spread_scale)
    sources = [file_entry(file)["sha256"] for file in source.files]
    try:
        measure_stream(books, config)  # fails where books, though valid, cannot be labelled
    except DataError as error:
        return _unlabelled_stream(books, config, scales)._replace(sources=tuple(sources)), str(error)
    return make_stream(books, config, sources=sources), None


def _unlabelled_stream(books: BookSeries, config: DataConfig, scales: Scales) -> Stream:
    """Features of all rows; no label is known and all parts are empty."""
    feature_set, gap_ns = FEATURE_SETS[config.feature_set], config.input.session_gap_ns
    features = feature_set.rows(
        books, scales.quantity_scale, feature_set.new_memory(), spread_scale=scales.spread_scale, session_gap_ns=gap_ns
    )
    check_finite(features, books.name, feature_set.names)
    shape = (books.rows, len(config.horizons))
    return Stream(
        name=books.name,
        instrument=instrument_of(books.name).instrument,
        tick_size=books.tick_size,
        lot_size=1.0 / books.lots_per_unit,
        quantity_scale=scales.quantity_scale,
        spread_scale=scales.spread_scale,
        threshold_ticks=(np.nan,) * len(config.horizons),
        train=(0, 0),
        validation=(0, 0),
        test=(0, 0),
        features=features,
        labels=np.full(shape, UNDEFINED, np.int8),
        moves=np.full(shape, np.nan, np.float32),
        mid=books.mid,
        spread=books.spread_ticks.astype(np.float32),
        ts_ns=books.ts_ns,
        session_gap_ns=gap_ns,
    )
