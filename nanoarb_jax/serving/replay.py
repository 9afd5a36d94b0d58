"""Recorded streams through a predictor, tick by tick, as they would have been met live."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import MANIFEST, SPLITS, Dataset, open_dataset
from nanoarb_jax.data.labelling import check_finite, plan_stream, scale_of_spread
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.data.streams import Stream, instrument_of, make_stream
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import FEATURE_SETS, feature_set_of
from nanoarb_jax.market.series import BookSeries, validate_books
from nanoarb_jax.readers.sources import find_sources
from nanoarb_jax.serving.metrics import ModelMetrics
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.window import WindowPredictor


class Replayed(NamedTuple):
    """What a model said of n ticks of one stream.

    Attributes:
        name: of the stream.
        ts_ns: (n,) int64.
        mid: (n,) float64, in price.
        probabilities: (n, h, c) float32, down, neutral, up.
        direction: (n, h) int8, -1 down, 0 neutral, +1 up.
        ready: (n,) bool.
        labels: (n, h) int8, 0 down, 1 neutral, 2 up, -1 not known.
    """

    name: str
    ts_ns: NDArray[np.int64]
    mid: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    direction: NDArray[np.int8]
    ready: NDArray[np.bool_]
    labels: NDArray[np.int8]


def open_streams(path: str | Path, config: DataConfig | None = None) -> tuple[Dataset, dict[str, str]]:
    """Streams to replay: as `open_dataset`, but market data that cannot be labelled are taken too.

    Args:
        path: prepared folder, folder of market data, or one file of it.
        config: for market data, how to make streams of it (None: the defaults); a prepared folder has its own.

    Returns:
        the streams, and why some of them have no labels and no parts, {name: reason}; most often because they are too
        short. Their scales come from the first `train_fraction` of the rows: the median level-1 quantity, and half the
        median spread, at least one tick.

    Raises:
        DataError: see `open_dataset`.
    """
    path = Path(path)
    if (path / MANIFEST).is_file():
        return open_dataset(path, verify=True), {}
    config = config or DataConfig()
    streams, unlabelled = [], {}
    for source in find_sources([path]):
        books = read_books(source, config)[0]
        validate_books(books)
        try:
            plan_stream(books, config)  # all that stands between valid books and labels
        except DataError as error:
            unlabelled[books.name] = str(error)
            streams.append(_unlabelled_stream(books, config))
        else:
            streams.append(make_stream(books, config))
    return Dataset(tuple(streams), config, []), unlabelled


def _unlabelled_stream(books: BookSeries, config: DataConfig) -> Stream:
    first = books.part(0, max(1, int(config.train_fraction * books.rows)))
    sizes = np.concatenate([first.bid_lots[:, 0], first.ask_lots[:, 0]])
    scale = config.quantity_scale or float(np.median(sizes)) / books.lots_per_unit
    spread_scale = config.spread_scale or scale_of_spread(float(np.median(first.spread_ticks)))
    feature_set = FEATURE_SETS[config.feature_set]
    features = feature_set.rows(books, scale, feature_set.new_memory(), spread_scale=spread_scale)
    check_finite(features, books.name, feature_set.names)
    shape = (books.rows, len(config.horizons))
    return Stream(
        name=books.name,
        instrument=instrument_of(books.name),
        tick_size=books.tick_size,
        quantity_scale=scale,
        spread_scale=spread_scale,
        threshold_ticks=(np.nan,) * len(config.horizons),
        **dict.fromkeys(SPLITS, (0, 0)),
        features=features,
        labels=np.full(shape, UNDEFINED, np.int8),
        moves=np.full(shape, np.nan, np.float32),
        mid=books.mid,
        spread=books.spread_ticks.astype(np.float32),
        ts_ns=books.ts_ns,
    )


def labels_at(stream: Stream, at: Sequence[int], horizons: Sequence[int]) -> NDArray[np.int8]:
    """A stream's labels, made at some horizons, at those of a model: (n, h), -1 at horizons that were not labelled."""
    labels = np.full((stream.rows, len(horizons)), UNDEFINED, np.int8)
    for column, horizon in enumerate(horizons):
        if horizon in at:
            labels[:, column] = stream.labels[:, at.index(horizon)]
    return labels


