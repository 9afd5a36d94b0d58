"""Predictions that know nothing, something else, or too much, to be traded by the same strategy in the same loop.

What a strategy earns means little by itself. Beside it stand the same strategy with signals at random times (how good
is luck?), with the model's predictions in another order (does their time matter?) or turned round, with a rival's, with
ones that come late, and with the labels themselves (how much could be earned at all?). Every function here makes an
array of probabilities like the model's, (n, h, 3) float32 of down, neutral and up, and changes none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.trading.backtest.fills import mid_ticks

Probabilities = NDArray[np.float32]
DOWN, NEUTRAL, UP = 0, 1, 2
_NEUTRAL_ROW = np.array([0, 1, 0], np.float32)


def shuffled(probabilities: Probabilities, ready: NDArray[np.bool_], seed: int) -> Probabilities:
    """The rows of ready ticks in random order: the same predictions, at times that they were not made for.

    Single rows are moved, so that signals become as short as one tick; a strategy may trade more often than with the
    model's. `random_signals` keeps the lengths.

    Args:
        probabilities: (n, h, 3).
        ready: (n,) ticks that may be traded at; the rows of others stay.
        seed: of the order.
    """
    found, rows = probabilities.copy(), np.flatnonzero(ready)
    found[rows] = probabilities[np.random.default_rng(seed).permutation(rows)]
    return found


def random_signals(
    probabilities: Probabilities, ready: NDArray[np.bool_], seed: int, horizon: int = 0
) -> Probabilities:
    """As many signals as the model's, as long and as sure as those, at random times and in random directions.

    A signal is a longest run of ready ticks with the same most likely class at one horizon, if that is not neutral; the
    runs between are pauses. All runs are turned round the clock by a random number of ticks, then the signals change
    places with each other at random, and the pauses with each other. Of each signal, up and down are exchanged at all
    horizons with probability 1/2. So at every threshold as many ticks are confident as before, and confident runs are
    about as many and as long; only when, and which way, is left to chance.

    Args:
        probabilities: (n, h, 3).
        ready: (n,) ticks that may be traded at; the rows of others stay.
        seed: of all draws.
        horizon: place of the horizon that tells runs apart.
    """
    found, rows = probabilities.copy(), np.flatnonzero(ready)
    order, mirrored = scattered(probabilities[rows, horizon].argmax(axis=1), np.random.default_rng(seed))
    found[rows] = probabilities[rows[order]]
    found[rows[mirrored]] = found[rows[mirrored]][..., ::-1]
    return found


def scattered(classes: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The order that `random_signals` brings rows into, and which of the rows at their new places are mirrored.

    Args:
        classes: (m,) most likely class of each row.
        rng: that draws.
    """
    rows = len(classes)
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0, bool)
    around = (np.arange(rows) + rng.integers(rows)) % rows
    turned = classes[around]
    starts = np.flatnonzero(np.concatenate([[True], turned[1:] != turned[:-1]]))
    lengths = np.diff(np.append(starts, rows))
    signal = turned[starts] != NEUTRAL
    places = np.arange(len(starts))
    for kind in (signal, ~signal):
        places[kind] = rng.permutation(places[kind])
    taken = lengths[places]
    within = np.arange(rows) - np.repeat(np.cumsum(taken) - taken, taken)
    mirrored = np.repeat(signal[places] & (rng.random(len(places)) < 0.5), taken)
    return around[np.repeat(starts[places], taken) + within], mirrored


def inverted(probabilities: Probabilities) -> Probabilities:
    """Up and down exchanged: what a model that is right loses, costs included.

    >>> from nanoarb_jax.trading.backtest.controls import inverted
    >>> inverted(np.array([[[0.5, 0.25, 0.25]]], np.float32)).tolist()
    [[[0.25, 0.25, 0.5]]]
    """
    return np.ascontiguousarray(probabilities[..., ::-1])


def from_labels(labels: NDArray[np.integer], confidence: float = 1.0) -> Probabilities:
    """A model that knows the labels: the label's class has the given probability, the other two share the rest.

    Args:
        labels: (n, h) of 0 down, 1 neutral, 2 up; below 0, where there is none, is taken as neutral.
        confidence: probability of the label's class.

    Raises:
        ConfigError: a confidence that is not between 1/3 and 1.

    >>> from nanoarb_jax.trading.backtest.controls import from_labels
    >>> from_labels(np.array([[2], [-1]]), 0.5).tolist()
    [[[0.25, 0.25, 0.5]], [[0.25, 0.5, 0.25]]]
    """
    if not 1 / 3 <= confidence <= 1:
        raise ConfigError(f"confidence={confidence!r}: expected a number from 1/3 to 1, so that the label is likeliest")
    known = np.where(labels < 0, NEUTRAL, labels)
    return np.where(known[..., None] == np.arange(3), confidence, (1 - confidence) / 2).astype(np.float32)


