"""One event in, the features of a tick out: book, clock, session rule and feature memory in one compiled function.

Every live path is made of it: `LivePredictor`, and the functions for compiled code beside the native step.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.features.flow import flow_row
from nanoarb_jax.features.live_state import open_state
from nanoarb_jax.features.lob44 import FeatureScale, lob44_row
from nanoarb_jax.market.anomaly import HEAL, KEEP, Anomaly
from nanoarb_jax.market.book.changes import count_anomaly
from nanoarb_jax.market.book.state import APPLIED
from nanoarb_jax.market.clocks.next_tick import DUE, TICK, is_due, next_tick, next_tick_of_books
from nanoarb_jax.market.compiled import compiled, inlined, internal
from nanoarb_jax.market.event import LAST
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS

UNMARKED = DUE + 1  # status: the events do not say where messages end
_MOST_UNMARKED = 1_000  # messages in a row
_CROSSED, _LOCKED, _ONE_SIDED, _INVALID = (
    int(kind) for kind in (Anomaly.CROSSED, Anomaly.LOCKED, Anomaly.ONE_SIDED, Anomaly.INVALID)
)
_UNORDERED, _BAD_LEVEL = 1, 2  # faults of a side
_OFF_GRID, _MOST = 1e-3, 2.0**52  # ticks off the grid; ticks or lots


@internal
def take_event(block, event):  # type: ignore[no-untyped-def]
    """Apply one event; where it makes a tick, write the tick's features.

    Args:
        block: (bytes,) uint8, see `live_state`; changed.
        event: one record of EVENT.

    Returns:
        APPLIED: no tick. TICK: the event was applied and made one. DUE: a tick of the time clock is due before this
        event: call again with the same event. NEEDS_LEVELS, NEEDS_ORDERS, RAISED: see `apply_event`. UNMARKED: it was
        applied, but messages begin again and again without the one before having ended.

    The header's `ticks` is 1 after the first tick of a session: a model begins anew with it.
    """
    return _take(open_state(block), event)


@internal
def take_events(block, events, start):  # type: ignore[no-untyped-def]
    """`take_event` for events from index `start` on, until one makes a tick or cannot be applied.

    To find the arrays in the bytes takes three times as long as an event, so it is done once for all of them.

    Returns:
        (index of the last event taken, its status); (number of events, APPLIED) where no event made a tick.
    """
    live = open_state(block)
    for i in range(start, len(events)):
        status = _take(live, events[i])
        if status != APPLIED:
            return i, status
    return len(events), APPLIED


@inlined
def _take(live, event):  # type: ignore[no-untyped-def]
    header = live.header[0]
    status = next_tick(live.book, live.clock, event)
    if status == APPLIED or status == TICK:  # noqa: SIM109 – the tuple is slower to compile
        if header.open and event.local_ts != header.event_ns:
            header.unmarked += 1
        header.event_ns = event.local_ts
        header.open = event.ival & LAST == 0
        if not header.open:
            header.unmarked = 0
        elif header.unmarked > _MOST_UNMARKED:
            status = UNMARKED
    if status == TICK or status == DUE:  # noqa: SIM109
        write_features(live)
    return status


@internal
def take_books(block, ts_ns, bid_px, bid_qty, ask_px, ask_qty, bought, sold):  # type: ignore[no-untyped-def]
    """As `take_event`, for feeds that bring whole books.

    Args:
        block: as for `take_event`; the order book in it is not used.
        ts_ns: int, time of the book.
        bid_px, bid_qty, ask_px, ask_qty: (levels,) float64, best first, the first ten of which are used; levels of
            quantity 0 or price NaN are no levels.
        bought, sold: float, quantities that takers traded since the book before.

    Returns:
        APPLIED, TICK, DUE or RAISED.
    """
    live = open_state(block)
    if is_due(live.book, live.clock, ts_ns):
        write_features(live)
        return DUE
    meta = live.book.meta[0]
    meta.raised = -1
    bids, asks = live.clock.now[:2], live.clock.now[2:]
    bid_fault = _copy_side(bid_px, bid_qty, meta.tick_size, meta.lot_size, -1, bids)
    ask_fault = _copy_side(ask_px, ask_qty, meta.tick_size, meta.lot_size, 1, asks)
    lots_bought, bought_whole = _whole_lots(bought, meta.lot_size)
    lots_sold, sold_whole = _whole_lots(sold, meta.lot_size)
    fault, valid = max(bid_fault, ask_fault), False
    if fault < _BAD_LEVEL and (bids[1, 0] == 0 or asks[1, 0] == 0):
        count_anomaly(live.book, _ONE_SIDED)
    elif fault > 0 or not (bought_whole and sold_whole):
        count_anomaly(live.book, _INVALID)
    elif bids[0, 0] > asks[0, 0]:
        count_anomaly(live.book, _CROSSED)
    else:
        valid = bids[0, 0] < asks[0, 0] or count_anomaly(live.book, _LOCKED) in (KEEP, HEAL)
    status = next_tick_of_books(live.book, live.clock, ts_ns, lots_bought, lots_sold, valid)
    if status == TICK:
        write_features(live)
    return status


@internal
def take_top(block, ts_ns, top, bought, sold, valid):  # type: ignore[no-untyped-def]
    """As `take_books`, of a book in ticks and lots.

    Args:
        top: (4, 10) int64, as `ClockMemory.top`.
        bought, sold: int, in lots.
        valid: whether the book may be a tick.
    """
    live = open_state(block)
    if is_due(live.book, live.clock, ts_ns):
        write_features(live)
        return DUE
    live.book.meta[0].raised = -1
    for column in range(4):
        for i in range(LEVELS):
            live.clock.now[column, i] = top[column, i]
    status = next_tick_of_books(live.book, live.clock, ts_ns, bought, sold, valid)
    if status == TICK:
        write_features(live)
    return status


@compiled
def _whole_lots(quantity, lot_size):  # type: ignore[no-untyped-def]
    """(lots, True), or (0, False) for a quantity that is none."""
    lots = np.rint(quantity / lot_size)
    return (np.int64(lots), True) if 0.0 <= lots <= _MOST else (np.int64(0), False)


@internal
def _copy_side(px, qty, tick_size, lot_size, direction, out):  # type: ignore[no-untyped-def]
    """Write a side in ticks and lots into `out` (2, 10).

    Returns:
        0, _UNORDERED, or _BAD_LEVEL where a price is off the grid or a quantity is none; such a level is left out.
    """
    shown, fault = 0, 0 if len(px) == len(qty) else _UNORDERED
    for i in range(LEVELS):
        out[0, i], out[1, i] = EMPTY_PRICE, 0
    for i in range(min(len(px), len(qty), LEVELS)):
        if qty[i] == 0.0 or np.isnan(px[i]):
            continue
        ticks, lots = np.rint(px[i] / tick_size), np.rint(qty[i] / lot_size)
        if not (abs(px[i] / tick_size - ticks) <= _OFF_GRID and abs(ticks) <= _MOST and 1.0 <= lots <= _MOST):
            fault = _BAD_LEVEL
            continue
        out[0, shown], out[1, shown] = np.int64(ticks), np.int64(lots)
        if shown > 0 and direction * (out[0, shown] - out[0, shown - 1]) <= 0:
            fault = max(fault, _UNORDERED)
        shown += 1
    return fault


@inlined
def write_features(live):  # type: ignore[no-untyped-def]
    """Write the features of the tick that the clock has just counted, and count it in its session."""
    header, clock, top, features = live.header[0], live.clock.clock[0], live.clock.top, live.model.features
    scale = FeatureScale(
        header.px_scale,
        header.lots_per_unit,
        1,
        header.quantity_scale,
        header.spread_scale,
        header.session_gap_ns,
        True,
    )  # True: a live feed has times
    if clock.ts_ns - header.tick_ns > header.session_gap_ns:
        header.ticks = 0
    header.ticks += 1
    header.tick_ns = clock.ts_ns
    if header.flow:
        flow_row(clock.ts_ns, top[0], top[1], top[2], top[3], clock.bought, clock.sold, scale, live.flow, features)
    else:
        lob44_row(top[0], top[1], top[2], top[3], scale, features)