def replay(
    predictor: StepPredictor | WindowPredictor,
    stream: Stream,
    labels: NDArray[np.int8],
    metrics: ModelMetrics,
    rows: tuple[int, int] | None = None,
) -> Replayed:
    """Feed a stream to a predictor from its first row on, in a fresh state, one tick at a time.

    Args:
        predictor: reset first.
        stream: the ticks.
        labels: (n, h) of the stream at the predictor's horizons, see `labels_at`.
        metrics: told of every tick that is kept: its latency, and, once the predictor is ready, its label.
        rows: (first, past the last) to keep; None: all. Those before are read too, those after are not.

    Raises:
        DataError: the predictor reads other features.
    """
    if stream.features.shape[1] != predictor.features:
        asked = feature_set_of(predictor.features)
        raise DataError(
            f"stream {stream.name!r}: {stream.features.shape[1]} features per tick, the model expects "
            f"{predictor.features}; prepare the data anew{f' with --feature-set {asked.name}' if asked else ''}"
        )
    start, stop = rows or (0, stream.rows)
    features, outcomes, h = stream.features[:stop], labels.astype(int) - 1, labels.shape[1]
    kept = Replayed(
        stream.name,
        stream.ts_ns[start:stop],
        stream.mid[start:stop],
        np.empty((stop - start, h, 3), np.float32),
        np.empty((stop - start, h), np.int8),
        np.empty(stop - start, bool),
        labels[start:stop],
    )
    predictor.reset()
    for tick in features[:start]:
        predictor.update(tick)
    judged = metrics.horizon
    for i in range(start, stop):
        tick = np.array(features[i])  # here, so that reading a file is not timed
        began = time.perf_counter_ns()
        prediction = predictor.update(tick)
        latency_ns = time.perf_counter_ns() - began
        known = prediction.ready and labels[i, judged] != UNDEFINED
        metrics.record(prediction, int(outcomes[i, judged]) if known else None, latency_ns)
        row = i - start
        kept.probabilities[row], kept.direction[row] = prediction.probabilities, prediction.direction
        kept.ready[row] = prediction.ready
    return kept


def replay_dataset(
    predictor: StepPredictor | WindowPredictor,
    dataset: Dataset,
    horizons: Sequence[int],
    metrics: ModelMetrics,
    split: str | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> list[Replayed]:
    """`replay` every stream of a dataset, each in a fresh state.

    Args:
        predictor, metrics: see `replay`.
        dataset: of `open_streams` or `open_dataset`.
        horizons: of the predictor, in ticks.
        split: "train", "validation" or "test": the rows to keep; None: all.
        note: told which stream begins.

    Raises:
        DataError: see `replay`; or there is no such split, or it is empty.
    """
    if split is not None and split not in SPLITS:
        raise DataError(f"split {split!r}: expected one of {', '.join(SPLITS)}, or None")
    kept = [getattr(stream, split) if split else (0, stream.rows) for stream in dataset.streams]
    for stream, (start, stop) in zip(dataset.streams, kept, strict=True):
        if start == stop:
            raise DataError(
                f"stream {stream.name!r}: has no {split} part, it is too short to be split; replay all of it"
            )
    replayed = []
    for stream, rows in zip(dataset.streams, kept, strict=True):
        note(stream.name)
        labels = labels_at(stream, dataset.horizons, horizons)
        replayed.append(replay(predictor, stream, labels, metrics, rows))
    return replayed


def accuracy(replayed: Sequence[Replayed], horizons: Sequence[int]) -> dict[str, dict[str, float | int | None]]:
    """Share of right directions per horizon, {"h10": {"n", "accuracy"}}, over all ready ticks whose label is known."""
    result: dict[str, dict[str, float | int | None]] = {}
    for column, horizon in enumerate(horizons):
        judged = [r.ready & (r.labels[:, column] != UNDEFINED) for r in replayed]
        right = [
            (r.direction[:, column] == r.labels[:, column] - 1)[known]
            for r, known in zip(replayed, judged, strict=True)
        ]
        n = sum(map(len, right))
        result[f"h{horizon}"] = {"n": n, "accuracy": sum(int(r.sum()) for r in right) / n if n else None}
    return result
