"""What an event does to a book: `apply_event` is the one definition, compiled, on arrays alone.

`BookState` holds no Python object, so the same functions run from `OrderBook`, over whole files, and inside a
strategy's own `@njit` loop. Nothing is allocated: where a table is full, `apply_event` says so before it changes
anything, and `state.grow` gives a larger state.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.market import event as ev
from nanoarb_jax.market.anomaly import HEAL, KEEP, SKIP, Anomaly
from nanoarb_jax.market.book import changes
from nanoarb_jax.market.book.changes import count_anomaly
from nanoarb_jax.market.book.healing import heal, note_trade
from nanoarb_jax.market.book.ladder import ASK, BID, best, level_lots, set_level
from nanoarb_jax.market.book.state import APPLIED, NEEDS_LEVELS, NEEDS_ORDERS, RAISED
from nanoarb_jax.market.compiled import compiled, inlined, internal

_MOST_LOTS = 2.0**53  # of one event: beyond, float64 quantities are no longer whole
_LARGE, _FULL = 2**43, 2**62  # lots: orders above the first are added only where the level's sum stays in int64
_MOST_TICKS = 2.0**52
_LEAP_NS = 400 * 86_400 * 10**9  # a jump in time longer than this is treated as a damaged time stamp
_OFF_GRID = 1e-3  # ticks; division leaves about 1e-7 at a billion ticks

_CROSSED, _LOCKED, _ONE_SIDED = int(Anomaly.CROSSED), int(Anomaly.LOCKED), int(Anomaly.ONE_SIDED)
_GAP, _BACKWARDS = int(Anomaly.GAP), int(Anomaly.BACKWARDS)
_INVALID, _UNSYNCED, _INCOMPLETE = int(Anomaly.INVALID), int(Anomaly.UNSYNCED), int(Anomaly.INCOMPLETE)


@inlined
def apply_event(state, event):  # type: ignore[no-untyped-def]
    """Let one event change the book.

    Args:
        state: `BookState`, changed in place.
        event: one record of EVENT.

    Returns:
        APPLIED; NEEDS_LEVELS or NEEDS_ORDERS if there is no room (nothing was changed: grow and apply it again); or
        RAISED if an anomaly's policy is to raise (`meta.raised` says which).
    """
    room = _check_room(state)
    if room != APPLIED:
        return room
    if not is_seen(state, event):
        return APPLIED
    meta = state.meta[0]
    meta.events += 1
    meta.raised = -1
    in_time = _check_time(state, event_time(state, event))
    complete = _check_gap(state, event)
    if in_time and complete and meta.raised < 0:
        _change_book(state, event)
    if event.ival & ev.LAST and meta.raised < 0:
        _end_message(state)
    return RAISED if meta.raised >= 0 else APPLIED


@compiled
def apply_events(state, events, start):  # type: ignore[no-untyped-def]
    """Apply events from index `start` on; returns the first index not applied and the status that stopped it."""
    for i in range(start, len(events)):
        status = apply_event(state, events[i])
        if status != APPLIED:
            return i, status
    return len(events), APPLIED


@inlined
def is_seen(state, event):  # type: ignore[no-untyped-def]
    """Whether the event is valid where the book stands: at the exchange or at the receiver."""
    code = np.int64(event.ev)
    here = ev.EXCH_EVENT if state.meta[0].exchange_time else ev.LOCAL_EVENT
    return code & here != 0 or code & ev.BOTH_SEE == 0


@inlined
def event_time(state, event):  # type: ignore[no-untyped-def]
    """The event's time by the book's clock, ns since 1970 UTC."""
    return event.exch_ts if state.meta[0].exchange_time else event.local_ts


@inlined
def _check_room(state):  # type: ignore[no-untyped-def]
    """APPLIED where any event finds room, else the status that says what is missing."""
    blocks = state.levels.fill.shape[1]
    if state.levels.used[BID] >= blocks or state.levels.used[ASK] >= blocks:
        return NEEDS_LEVELS
    if 2 * state.meta[0].live_orders + 2 > len(state.orders):
        return NEEDS_ORDERS
    return APPLIED


@inlined
def _check_time(state, time):  # type: ignore[no-untyped-def]
    """Set the book's time; False where the event's time is an anomaly that leaves the event out."""
    meta = state.meta[0]
    if time < meta.time:
        if meta.time // 2 - time // 2 > meta.late_ns // 2:
            meta.late_ns = meta.time - time
        if count_anomaly(state, _BACKWARDS) == SKIP:
            meta.spoiled = _BACKWARDS
            return False
        return True
    if meta.events > 1 and time // 2 - meta.time // 2 > _LEAP_NS // 2:
        _leave_out(state, _INVALID)  # a damaged time would become the time of all events after it
        return False
    meta.time = time
    return True


@inlined
def _check_gap(state, event):  # type: ignore[no-untyped-def]
    """False where messages before the event are lost and the policy leaves the event out for it."""
    if event.ival & ev.MAYBE_BAD_BOOK == 0 or count_anomaly(state, _GAP) != SKIP:
        return True
    state.meta[0].spoiled = _GAP
    return False


@internal
def _leave_out(state, kind):  # type: ignore[no-untyped-def]
    """Count an anomaly for which an event is left out."""
    count_anomaly(state, kind)
    state.meta[0].spoiled = kind


@inlined
def _change_book(state, event):  # type: ignore[no-untyped-def]
    """Carry out an event, unless the book waits for a snapshot."""
    meta = state.meta[0]
    code = np.int64(event.ev)
    kind = code & ev.KIND_MASK
    side = BID if code & ev.BUY else (ASK if code & ev.SELL else -1)
    if kind == ev.DEPTH_SNAPSHOT or (kind == ev.CLEAR and side < 0):
        meta.synced, meta.begun, meta.whole = 1, 1, 1
    elif not meta.begun and kind != ev.TRADE:
        # without a snapshot first, what rested already is not known
        meta.begun, meta.whole = 1, kind == ev.BBO or event.ival & ev.SNAPSHOT != 0
    if kind == ev.CLEAR:
        if meta.synced:
            _clear(state, side, event.px)
        return
    if not meta.synced and kind != ev.TRADE:
        _leave_out(state, _UNSYNCED)
        return
    lots = _whole_lots(event.qty / meta.lot_size)
    if lots < 0:
        _leave_out(state, _INVALID)
    elif kind == ev.TRADE:
        # the price is not checked: trades between the ticks exist (midpoint, hidden orders)
        changes.count_trade(state, side, lots)
        if meta.crossed:
            note_trade(state, event.px / meta.tick_size)
    elif kind == ev.CANCEL:
        changes.cancel_order(state, event.order_id, lots)
    elif kind == ev.FILL:
        changes.fill_order(state, event.order_id, lots)
    else:
        _change_price(state, kind, side, event.px / meta.tick_size, lots, event.order_id)


@inlined
def _clear(state, side, px):  # type: ignore[no-untyped-def]
    """Remove everything (no side), a whole side (no price), or a side's levels from the best to a price."""
    if side < 0:
        changes.clear_book(state)
    elif not np.isfinite(px):
        changes.clear_whole_side(state, side)
    else:
        ticks = np.rint(px / state.meta[0].tick_size)
        worst = np.int64(min(max(ticks, -_MOST_TICKS), _MOST_TICKS))
        changes.clear_levels(state, side, worst if side == BID else -worst)


