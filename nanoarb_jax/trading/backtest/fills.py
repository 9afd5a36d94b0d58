"""What a fill is worth in the account's currency, and where the mid was: what every statistic of fills begins with.

Linear contracts are accounted for in the quote currency, inverse ones in the asset itself. Bought inverse contracts owe
the asset that they were paid with, which is why signs turn:

    a fill                linear                          inverse
    value                 price · qty · contract_size     qty · contract_size / price
    cash                  -side · value                   +side · value
    worth of a position   +position · value of one        -position · value of one

Equity is the sum of cash, plus the worth of the position at the mid, less fees; the same as hftbacktest's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.trading.backtest.records import Market

Floats = NDArray[np.float64]


def mid_ticks(ticks: NDArray[np.void]) -> Floats:
    """(n,) mid of each tick's own book, in ticks of price."""
    return (ticks["bid_ticks"] + ticks["ask_ticks"]) / 2.0


def value(price_ticks: Floats, qty: Floats, market: Market) -> Floats:
    """What quantities are worth at prices, in the account's currency; of the sign of the quantity.

    >>> from nanoarb_jax.trading.backtest.fills import value
    >>> from nanoarb_jax.trading.backtest.records import Market
    >>> linear = Market("x", tick_size=0.5, lot_size=1.0, contract_size=10.0, inverse=False, horizons=(10,))
    >>> float(value(np.array(200), np.array(3.0), linear))
    3000.0
    >>> float(value(np.array(200), np.array(3.0), linear._replace(inverse=True)))
    0.3
    """
    price = price_ticks * market.tick_size
    return qty * market.contract_size / price if market.inverse else qty * market.contract_size * price


def cash(fills: NDArray[np.void], market: Market, price_ticks: Floats | None = None) -> Floats:
    """(k,) what each fill brought in before fees, in the account's currency; at other prices where they are given."""
    prices = fills["price_ticks"] if price_ticks is None else price_ticks
    worth = value(prices, fills["side"] * fills["qty"], market)
    return worth if market.inverse else -worth


def spread_cost(fills: NDArray[np.void], orders: NDArray[np.void], ticks: NDArray[np.void], market: Market) -> Floats:
    """(k,) what each fill cost against the mid at the tick at which its order was decided, in the account's currency.

    Above 0: paid, as orders that take do. Below 0: earned, as resting orders do at the moment when they are decided.
    What the mid did between the decision and the fill is in it, so that slow orders that take pay more.
    """
    mid = mid_ticks(ticks)[orders["tick"][fills["order"]]]
    return cash(fills, market, mid) - cash(fills, market)
