"""The order book as arrays and compiled functions: `apply_event` is the one definition of what an event does.

`BookState` holds no Python object, so the same functions run from `OrderBook`, over whole files, and inside a
strategy's own `@njit` loop. Nothing is allocated; when a table is full, `apply_event` says so before it changes
anything, and `book.grow` gives a larger state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market import event as ev
from nanoarb_jax.market.anomaly import RAISE, RESYNC, SKIP, Anomaly
from nanoarb_jax.market.book import ladder
from nanoarb_jax.market.book import orders as table
from nanoarb_jax.market.book.ladder import Ladder
from nanoarb_jax.market.compiled import compiled

BID, ASK = 0, 1
APPLIED, NEEDS_LEVELS, NEEDS_ORDERS, RAISED = range(4)

META = np.dtype(
    [
        ("tick_size", "f8"),
        ("lot_size", "f8"),
        ("exchange_time", "i8"),  # 1: exch_ts is the time of a tick, 0: local_ts
        ("time", "i8"),  # latest of all events so far
        ("events", "i8"),  # seen so far
        ("messages", "i8"),
        ("live_orders", "i8"),
        ("synced", "i8"),  # 0: waits for a snapshot
        ("quoted", "i8"),  # 1: valid at the end of the last message
        ("raised", "i8"),  # the anomaly that its policy raised
        ("trades", "i8"),  # so far
        ("bought", "i8"),  # lots that takers bought so far
        ("sold", "i8"),
        ("unsided", "i8"),  # traded, and not known by whose initiative
        ("trade_ticks", "i8"),  # of the last trade
        ("trade_lots", "i8"),
        ("trade_side", "i8"),  # 1 bought, -1 sold, 0 not known
    ],
    align=True,
)
_MOST_LOTS = 2.0**53  # of one event: beyond, float64 quantities are no longer whole
_LARGE, _FULL = 2**43, 2**62  # lots: orders above the first are added only where the level's sum stays in int64
_MOST_TICKS = 2.0**52
_LEAP_NS = 400 * 86_400 * 10**9  # no silence is longer
_OFF_GRID = 1e-3  # ticks; division leaves about 1e-7 at a billion ticks


class BookState(NamedTuple):
    """A book and its bookkeeping; functions change it in place.

    Attributes:
        levels: price levels of both sides.
        orders: (slots,) ORDER, resting orders by id (L3).
        meta: (1,) META.
        anomalies: (kinds,) int64 counters; policy: (kinds,) int8.
    """

    levels: Ladder
    orders: NDArray[np.void]
    meta: NDArray[np.void]
    anomalies: NDArray[np.int64]
    policy: NDArray[np.int8]


_CROSSED, _LOCKED, _ONE_SIDED = int(Anomaly.CROSSED), int(Anomaly.LOCKED), int(Anomaly.ONE_SIDED)
_UNKNOWN, _DUPLICATE, _OVER = int(Anomaly.UNKNOWN_ORDER), int(Anomaly.DUPLICATE_ORDER), int(Anomaly.OVER_CANCEL)
_GAP, _BACKWARDS, _INVALID, _UNSYNCED = (
    int(Anomaly.GAP),
    int(Anomaly.BACKWARDS),
    int(Anomaly.INVALID),
    int(Anomaly.UNSYNCED),
)


@compiled
def clear(state):  # type: ignore[no-untyped-def]
    """Void all levels and orders."""
    ladder.clear_side(state.levels, BID)
    ladder.clear_side(state.levels, ASK)
    if state.meta[0].live_orders > 0:
        for slot in range(len(state.orders)):
            state.orders[slot].side = -1
        state.meta[0].live_orders = 0


@compiled
def note(state, kind):  # type: ignore[no-untyped-def]
    """Count an anomaly; returns its policy, carried out as far as it concerns the whole book."""
    state.anomalies[kind] += 1
    policy = state.policy[kind]
    if policy == RESYNC:
        clear(state)
        state.meta[0].synced = 0
        state.meta[0].quoted = 0
    elif policy == RAISE:
        state.meta[0].raised = kind
    return policy


@compiled
def set_level(levels, side, rank, lots):  # type: ignore[no-untyped-def]
    """A level's quantity is now `lots`; 0 takes the level out."""
    position, at, there = ladder.find(levels, side, rank)
    if there and lots > 0:
        levels.lots[side, levels.order[side, position], at] = lots
    elif there:
        ladder.remove(levels, side, position, at)
    elif lots > 0:
        ladder.insert(levels, side, position, at, rank, lots, 0)