def next_tick_labels(ticks: NDArray[np.void], horizons: int = 1, ahead: int = 1) -> NDArray[np.int64]:
    """What nobody can know: which way the mid goes in the next ticks; for `from_labels`, to see whether it is noticed.

    Args:
        ticks: (n,) TICK.
        horizons: how many the model has; all are given the same labels.
        ahead: ticks from the row until the price that it knows.

    Returns:
        (n, horizons) of 0 down, 1 neutral, 2 up; -1 in the last rows.
    """
    mid = mid_ticks(ticks)
    labels = np.full(len(mid), -1)
    labels[: len(mid) - ahead] = 1 + np.sign(mid[ahead:] - mid[: len(mid) - ahead])
    return np.repeat(labels[:, None], horizons, axis=1)


def queue_imbalance(ticks: NDArray[np.void], horizons: int = 1) -> Probabilities:
    """A rival that looks at the best levels only: more is bid than offered, so the price will go up.

    With b the share of the bid in the quantity at the best prices, p_up = b², p_down = (1 - b)² and p_neutral =
    2 b (1 - b): up where two units drawn from both queues were bid. That is monotone in the imbalance 2 b - 1 and
    symmetric, and it is not fitted to anything: compare it after `matched`. Imbalance is the best known predictor of
    the next move (Gould and Bonart 2016).

    Args:
        ticks: (n,) TICK; where both quantities are 0, the row is neutral.
        horizons: how many the model has; all are given the same rows.

    Returns:
        (n, horizons, 3).
    """
    both = ticks["bid_qty"] + ticks["ask_qty"]
    bid = np.divide(ticks["bid_qty"], both, out=np.full(len(ticks), 0.5), where=both > 0)
    rows = np.stack([(1 - bid) ** 2, 2 * bid * (1 - bid), bid**2], axis=1)
    rows[both <= 0] = _NEUTRAL_ROW
    return np.repeat(rows[:, None].astype(np.float32), horizons, axis=1)


def matched(rival: Probabilities, model: Probabilities, ready: NDArray[np.bool_]) -> Probabilities:
    """A rival that is confident as often as the model, so that both trade alike often at any threshold.

    At every horizon the ready ticks are ranked by max(p_down, p_up) of the rival, and given that of the model at the
    same rank; ties by the order of time. The rival chooses the ticks and the side of the larger, the model says how
    confident. The rest goes to neutral and to the other side as the rival divides it, the other side at most as likely.

    Args:
        rival, model: (n, h, 3).
        ready: (n,) ticks that may be traded at; the rival's rows of others stay.

    Raises:
        DataError: arrays of different shapes.
    """
    if rival.shape != model.shape:
        raise DataError(
            f"rival has the shape {rival.shape}, the model {model.shape}: expected the same ticks, horizons"
        )
    found, rows = rival.astype(np.float64), np.flatnonzero(ready)
    for horizon in range(rival.shape[1]):
        old = found[rows, horizon]
        up = old[:, UP] >= old[:, DOWN]
        order = np.argsort(old[:, [DOWN, UP]].max(axis=1), kind="stable")
        sure = np.empty(len(rows))
        sure[order] = np.sort(model[rows, horizon][:, [DOWN, UP]].max(axis=1))
        other, neutral = old[:, [DOWN, UP]].min(axis=1), old[:, NEUTRAL]
        rest = other + neutral
        share = np.divide(other, rest, out=np.full(len(rows), 0.5), where=rest > 0)
        other = np.minimum(share * (1 - sure), sure)
        down_up = np.where(up[:, None], np.stack([other, sure], axis=1), np.stack([sure, other], axis=1))
        found[rows, horizon] = np.stack([down_up[:, 0], 1 - sure - other, down_up[:, 1]], axis=1)
    return found.astype(np.float32)


def delayed(probabilities: Probabilities, ticks: NDArray[np.void], delay_ns: int) -> Probabilities:
    """Predictions that come late: at each tick the newest one made at least that long before, at a ready tick.

    Args:
        probabilities: (n, h, 3).
        ticks: (n,) TICK in the order of receipt.
        delay_ns: by which predictions are late, from receipt to receipt; 0 changes nothing at ready ticks.

    Returns:
        (n, h, 3), neutral until the first is there, and where that was made before the model was ready.

    Raises:
        ConfigError: a delay below 0, which would be a look into the future.
    """
    if delay_ns < 0:
        raise ConfigError(f"delay_ns={delay_ns}: expected 0 or more")
    rows = np.searchsorted(ticks["local_ns"], ticks["local_ns"] - delay_ns, side="right") - 1
    rows = np.minimum(rows, np.arange(len(ticks)))  # of ticks received at the same time, none sees a later one
    found = probabilities[rows]
    found[(rows < 0) | (ticks["ready"][rows] != 1)] = _NEUTRAL_ROW
    return found


def percentile_of(value: float, controls: Sequence[float] | ArrayLike) -> float | None:
    """Share of controls, in percent, that a value is above, those it equals counting half; None without controls.

    >>> from nanoarb_jax.trading.backtest.controls import percentile_of
    >>> percentile_of(2.0, [1.0, 2.0, 3.0, 0.0])
    62.5
    """
    of = np.asarray(controls, np.float64)
    return float(100 * ((of < value).mean() + (of == value).mean() / 2)) if len(of) else None
