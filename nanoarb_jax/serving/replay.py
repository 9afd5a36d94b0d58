"""Recorded streams through a predictor, tick by tick, as they would have been met live."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.data.stored import SPLITS
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import feature_set_of
from nanoarb_jax.progress import Note, silent
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
    *,
    warm_up: int = 0,
) -> Replayed:
    """Feed a stream to a predictor from its first row on, one tick at a time, in a fresh state for every session.

    Args:
        predictor: reset first, and wherever a session begins.
        stream: the ticks.
        labels: (n, h) of the stream at the predictor's horizons, see `labels_at`.
        metrics: records every tick that is kept: its latency, and, once the predictor is ready, its label.
        rows: (start, stop) to keep; None: all. Those before are read too, those after are not.
        warm_up: first rows of the stream whose predictions are not ready, whatever the predictor says.

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
        prediction = prediction._replace(ready=prediction.ready and i >= warm_up)
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
    *,
    warm_up: Mapping[str, int] | None = None,
) -> list[Replayed]:
    """`replay` every stream of a dataset, each in a fresh state.

    Args:
        predictor, metrics: see `replay`.
        dataset: of `feeds.open_feeds` or `open_dataset`.
        horizons: of the predictor, in ticks.
        split: "train", "validation" or "test": the rows to keep; None: all.
        note: called with the name of the stream that begins.
        warm_up: first rows whose predictions are not ready, by the stream's name, see `feeds.Scales`.

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
        replayed.append(replay(predictor, stream, labels, metrics, rows, warm_up=(warm_up or {}).get(stream.name, 0)))
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
