"""The queues of the synthetic market's book: its state, and what one order does to it.

All state is in one record of arrays, random numbers included (xoshiro256++, Blackman and Vigna 2019): copy it, and the
copy goes on exactly as the original does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.book.ladder import ASK, BID
from nanoarb_jax.market.compiled import allocating, inlined
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS
from nanoarb_jax.simulation.config import KINDS, MAX_DEPTH, MarketConfig

LIMIT, CANCEL, MARKET = 0, 1, 2
TYPES = 2 * KINDS  # kinds of bids, then of asks
LEVEL, TRADED = 0, 1  # a part of a message gives the lots that a level has now, or the lots traded there
_SWEEP = 8  # price levels a market order takes at most; the rest of it is cancelled
# a market order has two parts per level, and one for every level that comes into view behind it
MAX_PARTS = _SWEEP * (2 + MAX_DEPTH)

# The whole state of a market. A record, not a tuple of arrays: compiled code reads it without counting references,
# which would cost several times the simulation. Sides are bid, ask; levels count ticks behind the best price.
STATE = np.dtype(
    [
        ("best", "i8", 2),  # best prices, in ticks
        ("queue", "i8", (2, MAX_DEPTH)),  # lots; column 0 is never 0, columns from the config's depth on are not used
        ("limit_weight", "f8", (2, MAX_DEPTH)),  # shares of the levels in the limit ...
        ("cancel_weight", "f8", (2, MAX_DEPTH)),  # ... and cancel intensity
        ("multiplier", "f8", TYPES),  # g in the formula of arrivals.py
        ("fast", "f8", TYPES),  # excitation, per second
        ("slow", "f8", TYPES),
        ("clock_ns", "i8"),  # time of the last order
        ("rng", "u8", 4),  # state of the random numbers
    ],
    align=True,
)

# a `MarketConfig` as the compiled functions read it; rates per second, sizes in lots
RULES = np.dtype(
    [
        ("base", "f8", TYPES),
        ("fast_jump", "f8", (TYPES, TYPES)),  # parent, child
        ("slow_jump", "f8", (TYPES, TYPES)),
        ("fast_decay", "f8"),
        ("slow_decay", "f8"),
        ("nearness", "f8", MAX_DEPTH),  # sums to 1
        ("depth", "i8"),
        ("queue_lots", "f8"),
        ("reaction", "f8"),
        ("occupancy", "f8"),
        ("improve_rate", "f8"),
        ("excess_lots", "f8"),  # mean size of an order beyond its first lot, over the mean of the power
        ("excess_cancelling", "f8"),  # the same of a cancellation
        ("excess_improving", "f8"),  # and of an order into a wide spread
        ("size_power", "f8"),
        ("start_ticks", "i8"),
        ("pull", "f8"),
    ],
    align=True,
)


def make_rules(config: MarketConfig) -> NDArray[np.void]:
    """(1,) RULES: what the compiled functions need of a config."""
    rules = np.zeros(1, RULES)
    for name in ("fast_decay", "slow_decay", "depth", "queue_lots", "reaction", "occupancy", "improve_rate"):
        rules[name] = getattr(config, name)
    for name in ("size_power", "start_ticks", "pull"):
        rules[name] = getattr(config, name)
    nearness = np.exp(-np.arange(config.depth) / config.reach_ticks)
    rules["nearness"][0, : config.depth] = nearness / nearness.sum()
    rules["base"] = [config.limit_rate, config.cancel_rate, config.market_rate] * 2
    rules["fast_jump"] = config.excitation("fast") * config.fast_decay
    rules["slow_jump"] = config.excitation("slow") * config.slow_decay
    for name, kind in (("excess_lots", "order"), ("excess_cancelling", "cancel"), ("excess_improving", "improve")):
        # sizes are rounded down, so half a lot is lost on average
        lots = getattr(config, f"{kind}_lots")
        rules[name] = (lots - 0.5) / math.gamma(1.0 + config.size_power) if lots > 1 else 0.0
    return rules


@inlined
def _rotate(x, bits):  # type: ignore[no-untyped-def]
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@allocating
def uniform(rng):  # type: ignore[no-untyped-def]
    """The next number in [0, 1)."""
    drawn = _rotate(rng[0] + rng[3], 23) + rng[0]
    shifted = rng[1] << np.uint64(17)
    rng[2] ^= rng[0]
    rng[3] ^= rng[1]
    rng[1] ^= rng[2]
    rng[0] ^= rng[3]
    rng[2] ^= shifted
    rng[3] = _rotate(rng[3], 45)
    return np.float64(drawn >> np.uint64(11)) * 2.0**-53


@allocating
def exponential(rng):  # type: ignore[no-untyped-def]
    """The next number of an exponential distribution with mean 1."""
    return -np.log(1.0 - uniform(rng))


@allocating
def _order_lots(rules, excess_lots, rng):  # type: ignore[no-untyped-def]
    """Size of an order, at least 1 lot."""
    x = exponential(rng)
    if rules.size_power != 1.0:
        x = x**rules.size_power
    return 1 + int(x * excess_lots)


@allocating
def far_lots(rules, rng, quoted):  # type: ignore[no-untyped-def]
    """Size of a level that comes into view."""
    if not quoted and uniform(rng) >= rules.occupancy:
        return 0
    return 1 + int(0.5 * (exponential(rng) + exponential(rng)) * rules.queue_lots)


@allocating
def _weigh(state, rules, side, level):  # type: ignore[no-untyped-def]
    """Limit orders join short queues, cancellations thin out long ones; both multipliers are 1 at queue_lots."""
    size, most = state.queue[side, level], 1.0 + rules.reaction
    state.limit_weight[side, level] = rules.nearness[level] * most / (1.0 + rules.reaction * size / rules.queue_lots)
    state.cancel_weight[side, level] = (
        rules.nearness[level] * most * size / (size + rules.reaction * rules.queue_lots) if size > 0 else 0.0
    )


@allocating
def _sum_up(state, rules, side):  # type: ignore[no-untyped-def]
    """Bring the multipliers of one side in line with its levels; market orders race for a short best queue."""
    limit, cancel = 0.0, 0.0
    for level in range(rules.depth):
        limit += state.limit_weight[side, level]
        cancel += state.cancel_weight[side, level]
    first = side * KINDS
    state.multiplier[first + LIMIT] = limit
    state.multiplier[first + CANCEL] = cancel
    state.multiplier[first + MARKET] = (1.0 + rules.reaction) / (
        1.0 + rules.reaction * state.queue[side, 0] / rules.queue_lots
    )


@allocating
def weigh_side(state, rules, side):  # type: ignore[no-untyped-def]
    """Set the weights of all levels of a side, and the multipliers that follow from them."""
    for level in range(rules.depth):
        _weigh(state, rules, side, level)
    _sum_up(state, rules, side)


@allocating
def _write_part(journal, parts, what, side, price, lots):  # type: ignore[no-untyped-def]
    """Append a part of the message to the journal; returns the number of parts."""
    journal[parts, 0] = what
    journal[parts, 1] = side
    journal[parts, 2] = price
    journal[parts, 3] = lots
    return parts + 1


@allocating
def improve(state, rules, side, journal):  # type: ignore[no-untyped-def]
    """An order inside the spread becomes the best price; levels that drop out of view are deleted first."""
    queue, best, depth = state.queue, state.best, rules.depth
    better = 1 if side == BID else -1
    inner = min(best[ASK] - best[BID] - 1, depth - 1)
    ticks = 1 + int(uniform(state.rng) * inner)
    parts = 0
    for level in range(depth - 1, depth - 1 - ticks, -1):
        if queue[side, level] > 0:
            parts = _write_part(journal, parts, LEVEL, side, best[side] - better * level, 0)
    for level in range(depth - 1, ticks - 1, -1):
        queue[side, level] = queue[side, level - ticks]
    for level in range(ticks):
        queue[side, level] = 0
    queue[side, 0] = _order_lots(rules, rules.excess_improving, state.rng)
    best[side] += better * ticks
    weigh_side(state, rules, side)
    return _write_part(journal, parts, LEVEL, side, best[side], queue[side, 0])


@allocating
def _recede(state, rules, side, journal, parts):  # type: ignore[no-untyped-def]
    """The best queue is used up: the next quoted level is best, and levels come into view at the far end."""
    queue, best, depth = state.queue, state.best, rules.depth
    better = 1 if side == BID else -1
    gap = 1
    while gap < depth and queue[side, gap] == 0:
        gap += 1
    for level in range(depth - gap):
        queue[side, level] = queue[side, level + gap]
    best[side] -= better * gap
    for level in range(depth - gap, depth):
        queue[side, level] = far_lots(rules, state.rng, level == 0)
        if queue[side, level] > 0:
            parts = _write_part(journal, parts, LEVEL, side, best[side] - better * level, queue[side, level])
    return parts


@allocating
def _take(state, rules, side, level, lots, traded, journal, parts):  # type: ignore[no-untyped-def]
    """Take up to `lots` off a level; returns what was taken and the number of parts."""
    queue, best = state.queue, state.best
    taken = min(lots, queue[side, level])
    if level == 0 and side == BID and best[BID] <= rules.start_ticks // 4:
        taken = min(taken, queue[side, 0] - 1)  # prices stay positive: this low, the best bid keeps a lot
    price = best[side] - level if side == BID else best[side] + level
    queue[side, level] -= taken
    if traded and taken > 0:
        parts = _write_part(journal, parts, TRADED, side, price, taken)
    parts = _write_part(journal, parts, LEVEL, side, price, queue[side, level])
    if queue[side, 0] == 0:
        parts = _recede(state, rules, side, journal, parts)
        weigh_side(state, rules, side)
    else:
        _weigh(state, rules, side, level)
        _sum_up(state, rules, side)
    return taken, parts


@allocating
def _pick_level(weights, side, depth, total, rng):  # type: ignore[no-untyped-def]
    target, picked = uniform(rng) * total, 0
    for level in range(depth):
        if weights[side, level] > 0.0:
            picked = level
            target -= weights[side, level]
            if target < 0.0:
                break
    return picked


@allocating
def act(state, rules, kind, side, journal):  # type: ignore[no-untyped-def]
    """Let one order change the book; returns the number of parts in the journal."""
    if kind == MARKET:
        lots, parts = _order_lots(rules, rules.excess_lots, state.rng), 0
        for _ in range(_SWEEP):
            taken, parts = _take(state, rules, side, 0, lots, True, journal, parts)
            lots -= taken
            if lots == 0 or taken == 0:
                break
        return parts
    total = state.multiplier[side * KINDS + kind]
    if kind == CANCEL:
        level = _pick_level(state.cancel_weight, side, rules.depth, total, state.rng)
        lots = _order_lots(rules, rules.excess_cancelling, state.rng)
        return _take(state, rules, side, level, lots, False, journal, 0)[1]
    level = _pick_level(state.limit_weight, side, rules.depth, total, state.rng)
    state.queue[side, level] += _order_lots(rules, rules.excess_lots, state.rng)
    _weigh(state, rules, side, level)
    _sum_up(state, rules, side)
    price = state.best[side] - level if side == BID else state.best[side] + level
    return _write_part(journal, 0, LEVEL, side, price, state.queue[side, level])


@allocating
def show(state, rules, side, row, px, lots):  # type: ignore[no-untyped-def]
    """Write the first ten quoted levels of one side into a row of px and lots, (n, 10)."""
    worse, shown = -1 if side == BID else 1, 0
    for level in range(rules.depth):
        if state.queue[side, level] > 0:
            px[row, shown] = state.best[side] + worse * level
            lots[row, shown] = state.queue[side, level]
            shown += 1
            if shown == LEVELS:
                break
    for level in range(shown, LEVELS):
        px[row, level] = EMPTY_PRICE
        lots[row, level] = 0
