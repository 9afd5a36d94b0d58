"""A seeded synthetic market: a queue-reactive order book under a hidden, persistent order-flow regime.

Limit orders, cancellations and market orders arrive as competing Poisson processes whose intensities depend on the
queues (Huang, Lehalle, Rosenbaum 2015, "Simulating and analyzing order book data: the queue-reactive model"). A
regime – sellers lead, nobody leads, buyers lead – tilts the flow and lasts hundreds of events, so the past says more
than the present book. Prices move when a best queue is used up or an order arrives inside the spread.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries

BID, ASK = 0, 1
_DEPTH = 20  # price ticks kept behind each best price; the first ten that are quoted are shown
_CANCEL, _MARKET, _IMPROVE, _ACTIONS = _DEPTH, 2 * _DEPTH, 2 * _DEPTH + 1, 2 * _DEPTH + 2

# per second and side
_LIMIT_RATE = 8.0  # at the best price; like cancellations, falling by exp(-1 / reach) per tick behind it
_CANCEL_RATE = 0.5  # per lot in the queue
_REACH_TICKS = 3.0
_MARKET_RATE = 10.0
_IMPROVE_RATE = 40.0  # into a spread wider than one tick
_MEAN_LOTS = 4.0  # of an order; sizes are geometric
# log intensities per unit of regime and of level-1 imbalance
_REGIME_TILT = 0.7
_QUEUE_TILT = 0.5
_BURN_IN = 2_000  # events until the first book has forgotten how it was started
_START_NS = 1_704_205_800_000_000_000  # 2 January 2024, 14:30 UTC


@njit(cache=True)
def _lots(rng):  # type: ignore[no-untyped-def]
    return 1 + int(rng.standard_exponential() * (_MEAN_LOTS - 1.0))


@njit(cache=True)
def _fill_rates(queue, spread, regime, nearness, rates):  # type: ignore[no-untyped-def]
    """Intensity of every action, (2 * actions,), bids first; returns their sum."""
    bid, ask = queue[BID, 0], queue[ASK, 0]
    upward = _REGIME_TILT * regime + _QUEUE_TILT * (bid - ask) / (bid + ask)
    total = 0.0
    for side in range(2):
        favour = upward if side == BID else -upward
        first = side * _ACTIONS
        for level in range(_DEPTH):
            rates[first + level] = _LIMIT_RATE * nearness[level]
            rates[first + _CANCEL + level] = _CANCEL_RATE * nearness[level] * queue[side, level]
            total += rates[first + level] + rates[first + _CANCEL + level]
        rates[first + _MARKET] = _MARKET_RATE * np.exp(-favour)
        rates[first + _IMPROVE] = _IMPROVE_RATE * np.exp(favour) if spread > 1 else 0.0
        total += rates[first + _MARKET] + rates[first + _IMPROVE]
    return total


@njit(cache=True)
def _pick(rates, target):  # type: ignore[no-untyped-def]
    """(side, action) where the running sum of intensities passes `target`."""
    picked = 0
    for i in range(len(rates)):
        if rates[i] > 0.0:
            picked = i
            target -= rates[i]
            if target < 0.0:
                break
    return picked // _ACTIONS, picked % _ACTIONS


@njit(cache=True)
def _act(queue, best, side, action, rng):  # type: ignore[no-untyped-def]
    """Let one order join or leave one side (bid or ask); the best price follows the queues."""
    better = 1 if side == BID else -1
    if action == _IMPROVE:
        for level in range(_DEPTH - 1, 0, -1):
            queue[side, level] = queue[side, level - 1]
        queue[side, 0] = _lots(rng)
        best[side] += better
    elif action < _CANCEL:
        queue[side, action] += _lots(rng)
    else:
        level = 0 if action == _MARKET else action - _CANCEL
        queue[side, level] -= min(_lots(rng), queue[side, level])
        while queue[side, 0] == 0:
            for level in range(_DEPTH - 1):
                queue[side, level] = queue[side, level + 1]
            queue[side, _DEPTH - 1] = _lots(rng)
            best[side] -= better


@njit(cache=True)
def _show(queue, best, side, px, sz):  # type: ignore[no-untyped-def]
    """Write the first ten quoted levels of one side into px and sz, (10,)."""
    worse = -1 if side == BID else 1
    shown = 0
    for level in range(_DEPTH):
        if queue[side, level] > 0 and shown < LEVELS:
            px[shown] = best[side] + worse * level
            sz[shown] = queue[side, level]
            shown += 1
    for level in range(shown, LEVELS):
        px[level] = EMPTY_PRICE
        sz[level] = 0


@njit(cache=True)
def _simulate(rng, start_ticks, regime_ticks, ts_ns, bid_px, bid_sz, ask_px, ask_sz):  # type: ignore[no-untyped-def]
    """Fill the arrays of a `BookSeries` with one book per order, prices in ticks."""
    queue = np.empty((2, _DEPTH), np.int64)
    nearness = np.empty(_DEPTH)
    for level in range(_DEPTH):
        nearness[level] = np.exp(-level / _REACH_TICKS)
        queue[BID, level], queue[ASK, level] = _lots(rng), _lots(rng)
    best = np.array([start_ticks, start_ticks + 1])
    rates = np.empty(2 * _ACTIONS)
    regime, clock_ns = 0, _START_NS
    for i in range(-_BURN_IN, len(ts_ns)):
        if rng.random() * regime_ticks < 1.0:
            regime = int(rng.random() * 3.0) - 1
        if best[BID] < start_ticks // 2:
            regime = 1  # prices stay positive: a market that has halved is bought
        total = _fill_rates(queue, best[ASK] - best[BID], regime, nearness, rates)
        clock_ns += int(rng.standard_exponential() / total * 1e9)
        side, action = _pick(rates, rng.random() * total)
        _act(queue, best, side, action, rng)
        if i >= 0:
            ts_ns[i] = clock_ns
            _show(queue, best, BID, bid_px[i], bid_sz[i])
            _show(queue, best, ASK, ask_px[i], ask_sz[i])


def synthetic_books(
    rows: int,
    seed: int | Sequence[int],
    *,
    tick_size: float = 0.25,
    start_ticks: int = 20_000,
    regime_ticks: float = 300.0,
    name: str = "synthetic",
) -> BookSeries:
    """Simulate `rows` books, one after every order; the same seed gives the same books.

    Args:
        rows: books wanted, at least 1.
        seed: of the random numbers, as `numpy.random.default_rng` takes it.
        tick_size: price of one tick.
        start_ticks: first best bid, in ticks; at least 1,000, to stay well above zero.
        regime_ticks: mean life of an order-flow regime, in events.
        name: of the series.

    Returns:
        A valid series; quantities in lots (`sz_scale` 1).

    Raises:
        DataError: an argument is out of range.

    >>> synthetic_books(1_000, seed=0).rows
    1000
    """
    for label, value, least in (
        ("rows", rows, 1),
        ("start_ticks", start_ticks, 1_000),
        ("regime_ticks", regime_ticks, 1),
    ):
        if not value >= least:
            raise DataError(f"synthetic market: {label}={value}; expected at least {least}")
    if not 0 < tick_size < np.inf:
        raise DataError(f"synthetic market: tick_size={tick_size}; expected a price above 0")
    ts_ns = np.empty(rows, np.int64)
    bid_px, bid_sz, ask_px, ask_sz = (np.empty((rows, LEVELS), np.int64) for _ in range(4))
    rng = np.random.default_rng(seed)
    _simulate(rng, int(start_ticks), float(regime_ticks), ts_ns, bid_px, bid_sz, ask_px, ask_sz)
    return BookSeries(ts_ns, bid_px, bid_sz, ask_px, ask_sz, px_scale=1.0 / tick_size, sz_scale=1.0, tick=1, name=name)
