"""Recalibration as labels become known: a small linear term on a forecaster's own log-probabilities, learnt as it goes on.

At every tick, for each horizon:

    logits = log p + [CONSTANT, OWN · (log p - its mean)] @ weights

The weights, (4, 3), are those of a multinomial logistic regression that is drawn towards no change at all (a Gaussian
prior). When a label becomes known, `horizon` ticks after its own, they take one Newton step (recursive least squares on
the logistic loss, an extended Kalman filter). Labels of neighbouring ticks overlap and say much the same, so that each
counts as 1 / horizon of one. What was learnt fades by `forgetting` at every label, and the prior comes back as it fades:
in a quiet market the weights do not run away (the "wind-up" of plain forgetting).

One definition for recorded streams (`recalibrate_stream`) and live (`learn_tick`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.market.compiled import compiled, internal

INPUTS = 4  # a constant, and the forecaster's three logits, whose mean is 0
# How freely the constant and the map of the logits move: standard deviations, in units of 1 / √STRENGTH.
CONSTANT, OWN = 0.5, 0.3
STRENGTH = 10.0  # labels, each counted as 1 / horizon, that weigh as much as the prior
LEAST_CURVATURE = 0.02  # of the loss of one label; a sure forecast has next to none, and would learn in one leap
LEAST_LOG_PROB = -69.0  # e-30: what a probability of 0 counts as
_TOLERANCE_TICKS = 1e-6  # as in `data.labels`
_DOWN, _NEUTRAL, _UP = 0, 1, 2


class Recalibration(NamedTuple):
    """What is learnt so far, of h horizons. Changed in place.

    Attributes:
        weights: (h, 4, 3) float64.
        covariance: (h, 4, 4) float64, of the weights of one class: small where much is known.
        turn: (h,) int64, the input whose prior comes back next.
    """

    weights: NDArray[np.float64]
    covariance: NDArray[np.float64]
    turn: NDArray[np.int64]


def new_recalibration(horizons: int) -> Recalibration:
    """Before the first label: no change."""
    prior = np.broadcast_to(np.eye(INPUTS) / STRENGTH, (horizons, INPUTS, INPUTS)).copy()
    return Recalibration(np.zeros((horizons, INPUTS, 3)), prior, np.zeros(horizons, np.int64))


def check_forgetting(forgetting: float) -> float:
    """A factor in (0.9, 1].

    Raises:
        ConfigError: anything else.
    """
    number = isinstance(forgetting, (int, float)) and not isinstance(forgetting, bool)
    if not (number and 0.9 < forgetting <= 1.0):
        raise ConfigError(
            f"forgetting={forgetting!r}: expected a factor above 0.9 and at most 1, such as 0.9999, with which what "
            "was learnt 10,000 ticks ago counts for a third"
        )
    return float(forgetting)


@internal
def _inputs(log_p):  # type: ignore[no-untyped-def]
    """The four inputs of a horizon, from its (3,) log-probabilities."""
    a, b, c = max(log_p[0], LEAST_LOG_PROB), max(log_p[1], LEAST_LOG_PROB), max(log_p[2], LEAST_LOG_PROB)
    mean = (a + b + c) / 3.0
    return CONSTANT, OWN * (a - mean), OWN * (b - mean), OWN * (c - mean)


@internal
def _recalibrated(log_p, weights):  # type: ignore[no-untyped-def]
    """The three probabilities of a horizon, from its log-probabilities and (4, 3) weights."""
    x0, x1, x2, x3 = _inputs(log_p)
    a = log_p[0] + x0 * weights[0, 0] + x1 * weights[1, 0] + x2 * weights[2, 0] + x3 * weights[3, 0]
    b = log_p[1] + x0 * weights[0, 1] + x1 * weights[1, 1] + x2 * weights[2, 1] + x3 * weights[3, 1]
    c = log_p[2] + x0 * weights[0, 2] + x1 * weights[1, 2] + x2 * weights[2, 2] + x3 * weights[3, 2]
    most = max(a, max(b, c))
    a, b, c = np.exp(a - most), np.exp(b - most), np.exp(c - most)
    total = a + b + c
    return a / total, b / total, c / total


@internal
def _learn(log_p, label, horizon, forgetting, weights, covariance, turn, at):  # type: ignore[no-untyped-def]
    """One Newton step of a horizon with one label.

    Args:
        log_p: (3,) what the forecaster said at the label's tick.
        label: 0 down, 1 neutral, 2 up.
        weights, covariance: (4, 3), (4, 4); changed.
        turn, at: `turn[at]` is the input whose prior comes back; changed.
    """
    p = _recalibrated(log_p, weights)
    x = _inputs(log_p)
    spread = (p[0] * (1.0 - p[0]) + p[1] * (1.0 - p[1]) + p[2] * (1.0 - p[2])) / 2.0
    curvature = max(spread, LEAST_CURVATURE) / horizon
    g0, g1, g2, g3 = _times(covariance, x)
    g = (g0, g1, g2, g3)
    size = forgetting + curvature * (x[0] * g0 + x[1] * g1 + x[2] * g2 + x[3] * g3)
    gain, known, kept = 1.0 / (horizon * size), curvature / size, 1.0 / forgetting
    wrong = (p[0] - (label == _DOWN), p[1] - (label == _NEUTRAL), p[2] - (label == _UP))
    for i in range(INPUTS):
        for c in range(3):
            weights[i, c] -= gain * g[i] * wrong[c]
        for j in range(INPUTS):
            covariance[i, j] = (covariance[i, j] - known * g[i] * g[j]) * kept
    if forgetting < 1.0:
        _restore_prior(covariance, turn[at], (1.0 - forgetting) * INPUTS * STRENGTH)
        turn[at] = (turn[at] + 1) % INPUTS


@internal
def _times(matrix, x):  # type: ignore[no-untyped-def]
    """matrix (4, 4) times a tuple of 4."""
    return (
        matrix[0, 0] * x[0] + matrix[0, 1] * x[1] + matrix[0, 2] * x[2] + matrix[0, 3] * x[3],
        matrix[1, 0] * x[0] + matrix[1, 1] * x[1] + matrix[1, 2] * x[2] + matrix[1, 3] * x[3],
        matrix[2, 0] * x[0] + matrix[2, 1] * x[1] + matrix[2, 2] * x[2] + matrix[2, 3] * x[3],
        matrix[3, 0] * x[0] + matrix[3, 1] * x[1] + matrix[3, 2] * x[2] + matrix[3, 3] * x[3],
    )


@internal
def _restore_prior(covariance, one, precision):  # type: ignore[no-untyped-def]
    """Add to the precision of one input: the prior that faded with what was learnt."""
    factor = precision / (1.0 + precision * covariance[one, one])
    column = (covariance[0, one], covariance[1, one], covariance[2, one], covariance[3, one])
    for i in range(INPUTS):
        for j in range(INPUTS):
            covariance[i, j] -= factor * column[i] * column[j]


@compiled
def _recalibrate_rows(log_probs, labels, begins, start, horizons, forgetting, memory, out):  # type: ignore[no-untyped-def]
    """See `recalibrate_stream`; `begins` (n,) is the first row of every row's session, `out` (n, h, 3) is overwritten
    from `start` on."""
    for row in range(start, len(log_probs)):
        for i in range(len(horizons)):
            anchor = row - horizons[i]
            if anchor >= start and anchor >= begins[row] and labels[anchor, i] >= 0:
                _learn(
                    log_probs[anchor, i], labels[anchor, i], horizons[i], forgetting, memory.weights[i],
                    memory.covariance[i], memory.turn, i,
                )  # fmt: skip
            a, b, c = _recalibrated(log_probs[row, i], memory.weights[i])
            out[row, i, 0], out[row, i, 1], out[row, i, 2] = np.log(a), np.log(b), np.log(c)


def recalibrate_stream(
    log_probs: NDArray[np.floating],
    labels: NDArray[np.int8],
    session_starts: NDArray[np.int64],
    horizons: Sequence[int],
    forgetting: float,
    start: int = 0,
) -> NDArray[np.float32]:
    """Forecasts recalibrated at every row by the labels that were known then.

    The label of row t is known at row t + horizon, in the same session; nothing later is read.

    Args:
        log_probs: (n, h, 3) of any forecaster.
        labels: (n, h), -1 where there is none.
        session_starts: (n,) first row of every row's session.
        horizons: h horizons, in rows.
        forgetting: factor in (0.9, 1] by which what was learnt fades at every label.
        start: first row to learn from; before it the forecasts stay as they are.

    Returns:
        (n, h, 3) float32 log-probabilities.

    Raises:
        ConfigError: a forgetting factor out of range.

    Example:
        >>> from nanoarb_jax.adaptation.online import recalibrate_stream
        >>> even, rise = np.log(np.full((5_000, 1, 3), 1 / 3)), np.full((5_000, 1), 2, np.int8)
        >>> learnt = recalibrate_stream(even, rise, np.zeros(5_000, np.int64), (10,), 0.999)
        >>> np.exp(learnt[[0, 10, 4_999], 0, 2]).round(2).tolist()
        [0.33, 0.33, 0.97]
    """
    factor = check_forgetting(forgetting)
    given = np.ascontiguousarray(log_probs, np.float64)
    out = given.copy()
    _recalibrate_rows(
        given, np.ascontiguousarray(labels, np.int8), np.ascontiguousarray(session_starts, np.int64), start,
        np.array(horizons, np.int64), factor, new_recalibration(len(horizons)), out,
    )  # fmt: skip
    return out.astype(np.float32)


class LabelMemory(NamedTuple):
    """What waits for its label, live, of the ticks of a session. Changed in place.

    Attributes:
        mids: (r,) float64, in ticks, of the latest r ticks; r is at least the longest horizon + 1.
        log_probs: (r, h, 3) float64, what was forecast there.
        horizons: (h,) int64.
        threshold_ticks: (h,) float64, least move of the mid that is up or down.
    """

    mids: NDArray[np.float64]
    log_probs: NDArray[np.float64]
    horizons: NDArray[np.int64]
    threshold_ticks: NDArray[np.float64]


@internal
def learn_tick(tick, mid, forgetting, memory, waiting, probabilities):  # type: ignore[no-untyped-def]
    """Learn from the labels that this tick makes known, then recalibrate its probabilities. The plain twin is
    `recalibrate_stream`.

    Args:
        tick: int, of those that were seen since learning began in this session, from 0 on.
        mid: float, in ticks.
        forgetting: float.
        memory: `Recalibration`; changed.
        waiting: `LabelMemory`; changed.
        probabilities: (h, 3) float32, the model's; overwritten by the recalibrated ones.
    """
    room = len(waiting.mids)
    now = tick % room
    waiting.mids[now] = mid
    for i in range(len(waiting.horizons)):
        horizon = waiting.horizons[i]
        if tick >= horizon:
            anchor = (tick - horizon) % room
            move, least = mid - waiting.mids[anchor], waiting.threshold_ticks[i] - _TOLERANCE_TICKS
            label = _UP if move >= least else (_DOWN if move <= -least else _NEUTRAL)
            _learn(
                waiting.log_probs[anchor, i], label, horizon, forgetting, memory.weights[i], memory.covariance[i],
                memory.turn, i,
            )  # fmt: skip
        log_p = waiting.log_probs[now, i]
        for c in range(3):
            p = np.float64(probabilities[i, c])
            log_p[c] = np.log(p) if p > 0.0 else LEAST_LOG_PROB
        a, b, c = _recalibrated(log_p, memory.weights[i])
        probabilities[i, 0], probabilities[i, 1], probabilities[i, 2] = a, b, c
