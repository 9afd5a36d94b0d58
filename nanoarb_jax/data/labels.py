"""Direction labels: how far the price moves ahead of the anchor tick, against a threshold.

Every rule is a difference of two means of the price p, in ticks, at anchor tick t and horizon h:

    rule        mean after                    mean before            source
    move        p[t+h]                        p[t]                   –
    smoothed    p[t+1] … p[t+h]               p[t]                   Ntakaris et al. 2018 (FI-2010); Zhang et al. eq. 3
    deeplob     p[t+1] … p[t+h]               p[t-h] … p[t]          Zhang, Zohren, Roberts 2019 (DeepLOB), eq. 4
    tlob        p[t+h-w] … p[t+h]             p[t-w] … p[t]          Berti, Kasneci 2025 (TLOB), w = smoothing_ticks

Zhang et al. print 1/k before the sum of the k + 1 prices p[t-k] … p[t]; that is read as the mean of those prices, as
in Tsantekidis et al. 2017. The papers divide a move by the price and compare it with a relative threshold; here moves
and thresholds stay in ticks: a threshold of the papers times the mean price of the training part, in ticks.

Row t depends on rows t - back … t + ahead alone (`reach`), to the last bit: a block of rows with `back` rows before it
and `ahead` after it gets the labels that the whole series gets.

>>> from nanoarb_jax.data.labels import direction_labels
>>> direction_labels(np.array([10.0, 10.5, 11.0, 9.5]), (2,), 1.0)[0].ravel().tolist()
[2, 0, -1, -1]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.counts import ValueCounts, count_values
from nanoarb_jax.errors import ConfigError, DataError

DOWN, NEUTRAL, UP = 0, 1, 2
UNDEFINED = -1
RULES = ("move", "smoothed", "deeplob", "tlob")
# prices in ticks come from divisions: a move of exactly the threshold must not be lost to the last bit
_TOLERANCE_TICKS = 1e-6
_MAGNITUDES_PER_TICK = 1_000_000


class Reach(NamedTuple):
    """Rows that a label reads before and after its anchor row."""

    back: int
    ahead: int


def reach(rule: str, horizons: Sequence[int], smoothing_ticks: int | None = None) -> Reach:
    """How far the labels of a rule look, over all horizons.

    Raises:
        ConfigError: an unknown rule, or "tlob" without its window.

    >>> from nanoarb_jax.data.labels import reach
    >>> reach("deeplob", (10, 50))
    Reach(back=50, ahead=50)
    """
    return Reach(max(_spans(rule, horizon, smoothing_ticks)[1] for horizon in horizons), max(horizons))


def _spans(rule: str, horizon: int, smoothing_ticks: int | None) -> tuple[int, int]:
    """How many rows before t + horizon the mean after starts, and how many before t the mean before."""
    if rule not in RULES:
        raise ConfigError(f"label_rule={rule!r}: expected one of {', '.join(RULES)}")
    if rule == "tlob":
        if smoothing_ticks is None or smoothing_ticks < 1:
            raise ConfigError(f"smoothing_ticks={smoothing_ticks!r}: expected at least 1 for label_rule 'tlob'")
        return smoothing_ticks, smoothing_ticks
    return (0 if rule == "move" else horizon - 1), (horizon if rule == "deeplob" else 0)


def _means(price_ticks: NDArray[np.float64], terms: int) -> NDArray[np.float64]:
    """Means of `terms` prices from each row on, (n - terms + 1,).

    Sums of 1, 2, 4 … terms are joined, always in the same order: unlike a difference of running sums, a mean depends
    on nothing but its own prices, wherever its block begins. log2(terms) passes.
    """
    total = np.zeros(len(price_ticks) - terms + 1)
    sums, size, taken = price_ticks, 1, 0
    while True:
        if terms & size:
            total += sums[taken : taken + len(total)]
            taken += size
        if taken == terms:
            return total / terms
        sums = sums[:-size] + sums[size:]
        size *= 2


def signed_moves(
    price_ticks: NDArray[np.float64], horizons: Sequence[int], rule: str = "move", smoothing_ticks: int | None = None
) -> NDArray[np.float64]:
    """Moves (n, h) of the price under a rule, in ticks; NaN where the rows known do not reach.

    Args:
        price_ticks: (n,) mid or microprice of one instrument's stream, in ticks.
        horizons: h horizons, in ticks of the stream, each at least 1.
        rule, smoothing_ticks: of the table above.

    Raises:
        ConfigError: an unknown rule, or "tlob" without its window.
    """
    moves = np.full((len(price_ticks), len(horizons)), np.nan)
    for column, horizon in enumerate(horizons):
        after, before = _spans(rule, horizon, smoothing_ticks)
        known = len(price_ticks) - horizon - before  # anchor rows `before`, `before + 1`, …
        if known > 0:
            start = before + horizon - after
            future = _means(price_ticks[start:], after + 1)[:known]
            moves[before : before + known, column] = future - _means(price_ticks, before + 1)[:known]
    return moves


def direction_labels(
    price_ticks: NDArray[np.float64],
    horizons: Sequence[int],
    threshold_ticks: float | Sequence[float],
    rule: str = "move",
    smoothing_ticks: int | None = None,
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Label every anchor tick t by the move of the price ahead of it, in one instrument's stream.

    Args:
        price_ticks: (n,) mid or microprice, in ticks.
        horizons: h horizons, in ticks of the stream, each at least 1.
        threshold_ticks: UP from +threshold on, DOWN from -threshold on, NEUTRAL between; one, or one per horizon.
        rule, smoothing_ticks: of the table above.

    Returns:
        labels (n, h) int8 and signed moves (n, h) float32, in price ticks. The last `horizon` rows, whose future is
        not known, and for "deeplob" and "tlob" the first rows, whose past is not, are UNDEFINED with a move of 0.

    Raises:
        ConfigError: an unknown rule, or "tlob" without its window.
    """
    return label_moves(signed_moves(price_ticks, horizons, rule, smoothing_ticks), threshold_ticks)


