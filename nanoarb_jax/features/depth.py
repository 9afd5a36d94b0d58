"""Books and trades of a strategy inside hftbacktest, in the form that `flow_row` and `lob44_row` take.

The functions are compiled into the strategy's own `@njit` loop and know hftbacktest by the names of its methods only:
any depth with `best_bid_tick`, `best_ask_tick`, `bid_qty_at_tick` and `ask_qty_at_tick` serves. What they give equals
the book that the same feed makes here, level for level, wherever a message has ended and the levels lie within reach.

`nanoarb_jax.serving.backends.native.live.depth_step` makes ticks, features and predictions of them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nanoarb_jax.market.event import BUY, SELL
from nanoarb_jax.market.series import EMPTY_PRICE

_NO_PRICE = 2**53  # ticks


@njit(error_model="numpy")
def copy_depth(depth, lot_size, reach, top):  # type: ignore[no-untyped-def]
    """Copy the best levels of a depth.

    Args:
        depth: hftbacktest's market depth; its tick size is the book's.
        lot_size: quantity of one lot; quantities become whole lots, to the nearest, as in `OrderBook`.
        reach: how many ticks from the best price on are looked at, the best included. A level costs one call, a tick
            without one too, so a book with wide gaps needs more, and takes longer, than a dense one.
        top: (4, levels) int64, overwritten: bid_px in ticks, bid_lots, ask_px, ask_lots; best first; where there is no
            level, or it is beyond reach, the price is EMPTY_PRICE and there are 0 lots.

    Returns:
        True where the book is a valid tick: both sides quoted, not crossed.
    """
    levels = top.shape[1]
    top[0], top[1], top[2], top[3] = EMPTY_PRICE, 0, EMPTY_PRICE, 0
    # an empty side has the best price of the smallest or the largest integer
    bid, ask = depth.best_bid_tick, depth.best_ask_tick
    if bid <= -_NO_PRICE or ask >= _NO_PRICE:
        return False
    shown = 0
    for tick in range(bid, bid - reach, -1):
        lots = np.int64(np.rint(depth.bid_qty_at_tick(tick) / lot_size))
        if lots > 0:
            top[0, shown], top[1, shown] = tick, lots
            shown += 1
            if shown == levels:
                break
    shown = 0
    for tick in range(ask, ask + reach):
        lots = np.int64(np.rint(depth.ask_qty_at_tick(tick) / lot_size))
        if lots > 0:
            top[2, shown], top[3, shown] = tick, lots
            shown += 1
            if shown == levels:
                break
    return top[1, 0] > 0 and top[3, 0] > 0 and top[0, 0] <= top[2, 0]


@njit(error_model="numpy")
def traded_lots(trades, lot_size):  # type: ignore[no-untyped-def]
    """What takers bought and sold.

    Args:
        trades: (n,) EVENT, as `last_trades` gives them; clear them there at every tick.
        lot_size: quantity of one lot; every trade is rounded to whole lots by itself, as in `OrderBook`.

    Returns:
        (bought, sold) in lots.
    """
    bought, sold = 0, 0
    for i in range(len(trades)):
        lots = int(np.rint(trades[i].qty / lot_size))
        if trades[i].ev & BUY:
            bought += lots
        elif trades[i].ev & SELL:
            sold += lots
    return bought, sold
