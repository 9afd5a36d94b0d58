"""Round trips: from a flat position until it is flat again, or has changed its side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.trading.backtest.fills import Floats, cash, value
from nanoarb_jax.trading.backtest.records import Market


class RoundTrips(NamedTuple):
    """The round trips that came to their end, in the order in which they did.

    Attributes:
        gross, net: (t,) profit before and after fees, in the account's currency.
        gross_ticks, net_ticks: (t,) the same per unit entered, in ticks of price: average price sold at less average
            price bought at; of inverse contracts too, where it is not exactly proportional to the profit.
        qty: (t,) entered in all.
        closed_ns: (t,) exchange time of the fill that ended each.
    """

    gross: Floats
    net: Floats
    gross_ticks: Floats
    net_ticks: Floats
    qty: Floats
    closed_ns: NDArray[np.int64]


class _Parts(NamedTuple):
    """Fills, with those that turn a position cut into the part that closes and the part that opens."""

    fill: NDArray[np.int64]
    share: Floats  # of the fill
    trip: NDArray[np.int64]
    trips: int  # that ended; parts of a higher trip are of the position that is still open


def round_trips(fills: NDArray[np.void], market: Market) -> RoundTrips:
    """Cut fills into round trips.

    A fill that turns a position from long to short, or back, ends one round trip and begins the next: its fee is shared
    in proportion to the quantities.

    Args:
        fills: (k,) FILL, in the order in which they became known; the position is 0 before the first.
        market: that they are of.
    """
    parts = _parts(fills, market.lot_size)
    done = parts.trip < parts.trips
    trip, of, share = parts.trip[done], fills[parts.fill[done]], parts.share[done]

    def total(values: Floats) -> Floats:
        return np.bincount(trip, weights=share * values, minlength=parts.trips).astype(np.float64)

    qty = total(of["qty"]) / 2
    moved = -total(of["side"] * of["price_ticks"] * of["qty"]) / qty
    rate = of["fee"] / value(of["price_ticks"], of["qty"], market)
    gross = total(cash(of, market))
    ends = np.append(np.flatnonzero(np.diff(trip)), len(trip) - 1) if parts.trips else np.zeros(0, np.int64)
    return RoundTrips(
        gross=gross,
        net=gross - total(of["fee"]),
        gross_ticks=moved,
        net_ticks=moved - total(rate * of["price_ticks"] * of["qty"]) / qty,
        qty=qty,
        closed_ns=of["exch_ns"][ends],
    )


def _parts(fills: NDArray[np.void], lot_size: float) -> _Parts:
    after = np.cumsum(fills["side"] * fills["qty"])
    after[np.abs(after) < lot_size / 2] = 0.0
    before = np.concatenate([[0.0], after[:-1]])
    turns = before * after < 0
    fill = np.repeat(np.arange(len(fills)), 1 + turns)
    second = np.zeros(len(fill), bool)
    second[1:] = fill[1:] == fill[:-1]
    turned = np.where(second, np.abs(after)[fill], np.abs(before)[fill])
    share = np.where(turns[fill], turned / fills["qty"][fill], 1.0)
    ends = np.where(turns[fill], ~second, after[fill] == 0)
    trip = np.cumsum(ends) - ends
    return _Parts(fill, share, trip, int(ends.sum()))
