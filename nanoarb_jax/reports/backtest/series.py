"""What a backtest's charts are drawn of, as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


class Fills(NamedTuple):
    """Every fill, (k,) each.

    Attributes:
        time_ns: when it happened, ns since 1970 UTC.
        price: in the instrument's currency.
        side: 1 buy, -1 sell.
        qty: in the instrument's units.
        maker: 1 or True where the order rested in the book, 0 or False where it took.
        confidence: of the prediction that led to the order, 0 to 1; NaN where it is not known.
    """

    time_ns: Times
    price: Floats
    side: NDArray[np.int64]
    qty: Floats
    maker: NDArray[Any]
    confidence: Floats


class Equity(NamedTuple):
    """Net equity of another run.

    Attributes:
        time_ns: (m,) in order.
        net: (m,) after fees.
    """

    time_ns: Times
    net: Floats


class BacktestSeries(NamedTuple):
    """The market and the account over time.

    Attributes:
        time_ns: (n,) of the ticks, ns since 1970 UTC, in order.
        bid, ask: (n,) best prices, NaN where a side is empty.
        account_ns: (a,) of the account's records, in order.
        net, gross: (a,) equity after and before fees, in the account's currency.
        position: (a,) long > 0, short < 0.
        fills: every fill.
        latency_ns: (n,) charged to each prediction; empty: not drawn.
        queue_models: {name: its equity} of the same run under other queue models; empty: not drawn.
    """

    time_ns: Times
    bid: Floats
    ask: Floats
    account_ns: Times
    net: Floats
    gross: Floats
    position: Floats
    fills: Fills
    latency_ns: Times | Floats = np.zeros(0)
    queue_models: Mapping[str, Equity] = MappingProxyType({})
