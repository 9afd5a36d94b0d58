"""Events of the synthetic market order by order (L3): queues are first in, first out.

Every level is a linked list of orders. Market orders fill it from the front; cancellations take the youngest orders
from its back, whole or in part. Levels that come into view do so as a few orders of equal size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market import event
from nanoarb_jax.market.book.ladder import ASK, BID
from nanoarb_jax.market.compiled import allocating
from nanoarb_jax.market.event import EVENT
from nanoarb_jax.simulation.arrivals import advance
from nanoarb_jax.simulation.config import MAX_DEPTH, MarketConfig
from nanoarb_jax.simulation.queues import MAX_PARTS, TRADED, TYPES

_SLOTS = 2 * MAX_DEPTH  # a level's slot is its price modulo this: a side spans at most MAX_DEPTH ticks, so none share
_MOST_ORDERS = 8  # of a level that comes into view
_NEWEST, _LIVE = 0, 1
# an order is number i of its array, from 1; before and after are its neighbours, 0 if it has none
ORDER = np.dtype([("lots", "i8"), ("before", "i8"), ("after", "i8")])
LIST = np.dtype([("lots", "i8"), ("front", "i8"), ("back", "i8")])


@allocating
def _write_event(events, at, bits, side, price, lots, order_id, clock_ns, feed):  # type: ignore[no-untyped-def]
    """Write an event at index `at`; returns the next index."""
    px_scale, lots_per_unit, latency_ns = feed
    record = events[at]
    record.ev = event.BOTH_SEE | bits | (event.BUY if side == BID else event.SELL)
    record.exch_ts = clock_ns
    record.local_ts = clock_ns + np.int64(latency_ns)
    record.px = price / px_scale
    record.qty = lots / lots_per_unit
    record.order_id = order_id
    return at + 1


@allocating
def _add(orders, level, counts, lots):  # type: ignore[no-untyped-def]
    """Append an order to a level; returns its id."""
    counts[_NEWEST] += 1
    counts[_LIVE] += 1
    number = counts[_NEWEST]
    order = orders[number]
    order.lots, order.before, order.after = lots, level.back, 0
    if level.back > 0:
        orders[level.back].after = number
    else:
        level.front = number
    level.back = number
    level.lots += lots
    return number


@allocating
def _reduce(orders, level, counts, number, lots):  # type: ignore[no-untyped-def]
    """Take lots off the order at the front or back of a level; returns what is left of it."""
    order = orders[number]
    order.lots -= lots
    level.lots -= lots
    if order.lots == 0:
        counts[_LIVE] -= 1
        if level.front == number:
            level.front = order.after
        if level.back == number:
            level.back = order.before
        if order.before > 0:
            orders[order.before].after = 0
        if order.after > 0:
            orders[order.after].before = 0
    return order.lots


@allocating
def _grow_level(orders, level, counts, events, at, side, price, lots, pieces, clock, feed):  # type: ignore[no-untyped-def]
    """Add `lots` as `pieces` orders (fewer if there are not as many lots)."""
    while lots > 0:
        size = (lots + pieces - 1) // pieces
        number = _add(orders, level, counts, size)
        at = _write_event(events, at, event.ADD, side, price, size, number, clock, feed)
        lots -= size
        pieces -= 1
    return at


@allocating
def _shrink_level(orders, level, counts, events, at, side, price, lots, filled, clock, feed):  # type: ignore[no-untyped-def]
    """Fill `lots` from the front, or cancel them from the back."""
    while lots > 0:
        number = level.front if filled else level.back
        taken = min(lots, orders[number].lots)
        if filled:
            at = _write_event(events, at, event.FILL, side, price, taken, number, clock, feed)
        left = _reduce(orders, level, counts, number, taken)
        bits, told = (event.MODIFY, left) if left > 0 else (event.CANCEL, taken)
        at = _write_event(events, at, bits, side, price, told, number, clock, feed)
        lots -= taken
    return at


@allocating
def _write_snapshot(states, rulebook, orders, levels, counts, events, at, pieces_lots, feed):  # type: ignore[no-untyped-def]
    """Write the book before the first order, as orders of about `pieces_lots`; returns the number of events."""
    state, rules = states[0], rulebook[0]
    for side in range(2):
        for i in range(rules.depth):
            lots = state.queue[side, i]
            if lots > 0:
                price = state.best[side] - i if side == BID else state.best[side] + i
                pieces = min(max(int(lots / pieces_lots), 1), _MOST_ORDERS)
                level = levels[side, price % _SLOTS]
                at = _grow_level(orders, level, counts, events, at, side, price, lots, pieces, state.clock_ns, feed)
    return at


@allocating
def _write_messages(states, rulebook, orders, levels, counts, events, at, least, pieces_lots, feed):  # type: ignore[no-untyped-def]
    """Append whole messages until there are `least` events or room may run out; returns their number."""
    state, rules = states[0], rulebook[0]
    base, journal = np.empty(TYPES), np.empty((MAX_PARTS, 4), np.int64)
    while at < least and at + 2 * counts[_LIVE] + _MOST_ORDERS * MAX_PARTS < len(events):
        parts, _ = advance(state, rules, base, journal)
        filled, clock, first = False, state.clock_ns, at
        for part in range(parts):
            side, price, lots = journal[part, 1], journal[part, 2], journal[part, 3]
            if journal[part, 0] == TRADED:
                taker = ASK if side == BID else BID
                at, filled = _write_event(events, at, event.TRADE, taker, price, lots, 0, clock, feed), True
                continue
            level = levels[side, price % _SLOTS]
            more = lots - level.lots
            # the first part is the order itself; what comes after it came into view
            pieces = 1 if part == 0 else min(max(int(more / pieces_lots), 1), _MOST_ORDERS)
            at = _grow_level(orders, level, counts, events, at, side, price, more, pieces, clock, feed)
            at = _shrink_level(orders, level, counts, events, at, side, price, -more, filled, clock, feed)
            filled = False
        if at > first:
            events[at - 1].ival = event.LAST
    return at


def order_events(
    least: int, state: NDArray[np.void], rules: NDArray[np.void], config: MarketConfig, scales: tuple[float, float]
) -> NDArray[np.void]:
    """(n,) EVENT of a market: a snapshot as ADDs, then what every order does to the queues.

    A market order is a TRADE per level, then FILL and CANCEL (MODIFY where something is left) of the orders it met.

    Args:
        least: events wanted; n is more by the rest of the last message.
        state, rules: (1,) STATE, RULES of the market, the state is advanced.
        config: the market.
        scales: ticks per 1 of price, lots per 1 of quantity.
    """
    feed = (*scales, float(config.latency_ns))
    room = 2 * config.depth * _MOST_ORDERS + 2
    events, orders = np.zeros(room, EVENT), np.zeros(room, ORDER)
    levels, counts = np.zeros((2, _SLOTS), LIST), np.zeros(2, np.int64)
    at = _write_snapshot(state, rules, orders, levels, counts, events, 2, config.order_lots, feed)
    events["ival"][:at] = event.SNAPSHOT
    events["ival"][at - 1] |= event.LAST
    for i, (bits, worst) in enumerate(((event.BUY, np.min), (event.SELL, np.max))):
        events["ev"][i] = event.BOTH_SEE | bits | event.CLEAR
        events["px"][i] = worst(events["px"][2:at][(events["ev"][2:at] & bits) != 0])
        events["exch_ts"][i], events["local_ts"][i] = events["exch_ts"][2], events["local_ts"][2]
    while at < least:
        # every order has an ADD, so as many orders as events are room enough
        more = max(least - at, at // 4) + 4 * int(counts[_LIVE]) + 2 * _MOST_ORDERS * MAX_PARTS
        events = np.concatenate([events[:at], np.zeros(more, EVENT)])
        orders = np.concatenate([orders[: counts[_NEWEST] + 1], np.zeros(more, ORDER)])
        at = _write_messages(state, rules, orders, levels, counts, events, at, least, config.order_lots, feed)
    return events[:at]
