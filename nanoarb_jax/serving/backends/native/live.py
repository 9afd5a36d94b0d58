"""The compiled step behind the compiled input: events or books in, probabilities out, in one call. No JAX.

>>> from numba import njit
>>> from nanoarb_jax.serving.backends.native.live import live_apply
>>> live = nj.LivePredictor.load("checkpoints/nano", nj.Instrument.measure("feeds/synthetic_00.npz"))
>>> @njit
... def count_ticks(weights, state, events, probabilities):
...     ticks = 0
...     for event in events:
...         ticks += live_apply(weights, state, event, probabilities)
...     return ticks
>>> events = nj.read_events("feeds/synthetic_00.npz")
>>> count_ticks(live.weights, live.state, events, np.empty((3, 3), np.float32))  # doctest: +SKIP

A state is the bytes of `nanoarb_jax.features.live_state`, with the model's state at their end, and what is learnt
(`learning`) where `LivePredictor.learn` was called. It serves one market.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nanoarb_jax.features.depth import copy_depth, traded_lots
from nanoarb_jax.features.live_input import take_books, take_event, take_events, take_top
from nanoarb_jax.features.live_state import open_model, open_state
from nanoarb_jax.market.book.state import APPLIED
from nanoarb_jax.market.clocks.next_tick import DUE, TICK
from nanoarb_jax.market.compiled import compiled, internal
from nanoarb_jax.market.series import LEVELS
from nanoarb_jax.serving.backends.native.compiling import entry_point
from nanoarb_jax.serving.backends.native.entry_points import step
from nanoarb_jax.serving.backends.native.learning import learn

# added to a status: there was a tick, `probabilities` are those of the last one; and it is ready
TICKED, READY = 16, 32


@compiled
def _predict(weights, state, probabilities):  # type: ignore[no-untyped-def]
    """One step of the model with the features of the latest tick; in a new session it begins anew.

    A state that learns does so from every tick, from those that are not ready too, as `recalibrate_stream` does.

    Returns:
        TICKED, with READY added where the session has warmed the model up.
    """
    model = open_model(state)
    header = model.header[0]
    if header.ticks == 1:
        for i in range(len(model.state)):
            model.state[i] = 0.0
    step(weights, model.state, model.features, probabilities)
    if header.learn_bytes > 0:
        learn(state, probabilities)
    return TICKED + READY if header.ticks >= header.warm_up else TICKED


@entry_point
def apply_event(weights, state, event, probabilities):  # type: ignore[no-untyped-def]
    """Apply one event; at every tick that it makes, write the probabilities.

    Args:
        weights: (bytes,) uint8, from `pack`.
        state: (bytes,) uint8, changed.
        event: one record of EVENT.
        probabilities: (h, 3) float32, of the last of the ticks; left alone where there is none.

    Returns:
        a status of `take_event`, without TICK and DUE; with TICKED and READY added where there was a tick. Where the
        status asks for room, ticks of a time clock before the event are done, the event is not.
    """
    ticked, status = 0, DUE
    while status == DUE:
        status = take_event(state, event)
        if status == TICK or status == DUE:  # noqa: SIM109
            ticked = _predict(weights, state, probabilities)
    return (APPLIED if status == TICK else status) + ticked


@entry_point
def apply_events(weights, state, events, start, at, probabilities):  # type: ignore[no-untyped-def]
    """`apply_event` for events from index `start` on.

    Args:
        events: (n,) EVENT.
        at: (m,) int64, overwritten: the index of the event of every tick.
        probabilities: (m, h, 3) float32, overwritten.

    Returns:
        (first event that was not applied, ticks, status): APPLIED at the end of the events, TICKED where `at` is full.
    """
    ticks, i = 0, start
    while i < len(events):
        if ticks == len(at):
            return i, ticks, TICKED
        i, status = take_events(state, events, i)
        if status == TICK or status == DUE:  # noqa: SIM109
            _predict(weights, state, probabilities[ticks])
            at[ticks] = i
            ticks += 1
            if status == TICK:
                i += 1
        elif status != APPLIED:
            return i, ticks, status
    return i, ticks, APPLIED


@entry_point
def apply_books(weights, state, ts_ns, bid_px, bid_qty, ask_px, ask_qty, bought, sold, probabilities):  # type: ignore[no-untyped-def]
    """As `apply_event`, for a feed that brings whole books; arguments as for `take_books`."""
    ticked, status = 0, DUE
    while status == DUE:
        status = take_books(state, ts_ns, bid_px, bid_qty, ask_px, ask_qty, bought, sold)
        if status == TICK or status == DUE:  # noqa: SIM109
            ticked = _predict(weights, state, probabilities)
    return (APPLIED if status == TICK else status) + ticked


@entry_point
def apply_top(weights, state, ts_ns, top, bought, sold, valid, probabilities):  # type: ignore[no-untyped-def]
    """As `apply_books`, of a book in ticks and lots.

    Args:
        top: (4, 10) int64, bid_px, bid_lots, ask_px, ask_lots.
        bought, sold: int, in lots.
        valid: whether the book may be a tick.
    """
    ticked, status = 0, DUE
    while status == DUE:
        status = take_top(state, ts_ns, top, bought, sold, valid)
        if status == TICK or status == DUE:  # noqa: SIM109
            ticked = _predict(weights, state, probabilities)
    return (APPLIED if status == TICK else status) + ticked


@internal
def _lot_size(state):  # type: ignore[no-untyped-def]
    return open_state(state).book.meta[0].lot_size


@njit(error_model="numpy")
def live_apply(weights, state, event, probabilities):  # type: ignore[no-untyped-def]
    """Apply one event, inside compiled code; at every tick that it makes, write the probabilities.

    Args:
        weights, state: of a `LivePredictor` with the native backend.
        event: one record of EVENT.
        probabilities: (h, 3) float32; of several ticks before one event (time clock), those of the last.

    Returns:
        True where there was a tick.

    Raises:
        RuntimeError: no room for another level or order (load the `LivePredictor` with more `levels` or `orders`), an
            anomaly whose policy is to raise, or events that do not say where messages end (`nj.mark_messages`).
    """
    status = apply_event(weights, state, event, probabilities)
    if status % TICKED != APPLIED:
        raise RuntimeError(
            "live_apply: no room in the book (load the LivePredictor with more levels and orders), an anomaly whose "
            "policy is to raise, or events without message ends (see nanoarb_jax.mark_messages)"
        )
    return status >= TICKED


@njit(error_model="numpy")
def depth_step(weights, state, hbt, asset, reach, probabilities):  # type: ignore[no-untyped-def]
    """Look at an hftbacktest strategy's depth; where it makes a tick, write the probabilities.

    Call it where a message has ended: a depth in the middle of a message is a book that no tick was made of in
    training. It takes the trades that hftbacktest has kept since the last call (its `last_trades_capacity` must hold
    them), and clears them.

    Args:
        weights, state, probabilities: as for `live_apply`.
        hbt: hftbacktest's backtest, inside a strategy.
        asset: number of the asset.
        reach: how many ticks from the best price on levels are looked for, see `copy_depth`.

    Returns:
        True where there was a tick.
    """
    # what `open_state` finds has no reference counts, and this function, which hftbacktest is part of, keeps them
    top, lot_size = np.empty((4, LEVELS), np.int64), _lot_size(state)
    valid = copy_depth(hbt.depth(asset), lot_size, reach, top)
    bought, sold = traded_lots(hbt.last_trades(asset), lot_size)
    hbt.clear_last_trades(asset)
    return apply_top(weights, state, hbt.current_timestamp, top, bought, sold, valid, probabilities) >= TICKED
