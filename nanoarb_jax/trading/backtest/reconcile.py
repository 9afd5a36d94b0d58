"""Does the account say what the fills say? At every record, and at the end."""

from __future__ import annotations

import numpy as np

from nanoarb_jax.trading.backtest.fills import cash, value
from nanoarb_jax.trading.backtest.records import Market, Recorded, equity


def reconcile(recorded: Recorded, market: Market) -> dict[str, float]:
    """Compare hftbacktest's account with running sums over the recorded fills.

    A fill counts at a record from `local_ns` on, when it became known. hftbacktest knows no funding, so that equity
    consists of fills and fees. The price of a fill that swept several levels must be the average that gives its cash:
    weighted by quantity for linear contracts, the harmonic one for inverse contracts.

    Args:
        recorded: a run that began with a flat position.
        market: it was about.

    Returns:
        Largest absolute differences over all records, account less sums: "position" (units), "balance", "fee",
        "trading_value" (account's currency), "trading_volume" (units), "num_trades". Of the end, in the account's
        currency: "equity" as the account says it; "equity_of_fills", the sum over fills of what each gained up to the
        last mid, less fees; "equity_difference"; "traded", the value of all fills; and without unit
        "equity_relative", the difference over the larger of both equities, and "equity_relative_to_traded", over the
        value traded, which is what rounding errors grow with. Both are 0 where the difference is.

    >>> from nanoarb_jax.trading.backtest.reconcile import reconcile
    >>> from nanoarb_jax.trading.backtest.records import ACCOUNT, FILL, ORDER, TICK, Market, Recorded
    >>> nothing = Recorded(np.zeros(2, TICK), np.zeros((2, 1, 3), np.float32), np.ones(3, ACCOUNT),
    ...                    np.zeros(0, ORDER), np.zeros(0, FILL), "", 0, 0, 0)
    >>> reconcile(nothing, Market("x", 0.1, 1.0, 1.0, False, (10,)))["position"]
    1.0
    """
    fills, account = recorded.fills, recorded.account
    order = np.argsort(fills["local_ns"], kind="stable")
    known = np.searchsorted(fills["local_ns"][order], account["timestamp"], side="right")
    of_fills = {
        "position": fills["side"] * fills["qty"],
        "balance": -fills["side"] * value(fills["price_ticks"], fills["qty"], market),
        "fee": fills["fee"],
        "trading_value": value(fills["price_ticks"], fills["qty"], market),
        "trading_volume": fills["qty"],
        "num_trades": np.ones(len(fills)),
    }
    found = {}
    for name, values in of_fills.items():
        sums = np.concatenate([[0.0], np.cumsum(values[order])])
        found[name] = float(np.abs(account[name] - sums[known]).max(initial=0.0))
    return found | _at_the_end(recorded, market)


def _at_the_end(recorded: Recorded, market: Market) -> dict[str, float]:
    last = recorded.account[-1:].copy()
    prices = recorded.account["price"][np.isfinite(recorded.account["price"])]  # none while a side of the book is empty
    last["price"] = prices[-1] if len(prices) else 1.0  # then nothing was traded
    fills = recorded.fills[recorded.fills["local_ns"] <= last["timestamp"][0]]
    mid = np.full(len(fills), last["price"][0] / market.tick_size)
    gains = cash(fills, market) - cash(fills, market, mid)  # of each fill, as if it was closed at the last mid
    of_account, of_fills = float(equity(last, market)[0]), float((gains - fills["fee"]).sum())
    traded = float(value(fills["price_ticks"], fills["qty"], market).sum())
    difference = abs(of_account - of_fills)
    larger = max(abs(of_account), abs(of_fills))
    return {
        "equity": of_account,
        "equity_of_fills": of_fills,
        "equity_difference": difference,
        "equity_relative": difference / larger if difference else 0.0,
        "equity_relative_to_traded": difference / (traded or larger) if difference else 0.0,
        "traded": traded,
    }
