"""The strategy's working orders: what is heard of them, and what is sent to have those that are wanted. Compiled.

The account is kept here, fill by fill: that of hftbacktest 2.4.4 leaves out what is filled in parts (its issues 299 and
316). Where orders are filled whole, both are compared at every tick.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

LIMIT, POST_ONLY, IMMEDIATE = 0, 1, 3  # hftbacktest's numbers of order types and times in force
_NONE, _NEW, _PARTLY = 0, 1, 5  # and of orders' requests and statuses; with all other statuses an order is over
SLOTS = 16
# Lots that an order is sent short of, where it may be filled in parts; fills are counted in whole lots. An order whose
# rest is filled exactly stays in the exchange of hftbacktest 2.4.4 and ends the backtest at the next trade
# (InvalidOrderStatus, its issue 312); no rest of this size is ever filled exactly.
_SHORT = 1e-3

WORKING = np.dtype(
    [
        ("id", "i8"),  # 0: the slot is free
        ("row", "i8"),  # of the order in the record
        ("side", "i8"),
        ("price_ticks", "i8"),
        ("qty", "f8"),
        ("filled", "f8"),
        ("take", "i8"),
        ("leaving", "i8"),  # 1: its cancellation was sent
    ],
    align=True,
)

# what the loop remembers from one tick to the next
TRADER = np.dtype(
    [
        ("cursor", "i8"),  # of the source
        ("tick", "i8"),  # ticks so far
        ("last_ns", "i8"),  # of the latest tick, by the receiver's clock
        ("busy_ns", "i8"),  # until when the predictor computes
        ("position", "f8"),
        ("balance", "f8"),  # paid (< 0) and received for all fills, without fees
        ("fee", "f8"),
        ("trades", "i8"),
        ("volume", "f8"),
        ("value", "f8"),
        ("entry_ticks", "f8"),
        ("opened_ns", "i8"),
        ("opened_tick", "i8"),
        ("peak", "f8"),  # highest equity
        ("stopped", "i8"),  # 0, or one of STOPPED
        ("ended", "i8"),  # 1: the exchange has no more data
        ("error", "i8"),  # hftbacktest's, that stopped trading
        ("withdrawn", "i8"),
        ("refused", "i8"),
        ("swept", "i8"),  # taking fills that had several prices
        ("off", "f8"),  # largest difference to hftbacktest's own account, where orders are filled whole
        ("differs", "i8"),  # ticks whose best prices are not those of the exchange's book at their time
    ],
    align=True,
)
STOPPED = ("", "drawdown", "position", "exchange")


class Desk(NamedTuple):
    """What the loop works on beside the exchange.

    Attributes:
        trader: (1,) TRADER.
        working: (SLOTS,) WORKING.
        orders: (m,) ORDER, those so far and room for more.
        fills: (k,) FILL, likewise.
        counts: (2,) int64: orders and fills so far.
    """

    trader: NDArray[np.void]
    working: NDArray[np.void]
    orders: NDArray[np.void]
    fills: NDArray[np.void]
    counts: NDArray[np.int64]


@njit(error_model="numpy")
def value_of(rules, price, qty):  # type: ignore[no-untyped-def]
    """What a quantity is worth at a price, as hftbacktest's assets define it."""
    return rules.contract_size * qty / price if rules.inverse else rules.contract_size * qty * price


@njit(error_model="numpy")
def hear(hbt, desk, rules, now_ns):  # type: ignore[no-untyped-def]
    """Take note of what happened to the working orders since the last time; fills become known here.

    A resting order is filled at its limit. Of an order that took from several levels hftbacktest tells the last and
    worst price: all of it is counted at that.
    """
    trader, working, orders = desk.trader[0], desk.working, hbt.orders(0)
    for k in range(SLOTS):
        slot = working[k]
        if slot.id == 0:
            continue
        order = orders.get(slot.id)
        if order is None:
            slot.id = 0
            continue
        new = np.rint((order.qty - order.leaves_qty) / rules.lot_size) * rules.lot_size - slot.filled
        if new > 0.5 * rules.lot_size:
            slot.filled += new
            fill = desk.fills[desk.counts[1]]
            desk.counts[1] += 1
            fill.order, fill.tick, fill.side, fill.qty = slot.row, trader.tick - 1, slot.side, new
            fill.exch_ns, fill.local_ns, fill.maker = order.exch_timestamp, now_ns, order.arr[0].maker
            fill.price_ticks = slot.price_ticks if fill.maker else order.exec_price_tick
            if not fill.maker and order.exec_qty < new - 0.5 * rules.lot_size:
                trader.swept += 1
            _book_fill(trader, fill, rules)
        desk.orders[slot.row].status, desk.orders[slot.row].filled_qty = order.status, slot.filled
        if order.req == _NONE and order.status != _NEW and order.status != _PARTLY:
            slot.id = 0
    hbt.clear_inactive_orders(0)


