"""The arrivals of the synthetic market: when the next order comes, of which type, and how it excites later orders.

Orders are of six types, three kinds (limit, cancel, market) on two sides of the book, and arrive with the intensities

    lambda_j(t) = g_j(queues) * (mu_j + fast_j(t) + slow_j(t))

of a queue-reactive Hawkes process (Wu, Rambaldi, Muzy, Bacry 2019; the queue-reactive part g is that of Huang, Lehalle,
Rosenbaum 2015): every order adds to fast and slow, which decay exponentially, so an update costs the same however long
the history is. Between two orders the book, and with it g, stands still, so the total intensity is a constant plus two
decaying exponentials: three independent processes whose first points are drawn directly by inverting their integrals
(Dassios and Zhao 2013). The earliest is the next order, and whose point it is says which part to pick the type from.
That is exact and rejects nothing. Orders into a wide spread are a seventh, spontaneous kind; they excite as limit
orders do.
"""

from __future__ import annotations

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nanoarb_jax.market.book.ladder import ASK, BID
from nanoarb_jax.market.compiled import allocating
from nanoarb_jax.simulation.config import KINDS, MarketConfig
from nanoarb_jax.simulation.queues import (
    LIMIT,
    MARKET,
    MAX_PARTS,
    STATE,
    TYPES,
    act,
    exponential,
    far_lots,
    improve,
    uniform,
    weigh_side,
)

SETTLING_ORDERS = 5_000  # orders until the market has forgotten how it was started
_START_NS = 1_704_205_800_000_000_000  # 2 January 2024, 14:30 UTC
_INNER_TICKS = 4  # most ticks inside a wide spread that add to the rate of orders into it


def start(config: MarketConfig, rules: NDArray[np.void], seed: SeedSequence) -> NDArray[np.void]:
    """(1,) STATE of a market that has run for a while."""
    state = np.zeros(1, STATE)
    state["best"] = config.start_ticks, config.start_ticks + 1
    state["clock_ns"] = _START_NS
    state["rng"] = seed.generate_state(4, np.uint64)
    settle(state, rules, SETTLING_ORDERS)
    return state


@allocating
def _pick_type(multiplier, rates, total, rng):  # type: ignore[no-untyped-def]
    """Draw an order type in proportion to multiplier * rates, whose sum is `total`."""
    target, picked = uniform(rng) * total, 0
    for j in range(TYPES):
        weight = multiplier[j] * rates[j]
        if weight > 0.0:
            picked = j
            target -= weight
            if target < 0.0:
                break
    return picked


@allocating
def _base_rates(state, rules, base):  # type: ignore[no-untyped-def]
    """Fill `base`, (6,), with mu; returns the intensity of spontaneous orders."""
    stretch = rules.pull * (state.best[BID] - rules.start_ticks) / rules.start_ticks
    stretch = min(max(stretch, -1.0), 1.0)
    for j in range(TYPES):
        base[j] = rules.base[j]
    base[MARKET] *= 1.0 + stretch
    base[KINDS + MARKET] *= 1.0 - stretch
    total = 0.0
    for j in range(TYPES):
        total += state.multiplier[j] * base[j]
    return total


@allocating
def _wait(state, rules, constant, fast, slow):  # type: ignore[no-untyped-def]
    """Seconds until the next order and the part whose order it is: 0 constant, 1 fast, 2 slow."""
    part, seconds = 0, exponential(state.rng) / constant
    spent = exponential(state.rng) * rules.fast_decay
    if spent < fast:
        first = -np.log1p(-spent / fast) / rules.fast_decay
        if first < seconds:
            part, seconds = 1, first
    spent = exponential(state.rng) * rules.slow_decay
    if spent < slow:
        first = -np.log1p(-spent / slow) / rules.slow_decay
        if first < seconds:
            part, seconds = 2, first
    return part, seconds


@allocating
def _decay(state, rules, seconds):  # type: ignore[no-untyped-def]
    """Let time pass: the excitation of the orders so far decays."""
    kept_fast, kept_slow = np.exp(-rules.fast_decay * seconds), np.exp(-rules.slow_decay * seconds)
    for j in range(TYPES):
        state.fast[j] *= kept_fast
        state.slow[j] *= kept_slow
    state.clock_ns += int(seconds * 1e9)


@allocating
def _excite(state, rules, parent):  # type: ignore[no-untyped-def]
    """Add what an order of type `parent` adds to the intensities."""
    for j in range(TYPES):
        state.fast[j] += rules.fast_jump[parent, j]
        state.slow[j] += rules.slow_jump[parent, j]


@allocating
def _pick_side(state, base):  # type: ignore[no-untyped-def]
    """Draw the side of an order into a wide spread, in proportion to the intensities of limit orders."""
    bid, ask = LIMIT, KINDS + LIMIT
    bid_rate = state.multiplier[bid] * (base[bid] + state.fast[bid] + state.slow[bid])
    ask_rate = state.multiplier[ask] * (base[ask] + state.fast[ask] + state.slow[ask])
    return BID if uniform(state.rng) * (bid_rate + ask_rate) < bid_rate else ASK


@allocating
def intensities(state, rules, base):  # type: ignore[no-untyped-def]
    """Orders per second right after the last order: constant, into a wide spread, fast and slow decaying."""
    constant, fast, slow = _base_rates(state, rules, base), 0.0, 0.0
    for j in range(TYPES):
        fast += state.multiplier[j] * state.fast[j]
        slow += state.multiplier[j] * state.slow[j]
    eager = rules.improve_rate * min(state.best[ASK] - state.best[BID] - 1, _INNER_TICKS)
    return constant, eager, fast, slow


@allocating
def advance(state, rules, base, journal):  # type: ignore[no-untyped-def]
    """Let the next order happen, in place.

    Args:
        state, rules: the market.
        base: (6,) float64 scratch.
        journal: (MAX_PARTS, 4) int64, overwritten: the parts of its message, rows of LEVEL or TRADED, side of the book,
            price in ticks, lots (LEVEL: left there; TRADED: taken).

    Returns:
        number of journal rows, and the side of the book that changed.
    """
    multiplier, rng = state.multiplier, state.rng
    constant, eager, fast, slow = intensities(state, rules, base)
    part, seconds = _wait(state, rules, constant + eager, fast, slow)
    improves = part == 0 and uniform(rng) * (constant + eager) < eager
    picked = LIMIT
    if part == 1:
        picked = _pick_type(multiplier, state.fast, fast, rng)
    elif part == 2:
        picked = _pick_type(multiplier, state.slow, slow, rng)
    elif not improves:
        picked = _pick_type(multiplier, base, constant, rng)
    _decay(state, rules, seconds)
    if improves:
        side, kind = _pick_side(state, base), LIMIT
        parts = improve(state, rules, side, journal)
    else:
        side, kind = picked // KINDS, picked % KINDS
        parts = act(state, rules, kind, side, journal)
    _excite(state, rules, side * KINDS + kind)
    return parts, side


@allocating
def settle(states, rulebook, orders):  # type: ignore[no-untyped-def]
    """Fill an empty book and let `orders` orders happen."""
    state, rules = states[0], rulebook[0]
    for side in range(2):
        for level in range(rules.depth):
            state.queue[side, level] = far_lots(rules, state.rng, level == 0)
        weigh_side(state, rules, side)
    base, journal = np.empty(TYPES), np.empty((MAX_PARTS, 4), np.int64)
    for _ in range(orders):
        advance(state, rules, base, journal)
