"""What strategies make of a prediction: one probability of up and of down, and one expected move, of all horizons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.market.compiled import compiled

DOWN, UP = 0, 2  # classes of the probabilities; 1 is neutral


@compiled
def class_probability(probabilities: NDArray[np.float32], weights: NDArray[np.float64], label: int) -> float:
    """Probability of a class, averaged over horizons; (h, 3) and (h,) that sum to 1."""
    total = 0.0
    for row in range(len(weights)):
        total += weights[row] * probabilities[row, label]
    return total


@compiled
def expected_move(
    probabilities: NDArray[np.float32], weights: NDArray[np.float64], moves_ticks: NDArray[np.float64]
) -> float:
    """Expected move of the mid in ticks, the sum over classes of p · move, averaged over horizons."""
    total = 0.0
    for row in range(len(weights)):
        move = 0.0
        for label in range(3):
            move += probabilities[row, label] * moves_ticks[row, label]
        total += weights[row] * move
    return total


def horizon_weights(
    table: str, horizon: int | None, weights: Sequence[float], horizons: Sequence[int]
) -> NDArray[np.float64]:
    """The share of every horizon of a model in a signal, (h,), which sum to 1.

    Args:
        table: name of the settings, for errors.
        horizon: the only one, in ticks; None, without weights: the shortest.
        weights: one per horizon of the model, in its order; empty: `horizon` alone.
        horizons: (h,) of the model, in ticks.

    Raises:
        ConfigError: a horizon that the model has not, or as many weights as it has no horizons.

    >>> from nanoarb_jax.trading.forecast import horizon_weights
    >>> horizon_weights("taker", None, (1.0, 3.0, 0.0), (10, 50, 100)).tolist()
    [0.25, 0.75, 0.0]
    """
    if weights:
        if len(weights) != len(horizons):
            raise ConfigError(
                f"{table}.weights={tuple(weights)!r}: expected {len(horizons)}, one for each horizon of the model, "
                f"{_listed(horizons)} ticks"
            )
        shares = np.array(weights, np.float64)
        return shares / shares.sum()
    chosen = horizons[0] if horizon is None else horizon
    if chosen not in horizons:
        raise ConfigError(f"{table}.horizon={horizon!r}: expected one of the model's, {_listed(horizons)} ticks")
    return np.array([1.0 if one == chosen else 0.0 for one in horizons])


def class_moves(moves_ticks: ArrayLike, horizons: Sequence[int]) -> NDArray[np.float64]:
    """Expected moves of a calibration table as compiled code reads them.

    Args:
        moves_ticks: (h, 3) move of the mid in ticks by horizon and class: down, neutral, up.
        horizons: (h,) of the model.

    Raises:
        ConfigError: another shape, NaN or infinity.
    """
    moves = np.array(moves_ticks, np.float64)
    if moves.shape != (len(horizons), 3) or not np.isfinite(moves).all():
        raise ConfigError(
            f"moves_ticks: shape {moves.shape}, {int((~np.isfinite(moves)).sum())} not finite; expected finite "
            f"({len(horizons)}, 3), by horizon and class, as `Calibration.moves_ticks` gives them"
        )
    return moves


def _listed(horizons: Sequence[int]) -> str:
    return ", ".join(map(str, horizons))
