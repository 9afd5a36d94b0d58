"""What a backtest came to: profits, costs, trades and risks, as numbers for tables and JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.trading.backtest.fills import spread_cost
from nanoarb_jax.trading.backtest.records import Market, Recorded, equity
from nanoarb_jax.trading.backtest.resampling import mean_and_median
from nanoarb_jax.trading.backtest.round_trips import round_trips
from nanoarb_jax.trading.backtest.sampled import SAMPLE_S, TRADING_DAYS, defined, measures, moments, with_prices

EXPIRED, FILLED, CANCELLED, REJECTED = 2, 3, 4, 6  # hftbacktest's


def summarise(
    recorded: Recorded, market: Market, capital: float | None = None, trading_days: float = TRADING_DAYS
) -> dict[str, Any]:
    """The results of one run; defined without trades and without ticks too.

    Money is in the account's currency: the quote currency, or the asset itself for inverse contracts. The gross profit
    is what is left after the spread and before fees; rebates are negative fees. Nothing is NaN: what is not defined is
    None.

    Args:
        recorded: the run.
        market: it was about.
        capital: that profit and turnover are compared with, in the account's currency.
        trading_days: in a year, for the Sharpe and Sortino ratios.

    Returns:
        See `_profits`, `_trades`, `_orders`, `_time` and `sampled.measures` and `sampled.moments`; besides "sampling_s"
        and "trading_days" of the ratios, and "stopped", "withdrawn", "refused", "events" as recorded.
    """
    return {
        **_profits(recorded, market, capital),
        **_trades(recorded, market),
        **measures(recorded.account, market, trading_days),
        "sampling_s": SAMPLE_S,
        "trading_days": trading_days,
        **moments(recorded.account, market),
        **_orders(recorded),
        **_time(recorded),
        "stopped": recorded.stopped,
        "withdrawn": int(recorded.withdrawn),
        "refused": int(recorded.refused),
        "events": int(recorded.events),
    }


def _profits(recorded: Recorded, market: Market, capital: float | None) -> dict[str, float | None]:
    """Money: "net_pnl", "gross_pnl", "fees", "spread_paid" by fills that took, "spread_earned" by those that rested
    (both against the mid at the decision), "trading_value"; of the capital, None without: "return", "turnover".
    """
    account = with_prices(recorded.account)
    worth = equity(account, market) if len(account) else np.zeros(1)
    fees = _change(recorded.account["fee"])
    net, traded = float(worth[-1] - worth[0]), _change(recorded.account["trading_value"])
    cost, maker = spread_cost(recorded.fills, recorded.orders, recorded.ticks, market), recorded.fills["maker"] == 1
    return {
        "net_pnl": net,
        "gross_pnl": net + fees,
        "fees": fees,
        "spread_paid": float(cost[~maker].sum()),
        "spread_earned": float(-cost[maker].sum()) + 0.0,
        "trading_value": traded,
        "return": None if capital is None else net / capital,
        "turnover": None if capital is None else traded / capital,
    }


def _trades(recorded: Recorded, market: Market) -> dict[str, Any]:
    """ "trades" (fills as hftbacktest counts them), "maker_fills", "taker_fills", "round_trips" (position flat again or
    turned), "hit_rate" (share of round trips with a profit after fees), "profit_per_round_trip" (mean net profit, in
    the account's currency), and "round_trip_ticks", profit per unit entered in ticks: "gross" and "net" of fees, each
    with "mean", "low", "high", "median", "median_low", "median_high" (block bootstrap, 95 %).
    """
    trips, maker = round_trips(recorded.fills, market), recorded.fills["maker"] == 1
    return {
        "trades": int(_change(recorded.account["num_trades"])),
        "maker_fills": int(maker.sum()),
        "taker_fills": int((~maker).sum()),
        "round_trips": len(trips.net),
        "hit_rate": _mean(trips.net > 0),
        "profit_per_round_trip": _mean(trips.net),
        "round_trip_ticks": {
            "gross": mean_and_median(trips.gross_ticks),
            "net": mean_and_median(trips.net_ticks),
        },
    }


def _orders(recorded: Recorded) -> dict[str, Any]:
    """ "orders" sent, of which "maker_orders", "taker_orders", "cancels", "expired", "rejected" (as they ended);
    "fill_ratio": "maker" (share of resting orders filled at least in part), "maker_whole" (in whole), "maker_quantity"
    and "taker_quantity" (quantity filled over sent).
    """
    orders = recorded.orders
    take = orders["take"] == 1
    rest, status = orders[~take], orders["status"]
    return {
        "orders": len(orders),
        "maker_orders": int((~take).sum()),
        "taker_orders": int(take.sum()),
        "cancels": int((status == CANCELLED).sum()),
        "expired": int((status == EXPIRED).sum()),
        "rejected": int((status == REJECTED).sum()),
        "fill_ratio": {
            "maker": _mean(rest["filled_qty"] > 0),
            "maker_whole": _mean(rest["status"] == FILLED),
            "maker_quantity": _ratio(rest),
            "taker_quantity": _ratio(orders[take]),
        },
    }


def _time(recorded: Recorded) -> dict[str, Any]:
    """ "predictions" (ticks), "ready_share" of them; "latency_ns_charged" (mean), "latency_ns_p50", "latency_ns_p99",
    from a tick's receipt until orders decided at it leave; "first_tick_ns", "last_tick_ns" (received), "span_s";
    "time_in_market" (share of the time with a position), "max_position" (units, long or short).
    """
    ticks, account = recorded.ticks, recorded.account
    latency, times, held = ticks["sent_ns"] - ticks["local_ns"], account["timestamp"], account["position"] != 0
    p50, p99 = np.percentile(latency, [50, 99]) if len(ticks) else (None, None)
    whole = int(times[-1] - times[0]) if len(times) else 0
    return {
        "predictions": len(ticks),
        "ready_share": _mean(ticks["ready"] == 1),
        "latency_ns_charged": _mean(latency),
        "latency_ns_p50": defined(p50),
        "latency_ns_p99": defined(p99),
        "first_tick_ns": int(ticks["local_ns"][0]) if len(ticks) else None,
        "last_tick_ns": int(ticks["local_ns"][-1]) if len(ticks) else None,
        "span_s": float(ticks["local_ns"][-1] - ticks["local_ns"][0]) / 1e9 if len(ticks) else 0.0,
        "time_in_market": float((np.diff(times) * held[:-1]).sum() / whole) if whole else None,
        "max_position": float(np.abs(account["position"]).max(initial=0.0)),
    }


def _change(of: NDArray[Any]) -> float:
    return float(of[-1] - of[0]) if len(of) else 0.0


def _mean(of: NDArray[Any]) -> float | None:
    return float(of.mean()) if len(of) else None


def _ratio(orders: NDArray[np.void]) -> float | None:
    return float(orders["filled_qty"].sum() / orders["qty"].sum()) if len(orders) else None
