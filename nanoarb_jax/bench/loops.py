"""Compiled loops around the native step: many ticks or readings of the weights in one call, as inside other code.

A clock's reading costs as much as a tenth of the smallest model's step, so these are timed as a whole.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nanoarb_jax.serving.backends.native import initial_state, step_all
from nanoarb_jax.serving.backends.native.layout import aligned


def repeats(parameters: int) -> int:
    """Ticks of one call for a model of this size: a third of a millisecond or so, long for a clock, short for a
    scheduler that lets others in between."""
    return int(np.clip(5_000_000 // parameters, 10, 500))


@njit(fastmath=True)
def _sum(weights):  # type: ignore[no-untyped-def]
    # Sums may be reordered, so LLVM keeps several vectors of partial sums: eight of 64 bytes, written out, were no
    # faster, and several places read at once were slower.
    total = np.float32(0.0)
    for i in range(weights.size):
        total += weights[i]
    return total


@njit
def _read(weights, sums):  # type: ignore[no-untyped-def]
    for i in range(len(sums)):
        sums[i] = _sum(weights)  # written where `weights` might be, so that every sum is made


class WeightRead:
    """All weights once, some times a call: no float32 step that reads them from where they lie can be faster.

    Args:
        arrays: the weights.
        repeats: times.
    """

    def __init__(self, arrays: list[NDArray[np.float32]], repeats: int):
        values = np.concatenate([array.ravel() for array in arrays])
        self._weights, self._sums = aligned(values.nbytes).view(np.float32), np.zeros(repeats, np.float32)
        self._weights[:] = values

    def __call__(self, _: object = None) -> None:
        _read(self._weights, self._sums)


class NativeLoop:
    """The native step over some ticks of one stream at a call.

    Args:
        weights: of `native.pack`.
        shape: of the probabilities, (h, c).
        ticks: (n, f) float32 raw features.
        repeats: ticks of a call.
    """

    def __init__(self, weights: NDArray[np.uint8], shape: tuple[int, int], ticks: NDArray[np.float32], repeats: int):
        self._weights, self._state, self._ticks, self._at = weights, initial_state(weights), ticks, 0
        self.probabilities = np.zeros((repeats, *shape), np.float32)

    def __call__(self, _: object = None) -> None:
        """The next ticks."""
        repeats = len(self.probabilities)
        if self._at + repeats > len(self._ticks):
            self._at = 0
        ticks = self._ticks[self._at : self._at + repeats]
        self._at += repeats
        step_all(self._weights, self._state, ticks, self.probabilities)
