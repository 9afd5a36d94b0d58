"""Recorded streams through a predictor, tick by tick, as they would have been met live."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import MANIFEST, SPLITS, Dataset, open_dataset
from nanoarb_jax.data.labelling import check_finite, first_medians, measure_stream
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.data.streams import Stream, instrument_of, make_stream
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import FEATURE_SETS, feature_set_of
from nanoarb_jax.market.series import BookSeries, validate_books
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.readers.sources import find_sources
from nanoarb_jax.serving.metrics import ModelMetrics
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.window import WindowPredictor


class Replayed(NamedTuple):
    """Predictions of a model at n ticks of one stream, and the labels of these ticks.

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
    """Streams to replay: as `open_dataset`, but market data that cannot be labelled are opened too.

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
            measure_stream(books, config)  # fails where books, though valid, cannot be labelled
        except DataError as error:
            unlabelled[books.name] = str(error)
            streams.append(_unlabelled_stream(books, config))
        else:
            streams.append(make_stream(books, config))
    return Dataset(tuple(streams), config, []), unlabelled


def _unlabelled_stream(books: BookSeries, config: DataConfig) -> Stream:
    """Features of all rows; no label is known and all parts are empty."""
    medians = first_medians(books, config.train_fraction)
    scale = config.quantity_scale or medians.qty
    spread_scale = config.spread_scale or medians.spread_scale
    feature_set = FEATURE_SETS[config.feature_set]
    features = feature_set.rows(
        books, scale, feature_set.new_memory(), spread_scale=spread_scale, session_gap_ns=config.input.session_gap_ns
    )
    check_finite(features, books.name, feature_set.names)
    shape = (books.rows, len(config.horizons))
    return Stream(
        name=books.name,
        instrument=instrument_of(books.name),
        tick_size=books.tick_size,
        lot_size=1.0 / books.lots_per_unit,
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
        session_gap_ns=config.input.session_gap_ns,
    )


def labels_at(stream: Stream, at: Sequence[int], horizons: Sequence[int]) -> NDArray[np.int8]:
    """Labels (n, h) of a stream at the horizons of a model.

    Args:
        stream: labelled at the horizons `at`.
        at: horizons of the stream's labels, in ticks.
        horizons: of the model, in ticks; those that are not in `at` get UNDEFINED.
    """
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
    """Feed a stream to a predictor from its first row on, one tick at a time, in a fresh state for every session.

    Args:
        predictor: reset first, and wherever a session begins.
        stream: the ticks.
        labels: (n, h) of the stream at the predictor's horizons, see `labels_at`.
        metrics: records every tick that is kept: its latency, and, once the predictor is ready, its label.
        rows: (start, stop) to keep; None: all. Those before are read too, those after are not.

    Raises:
        DataError: the predictor reads other features.
    """
    _check_features(predictor, stream)
    start, stop = rows or (0, stream.rows)
    kept = _empty_replayed(stream, labels, start, stop)
    outcomes = labels[:, metrics.horizon].astype(int) - 1  # directions
    begins = {first for first, _ in stream.sessions(0, stream.rows)}
    for i in range(start):
        if i in begins:
            predictor.reset()
        predictor.update(stream.features[i])
    for row, i in enumerate(range(start, stop)):
        if i in begins:
            predictor.reset()
        tick = np.array(stream.features[i])  # copied before the clock starts, so that reading a file is not timed
        began = time.perf_counter_ns()
        prediction = predictor.update(tick)
        latency_ns = time.perf_counter_ns() - began
        known = prediction.ready and labels[i, metrics.horizon] != UNDEFINED
        metrics.record(prediction, int(outcomes[i]) if known else None, latency_ns)
        kept.probabilities[row], kept.direction[row] = prediction.probabilities, prediction.direction
        kept.ready[row] = prediction.ready
    return kept


def _check_features(predictor: StepPredictor | WindowPredictor, stream: Stream) -> None:
    if stream.features.shape[1] != predictor.features:
        expected = feature_set_of(predictor.features)
        raise DataError(
            f"stream {stream.name!r}: {stream.features.shape[1]} features per tick, the model expects "
            f"{predictor.features}; prepare the data anew{f' with --feature-set {expected.name}' if expected else ''}"
        )


def _empty_replayed(stream: Stream, labels: NDArray[np.int8], start: int, stop: int) -> Replayed:
    """Rows start … stop of a stream, with arrays for the predictions that are to be filled in."""
    n, h = stop - start, labels.shape[1]
    return Replayed(
        name=stream.name,
        ts_ns=stream.ts_ns[start:stop],
        mid=stream.mid[start:stop],
        probabilities=np.empty((n, h, 3), np.float32),
        direction=np.empty((n, h), np.int8),
        ready=np.empty(n, bool),
        labels=labels[start:stop],
    )


def replay_dataset(
    predictor: StepPredictor | WindowPredictor,
    dataset: Dataset,
    horizons: Sequence[int],
    metrics: ModelMetrics,
    split: str | None = None,
    note: Note = silent,
) -> list[Replayed]:
    """`replay` every stream of a dataset, each in a fresh state.

    Args:
        predictor, metrics: see `replay`.
        dataset: of `open_streams` or `open_dataset`.
        horizons: of the predictor, in ticks.
        split: "train", "validation" or "test": the rows to keep; None: all.
        note: called with the name of the stream that begins.

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
