"""Where the loop's ticks and predictions come from: a live predictor fed with events, or a record of one.

    status, cursor = advance(source, cursor, ticks, row, probabilities)

writes the next tick into `ticks[row]` and its prediction into `probabilities[row]`. A live source makes them as
`LivePredictor.apply_many` does; a record serves predictions of other backends, controls and rivals.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.features.live_input import take_events
from nanoarb_jax.features.live_state import open_learning_room, open_model
from nanoarb_jax.market.book.state import APPLIED
from nanoarb_jax.market.clocks.next_tick import DUE
from nanoarb_jax.market.clocks.next_tick import TICK as MADE
from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.serving.backends.native.live import apply_events

ADVANCED, ENDED = -1, -2  # statuses of `advance`; one of `apply_event` where an event could not be applied


class LiveSource(NamedTuple):
    """A live predictor and the events that it is fed with.

    Attributes:
        weights, state: of a `LivePredictor`; the state is changed.
        events: (n,) EVENT, as the feed's reader gives them.
        shift_ns: how much later local times are at the exchange, see `ExchangeDay.local_shift_ns`.
        lots_per_unit: of the book.
        first: number of the first tick that may be traded at; those before are not ready.
        stop: number of the tick before which the run ends.
        at: (2,) int64, to work with: the event of the latest tick, and how many ticks there were.
    """

    weights: NDArray[np.uint8]
    state: NDArray[np.uint8]
    events: NDArray[np.void]
    shift_ns: int
    lots_per_unit: float
    first: int
    stop: int
    at: NDArray[np.int64]


class RecordedSource(NamedTuple):
    """Ticks and predictions that are there already.

    Attributes:
        ticks: (n,) TICK.
        probabilities: (n, h, 3) float32.
    """

    ticks: NDArray[np.void]
    probabilities: NDArray[np.float32]


@compiled
def advance_live(source, cursor, ticks, row, probabilities):  # type: ignore[no-untyped-def]
    """See above; the cursor is the first event that is not read."""
    if source.at[1] == source.stop:
        return ENDED, cursor
    cursor, made, status = apply_events(
        source.weights, source.state, source.events, cursor, source.at[:1], probabilities[row : row + 1]
    )
    if made == 0:
        return (ENDED if cursor == len(source.events) else status), cursor
    source.at[1] += 1
    _write_tick(source, ticks[row])
    return ADVANCED, cursor


@compiled
def _write_tick(source, tick):  # type: ignore[no-untyped-def]
    """Write the latest tick of a live source."""
    event, header = source.events[source.at[0]], open_model(source.state).header[0]
    top = open_learning_room(source.state).top
    tick.local_ns, tick.exch_ns = event.local_ts + source.shift_ns, event.exch_ts
    tick.ready = 1 if header.ticks >= header.warm_up and source.at[1] > source.first else 0
    tick.bid_ticks, tick.ask_ticks = top[0, 0], top[2, 0]
    tick.bid_qty, tick.ask_qty = top[1, 0] / source.lots_per_unit, top[3, 0] / source.lots_per_unit


@compiled
def advance_recorded(source, cursor, ticks, row, probabilities):  # type: ignore[no-untyped-def]
    """See above; the cursor is the row of the record."""
    if cursor == len(source.ticks):
        return ENDED, cursor
    tick, recorded = ticks[row], source.ticks[cursor]
    tick.local_ns, tick.exch_ns, tick.ready = recorded.local_ns, recorded.exch_ns, recorded.ready
    tick.bid_ticks, tick.ask_ticks = recorded.bid_ticks, recorded.ask_ticks
    tick.bid_qty, tick.ask_qty = recorded.bid_qty, recorded.ask_qty
    shown, given = probabilities[row], source.probabilities[cursor]
    for horizon in range(shown.shape[0]):
        for k in range(3):
            shown[horizon, k] = given[horizon, k]
    return ADVANCED, cursor + 1


@compiled
def advance_unpredicted(source, cursor, ticks, row, probabilities):  # type: ignore[no-untyped-def]
    """As `advance_live`, of a state without a model: its predictions stay as they are."""
    if source.at[1] == source.stop:
        return ENDED, cursor
    cursor, status = take_events(source.state, source.events, cursor)
    if status != MADE and status != DUE:
        return (ENDED if status == APPLIED else status), cursor
    source.at[0] = cursor
    source.at[1] += 1
    _write_tick(source, ticks[row])
    return ADVANCED, cursor + 1 if status == MADE else cursor
