"""The page of a backtest, out of its report and of what was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.reports.backtest import BacktestSeries, backtest_page
from nanoarb_jax.reports.backtest.series import Equity, Fills
from nanoarb_jax.trading.backtest.records import Market, equity


def page_of(report: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], market: Market, horizon: int) -> str:
    """One self-contained HTML page.

    Args:
        report: of `run_plan`.
        arrays: of `arrays_of`.
        market: that was traded.
        horizon: place of the horizon whose probability counts as the confidence of an order.
    """
    ticks, account, fills = arrays["ticks"], arrays["account"], arrays["fills"]
    net = equity(account, market)
    said = arrays["probabilities"][arrays["orders"]["tick"][fills["order"]], horizon]
    side_said = np.where(fills["side"] > 0, said[:, 2], said[:, 0]) if len(fills) else np.zeros(0)
    queues = {name.removeprefix("queue_"): of for name, of in arrays.items() if name.startswith("queue_")}
    series = BacktestSeries(
        time_ns=ticks["local_ns"],
        bid=ticks["bid_ticks"] * market.tick_size,
        ask=ticks["ask_ticks"] * market.tick_size,
        account_ns=account["timestamp"],
        net=net,
        gross=net + account["fee"],
        position=account["position"],
        fills=Fills(
            fills["exch_ns"],
            fills["price_ticks"] * market.tick_size,
            fills["side"],
            fills["qty"],
            fills["maker"],
            side_said.astype(np.float64),
        ),
        latency_ns=ticks["sent_ns"] - ticks["local_ns"],
        queue_models={name: Equity(of["timestamp"], equity(of, market)) for name, of in queues.items()},
    )
    return backtest_page(report, series)
