"""A seeded synthetic market: events in hftbacktest's layout, or the books they make.

Limit orders, cancellations and market orders arrive as a queue-reactive Hawkes process (Huang, Lehalle, Rosenbaum 2015;
Wu, Rambaldi, Muzy, Bacry 2019): they depend on the queues and on the orders of the last seconds, so the past says more
than the present book. Prices move when a best queue is used up or an order arrives inside the spread. There is no
hidden regime: all that matters for the future follows from the past that the feed shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.book.ladder import ASK, BID
from nanoarb_jax.market.compiled import allocating
from nanoarb_jax.market.event import EVENT
from nanoarb_jax.market.series import LEVELS, BookSeries
from nanoarb_jax.simulation.arrivals import advance, start
from nanoarb_jax.simulation.config import MarketConfig
from nanoarb_jax.simulation.orders import order_events
from nanoarb_jax.simulation.queues import MAX_PARTS, TRADED, TYPES, make_rules, show

_BUY, _SELL = event.BOTH_SEE | event.BUY, event.BOTH_SEE | event.SELL


@allocating
def _copy_row_before(row, px, lots):  # type: ignore[no-untyped-def]
    """The side did not change: its levels are those of the row before."""
    for level in range(LEVELS):
        px[row, level] = px[row - 1, level]
        lots[row, level] = lots[row - 1, level]


@allocating
def _fill_books(states, rulebook, ts_ns, bid_px, bid_lots, ask_px, ask_lots, bought, sold):  # type: ignore[no-untyped-def]
    """Fill the arrays of a `BookSeries` with one book per order, prices in ticks, quantities in lots."""
    state, rules = states[0], rulebook[0]
    base, journal = np.empty(TYPES), np.empty((MAX_PARTS, 4), np.int64)
    for i in range(len(ts_ns)):
        parts, side = advance(state, rules, base, journal)
        taken = 0
        for part in range(parts):
            if journal[part, 0] == TRADED:
                taken += journal[part, 3]
        ts_ns[i] = state.clock_ns
        bought[i], sold[i] = (taken, 0) if side == ASK else (0, taken)
        if side == BID or i == 0:
            show(state, rules, BID, i, bid_px, bid_lots)
        else:
            _copy_row_before(i, bid_px, bid_lots)
        if side == ASK or i == 0:
            show(state, rules, ASK, i, ask_px, ask_lots)
        else:
            _copy_row_before(i, ask_px, ask_lots)


@allocating
def _fill_events(states, rulebook, events, filled, least, px_scale, lots_per_unit, latency_ns):  # type: ignore[no-untyped-def]
    """Append whole messages from index `filled` on until there are `least` events; returns their number."""
    state, rules = states[0], rulebook[0]
    base, journal = np.empty(TYPES), np.empty((MAX_PARTS, 4), np.int64)
    message = 1
    while filled < least:
        parts, _ = advance(state, rules, base, journal)
        for part in range(parts):
            traded, side = journal[part, 0] == TRADED, journal[part, 1]
            record = events[filled]
            # who trades against an ask has bought
            bits = _BUY if (side == BID) != traded else _SELL
            record.ev = bits | (event.TRADE if traded else event.DEPTH)
            record.exch_ts = state.clock_ns
            record.local_ts = state.clock_ns + latency_ns
            record.px = journal[part, 2] / px_scale
            record.qty = journal[part, 3] / lots_per_unit
            record.order_id = message
            record.ival = event.LAST if part == parts - 1 else 0
            record.fval = 0.0
            filled += 1
        message += 1
    return filled


def synthetic_books(
    rows: int,
    seed: int | Sequence[int],
    config: MarketConfig | None = None,
    *,
    tick_size: float | None = None,
    start_ticks: int | None = None,
    name: str = "synthetic",
) -> BookSeries:
    """Simulate `rows` books, one after every order; the same seed gives the same books.

    Args:
        rows: books wanted, at least 1.
        seed: of the random numbers, as `numpy.random.SeedSequence` takes it.
        config: the market; None is the preset "shallow".
        tick_size, start_ticks: instead of the config's.
        name: of the series.

    Returns:
        A valid series with trades; quantities are in lots (`lots_per_unit` lots per 1 of quantity).

    Raises:
        DataError: rows below 1, or a seed that is none.
        ConfigError: a setting is out of range.

    >>> from nanoarb_jax.simulation.market import synthetic_books
    >>> synthetic_books(1_000, seed=0).rows
    1000
    """
    _require_count("rows", rows)
    market = config or MarketConfig()
    config = dataclasses.replace(
        market,
        tick_size=market.tick_size if tick_size is None else tick_size,
        start_ticks=market.start_ticks if start_ticks is None else start_ticks,
    )
    rules, state = begin(config, seed)
    ts_ns, bought, sold = (np.empty(rows, np.int64) for _ in range(3))
    bid_px, bid_lots, ask_px, ask_lots = (np.empty((rows, LEVELS), np.int64) for _ in range(4))
    _fill_books(state, rules, ts_ns, bid_px, bid_lots, ask_px, ask_lots, bought, sold)
    px_scale, lots_per_unit = _scales(config)
    return BookSeries(ts_ns, bid_px, bid_lots, ask_px, ask_lots, px_scale, lots_per_unit, 1, name, bought, sold)


def synthetic_events(
    events: int,
    seed: int | Sequence[int],
    config: MarketConfig | None = None,
    *,
    level: Literal["l2", "l3"] = "l2",
) -> NDArray[np.void]:
    """Simulate a feed of price levels (L2) or orders (L3), and trades; the same seed gives the same events.

    It begins with a snapshot. Then every order is one message: the trades, the new quantities of the levels it changed
    and, where the best price moved, the levels that came into view (`config.depth` ticks a side are published) or
    dropped out; or, order by order, what `orders.order_events` says. The book after message i is row i of
    `synthetic_books` with the same seed and config.

    Args:
        events: at least this many are wanted, the snapshot included; the last message is given whole.
        seed: of the random numbers, as `numpy.random.SeedSequence` takes it.
        config: the market; None is the preset "shallow".
        level: "l2", DEPTH and TRADE events, `order_id` being the message's number; "l3", ADD, MODIFY, CANCEL, FILL and
            TRADE events of the same orders.

    Returns:
        (n,) `event.EVENT`, n >= events, seen by exchange and receiver.

    Raises:
        DataError: events below 1, a seed that is none, another level.

    >>> from nanoarb_jax.simulation.config import MarketConfig
    >>> from nanoarb_jax.simulation.market import synthetic_events
    >>> len(synthetic_events(1_000, 0, MarketConfig.preset("es"))) >= 1_000
    True
    """
    _require_count("events", events)
    if level not in ("l2", "l3"):
        raise DataError(f"synthetic market: level={level!r}; expected 'l2' or 'l3'")
    config = config or MarketConfig()
    rules, state = begin(config, seed)
    scales = _scales(config)
    if level == "l3":
        return order_events(events, state, rules, config, scales)
    first = _snapshot(state, config, *scales)
    made = np.zeros(max(events, len(first)) + MAX_PARTS, EVENT)
    made[: len(first)] = first
    count = _fill_events(state, rules, made, len(first), events, *scales, config.latency_ns)
    return made[:count]


def begin(config: MarketConfig, seed: int | Sequence[int]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """The market of a seed, before its first row.

    Raises:
        DataError: a seed that is none.
    """
    try:
        if seed is None:
            raise TypeError
        sequence = SeedSequence(seed)
    except (TypeError, ValueError) as error:
        raise DataError(f"synthetic market: seed={seed!r}; expected integers of 0 or more") from error
    rules = make_rules(config)
    return rules, start(config, rules, sequence)


def _require_count(label: str, value: int) -> None:
    if value < 1:
        raise DataError(f"synthetic market: {label}={value}; expected at least 1")


def _scales(config: MarketConfig) -> tuple[float, float]:
    """Ticks per 1 of price, lots per 1 of quantity; these divide, since 3 / 10.0 is 0.3 but 3 * 0.1 is not."""
    return 1.0 / config.tick_size, 1.0 / config.lot_size


def _snapshot(state: NDArray[np.void], config: MarketConfig, px_scale: float, lots_per_unit: float) -> NDArray[np.void]:
    """(n,) EVENT: the book before the first order, each side cleared first."""
    queue, best = state["queue"][0], state["best"][0]
    sides = []
    for side, bits, worse in ((BID, _BUY, -1), (ASK, _SELL, 1)):
        levels = np.flatnonzero(queue[side])
        part = np.zeros(1 + len(levels), EVENT)
        part["ev"] = bits | event.DEPTH_SNAPSHOT
        part["px"][1:] = (best[side] + worse * levels) / px_scale
        part["qty"][1:] = queue[side, levels] / lots_per_unit
        part["ev"][0], part["px"][0] = bits | event.CLEAR, part["px"][-1]
        sides.append(part)
    snapshot = np.concatenate(sides)
    snapshot["exch_ts"] = state["clock_ns"][0]
    snapshot["local_ts"] = state["clock_ns"][0] + config.latency_ns
    snapshot["ival"] = event.SNAPSHOT
    snapshot["ival"][-1] |= event.LAST
    return snapshot
