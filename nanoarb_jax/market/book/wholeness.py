"""Books that begin in the middle: events without a snapshot before them tell nothing of what rested already.

The first event that changes a book tells: if it is a snapshot or a clear, the book is whole from then on. If not, it is
taken to be whole once it has ten levels a side and for a minute, by its own clock, nothing was a surprise: an event
about a level or an order among the ten best of its side that the book does not hold, or a trade at a better price than
the best that it holds. Until then the ends of messages are counted as `incomplete`, and are no ticks.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.market import event as ev
from nanoarb_jax.market.book import orders as table
from nanoarb_jax.market.book.ladder import ASK, BID, best, level_lots, nth_best
from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.series import LEVELS

_CALM_NS = 60 * 10**9


@compiled
def begin(state, kind, flags):  # type: ignore[no-untyped-def]
    """Note the first event that changes the book."""
    meta = state.meta[0]
    meta.begun = 1
    meta.whole = kind == ev.CLEAR or kind == ev.BBO or flags & ev.SNAPSHOT != 0
    meta.without_snapshot = not meta.whole
    meta.surprise_ns = meta.time


@compiled
def note_surprise(state, kind, side, ticks, qty, order_id):  # type: ignore[no-untyped-def]
    """Note an event about what the book should have held, if it is one."""
    if not np.isfinite(ticks) or abs(ticks) > 2.0**52:
        return
    whole = np.int64(np.rint(ticks))
    if kind == ev.TRADE:
        resting = ASK if side == BID else BID
        rank = whole if resting == BID else -whole
        if side >= 0 and (state.levels.depth[resting] == 0 or rank > best(state.levels, resting)):
            state.meta[0].surprise_ns = state.meta[0].time
        return
    if kind in (ev.CANCEL, ev.MODIFY, ev.FILL):
        unknown = state.orders[table.locate(state.orders, order_id)].side < 0
    else:
        unknown = kind == ev.DEPTH and qty == 0.0
    if unknown and _is_near(state, side, whole if side == BID else -whole, kind == ev.DEPTH):
        state.meta[0].surprise_ns = state.meta[0].time


@compiled
def _is_near(state, side, rank, is_level):  # type: ignore[no-untyped-def]
    """Whether a rank lies among the ten best of its side, and, of a level, none is there."""
    if side < 0:
        return True
    if is_level and level_lots(state.levels, side, rank) > 0:
        return False
    return state.levels.depth[side] < LEVELS or rank >= nth_best(state.levels, side, LEVELS)


@compiled
def becomes_whole(state):  # type: ignore[no-untyped-def]
    """Whether a book that began in the middle is taken to be whole from now on."""
    meta, levels = state.meta[0], state.levels
    if levels.depth[BID] >= LEVELS and levels.depth[ASK] >= LEVELS and meta.time - meta.surprise_ns >= _CALM_NS:
        meta.whole = 1
    return meta.whole == 1
