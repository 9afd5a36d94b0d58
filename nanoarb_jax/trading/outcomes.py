"""What a model said of recorded series, and what became of it: the arrays that a calibration table is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.splits import RowRange
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.replay import labels_at

CHUNK = 1 << 16  # rows that are scored in one call


class Outcomes(NamedTuple):
    """What a model said of one series of n ticks, and what became of it.

    Attributes:
        name: of the series.
        instrument: that it is of.
        tick_size: price of one tick.
        train, validation: (first, past the last) row.
        probabilities: (n, h, 3) float32, of down, neutral and up.
        ready: (n,) bool, whether a prediction counts.
        labels: (n, h) 0 down, 1 neutral, 2 up, -1 not known.
        moves_ticks: (n, h) move of the mid over each horizon, NaN where its end is not known.
        mid: (n,) price.
        spread: (n,) ticks.
    """

    name: str
    instrument: str
    tick_size: float
    train: RowRange
    validation: RowRange
    probabilities: NDArray[np.float32]
    ready: NDArray[np.bool_]
    labels: NDArray[np.int8]
    moves_ticks: NDArray[np.float64]
    mid: NDArray[np.float64]
    spread: NDArray[np.float32]


def outcomes_of(predictor: StepPredictor, stream: Stream, horizons: Sequence[int], warm_up: int = 0) -> Outcomes:
    """Predictions of a stream up to the end of its validation part, in a fresh state for every session.

    Args:
        predictor: reset first.
        stream: labelled at the horizons.
        horizons: (h,) of the model, in ticks.
        warm_up: first rows of the stream whose predictions do not count.
    """
    stop = stream.validation[1]
    probabilities, ready = np.full((stream.rows, len(horizons), 3), np.nan, np.float32), np.zeros(stream.rows, bool)
    for first, end in stream.sessions(0, stop):
        predictor.reset()
        for at in range(first, end, CHUNK):
            rows = slice(at, min(at + CHUNK, end))
            probabilities[rows] = predictor.score(stream.features[rows])
        ready[max(first + predictor.warm_up - 1, warm_up) : end] = True
    return Outcomes(
        name=stream.name,
        instrument=stream.instrument,
        tick_size=stream.tick_size,
        train=stream.train,
        validation=stream.validation,
        probabilities=probabilities,
        ready=ready,
        labels=labels_at(stream, horizons, horizons),
        moves_ticks=_mid_moves(stream, horizons),
        mid=np.asarray(stream.mid),
        spread=np.asarray(stream.spread),
    )


def _mid_moves(stream: Stream, horizons: Sequence[int]) -> NDArray[np.float64]:
    """(n, h) moves of the mid in ticks, whatever the label rule is; NaN where they would reach into another session."""
    mid, moves = np.asarray(stream.mid), np.full((stream.rows, len(horizons)), np.nan)
    for first, stop in stream.sessions(0, stream.rows):
        for column, horizon in enumerate(horizons):
            if stop - first > horizon:
                difference = mid[first + horizon : stop] - mid[first : stop - horizon]
                moves[first : stop - horizon, column] = difference / stream.tick_size
    return moves
