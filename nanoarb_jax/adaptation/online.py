"""Recalibration as labels become known: a small linear term on a forecaster's own log-probabilities.

At every tick, for each horizon:

    logits = log p + [CONSTANT, OWN · (log p - its mean)] @ weights

The weights, (4, 3), are those of a multinomial logistic regression that is drawn towards no change at all (a Gaussian
prior). When a label becomes known, `horizon` ticks after its own, they take one Newton step (recursive least squares on
the logistic loss, an extended Kalman filter). Labels of neighbouring ticks overlap and say much the same, so that each
counts as 1 / horizon of one. What was learnt fades by `forgetting` at every label, and the prior's certainty comes back
as it fades: in a quiet market the steps do not grow without bound (the "wind-up" of plain forgetting). The weights
themselves are not drawn back: a million labels of one class move them by about the logarithm of that number.

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
_MOST_LOGIT = 500.0  # so that its exponential is finite
_TOLERANCE_TICKS = 1e-6  # as in `data.labels`
_DOWN, _NEUTRAL, _UP = 0, 1, 2


class Recalibration(NamedTuple):
    """What is learnt so far, of h horizons. Changed in place.

    Attributes:
        weights: (h, 4, 3) float64.
        covariance: (h, 10) float64, of the weights of one class: small where much is known. It is a symmetric (4, 4)
            matrix, of which the upper triangle is kept, row by row.
        turn: (h,) int64, the input whose prior comes back next.
    """

    weights: NDArray[np.float64]
    covariance: NDArray[np.float64]
    turn: NDArray[np.int64]


def new_recalibration(horizons: int) -> Recalibration:
    """Before the first label: no change."""
    prior = np.eye(INPUTS)[np.triu_indices(INPUTS)] / STRENGTH
    return Recalibration(np.zeros((horizons, INPUTS, 3)), np.tile(prior, (horizons, 1)), np.zeros(horizons, np.int64))


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
    """Of a horizon's (3,) log-probabilities, those that count, none lower than LEAST_LOG_PROB; and the four inputs."""
    a, b, c = max(log_p[0], LEAST_LOG_PROB), max(log_p[1], LEAST_LOG_PROB), max(log_p[2], LEAST_LOG_PROB)
    mean = (a + b + c) * (1.0 / 3.0)
    return (a, b, c), (CONSTANT, OWN * (a - mean), OWN * (b - mean), OWN * (c - mean))


@internal
def _logits(log_p, x, weights):  # type: ignore[no-untyped-def]
    """How far the logits of down and of up are above that of neutral, after recalibration.

    Args:
        log_p, x: of `_inputs`.
        weights: (4, 3).
    """
    a = log_p[0] + x[0] * weights[0, 0] + x[1] * weights[1, 0] + x[2] * weights[2, 0] + x[3] * weights[3, 0]
    b = log_p[1] + x[0] * weights[0, 1] + x[1] * weights[1, 1] + x[2] * weights[2, 1] + x[3] * weights[3, 1]
    c = log_p[2] + x[0] * weights[0, 2] + x[1] * weights[1, 2] + x[2] * weights[2, 2] + x[3] * weights[3, 2]
    return min(a - b, _MOST_LOGIT), min(c - b, _MOST_LOGIT)


@internal
def _probabilities(log_p, x, weights):  # type: ignore[no-untyped-def]
    """The three recalibrated probabilities of a horizon; arguments as for `_logits`."""
    a, c = _logits(log_p, x, weights)
    a, c = np.exp(a), np.exp(c)
    neutral = 1.0 / (a + 1.0 + c)
    return a * neutral, neutral, c * neutral


