"""From market events to predictions: compiled loops, and `LivePredictor` as a user calls it.

Events are those of `market_events`; at their end everything is reset, and they begin again.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.bench.market_stages import MARKET
from nanoarb_jax.config import InputSpec
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.serving.backends.native import NativeStep
from nanoarb_jax.serving.backends.native.live import TICKED, apply_events
from nanoarb_jax.serving.live import LivePredictor

_INSTRUMENT = Instrument(MARKET.tick_size, MARKET.lot_size, 1.0, 1.0)


def live_predictor(step: NativeStep) -> LivePredictor:
    """A predictor for the simulated market, of the model's features and the default clock, with room enough."""
    spec = InputSpec(step.config.feature_set)  # type: ignore[arg-type]
    return LivePredictor(step, spec, _INSTRUMENT, levels=1 << 14, orders=1 << 16)


class EventsToPredictions:
    """Events in, probabilities out: book, clock, features, native step, some predictions at a call.

    Args:
        events: of `market_events`.
        step: the compiled model.
        repeats: predictions of a call.
    """

    def __init__(self, events: NDArray[np.void], step: NativeStep, repeats: int):
        self._events, self._live, self._next = events, live_predictor(step), 0
        self._at, self.probabilities = np.empty(repeats, np.int64), np.empty((repeats, step.horizons, 3), np.float32)
        self.applied = self.predictions = 0

    def __call__(self, _: object = None) -> None:
        """The next predictions."""
        made, repeats = 0, len(self._at)
        while made < repeats:
            if self._next == len(self._events):
                self._live.reset()
                self._next = 0
            before = self._next
            self._next, ticks, status = apply_events(
                self._live.weights, self._live.state, self._events, before, self._at[made:], self.probabilities[made:]
            )
            assert status in (0, TICKED), status
            made += ticks
            self.applied += self._next - before
        self.predictions += repeats


class LiveEvents:
    """`LivePredictor.apply`, for events of one kind alone; the events between them are applied outside the timing.

    Args:
        events, step: as for `EventsToPredictions`.
        ticks: time the events that make a tick; else the others.
    """

    def __init__(self, events: NDArray[np.void], step: NativeStep, ticks: bool):
        self._events, self._live = events, live_predictor(step)
        self._wanted = np.zeros(len(events), bool)
        self._wanted[self._live.apply_many(events)[0]] = True
        self._wanted ^= not ticks
        self._next = len(events)

    def before(self) -> None:
        """Apply the events up to the next one of the kind."""
        while True:
            if self._next == len(self._events):
                self._live.reset()
                self._next = 0
            following = int(np.argmax(self._wanted[self._next :]))
            found = bool(self._wanted[self._next + following])
            stop = self._next + following if found else len(self._events)
            self._live.apply_many(self._events[self._next : stop])
            self._next = stop
            if found:
                self._event = self._events[stop]
                return

    def __call__(self, _: object = None) -> object:
        """Apply that event."""
        self._next += 1
        return self._live.apply(self._event)


class LiveMany:
    """`LivePredictor.apply_many`, for so many events at a call that there are `repeats` predictions."""

    def __init__(self, events: NDArray[np.void], step: NativeStep, repeats: int):
        self._live = live_predictor(step)
        at = self._live.apply_many(events)[0]
        ends = [0, *(at[repeats - 1 :: repeats] + 1)]
        self._chunks = [events[start:stop] for start, stop in pairwise(ends)]
        self._number = 0

    def before(self) -> None:
        """Begin again where the events end."""
        if self._number % len(self._chunks) == 0:
            self._live.reset()

    def __call__(self, _: object = None) -> object:
        """Apply the next events."""
        chunk = self._chunks[self._number % len(self._chunks)]
        self._number += 1
        return self._live.apply_many(chunk)
