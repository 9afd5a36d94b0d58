"""Market data opened to be replayed: the ticks that a model reads, in scales that are known before its predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import Dataset, check_input, open_dataset
from nanoarb_jax.data.declaration import instrument_of
from nanoarb_jax.data.labelling import check_finite, measure_stream, session_gap_ns
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.data.report import ReadReport
from nanoarb_jax.data.stored import file_entry, is_dataset
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.market.anomaly import Policy
from nanoarb_jax.market.series import BookSeries, validate_books
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import FORMATS, Source, check_snapshots, find_sources
from nanoarb_jax.serving.scales import Scales, ScaleSource, as_read, check_tick, own_scales, scales_elsewhere, scales_of


class Feeds(NamedTuple):
    """Streams to replay.

    Attributes:
        dataset: the streams.
        unlabelled: why some have no labels and no parts, {name: reason}; most often because they are too short.
        scales: of each stream, by its name.
        accounts: what was read of each, what was dropped and which anomalies were met, see `ReadReport.as_dict`; none
            for a prepared folder, whose manifest has them.
    """

    dataset: Dataset
    unlabelled: dict[str, str]
    scales: dict[str, Scales]
    accounts: dict[str, dict[str, Any]]


def open_feeds(
    path: str | Path,
    config: DataConfig | None = None,
    scales: ScaleSource = ScaleSource(),  # noqa: B008
    *,
    split: str | None = None,
    options: ReadOptions = ReadOptions(),  # noqa: B008
    policy: Mapping[str, Policy] | None = None,
    only: str | None = None,
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
        only: name of the one series of market data that is wanted; None: all of them.

    Raises:
        DataError: see `open_dataset`; another input, no scales where they are said to be, or scales of another tick
            size than the feed's.
    """
    path = Path(path)
    if is_dataset(path):
        return _prepared(path, config, options, policy)
    config = config or DataConfig()
    find_scales = scales_elsewhere(scales, config, options)
    streams, unlabelled, found, accounts = [], {}, {}, {}
    sources = [one for one in find_sources([path], options.symbol) if only in (None, one.name)]
    check_snapshots((source, options.snapshot) for source in sources)
    for source in sources:
        known = find_scales(source)
        books, report = _read(source, config, options, policy, known)
        measured = known or own_scales(books, config, scales.warm_up, split)
        check_tick(books, measured)
        found[books.name] = as_read(measured, books)
        stream, reason = _open_stream(source, books, config, measured)
        streams.append(stream)
        accounts[books.name] = report.as_dict()
        if reason is not None:
            unlabelled[books.name] = reason
    return Feeds(Dataset(tuple(streams), config, []), unlabelled, found, accounts)


def _read(
    source: Source, config: DataConfig, options: ReadOptions, policy: Mapping[str, Policy] | None, known: Scales | None
) -> tuple[BookSeries, ReadReport]:
    """The ticks of a source, read with the sizes of its scales."""
    sized = options if known is None else _sized(source, options, known)
    try:
        books, report = read_books(source, config, sized, policy)
    except DataError as error:
        if sized == options or known is None:
            raise
        raise DataError(f"{error} (tick and lot size are those of its scales: {known.origin})") from error
    validate_books(books)
    return books, report


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
    scales = {one.name: scales_of(one, origin) for one in dataset.streams}
    return Feeds(dataset, {}, scales, {})


def _sized(source: Source, options: ReadOptions, known: Scales) -> ReadOptions:
    """Read with the sizes of the scales, where the format lets them be chosen and the user does not choose."""
    heeded = FORMATS[source.format].options
    return options._replace(
        tick_size=options.tick_size or (known.tick_size if "tick_size" in heeded else None),
        lot_size=options.lot_size or (known.lot_size if "lot_size" in heeded and known.lot_size > 0 else None),
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
    feature_set, gap_ns = FEATURE_SETS[config.feature_set], session_gap_ns(config, books.timed)
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
        timed=books.timed,
    )
