"""hftbacktest around a feed whose events all have times of their own. Importing it needs the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nanoarb_jax.market import event as ev
from nanoarb_jax.market.event import BUY, EVENT, EXCH_EVENT, LAST, LOCAL_EVENT, SELL

hft = pytest.importorskip("hftbacktest", reason="needs the package hftbacktest")

TICK, LOT, SCALE, REACH = 0.1, 0.001, 5.0, 20_000
REAL = Path("data/binance/usdm/btcusdt_20240718.gz")
APART = 10  # ns between events: each step of time meets one


def backtest(events: NDArray, tick_size: float) -> Any:
    asset = (
        hft.BacktestAsset()
        .data(events)
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0, 0)
        .tick_size(tick_size)
        .lot_size(LOT)
        .last_trades_capacity(1000)
    )
    return hft.HashMapMarketDepthBacktest([asset])


def one_by_one(events: NDArray) -> NDArray:
    """The same events, seen by both sides, at times of their own; and a last one that changes nothing, so that time
    goes on for a while.
    """
    events = np.concatenate([events, events[-1:]])
    events["ev"][-1], events["ival"][-1] = ev.TRADE, 0
    events["ev"] |= np.uint64(EXCH_EVENT | LOCAL_EVENT)
    events["exch_ts"] = events["local_ts"] = (np.arange(len(events)) + 1) * APART
    return events


def synthetic_events(seed: int, count: int = 3000) -> NDArray:
    """A snapshot, then diffs and trades about a price that walks; at the end of a message the book is not crossed.

    In between it is: a diff's bids come before its asks.
    """
    rng, messages = np.random.default_rng(seed), []
    mid, lots = 2000, rng.integers(1, 9, (2, 40))
    for _ in range(count // 8):
        step = int(rng.integers(-3, 4))
        bids = [(mid + k, 0) for k in range(step, 0)] + [(mid + k, int(rng.integers(1, 9))) for k in range(step)]
        asks = [(mid + k, 0) for k in range(step + 1)] + [(mid + k, int(rng.integers(1, 9))) for k in range(step, 0)]
        mid += step
        bids += [(mid - 1 - int(k), int(q)) for k, q in rng.integers(0, 30, (3, 2))]
        asks += [(mid + 1 + int(k), int(q)) for k, q in rng.integers(0, 30, (3, 2))]
        changes = [(ev.DEPTH | BUY, *c) for c in bids] + [(ev.DEPTH | SELL, *c) for c in asks]
        trade = [(ev.TRADE | (BUY if step > 0 else SELL), mid, int(rng.integers(1, 99)))]
        messages += [changes, trade] if rng.random() < 0.4 else [changes]
    first = [(ev.DEPTH_SNAPSHOT | side, 2000 + sign * (k + 1), int(lots[i, k])) for k in range(40)
             for i, (side, sign) in enumerate(((BUY, -1), (SELL, 1)))]  # fmt: skip
    rows = [(*row, k == len(m) - 1) for m in [first, *messages] for k, row in enumerate(m)]
    events = np.zeros(len(rows), EVENT)
    code, ticks, quantity, last = np.array(rows, np.int64).T
    events["ev"], events["px"], events["qty"], events["ival"] = code, ticks * TICK, quantity * LOT, last * LAST
    return events
