"""The policy `heal` for crossed and locked books: what was never told to be gone is removed where newer facts show it.

Levels that L2 events told: of two levels that cross or lock, the older one goes, as in hftbacktest's depth. A book of
orders that is locked stays as it is, and is valid.

Orders (L3): an order, and an auction, may leave a book crossed for a while. A book that has stood crossed through three
trades or more, the first of them a second ago or longer, holds ghosts: the levels that cross and are better than the
price of the last trade would have traded. They are removed with their orders.

Every level that is removed is counted as `stale`.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.market.anomaly import KEEP, Anomaly
from nanoarb_jax.market.book.changes import clear_levels, count_anomaly
from nanoarb_jax.market.book.ladder import ASK, BID, best, best_told
from nanoarb_jax.market.compiled import internal

_TRADES = 3
_SECOND = 10**9
_STALE, _LOCKED = int(Anomaly.STALE), int(Anomaly.LOCKED)


@internal
def note_trade(state, ticks):  # type: ignore[no-untyped-def]
    """Note a trade while the book is crossed."""
    meta = state.meta[0]
    if abs(ticks) < 2.0**52:  # no NaN is
        if meta.trades_crossed == 0:
            meta.trade_crossed_ns = meta.time
        meta.trades_crossed += 1
        meta.trade_ticks = ticks


@internal
def heal(state):  # type: ignore[no-untyped-def]
    """Remove what is stale in a crossed or locked book; returns whether both sides are still quoted."""
    meta, levels = state.meta[0], state.levels
    _remove_older_levels(state)
    if _overlap(levels) > 0 and meta.trades_crossed >= _TRADES and meta.time - meta.trade_crossed_ns >= _SECOND:
        _remove_ghosts(state)
    return levels.depth[BID] > 0 and levels.depth[ASK] > 0


@internal
def _overlap(levels):  # type: ignore[no-untyped-def]
    """Best bid minus best ask, in ticks; -1 where a side is empty."""
    if levels.depth[BID] == 0 or levels.depth[ASK] == 0:
        return -1
    return best(levels, BID) + best(levels, ASK)


@internal
def _remove_older_levels(state):  # type: ignore[no-untyped-def]
    """Remove the older of two best levels that cross, or lock where that is not kept, unless one is made of orders."""
    levels, least = state.levels, 1 if state.policy[_LOCKED] == KEEP else 0
    while _overlap(levels) >= least:
        bid, ask = best_told(levels, BID), best_told(levels, ASK)
        if bid == 0 or ask == 0:
            return
        _remove_best(state, BID if bid < ask else ASK)


@internal
def _remove_ghosts(state):  # type: ignore[no-untyped-def]
    """Remove the levels that cross and are better than the last trade."""
    levels, ticks = state.levels, state.meta[0].trade_ticks
    worst_bid = max(np.int64(np.floor(ticks)), -best(levels, ASK)) + 1
    worst_ask = max(np.int64(np.floor(-ticks)), -best(levels, BID)) + 1
    while levels.depth[BID] > 0 and best(levels, BID) >= worst_bid:
        _remove_best(state, BID)
    while levels.depth[ASK] > 0 and best(levels, ASK) >= worst_ask:
        _remove_best(state, ASK)


@internal
def _remove_best(state, side):  # type: ignore[no-untyped-def]
    """Remove the best level of a side with its orders."""
    clear_levels(state, side, best(state.levels, side))
    count_anomaly(state, _STALE)
