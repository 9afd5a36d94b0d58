"""A backtest's report and series, made up: a random walk and trades on it, in the forms that the page reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanoarb_jax.reports.backtest import BacktestSeries, Equity, Fills

TICK, START_NS, STEP_NS = 0.1, 1_754_006_400_000_000_000, 250_000_000
DELTA_NS = [ms * 1_000_000 for ms in (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 60_000)]


def made_series(rows: int = 20_000, trades: int = 240, seed: int = 0) -> BacktestSeries:
    """Prices of a random walk in ticks, a position that turns at each fill, and the account that follows from both."""
    rng = np.random.default_rng(seed)
    bid = 650_000 + np.cumsum(rng.integers(-2, 3, rows) * (rng.random(rows) < 0.2))
    ask = bid + 1 + (rng.random(rows) < 0.1)
    time_ns = START_NS + np.arange(rows) * STEP_NS + rng.integers(0, STEP_NS // 2, rows)
    at = np.sort(rng.choice(np.arange(1, rows - 1), trades, replace=False))
    side, maker = rng.choice([-1, 1], trades), rng.random(trades) < 0.4
    price = TICK * np.where((side > 0) ^ maker, ask[at], bid[at])
    qty = np.round(rng.uniform(0.001, 0.02, trades), 3)
    confidence = np.where(rng.random(trades) < 0.05, np.nan, rng.uniform(0.6, 0.9, trades))
    fills = Fills(time_ns[at] + 1_000_000, price, side, qty, maker, confidence)
    moved, cash, fees = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    moved[at], cash[at], fees[at] = side * qty, -side * qty * price, qty * price * np.where(maker, 0.00001, 0.0001)
    position = np.cumsum(moved)
    gross = np.cumsum(cash) + position * TICK * (bid + ask) / 2
    net = gross - np.cumsum(fees)
    noise = {name: np.cumsum(rng.normal(0, 0.01, rows)) for name in ("risk_averse", "power", "log")}
    return BacktestSeries(
        time_ns, TICK * bid, TICK * ask, time_ns, net, gross, position, fills,
        latency_ns=rng.lognormal(9.4, 0.25, rows) + (rng.random(rows) < 0.002) * 4e5,
        queue_models={name: Equity(time_ns, net + 0.3 * one) for name, one in noise.items()},
    )  # fmt: skip


def made_report(series: BacktestSeries, seed: int = 1) -> dict[str, Any]:
    """Every section that the page knows, of the lengths that a real one has."""
    rng = np.random.default_rng(seed)
    net, gross = float(series.net[-1]), float(series.gross[-1])
    return {
        **_run(net, gross, len(series.fills.qty)), **_sections(rng), "name": "BTCUSDT 2025-08-01", "currency": "USDT",
        "strategy": "taker", "queue_models": {name: _run(net + d, gross + d, 240) for name, d in
                                              (("risk_averse", -0.2), ("power", 0.0), ("log", 0.3))},
        "controls": {
            "random": {"net_pnl": rng.normal(net - 2, 3, 200).tolist(), "percentile": 74.5},
            "shuffled": _run(net - 3, gross - 3, 238), "inverted": _run(net - 6, gross - 6, 240),
        },
        "rivals": {"gradient_boosting": _run(net + 0.4, gross, 251, 0.1),
                   "queue_imbalance": _run(net - 1, gross, 260, -1)},
        "heat_map": {
            "latency_ns": [0, 1_000, 10_000, 100_000, 1_000_000, 10_000_000], "fees": [-0.5, 0, 1, 2, 4.5],
            "fee_unit": "basis points of the value traded",
            "net_pnl": [[net + 8 - 0.9 * i - 2.4 * j for j in range(5)] for i in range(6)],
        },
        "command": "nanoarb-jax backtest --checkpoint checkpoints/small --data usdm/BTCUSDT --strategy taker "
                   "--threshold .6 --taker-fee .0004 --inference measured --queue power --report page.html",
        "checkpoint": {"path": "checkpoints/small", "weights": "sha256 " + "4f" * 32, "parameters": 51_234},
        "input": {"feature_set": "flow", "clock": "changes", "clock_levels": 3, "timestamps": "local",
                  "session_gap_s": 60.0},
        "settings": {"threshold": 0.6, "horizon": 50, "limits": {"max_position": 0.05, "stale_ms": 2_000}},
        "versions": {"nanoarb-jax": "0.1.0", "hftbacktest": "2.4.4", "numpy": "2.2.6", "python": "3.11.7"},
        "sweep": {"tried": 12, "deflated_sharpe": 0.41, "rows": [{"threshold": 0.5, "net_pnl": -4.0, "trades": 800},
                                                                 {"threshold": 0.6, "net_pnl": net, "trades": 240}]},
        "reconciliation": {"position": 0.0, "balance": 1.2e-10, "fee": 3e-13},
        "look_ahead": {"flagged": False, "beyond_controls": True, "right_share": 0.31, "right_share_low": 0.27},
    }  # fmt: skip


def _run(net: float, gross: float, trades: int, ticks: float = -0.4) -> dict[str, Any]:
    limits = {"mean": ticks, "low": ticks - 0.9, "high": ticks + 0.9, "median": ticks, "median_low": None,
              "median_high": None}  # fmt: skip
    return {
        "net_pnl": net, "gross_pnl": gross, "fees": gross - net, "spread_paid": 3.2, "spread_earned": 1.1,
        "trades": trades, "maker_fills": 96, "taker_fills": trades - 96, "round_trips": trades // 2, "hit_rate": 0.43,
        "sharpe": -3.21, "sortino": None, "sampling_s": 10, "max_drawdown": 9.87654321, "return": None,
        "profit_per_round_trip": net / max(trades // 2, 1), "predictions": 20_000, "ready_share": 0.99,
        "latency_ns_charged": 12_345.6, "latency_ns_p50": 12_000.0, "latency_ns_p99": 21_000.0, "span_s": 5_000.0,
        "stopped": "", "withdrawn": 0, "refused": 3, "events": 492_000, "skew": -0.2,
        "round_trip_ticks": {"gross": limits | {"mean": ticks + 1.0, "low": None, "high": None}, "net": limits},
    }  # fmt: skip


def _sections(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "markouts": {
            "delta_ns": DELTA_NS,
            "maker": {"fills": 96, "all": _curve(rng, 0.5, -0.3), "by_confidence": _terciles(rng, 0.5)},
            "taker": {"fills": 144, "all": _curve(rng, -0.5, 0.6), "by_confidence": _terciles(rng, -0.5)},
        },
        "adverse_selection": {
            "delta_ns": DELTA_NS, "fills": 96, "half_spread_ticks": [0.52] * 11, "counted": [96] * 11,
            **{key: [0.1 * i for i in range(11)] for key in ("markout_ticks", "adverse_ticks", "adverse_error_ticks")},
            "kept_share": [None, *[0.9 - 0.1 * i for i in range(10)]],
        },
        "signal_decay": {
            "delta_ns": DELTA_NS,
            **{
                f"h{h}": {"decisions": 4_000, "edges": np.linspace(0.4, 0.9, 11).tolist(),
                          "all": _curve(rng, 0, h / 90),
                          "curves": [_curve(rng, 0, h / 90 * i / 5) for i in range(10)]}
                for h in (10, 50, 100)
            },
        },
        "fill_probability": {
            "orders": 900, "never_rested": 12,
            "bins": [
                {"low": 0.5 * i**2, "high": 0.5 * (i + 1) ** 2, "orders": 150, "filled_share": 0.6 * 0.7**i,
                 "filled_whole_share": 0.5 * 0.7**i, "median_ns_to_fill": 1e9 * (i + 1) if i < 5 else None}
                for i in range(6)
            ],
        },
    }  # fmt: skip


def _curve(rng: np.random.Generator, begin: float, rise: float) -> dict[str, Any]:
    mean = begin + rise * np.linspace(0, 1, 11) ** 0.7 + rng.normal(0, 0.02, 11)
    error = np.linspace(0.02, 0.15, 11)
    return {
        "mean_ticks": [*mean[:-1].tolist(), None], "error_ticks": [*error[:-1].tolist(), None], "counted": [96] * 11,
        "blocks": [40] * 11, "left_out": [0] * 11,
    }  # fmt: skip


def _terciles(rng: np.random.Generator, begin: float) -> dict[str, Any]:
    return {"edges": [0.6, 0.66, 0.75, 0.9], "curves": [_curve(rng, begin, 0.3 * i) for i in range(3)]}
