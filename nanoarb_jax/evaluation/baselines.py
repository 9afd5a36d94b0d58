"""What a model must beat on the same rows: from the last move repeated to gradient boosting.

Each sees one stream, learns from its training range alone, chooses its settings on its validation range, and gives
log-probabilities (n, h, c) for all of its rows: `BASELINES` has them by name.

    forecasts = baseline_forecasts(streams, horizons, keep=Path("runs/baselines"))
    result = judge_streams({"model": scores, **forecasts.log_probs}, streams, horizons)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.prepare import usable_cores
from nanoarb_jax.data.streams import Stream, mirror_stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.baseline_inputs import baseline_inputs, order_flow_inputs
from nanoarb_jax.evaluation.flow_inputs import flow_inputs, has_flow
from nanoarb_jax.evaluation.kept_forecasts import forecast_file, keep_forecast, kept_forecast
from nanoarb_jax.evaluation.metrics import CLASSES, class_prior
from nanoarb_jax.evaluation.tuned_models import (
    PROBABILITY_FLOOR,
    Choice,
    Fit,
    Problem,
    Rows,
    Tuning,
    fit_boosting,
    fit_logistic,
    one_thread,
)
from nanoarb_jax.features.lob44 import FEATURE_NAMES, IMBALANCE
from nanoarb_jax.progress import Note, silent

LogProbs: TypeAlias = NDArray[np.float32]
NEUTRAL = 1
TUNING = Tuning()


class Forecast(NamedTuple):
    """What a baseline says of one stream.

    Attributes:
        log_probs: (n, h, c) log-probabilities.
        choices: the settings that were chosen, {name: value} per horizon; empty where there are none.
    """

    log_probs: LogProbs
    choices: list[Choice]


Baseline: TypeAlias = Callable[[Stream, Sequence[int], Tuning], Forecast]


class BaselineForecasts(NamedTuple):
    """What all baselines say of all streams.

    Attributes:
        log_probs: {baseline: one (n, h, c) array per stream}, ready for `judge_streams`.
        choices: {series: {baseline: {"h10": {setting: value}}}}, plain JSON values.
    """

    log_probs: dict[str, list[LogProbs]]
    choices: dict[str, dict[str, dict[str, Choice]]]


def persistence(stream: Stream, horizons: Sequence[int], tuning: Tuning = TUNING) -> Forecast:
    """The last realised move over the same horizon repeats.

    At tick t that is the label anchored at t - horizon, just known; neutral before there is one. The answer is
    one-hot, so prior correction leaves its decisions alone.
    """
    repeated = np.full(stream.labels.shape, NEUTRAL, np.int64)
    for column, horizon in enumerate(horizons):
        repeated[horizon:, column] = stream.labels[:-horizon, column]
    repeated[repeated < 0] = NEUTRAL
    return Forecast(_log(np.eye(CLASSES)[repeated]), [{} for _ in horizons])


def majority(stream: Stream, horizons: Sequence[int], tuning: Tuning = TUNING) -> Forecast:
    """The class frequencies of the training rows, at every row."""
    labels = stream.labels[slice(*stream.train)]
    priors = np.stack([class_prior(labels[:, column]) for column in range(len(horizons))])
    return Forecast(_log(np.broadcast_to(priors, (stream.rows, *priors.shape))), [{} for _ in horizons])


def queue_imbalance(stream: Stream, horizons: Sequence[int], tuning: Tuning = TUNING) -> Forecast:
    """Logistic regression on the level-1 queue imbalance alone (Gould and Bonart 2016)."""
    return _learn(stream, lambda of: of.features[:, IMBALANCE : IMBALANCE + 1], fit_logistic, tuning)


def ofi_logistic(stream: Stream, horizons: Sequence[int], tuning: Tuning = TUNING) -> Forecast:
    """Logistic regression on level-1 order flow imbalance (Cont, Kukanov, Stoikov 2014) of the last 1 to 100 ticks."""
    return _learn(stream, order_flow_inputs, fit_logistic, tuning)


def logistic(stream: Stream, horizons: Sequence[int], tuning: Tuning = TUNING) -> Forecast:
    """Multinomial logistic regression on `baseline_inputs`."""
    return _learn(stream, baseline_inputs, fit_logistic, tuning)


def gradient_boosting(stream: Stream, horizons: Sequence[int], tuning: Tuning = TUNING) -> Forecast:
    """Boosted trees on `baseline_inputs` (scikit-learn's histogram gradient boosting)."""
    # features of no feature set begin with a book, too, and have no mirror image of their own
    book = stream if has_flow(stream) else stream._replace(features=stream.features[:, : len(FEATURE_NAMES)])
    return _learn(book, baseline_inputs, fit_boosting, tuning, mirrored=True)


def gradient_boosting_flow(stream: Stream, horizons: Sequence[int], tuning: Tuning = TUNING) -> Forecast:
    """Boosted trees on `flow_inputs`: what a model is given, and its means over the last ticks."""
    return _learn(stream, flow_inputs, fit_boosting, tuning, mirrored=True)


BASELINES: dict[str, Baseline] = {
    "persistence": persistence,
    "majority": majority,
    "queue_imbalance": queue_imbalance,
    "ofi_logistic": ofi_logistic,
    "logistic": logistic,
    "gradient_boosting": gradient_boosting,
    "gradient_boosting_flow": gradient_boosting_flow,
}


def baselines_for(streams: Sequence[Stream]) -> dict[str, Baseline]:
    """Those of `BASELINES` that these streams have the features for: `gradient_boosting_flow` needs `flow`."""
    flow = all(has_flow(stream) for stream in streams)
    return {name: baseline for name, baseline in BASELINES.items() if flow or name != "gradient_boosting_flow"}


def baseline_forecasts(
    streams: Sequence[Stream],
    horizons: Sequence[int],
    *,
    keep: Path | None = None,
    note: Note = silent,
    tuning: Tuning = TUNING,
    only: Collection[str] = BASELINES,
) -> BaselineForecasts:
    """Every baseline over every stream, as many at once as there are cores for this process.

    A series of 6,000 rows takes one core about fifteen seconds at three horizons.

    Args:
        streams: the series; their `train` ranges are what is learnt from, their `validation` ranges choose settings.
        horizons: h horizons in ticks, one per column of the streams' labels.
        keep: folder in which forecasts are kept, so that the same streams with the same settings are not fitted again,
            see `kept_forecasts`; None: they are not.
        note: told of every forecast that is ready.
        tuning: what settings are chosen from.
        only: names of the baselines that are asked for, of `BASELINES`.

    Returns:
        Log-probabilities, in which a class that training never shows (or, to boosting, its mirror image) gets
        PROBABILITY_FLOOR; and the settings chosen.

    Raises:
        DataError: a training range holds no defined label.
        OutputError: `keep` cannot be written to.
    """
    names = [name for name in baselines_for(streams) if name in only]
    largest_first = sorted(streams, key=lambda stream: -stream.rows)
    # BLAS has one limit for all threads, which must outlast those that `_learn` sets
    with one_thread(), ThreadPoolExecutor(usable_cores()) as pool:
        tasks = {
            pool.submit(_forecast, stream, horizons, name, tuning, keep): (stream.name, name)
            for stream in largest_first
            for name in reversed(names)  # the slowest first, too
        }
        try:
            for done, task in enumerate(as_completed(tasks), 1):
                task.result()
                note(f"baselines: {done} of {len(tasks)}, {' '.join(tasks[task])}")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    made = {of: task.result() for task, of in tasks.items()}
    return BaselineForecasts(
        {name: [made[stream.name, name].log_probs for stream in streams] for name in names},
        {stream.name: {name: _by_horizon(made[stream.name, name], horizons) for name in names} for stream in streams},
    )


def _forecast(stream: Stream, horizons: Sequence[int], name: str, tuning: Tuning, keep: Path | None) -> Forecast:
    """One baseline over one stream, kept or fitted."""
    baseline = BASELINES[name]
    if keep is None or baseline in (persistence, majority):
        return baseline(stream, horizons, tuning)
    path = forecast_file(keep, name, stream, horizons, tuning)
    found = kept_forecast(path, (stream.rows, len(horizons), CLASSES))
    if found is not None:
        return Forecast(*found)
    made = baseline(stream, horizons, tuning)
    keep_forecast(path, *made)
    return made


def _by_horizon(forecast: Forecast, horizons: Sequence[int]) -> dict[str, Choice]:
    chosen = zip(horizons, forecast.choices, strict=True)
    return {f"h{horizon}": choice for horizon, choice in chosen if choice}


def _learn(
    stream: Stream, inputs_of: Callable[[Stream], NDArray[np.float32]], fit: Fit, tuning: Tuning, mirrored: bool = False
) -> Forecast:
    """One model per horizon, of inputs (n, k) of the stream and perhaps of its mirror image."""
    # of a long series nobody looks at the mirror image, see `fit_boosting`
    mirrored = mirrored and stream.train[1] - stream.train[0] <= tuning.mirrored_rows
    inputs, twin = inputs_of(stream), mirror_stream(stream) if mirrored else None
    twin_inputs = None if twin is None else inputs_of(twin)
    if not (stream.labels[slice(*stream.train)] >= 0).any(axis=0).all():
        raise DataError(
            f"stream {stream.name!r}: training rows {stream.train[0]} to {stream.train[1]} have a horizon without a "
            "defined label; give a longer stream"
        )
    forecasts, choices = [], []
    for column in range(stream.labels.shape[1]):
        problem = Problem(
            _known(inputs, stream, stream.train, column),
            None if twin is None or twin_inputs is None else _known(twin_inputs, twin, stream.train, column),
            _known(inputs, stream, stream.validation, column),
        )
        with one_thread():
            probabilities, choice = fit(problem, inputs, tuning)
        forecasts.append(_log(probabilities))
        choices.append(choice)
    return Forecast(np.stack(forecasts, axis=1), choices)


def _known(inputs: NDArray[np.float32], stream: Stream, part: tuple[int, int], column: int) -> Rows:
    """The rows of a part with a known label."""
    labels = stream.labels[slice(*part), column]
    at = np.flatnonzero(labels >= 0)
    return Rows(inputs[part[0] + at], labels[at])


def _log(probabilities: NDArray[np.float64]) -> LogProbs:
    return np.log(np.maximum(probabilities, PROBABILITY_FLOOR)).astype(np.float32)
