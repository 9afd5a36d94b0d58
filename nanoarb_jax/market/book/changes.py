"""What each kind of event does to a book's levels and orders, and what an anomaly does to the book."""

from __future__ import annotations

from nanoarb_jax.market.anomaly import KEEP, RAISE, RESYNC, Anomaly
from nanoarb_jax.market.book import orders as table
from nanoarb_jax.market.book.ladder import ASK, BID, best, change_level, clear_side, remove
from nanoarb_jax.market.compiled import inlined, internal

_UNKNOWN, _DUPLICATE, _OVER = int(Anomaly.UNKNOWN_ORDER), int(Anomaly.DUPLICATE_ORDER), int(Anomaly.OVER_CANCEL)


@internal
def clear_book(state):  # type: ignore[no-untyped-def]
    """Remove all levels and orders."""
    clear_side(state.levels, BID)
    clear_side(state.levels, ASK)
    if state.meta[0].live_orders > 0:
        for slot in range(len(state.orders)):
            state.orders[slot].side = -1
        state.meta[0].live_orders = 0


@internal
def count_anomaly(state, kind):  # type: ignore[no-untyped-def]
    """Count an anomaly and do what its policy asks of the whole book; returns the policy."""
    state.anomalies[kind] += 1
    policy = state.policy[kind]
    if policy == RESYNC:
        clear_book(state)
        state.meta[0].synced = 0
        state.meta[0].quoted = 0
    elif policy == RAISE:
        state.meta[0].raised = kind
    return policy


@internal
def clear_levels(state, side, worst):  # type: ignore[no-untyped-def]
    """Remove a side's levels from the best down to the rank `worst`, and the orders there."""
    levels = state.levels
    while levels.depth[side] > 0 and best(levels, side) >= worst:
        position = levels.used[side] - 1
        remove(levels, side, position, levels.fill[side, levels.order[side, position]] - 1)
    _remove_orders(state, side, worst, False)


@internal
def clear_whole_side(state, side):  # type: ignore[no-untyped-def]
    """Remove all levels and orders of a side."""
    clear_side(state.levels, side)
    _remove_orders(state, side, 0, True)


@inlined
def _remove_orders(state, side, worst, every):  # type: ignore[no-untyped-def]
    """Take a side's orders out of the table: every one, or those at the rank `worst` and better."""
    if state.meta[0].live_orders == 0:
        return
    slot = 0
    while slot < len(state.orders):
        order = state.orders[slot]
        if order.side == side and (every or order.rank >= worst):
            table.free(state.orders, slot)  # another order may have moved here: look at this slot again
            state.meta[0].live_orders -= 1
        else:
            slot += 1


@internal
def add_order(state, order_id, side, rank, lots):  # type: ignore[no-untyped-def]
    """A new order rests at a price. If its id is taken and the policy is to keep it, it replaces the old order."""
    slot = table.locate(state.orders, order_id)
    if state.orders[slot].side >= 0 and count_anomaly(state, _DUPLICATE) != KEEP:
        return
    _place_order(state, slot, order_id, side, rank, lots)


@internal
def modify_order(state, order_id, side, rank, lots):  # type: ignore[no-untyped-def]
    """An order has a new price and new lots. If it is unknown and the policy is to keep it, it is added."""
    slot = table.locate(state.orders, order_id)
    if state.orders[slot].side < 0 and count_anomaly(state, _UNKNOWN) != KEEP:
        return
    _place_order(state, slot, order_id, side, rank, lots)


@internal
def cancel_order(state, order_id, lots):  # type: ignore[no-untyped-def]
    """Take lots off an order; 0, or as many as it has, takes it out of the book."""
    slot = table.locate(state.orders, order_id)
    if not _can_lose(state, slot, lots):
        return
    order = state.orders[slot]
    if lots == 0 or lots >= order.lots:
        change_level(state.levels, order.side, order.rank, -order.lots, -1)
        table.free(state.orders, slot)
        state.meta[0].live_orders -= 1
    else:
        change_level(state.levels, order.side, order.rank, -lots, 0)
        order.lots -= lots


@inlined
def fill_order(state, order_id, lots):  # type: ignore[no-untyped-def]
    """Check a fill. It changes no book: the cancel or modify that follows it takes the lots away."""
    _can_lose(state, table.locate(state.orders, order_id), lots)


@inlined
def _can_lose(state, slot, lots):  # type: ignore[no-untyped-def]
    """Whether an order is known and has that many lots; counts the anomaly where not."""
    order = state.orders[slot]
    if order.side < 0:
        count_anomaly(state, _UNKNOWN)
        return False
    return lots <= order.lots or count_anomaly(state, _OVER) == KEEP


@inlined
def _place_order(state, slot, order_id, side, rank, lots):  # type: ignore[no-untyped-def]
    """Write an order into its slot and its level, in place of the one that was there; without lots none is left."""
    order = state.orders[slot]
    replaces = order.side >= 0
    if replaces:
        change_level(state.levels, order.side, order.rank, -order.lots, -1)
    if lots > 0:
        table.put(state.orders, slot, order_id, side, rank, lots)
        change_level(state.levels, side, rank, lots, 1)
        state.meta[0].live_orders += 0 if replaces else 1
    elif replaces:
        table.free(state.orders, slot)
        state.meta[0].live_orders -= 1


@inlined
def count_trade(state, side, lots):  # type: ignore[no-untyped-def]
    """Add a trade to the lots that takers bought, sold, or traded on a side that is not known."""
    meta = state.meta[0]
    meta.trades += 1
    if side == BID:
        meta.bought += lots
    elif side == ASK:
        meta.sold += lots
    else:
        meta.unsided += lots