@internal
def _learn(given, label, horizon, forgetting, weights, covariance, turn, at):  # type: ignore[no-untyped-def]
    """One Newton step of a horizon with one label.

    Args:
        given: (3,) log-probabilities, what the forecaster said at the label's tick.
        label: 0 down, 1 neutral, 2 up.
        weights, covariance: (4, 3), (10,); changed.
        turn, at: `turn[at]` is the input whose prior comes back; changed.
    """
    log_p, x = _inputs(given)
    down, neutral, up = _probabilities(log_p, x, weights)
    share = 1.0 / horizon
    spread = (1.0 - down * down - neutral * neutral - up * up) / 2.0
    curvature = max(spread, LEAST_CURVATURE) * share
    cov = _loaded(covariance)
    g = _times(cov, x)
    per_size = 1.0 / (forgetting + curvature * (x[0] * g[0] + x[1] * g[1] + x[2] * g[2] + x[3] * g[3]))
    gain, kept = share * per_size, 1.0 / forgetting
    wrong = gain * (down - (label == _DOWN)), gain * (neutral - (label == _NEUTRAL)), gain * (up - (label == _UP))
    for i in range(INPUTS):
        for c in range(3):
            weights[i, c] -= g[i] * wrong[c]
    cov = _less_outer(cov, kept, kept * curvature * per_size, g)
    cov = _with_prior(cov, turn[at], (1.0 - forgetting) * INPUTS * STRENGTH)
    turn[at] = (turn[at] + 1) % INPUTS
    for i in range(len(cov)):
        covariance[i] = cov[i]


@internal
def _loaded(m):  # type: ignore[no-untyped-def]
    """The ten numbers of a covariance, so that they stay in registers."""
    return m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9]


@internal
def _times(m, x):  # type: ignore[no-untyped-def]
    """A symmetric matrix, of which the upper triangle is given, times a tuple of 4."""
    return (
        m[0] * x[0] + m[1] * x[1] + m[2] * x[2] + m[3] * x[3],
        m[1] * x[0] + m[4] * x[1] + m[5] * x[2] + m[6] * x[3],
        m[2] * x[0] + m[5] * x[1] + m[7] * x[2] + m[8] * x[3],
        m[3] * x[0] + m[6] * x[1] + m[8] * x[2] + m[9] * x[3],
    )


@internal
def _less_outer(m, kept, factor, g):  # type: ignore[no-untyped-def]
    """kept · m - factor · g gᵀ, the upper triangle."""
    k = factor * g[0], factor * g[1], factor * g[2], factor * g[3]
    return (
        kept * m[0] - k[0] * g[0], kept * m[1] - k[0] * g[1], kept * m[2] - k[0] * g[2], kept * m[3] - k[0] * g[3],
        kept * m[4] - k[1] * g[1], kept * m[5] - k[1] * g[2], kept * m[6] - k[1] * g[3],
        kept * m[7] - k[2] * g[2], kept * m[8] - k[2] * g[3],
        kept * m[9] - k[3] * g[3],
    )  # fmt: skip


@internal
def _with_prior(m, one, precision):  # type: ignore[no-untyped-def]
    """Add to the precision of input `one`: the prior that faded with what was learnt."""
    if one == 0:
        own, column = m[0], (m[0], m[1], m[2], m[3])
    elif one == 1:
        own, column = m[4], (m[1], m[4], m[5], m[6])
    elif one == 2:
        own, column = m[7], (m[2], m[5], m[7], m[8])
    else:
        own, column = m[9], (m[3], m[6], m[8], m[9])
    return _less_outer(m, 1.0, precision / (1.0 + precision * own), column)


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
            log_p, x = _inputs(log_probs[row, i])
            down, up = _logits(log_p, x, memory.weights[i])
            total = np.log(np.exp(down) + 1.0 + np.exp(up))
            out[row, i, 0], out[row, i, 1], out[row, i, 2] = down - total, -total, up - total


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
        >>> [round(float(p), 2) for p in np.exp(learnt[[0, 10, 4_999], 0, 2])]
        [0.33, 0.33, 0.92]
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
            anchor = now - horizon if now >= horizon else now - horizon + room
            move, least = mid - waiting.mids[anchor], waiting.threshold_ticks[i] - _TOLERANCE_TICKS
            label = _UP if move >= least else (_DOWN if move <= -least else _NEUTRAL)
            _learn(
                waiting.log_probs[anchor, i], label, horizon, forgetting, memory.weights[i], memory.covariance[i],
                memory.turn, i,
            )  # fmt: skip
        given = waiting.log_probs[now, i]
        for c in range(3):
            p = np.float64(probabilities[i, c])
            given[c] = np.log(p) if p > 0.0 else LEAST_LOG_PROB
        log_p, x = _inputs(given)
        probabilities[i, 0], probabilities[i, 1], probabilities[i, 2] = _probabilities(log_p, x, memory.weights[i])
