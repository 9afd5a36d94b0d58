"""Direction labels: where the price stands some ticks after the anchor tick, against a threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DOWN, NEUTRAL, UP = 0, 1, 2
UNDEFINED = -1
# prices in ticks come from divisions: a move of exactly the threshold must not be lost to the last bit
_TOLERANCE_TICKS = 1e-6


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


def direction_labels(
    price_ticks: NDArray[np.float64], horizons: Sequence[int], threshold_ticks: float
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Label every anchor tick t by the move from t to t + horizon, in one instrument's stream.

    Args:
        price_ticks: (n,) mid or microprice, in ticks.
        horizons: h horizons, in ticks of the stream, each at least 1.
        threshold_ticks: UP from +threshold on, DOWN from -threshold on, NEUTRAL between.

    Returns:
        labels (n, h) int8 and moves (n, h) float32, in price ticks. The last `horizon` rows, whose future is not
        known, are UNDEFINED with a move of 0.
    """
    rows = len(price_ticks)
    labels = np.full((rows, len(horizons)), UNDEFINED, np.int8)
    moves = np.zeros((rows, len(horizons)), np.float32)
    least = threshold_ticks - _TOLERANCE_TICKS
    for column, horizon in enumerate(horizons):
        known = max(rows - horizon, 0)
        move = price_ticks[horizon:] - price_ticks[:known]
        moves[:known, column] = move
        labels[:known, column] = NEUTRAL + (move >= least).astype(np.int8) - (move <= -least).astype(np.int8)
    return labels, moves


def mirror_labels(labels: NDArray[np.int8]) -> NDArray[np.int8]:
    """Labels of the mirrored market: up and down swapped, neutral and undefined kept."""
    return np.where(labels == UNDEFINED, labels, UP - labels).astype(labels.dtype)
