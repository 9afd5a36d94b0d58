"""Both sides' price levels, sorted: each side a sequence of small sorted blocks, so that a change far from the touch
moves at most one block, and the best levels lie at the end of the last one.

Prices are kept as `rank`: ticks for bids, minus ticks for asks, so that a greater rank is a better price on both sides
and one set of functions serves both. Compiled functions without checks: `apply.py` checks what they are given.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.compiled import compiled, inlined, internal

BID, ASK = 0, 1  # sides
WIDTH = 64  # levels in a block: few enough to move in tens of ns, enough for a short sequence


class Ladder(NamedTuple):
    """Levels of both sides (0 bid, 1 ask), worst first.

    Attributes:
        rank, lots, orders: (2, blocks, WIDTH) int64; a level's rank, lots and number of orders; of a level that an L2
            event told, minus the number of that event, so that the older of two levels is known.
        fill: (2, blocks) int64, levels in a block.
        order: (2, blocks) int64, the blocks from worst to best; those behind `used` are free.
        low: (2, blocks) int64, the lowest rank of each block of that order.
        used, depth: (2,) int64, blocks and levels of a side.
    """

    rank: NDArray[np.int64]
    lots: NDArray[np.int64]
    orders: NDArray[np.int64]
    fill: NDArray[np.int64]
    order: NDArray[np.int64]
    low: NDArray[np.int64]
    used: NDArray[np.int64]
    depth: NDArray[np.int64]


def empty_ladder(blocks: int) -> Ladder:
    """No levels, and room for `blocks` blocks a side."""
    rank, lots, orders = (np.zeros((2, blocks, WIDTH), np.int64) for _ in range(3))
    fill, low = (np.zeros((2, blocks), np.int64) for _ in range(2))
    used, depth = (np.zeros(2, np.int64) for _ in range(2))
    return Ladder(rank, lots, orders, fill, np.tile(np.arange(blocks), (2, 1)), low, used, depth)


def wider(ladder: Ladder) -> Ladder:
    """The same levels with twice the room."""
    larger = empty_ladder(2 * ladder.fill.shape[1])
    for old, new in zip(ladder, larger, strict=True):
        new[tuple(slice(n) for n in old.shape)] = old
    return larger


@compiled
def find(ladder, side, wanted):  # type: ignore[no-untyped-def]
    """(position of block, index in it, there): where a rank is, or where it belongs.

    The search for the block starts at the best, where most changes are.
    """
    position = ladder.used[side] - 1
    if position < 0:
        return 0, 0, False
    step = 1
    while position > 0 and ladder.low[side, position] > wanted:
        position -= step
        step *= 2
    if position < 0:
        position = 0
    high = min(position + step, ladder.used[side]) if step > 1 else position + 1
    while high - position > 1:
        middle = (position + high) >> 1
        if ladder.low[side, middle] <= wanted:
            position = middle
        else:
            high = middle
    block = ladder.order[side, position]
    rank, fill, at = ladder.rank[side, block], ladder.fill[side, block], 0
    for i in range(WIDTH):  # all of them: vectors count faster than a search whose branches are mispredicted
        at += (i < fill) & (rank[i] < wanted)
    return position, at, at < fill and rank[at] == wanted


@internal
def _open_block(ladder, side, position):  # type: ignore[no-untyped-def]
    """Put a free block at this position of the order; there must be one. Returns the block."""
    used = ladder.used[side]
    block = ladder.order[side, used]
    for p in range(used, position, -1):
        ladder.order[side, p] = ladder.order[side, p - 1]
        ladder.low[side, p] = ladder.low[side, p - 1]
    ladder.order[side, position] = block
    ladder.fill[side, block] = 0
    ladder.used[side] += 1
    return block


@internal
def _close_block(ladder, side, position):  # type: ignore[no-untyped-def]
    """Free the block at this position of the order."""
    block, used = ladder.order[side, position], ladder.used[side]
    for p in range(position, used - 1):
        ladder.order[side, p] = ladder.order[side, p + 1]
        ladder.low[side, p] = ladder.low[side, p + 1]
    ladder.order[side, used - 1] = block
    ladder.used[side] -= 1


@internal
def _split(ladder, side, position):  # type: ignore[no-untyped-def]
    """Move the better half of a full block into a new one behind it; the best block keeps nearly all of its own."""
    block = ladder.order[side, position]
    # prices that run away from the rest would leave half-empty blocks behind: at the end of the order split late
    kept = WIDTH - WIDTH // 8 if position == ladder.used[side] - 1 else WIDTH // 2
    other = _open_block(ladder, side, position + 1)
    for i in range(kept, WIDTH):
        ladder.rank[side, other, i - kept] = ladder.rank[side, block, i]
        ladder.lots[side, other, i - kept] = ladder.lots[side, block, i]
        ladder.orders[side, other, i - kept] = ladder.orders[side, block, i]
    ladder.fill[side, block] = kept
    ladder.fill[side, other] = WIDTH - kept
    ladder.low[side, position + 1] = ladder.rank[side, other, 0]


# The indices of these two are unsigned: numba asks of every signed one whether it counts from the end, and LLVM then
# moves the values one by one.
@inlined
def _move_up(values, first, end):  # type: ignore[no-untyped-def]
    """Move the values first … end - 1 one place up."""
    for i in range(np.uintp(end), np.uintp(first), -1):
        values[i] = values[i - np.uintp(1)]


@inlined
def _move_down(values, first, end):  # type: ignore[no-untyped-def]
    """Move the values first + 1 … end one place down."""
    for i in range(np.uintp(first), np.uintp(end)):
        values[i] = values[i + np.uintp(1)]


@compiled
def insert(ladder, side, position, at, rank, lots, count):  # type: ignore[no-untyped-def]
    """Put a new level where `find` said; there must be a free block."""
    if ladder.used[side] == 0:
        _open_block(ladder, side, 0)
    elif ladder.fill[side, ladder.order[side, position]] == WIDTH:
        _split(ladder, side, position)
        kept = ladder.fill[side, ladder.order[side, position]]
        if at > kept:
            position, at = position + 1, at - kept
    block = ladder.order[side, position]
    fill = ladder.fill[side, block]
    _move_up(ladder.rank[side, block], at, fill)
    _move_up(ladder.lots[side, block], at, fill)
    _move_up(ladder.orders[side, block], at, fill)
    ladder.rank[side, block, at] = rank
    ladder.lots[side, block, at] = lots
    ladder.orders[side, block, at] = count
    ladder.fill[side, block] += 1
    ladder.depth[side] += 1
    ladder.low[side, position] = ladder.rank[side, block, 0]


@compiled
def remove(ladder, side, position, at):  # type: ignore[no-untyped-def]
    """Take out the level that `find` found."""
    block = ladder.order[side, position]
    fill = ladder.fill[side, block] - 1
    _move_down(ladder.rank[side, block], at, fill)
    _move_down(ladder.lots[side, block], at, fill)
    _move_down(ladder.orders[side, block], at, fill)
    ladder.fill[side, block] = fill
    ladder.depth[side] -= 1
    if fill == 0:
        _close_block(ladder, side, position)
    else:
        ladder.low[side, position] = ladder.rank[side, block, 0]


@compiled
def best(ladder, side):  # type: ignore[no-untyped-def]
    """Rank of the best level; there must be one."""
    block = ladder.order[side, ladder.used[side] - 1]
    return ladder.rank[side, block, ladder.fill[side, block] - 1]


@compiled
def clear_side(ladder, side):  # type: ignore[no-untyped-def]
    """Void a side."""
    ladder.used[side] = 0
    ladder.depth[side] = 0


@internal
def level_lots(ladder, side, rank):  # type: ignore[no-untyped-def]
    """Lots at a level, 0 if there is none."""
    position, at, there = find(ladder, side, rank)
    return ladder.lots[side, ladder.order[side, position], at] if there else 0


@internal
def set_level(ladder, side, rank, lots, event):  # type: ignore[no-untyped-def]
    """Set a level's lots, as event number `event` (1 and on) tells it; 0 removes the level."""
    position, at, there = find(ladder, side, rank)
    if there and lots > 0:
        block = ladder.order[side, position]
        ladder.lots[side, block, at] = lots
        if ladder.orders[side, block, at] < 0:
            ladder.orders[side, block, at] = -event
    elif there:
        remove(ladder, side, position, at)
    elif lots > 0:
        insert(ladder, side, position, at, rank, lots, -event)


