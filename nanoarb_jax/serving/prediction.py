"""What goes into a predictor and what comes out: features that are checked, and a `Prediction`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.market.compiled import allocating


class Prediction(NamedTuple):
    """Where the price goes, per horizon.

    Attributes:
        direction: (h,) int8, the most probable: -1 down, 0 neutral, +1 up.
        confidence: (h,) float32, the probability of that direction.
        probabilities: (h, c) float32: down, neutral, up, summing to 1.
        ready: enough ticks were seen to trust it.
        version: of the weights.
    """

    direction: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray
    ready: bool
    version: str


class NotPickled:
    """Objects with compiled code and states of their own, which pickle cannot carry."""

    def __reduce__(self) -> tuple[object, ...]:
        """
        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"{type(self).__name__} is not pickled: load it in the other process, and carry what it remembers there "
            "with snapshot() and restore()"
        )


def make_prediction(probabilities: np.ndarray, ready: bool, version: str) -> Prediction:
    """Make a `Prediction` of (h, c) probabilities."""
    horizons = len(probabilities)
    direction, confidence = np.empty(horizons, np.int8), np.empty(horizons, np.float32)
    _most_probable(probabilities, direction, confidence)
    return Prediction(direction, confidence, probabilities, ready, version)


@allocating
def _most_probable(probabilities, direction, confidence):  # type: ignore[no-untyped-def]
    """Of each row the first largest class, as -1, 0, 1, and its probability; numpy's calls take four times as long."""
    for h in range(probabilities.shape[0]):
        best = 0
        for c in range(1, probabilities.shape[1]):
            if probabilities[h, c] > probabilities[h, best]:
                best = c
        direction[h], confidence[h] = best - 1, probabilities[h, best]


def check_features(features: ArrayLike, expected: int) -> np.ndarray:
    """One tick's features as (f,) float32.

    Raises:
        DataError: no numbers, wrong count, or NaN or infinity.
    """
    x = features if isinstance(features, np.ndarray) and features.dtype == np.float32 else _as_float32(features)
    if x.shape != (expected,):
        raise DataError(
            f"features of shape {x.shape}: expected ({expected},), one tick of the features that the model reads"
        )
    if not x.flags.carray:  # compiled code reads rows without gaps
        x = x.copy()
    # one sum of squares costs half of isfinite over all; it may overflow, so only then is every value looked at
    if not math.isfinite(x.dot(x)):
        strange = np.flatnonzero(~np.isfinite(x))
        if strange.size:
            i = int(strange[0])
            raise DataError(f"features[{i}]={x[i]}: expected finite float32 values; skip this tick or mend the feed")
    return x


def check_many(features: ArrayLike, expected: int) -> np.ndarray:
    """The features of many ticks as (n, f) float32.

    Raises:
        DataError: no numbers, wrong shape, or NaN or infinity.
    """
    x = _as_float32(features)
    if x.ndim != 2 or x.shape[1] != expected:
        raise DataError(f"features of shape {x.shape}: expected (n, {expected}), a row per tick")
    strange = np.argwhere(~np.isfinite(x))
    if len(strange):
        row, i = strange[0]
        raise DataError(f"features[{row}, {i}]={x[row, i]}: expected finite float32 values; leave this tick out")
    return x


def _as_float32(features: ArrayLike) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused later
            return np.asarray(features, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"features: expected the numbers of one tick ({error}); mend the feed") from error