@compiled
def add_to_level(levels, side, rank, lots, orders):  # type: ignore[no-untyped-def]
    """A level gains (or loses) lots and orders; without orders, or without lots where L2 events meddle, it goes."""
    position, at, there = ladder.find(levels, side, rank)
    if there:
        block = levels.order[side, position]
        levels.lots[side, block, at] += lots
        levels.orders[side, block, at] += orders
        if levels.orders[side, block, at] <= 0 or levels.lots[side, block, at] <= 0:
            ladder.remove(levels, side, position, at)
    elif lots > 0:
        ladder.insert(levels, side, position, at, rank, lots, orders)


@compiled
def level_lots(levels, side, rank):  # type: ignore[no-untyped-def]
    """Lots at a level, 0 if there is none."""
    position, at, there = ladder.find(levels, side, rank)
    return levels.lots[side, levels.order[side, position], at] if there else 0


@compiled
def clear_side(state, side, rank, all_of_it):  # type: ignore[no-untyped-def]
    """Void a side's levels from the best down to `rank`, and the orders there."""
    levels = state.levels
    if all_of_it:
        ladder.clear_side(levels, side)
    while levels.depth[side] > 0 and ladder.best(levels, side) >= rank:
        position = levels.used[side] - 1
        ladder.remove(levels, side, position, levels.fill[side, levels.order[side, position]] - 1)
    if state.meta[0].live_orders > 0:
        slot = 0
        while slot < len(state.orders):
            order = state.orders[slot]
            if order.side == side and (all_of_it or order.rank >= rank):
                table.free(state.orders, slot)  # another may have moved in: look at this slot again
                state.meta[0].live_orders -= 1
            else:
                slot += 1


@compiled
def _change_order(state, kind, side, rank, lots, order_id):  # type: ignore[no-untyped-def]
    """Add, cancel, modify or fill one order."""
    slot = table.locate(state.orders, order_id)
    order = state.orders[slot]
    there = order.side >= 0
    if kind == ev.ADD:
        if there and note(state, _DUPLICATE) != 0:
            return
    elif not there and (note(state, _UNKNOWN) != 0 or kind != ev.MODIFY):
        return
    if kind == ev.ADD or kind == ev.MODIFY:
        if there:
            add_to_level(state.levels, order.side, order.rank, -order.lots, -1)
        if lots > 0:
            table.put(state.orders, slot, order_id, side, rank, lots)
            add_to_level(state.levels, side, rank, lots, 1)
            state.meta[0].live_orders += 0 if there else 1
        elif there:
            table.free(state.orders, slot)
            state.meta[0].live_orders -= 1
    elif lots > order.lots and note(state, _OVER) != 0:
        return
    elif kind == ev.CANCEL:
        if lots == 0 or lots >= order.lots:
            add_to_level(state.levels, order.side, order.rank, -order.lots, -1)
            table.free(state.orders, slot)
            state.meta[0].live_orders -= 1
        else:
            add_to_level(state.levels, order.side, order.rank, -lots, 0)
            order.lots -= lots


@compiled
def _trade(state, side, ticks, lots):  # type: ignore[no-untyped-def]
    meta = state.meta[0]
    meta.trades += 1
    meta.trade_ticks = ticks
    meta.trade_lots = lots
    meta.trade_side = 0
    if side == BID:
        meta.bought += lots
        meta.trade_side = 1
    elif side == ASK:
        meta.sold += lots
        meta.trade_side = -1
    else:
        meta.unsided += lots