@inlined
def _whole_lots(lots):  # type: ignore[no-untyped-def]
    """To the nearest whole lot; -1 for a quantity that is negative, too large, not a number, or less than a lot."""
    whole = np.rint(lots)
    if not (0.0 <= whole <= _MOST_LOTS) or (whole == 0.0 and lots > 0.0):
        return np.int64(-1)
    return np.int64(whole)


@inlined
def _change_price(state, kind, side, ticks, lots, order_id):  # type: ignore[no-untyped-def]
    """Change the level, or add or modify the order, at a price that must lie on the tick grid."""
    whole = np.rint(ticks)
    if side < 0 or not (abs(ticks - whole) <= _OFF_GRID and abs(whole) <= _MOST_TICKS):
        _leave_out(state, _INVALID)
        return
    rank = np.int64(whole) if side == BID else -np.int64(whole)
    if kind == ev.BBO:
        changes.clear_levels(state, side, rank)
    if kind == ev.DEPTH or kind == ev.DEPTH_SNAPSHOT or kind == ev.BBO:
        set_level(state.levels, side, rank, lots, state.meta[0].events)
    elif (kind != ev.ADD and kind != ev.MODIFY) or (lots > _LARGE and level_lots(state.levels, side, rank) > _FULL):
        _leave_out(state, _INVALID)
    elif kind == ev.ADD:
        changes.add_order(state, order_id, side, rank, lots)
    else:
        changes.modify_order(state, order_id, side, rank, lots)


@internal
def _count_spoiled(meta):  # type: ignore[no-untyped-def]
    """Count a message of which an event was left out."""
    if meta.spoiled == _UNSYNCED:
        meta.lost_unsynced += 1
    elif meta.spoiled == _INVALID:
        meta.lost_invalid += 1
    elif meta.spoiled == _BACKWARDS:
        meta.lost_backwards += 1
    else:
        meta.lost_gap += 1
    meta.spoiled = 0


@internal
def _mend_overlap(state):  # type: ignore[no-untyped-def]
    """Count a crossed or locked book and do what its policy says; returns whether it is a valid tick then."""
    meta, levels = state.meta[0], state.levels
    was_crossed = best(levels, BID) + best(levels, ASK) > 0
    policy = count_anomaly(state, _CROSSED if was_crossed else _LOCKED)
    if policy != HEAL:
        meta.crossed = was_crossed and levels.depth[BID] > 0
        return policy == KEEP
    if not heal(state):
        return False
    meta.crossed = best(levels, BID) + best(levels, ASK) > 0
    meta.healed += was_crossed and not meta.crossed
    return not meta.crossed


@inlined
def _end_message(state):  # type: ignore[no-untyped-def]
    """Count a message and say in `meta.quoted` whether the book is a valid tick now."""
    meta, levels = state.meta[0], state.levels
    meta.messages += 1
    meta.quoted, meta.crossed = 0, 0
    if levels.depth[BID] > 0 and levels.depth[ASK] > 0:
        if best(levels, BID) + best(levels, ASK) < 0 or _mend_overlap(state):
            meta.quoted = 1 if meta.whole else count_anomaly(state, _INCOMPLETE) == KEEP
    elif meta.synced:
        count_anomaly(state, _ONE_SIDED)
    if not meta.crossed:
        meta.trades_crossed = 0
    if meta.spoiled:
        _count_spoiled(meta)