@internal
def best_told(ladder, side):  # type: ignore[no-untyped-def]
    """The number of the L2 event that told the best level; 0: it is made of orders. There must be one."""
    block = ladder.order[side, ladder.used[side] - 1]
    return max(-ladder.orders[side, block, ladder.fill[side, block] - 1], 0)


@internal
def change_level(ladder, side, rank, lots, orders):  # type: ignore[no-untyped-def]
    """Add lots and orders to a level, or take them off it where negative.

    A level without orders is removed; so is one without lots, which is met where a feed mixes L2 and L3 events.
    """
    position, at, there = find(ladder, side, rank)
    if there:
        block = ladder.order[side, position]
        ladder.lots[side, block, at] += lots
        ladder.orders[side, block, at] = max(ladder.orders[side, block, at], 0) + orders
        if ladder.orders[side, block, at] <= 0 or ladder.lots[side, block, at] <= 0:
            remove(ladder, side, position, at)
    elif lots > 0:
        insert(ladder, side, position, at, rank, lots, orders)


@compiled
def copy_top(ladder, side, px, lots, empty):  # type: ignore[no-untyped-def]
    """Write the best levels, best first, price in ticks and lots, into two (levels,) arrays; absent: `empty` and 0."""
    shown, position, sign = 0, ladder.used[side] - 1, 1 - 2 * side
    while shown < len(px) and position >= 0:
        block = ladder.order[side, position]
        i = ladder.fill[side, block] - 1
        while i >= 0 and shown < len(px):
            px[shown] = sign * ladder.rank[side, block, i]
            lots[shown] = ladder.lots[side, block, i]
            shown += 1
            i -= 1
        position -= 1
    for i in range(shown, len(px)):
        px[i] = empty
        lots[i] = 0
