"""Compiled loops around the native step: many ticks, states or events in one call, as inside a strategy's own code.

A clock's reading costs as much as a tenth of the smallest model's step, so these are timed as a whole.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nanoarb_jax.bench.market_stages import MARKET
from nanoarb_jax.features.flow import flow_memory
from nanoarb_jax.features.live import book_flow, book_lob44
from nanoarb_jax.features.lob44 import FEATURE_NAMES, FeatureScale
from nanoarb_jax.market.book.apply import apply_event
from nanoarb_jax.market.book.state import APPLIED, empty_state, grow
from nanoarb_jax.market.series import LEVELS
from nanoarb_jax.serving.backends.native import initial_state, step, step_all
from nanoarb_jax.serving.backends.native.layout import aligned, read_header


def repeats(parameters: int) -> int:
    """Ticks of one call for a model of this size: a third of a millisecond or so, long for a clock, short for a
    scheduler that lets others in between."""
    return int(np.clip(5_000_000 // parameters, 10, 500))


_LOB44 = len(FEATURE_NAMES)


# Not kept on disk: numba would not notice that `step`, which becomes part of it, has changed. Without reference counts,
# see `market.compiled`.
@njit(error_model="numpy", nogil=True, _nrt=False)  # type: ignore[call-overload]
def predict_events(  # type: ignore[no-untyped-def]
    book, events, at, wanted, scale, traded, memory, top, features, weights, state, probabilities
):
    """Apply events from `at` on; predict at every tick, where a message ends and leaves a valid book.

    Args:
        scale, traded, memory, top: as for `book_flow`.
        features: of the model's feature set, overwritten.

    Returns:
        (first event not applied, status of the book, predictions): `wanted` predictions, or fewer where the events end
        or the book needs room.
    """
    made = 0
    while at < len(events) and made < wanted:
        messages = book.meta[0].messages
        status = apply_event(book, events[at])
        if status != APPLIED:
            return at, status, made
        at += 1
        if book.meta[0].messages != messages and book.meta[0].quoted:
            if features.size == _LOB44:
                book_lob44(book, scale, top, features)
            else:
                book_flow(book, scale, traded, memory, top, features)
            step(weights, state, features, probabilities)
            made += 1
    return at, APPLIED, made


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


class EventsToPredictions:
    """Events in, probabilities out: book, features, native step, some predictions at a call.

    Args:
        events: of `market_events`; they begin again at their end.
        weights, shape: as for `NativeLoop`.
        repeats: predictions of a call.
    """

    def __init__(self, events: NDArray[np.void], weights: NDArray[np.uint8], shape: tuple[int, int], repeats: int):
        self._events, self._repeats = events, repeats
        self._weights, self._state = weights, initial_state(weights)
        self._book = empty_state(MARKET.tick_size, MARKET.lot_size)
        self._scale = FeatureScale(1.0 / MARKET.tick_size, 1.0 / MARKET.lot_size, 1, 1.0)
        self._top, self._traded, self._memory = np.zeros((4, LEVELS), np.int64), np.zeros(2, np.int64), flow_memory()
        self.features = np.zeros(read_header(weights).features, np.float32)
        self.probabilities = np.zeros(shape, np.float32)
        self._at = self.applied = self.predictions = 0

    def __call__(self, _: object = None) -> None:
        """The next predictions."""
        missing = self._repeats
        while missing:
            if self._at == len(self._events):
                self._at = 0
            before = self._at
            self._at, status, made = predict_events(
                self._book, self._events, before, missing, self._scale, self._traded, self._memory, self._top,
                self.features, self._weights, self._state, self.probabilities,
            )  # fmt: skip
            if status != APPLIED:
                self._book = grow(self._book, status)
            self.applied += self._at - before
            missing -= made
        self.predictions += self._repeats