@njit(error_model="numpy")
def _book_fill(trader, fill, rules):  # type: ignore[no-untyped-def]
    """Enter a fill in the accounts, by hftbacktest's definitions, and in the position and its average price."""
    amount = value_of(rules, fill.price_ticks * rules.tick_size, fill.qty)
    fill.fee = (rules.maker_fee if fill.maker else rules.taker_fee) * (amount if rules.fee_by_value else fill.qty)
    trader.balance -= fill.side * amount
    trader.fee += fill.fee
    trader.trades += 1
    trader.volume += fill.qty
    trader.value += amount
    before, change = trader.position, fill.side * fill.qty
    after = before + change
    if abs(after) < 0.5 * rules.lot_size:
        trader.position, trader.entry_ticks, trader.opened_ns, trader.opened_tick = 0.0, 0.0, 0, 0
        return
    if before == 0.0 or before * after < 0:
        trader.entry_ticks, trader.opened_ns, trader.opened_tick = fill.price_ticks, fill.local_ns, trader.tick - 1
    elif before * change > 0:
        trader.entry_ticks = (trader.entry_ticks * abs(before) + fill.price_ticks * fill.qty) / abs(after)
    trader.position = after


@njit(error_model="numpy")
def working_on(desk, side):  # type: ignore[no-untyped-def]
    """Index of the order that works on a side, or is on its way; -1: none. Those that are leaving do not count."""
    for k in range(SLOTS):
        slot = desk.working[k]
        if slot.id != 0 and slot.side == side and slot.leaving == 0:
            return k
    return -1


@njit(error_model="numpy")
def _exposed(desk, side):  # type: ignore[no-untyped-def]
    """The position if all orders of a side were filled, those that are leaving too; as a quantity on that side."""
    total = side * desk.trader[0].position
    for k in range(SLOTS):
        slot = desk.working[k]
        if slot.id != 0 and slot.side == side:
            total += slot.qty - slot.filled
    return total


@njit(error_model="numpy")
def cancel(hbt, desk, k):  # type: ignore[no-untyped-def]
    """Send the cancellation of an order; True where that is possible: it rests, and no request for it is on its way."""
    slot = desk.working[k]
    order = hbt.orders(0).get(slot.id)
    if order is None or not order.cancellable:
        return False
    slot.leaving = 1
    hbt.cancel(0, slot.id, False)
    return True


@njit(error_model="numpy")
def want(hbt, desk, rules, limits, side, price_ticks, qty, take, ahead_qty, now_ns):  # type: ignore[no-untyped-def]
    """Make the orders of one side those that are wanted, as far as possible now; 0, or hftbacktest's error.

    One order works on a side. Another price cancels it and sends a new one at once; while an order's own request is on
    its way nothing is sent on its side. An order whose fills, with those of all others on its side, could lead beyond
    the largest position is not sent, and counted.
    """
    k = working_on(desk, side)
    if k >= 0:
        slot = desk.working[k]
        if slot.take or (qty > 0 and not take and slot.price_ticks == price_ticks):
            return 0
        if not cancel(hbt, desk, k):
            return 0
    if qty < 0.5 * rules.lot_size:
        return 0
    if _exposed(desk, side) + qty > limits.max_position + 0.5 * rules.lot_size:
        desk.trader[0].refused += 1
        return 0
    for k in range(SLOTS):
        if desk.working[k].id == 0:
            return _send(hbt, desk, rules, k, side, price_ticks, qty, take, ahead_qty, now_ns)
    desk.trader[0].refused += 1
    return 0


@njit(error_model="numpy")
def _send(hbt, desk, rules, k, side, price_ticks, qty, take, ahead_qty, now_ns):  # type: ignore[no-untyped-def]
    row = desk.counts[0]
    trader, slot, order = desk.trader[0], desk.working[k], desk.orders[row]
    order.tick, order.sent_ns, order.side, order.price_ticks = trader.tick - 1, now_ns, side, price_ticks
    order.qty, order.filled_qty, order.take, order.status, order.ahead_qty = qty, 0.0, take, 0, ahead_qty
    slot.id, slot.row, slot.side, slot.price_ticks = row + 1, row, side, price_ticks
    slot.qty, slot.filled, slot.take, slot.leaving = qty, 0.0, take, 0
    desk.counts[0] += 1
    price, in_force = price_ticks * rules.tick_size, IMMEDIATE if take else POST_ONLY
    sent = qty if rules.whole else qty - _SHORT * rules.lot_size
    if side > 0:
        return hbt.submit_buy_order(0, slot.id, price, sent, in_force, LIMIT, False)
    return hbt.submit_sell_order(0, slot.id, price, sent, in_force, LIMIT, False)