def label_moves(
    moves: NDArray[np.float64], threshold_ticks: float | Sequence[float]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Labels (n, h) and moves (n, h) float32 of `signed_moves`; unknown ones are UNDEFINED with a move of 0."""
    least = np.broadcast_to(np.asarray(threshold_ticks, np.float64), moves.shape[1:]) - _TOLERANCE_TICKS
    labels = NEUTRAL + (moves >= least).astype(np.int8) - (moves <= -least).astype(np.int8)
    unknown = np.isnan(moves)
    labels[unknown] = UNDEFINED
    return labels, np.where(unknown, 0.0, moves).astype(np.float32)


def label_threshold(
    spread_ticks_train: NDArray[np.floating], threshold_ticks: float, threshold_spreads: float
) -> float:
    """Least move that counts as a direction, in ticks.

    Args:
        spread_ticks_train: (n,) spreads of the training part alone, in ticks.
        threshold_ticks: floor, in ticks.
        threshold_spreads: floor, in median spreads; 0 leaves `threshold_ticks` to decide.
    """
    return max(float(threshold_ticks), float(threshold_spreads) * float(np.median(spread_ticks_train)))


def quantile_thresholds(magnitudes: Sequence[ValueCounts], quantile: float, floor_ticks: float) -> tuple[float, ...]:
    """Per horizon, the larger of a floor and a quantile of |move|, in ticks: about `quantile` of rows stay neutral.

    Args:
        magnitudes: of `count_magnitudes`, one per horizon, of the training part's prices *alone*, so that no label
            counted reads a row beyond that part.
        quantile: in (0, 1); 1/3 gives about balanced classes where moves are not mostly 0.
        floor_ticks: of `label_threshold`.

    Raises:
        DataError: a horizon without a known move.
    """
    if any(len(counted.values) == 0 for counted in magnitudes):
        raise DataError("no training row has a known move; expected more training rows than the longest label")
    return tuple(max(floor_ticks, counted.quantile(quantile) / _MAGNITUDES_PER_TICK) for counted in magnitudes)


def count_magnitudes(moves: NDArray[np.float64]) -> list[ValueCounts]:
    """Sizes of the moves (n, h) in whole millionths of a tick, and how often each occurs, per horizon; without NaN.

    Counts of blocks add up to those of the whole, so that a quantile needs no second look at the moves.
    """
    known = (np.abs(column[~np.isnan(column)]) for column in moves.T)
    return [count_values(np.rint(sizes * _MAGNITUDES_PER_TICK).astype(np.int64)) for sizes in known]


def mirror_labels(labels: NDArray[np.int8]) -> NDArray[np.int8]:
    """Labels of the mirrored market: up and down swapped, neutral and undefined kept."""
    return np.where(labels == UNDEFINED, labels, UP - labels).astype(labels.dtype)