@compiled
def _dispatch(state, kind, side, px, qty, order_id):  # type: ignore[no-untyped-def]
    """Carry out one event, or count it as invalid."""
    meta = state.meta[0]
    if kind == ev.CLEAR:
        if side < 0:
            clear(state)
        elif not np.isfinite(px):
            clear_side(state, side, 0, True)
        else:
            ticks = np.int64(min(max(np.rint(px / meta.tick_size), -_MOST_TICKS), _MOST_TICKS))
            clear_side(state, side, ticks if side == BID else -ticks, False)
        return
    lots = np.rint(qty / meta.lot_size)
    if not (0.0 <= lots <= _MOST_LOTS) or (lots == 0.0 and qty > 0.0):  # less than a lot must not pass for nothing
        note(state, _INVALID)
        return
    exact, ticks = px / meta.tick_size, np.rint(px / meta.tick_size)
    on_grid = abs(exact - ticks) <= _OFF_GRID and abs(ticks) <= _MOST_TICKS
    rank = np.int64(ticks) if side == BID else -np.int64(ticks)
    if kind == ev.TRADE:
        # trades between the ticks exist (midpoint, hidden orders): their price is told to the nearest
        _trade(state, side, np.int64(ticks) if abs(ticks) <= _MOST_TICKS else 0, np.int64(lots))
    elif kind == ev.CANCEL or kind == ev.FILL:
        _change_order(state, kind, side, rank, np.int64(lots), order_id)
    elif (
        side < 0
        or not on_grid
        or kind not in ev.KINDS
        or (lots > _LARGE and kind >= ev.ADD and level_lots(state.levels, side, rank) > _FULL)
    ):
        note(state, _INVALID)
    elif kind == ev.DEPTH or kind == ev.DEPTH_SNAPSHOT:
        set_level(state.levels, side, rank, np.int64(lots))
    elif kind == ev.BBO:
        clear_side(state, side, rank, False)
        set_level(state.levels, side, rank, np.int64(lots))
    else:
        _change_order(state, kind, side, rank, np.int64(lots), order_id)


@compiled
def settle(state):  # type: ignore[no-untyped-def]
    """At the end of a message: is the book a valid tick?"""
    meta = state.meta[0]
    meta.messages += 1
    levels = state.levels
    if levels.depth[BID] == 0 or levels.depth[ASK] == 0:
        if meta.synced:
            note(state, _ONE_SIDED)
        meta.quoted = 0
        return
    over = ladder.best(levels, BID) + ladder.best(levels, ASK)  # best bid minus best ask
    if over > 0:
        note(state, _CROSSED)
        meta.quoted = 0
    elif over == 0:
        meta.quoted = 1 if note(state, _LOCKED) == 0 else 0
    else:
        meta.quoted = 1


@compiled
def apply_event(state, event):  # type: ignore[no-untyped-def]
    """Let one event change the book.

    Args:
        state: `BookState`, changed in place.
        event: one record of EVENT.

    Returns:
        APPLIED; NEEDS_LEVELS or NEEDS_ORDERS if there is no room (nothing was changed: grow and apply it again); or
        RAISED if an anomaly's policy is to raise (`meta.raised` says which).
    """
    meta = state.meta[0]
    blocks = state.levels.fill.shape[1]
    if state.levels.used[BID] >= blocks or state.levels.used[ASK] >= blocks:
        return NEEDS_LEVELS
    if 2 * meta.live_orders + 2 > len(state.orders):
        return NEEDS_ORDERS
    seen = ev.EXCH_EVENT if meta.exchange_time else ev.LOCAL_EVENT
    code = np.int64(event.ev)
    if code & (ev.EXCH_EVENT | ev.LOCAL_EVENT) and not code & seen:
        return APPLIED  # the other side of an event that is told twice
    meta.events += 1
    meta.raised = -1
    time = event.exch_ts if meta.exchange_time else event.local_ts
    skipped = False
    if time < meta.time:
        skipped = note(state, _BACKWARDS) == SKIP
    elif meta.events > 1 and time // 2 - meta.time // 2 > _LEAP_NS // 2:
        note(state, _INVALID)  # a damaged time would date all that follows
        skipped = True
    else:
        meta.time = time
    if event.ival & ev.MAYBE_BAD_BOOK and note(state, _GAP) == SKIP:
        skipped = True
    if meta.raised < 0 and not skipped:
        kind = code & ev.KIND_MASK
        side = BID if code & ev.BUY else (ASK if code & ev.SELL else -1)
        if kind == ev.DEPTH_SNAPSHOT or (kind == ev.CLEAR and side < 0):
            meta.synced = 1
        if meta.synced or kind == ev.TRADE:
            _dispatch(state, kind, side, event.px, event.qty, event.order_id)
        elif kind != ev.CLEAR:
            note(state, _UNSYNCED)
    if event.ival & ev.LAST and meta.raised < 0:
        settle(state)
    return RAISED if meta.raised >= 0 else APPLIED


@compiled
def apply_events(state, events, start):  # type: ignore[no-untyped-def]
    """Apply events from index `start` on; returns the first index not applied and the status that stopped it."""
    for i in range(start, len(events)):
        status = apply_event(state, events[i])
        if status != APPLIED:
            return i, status
    return len(events), APPLIED
