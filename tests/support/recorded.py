"""Made records of backtests, whose fills and account agree by construction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.trading.backtest.records import ACCOUNT, FILL, ORDER, TICK, Market, Recorded

MS = 1_000_000
LINEAR = Market("linear", tick_size=0.5, lot_size=1.0, contract_size=10.0, inverse=False, horizons=(10, 50))
INVERSE = LINEAR._replace(name="inverse", inverse=True)


def made_ticks(mids: Sequence[float] | NDArray, apart_ms: int = 100, spread: int = 2) -> NDArray:
    """Ticks at the exchange from time 0 on, received 1 ms later, decided 2 ms after that."""
    ticks = np.zeros(len(mids), TICK)
    ticks["exch_ns"] = np.arange(len(mids)) * apart_ms * MS
    ticks["local_ns"] = ticks["exch_ns"] + MS
    ticks["sent_ns"] = ticks["local_ns"] + 2 * MS
    ticks["ready"] = 1
    ticks["bid_ticks"] = np.asarray(mids) - spread / 2
    ticks["ask_ticks"] = ticks["bid_ticks"] + spread
    ticks["bid_qty"], ticks["ask_qty"] = 3.0, 1.0
    return ticks


def made_fills(rows: Sequence[tuple[int, float, float, float, int]], apart_ms: int = 100) -> NDArray:
    """Fills of (side, price in ticks, qty, fee, maker), one after every tick, 10 ms after it, known 5 ms later."""
    fills = np.zeros(len(rows), FILL)
    for name, column in zip(("side", "price_ticks", "qty", "fee", "maker"), zip(*rows, strict=True), strict=False):
        fills[name] = column
    fills["order"] = fills["tick"] = np.arange(len(rows))
    fills["exch_ns"] = np.arange(len(rows)) * apart_ms * MS + 10 * MS
    fills["local_ns"] = fills["exch_ns"] + 5 * MS
    return fills


def made_orders(fills: NDArray, ticks: NDArray) -> NDArray:
    """The orders of the fills, one each, filled in whole."""
    orders = np.zeros(len(fills), ORDER)
    for name in ("tick", "side", "qty", "price_ticks"):
        orders[name] = fills[name]
    orders["filled_qty"], orders["take"], orders["status"] = fills["qty"], 1 - fills["maker"], 3
    orders["sent_ns"] = ticks["sent_ns"][fills["tick"]]
    return orders


def made_account(ticks: NDArray, fills: NDArray, market: Market) -> NDArray:
    """A plain loop over records, with hftbacktest's rules written out once more."""
    account = np.zeros(len(ticks) + 1, ACCOUNT)
    account["timestamp"][:-1] = ticks["local_ns"]
    account["timestamp"][-1] = max([ticks["local_ns"][-1], *fills["local_ns"]]) + MS
    mids = (ticks["bid_ticks"] + ticks["ask_ticks"]) / 2 * market.tick_size
    account["price"] = [*mids, mids[-1]]
    for record in account:
        for fill in fills[fills["local_ns"] <= record["timestamp"]]:
            price = fill["price_ticks"] * market.tick_size
            each = market.contract_size / price if market.inverse else market.contract_size * price
            record["position"] += fill["side"] * fill["qty"]
            record["balance"] -= fill["side"] * fill["qty"] * each
            record["fee"] += fill["fee"]
            record["num_trades"] += 1
            record["trading_volume"] += fill["qty"]
            record["trading_value"] += fill["qty"] * each
    return account


def made_run(
    mids: Sequence[float] | NDArray,
    rows: Sequence[tuple[int, float, float, float, int]],
    market: Market = LINEAR,
    probabilities: NDArray | None = None,
) -> Recorded:
    """A whole run; predictions are neutral where none are given."""
    ticks, fills = made_ticks(mids), made_fills(rows)
    if probabilities is None:
        probabilities = np.tile(np.array([0, 1, 0], np.float32), (len(ticks), len(market.horizons), 1))
    orders, account = made_orders(fills, ticks), made_account(ticks, fills, market)
    return Recorded(ticks, probabilities, account, orders, fills, "", 0, 0, 7)
