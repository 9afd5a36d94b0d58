"""Sections that set a run beside others: latencies and fees, queue models, controls, rivals, other settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nanoarb_jax.reports.backtest import forecast, tables
from nanoarb_jax.reports.backtest.series import BacktestSeries, Equity, Floats, Times
from nanoarb_jax.reports.charts.registry import draw
from nanoarb_jax.reports.page import Chart, Part, Prose, Section
from nanoarb_jax.reports.page_tables import Table
from nanoarb_jax.reports.words import duration

Report = Mapping[str, Any]


def latency_and_fees(report: Report, series: BacktestSeries) -> Section | None:
    """What other latencies and fees would have made of the same run."""
    one = forecast.latency(series)
    parts: list[Part] = [one] if one is not None else []
    found = report.get("heat_map")
    if found:
        fees = [f"{fee:g}" if isinstance(fee, int | float) else str(fee) for fee in found["fees"]]
        data = {
            "latencies": [duration(ns) if isinstance(ns, int | float) else str(ns) for ns in found["latency_ns"]],
            "fees": fees, "pnl": found["net_pnl"], "currency": report.get("currency"),
            "fee_unit": found.get("fee_unit"),
        }  # fmt: skip
        words = "The same strategy at other inference latencies and fees."
        parts.append(Chart(draw("heat_map", data), "Net profit by latency and fee", words))
    return Section("Latency and fees", parts) if parts else None


def queue_models(report: Report, series: BacktestSeries) -> Section | None:
    """The same run under other assumptions on the queue."""
    parts: list[Part] = []
    if series.queue_models:
        models = {tables.words(name): _at(series.account_ns, one) for name, one in series.queue_models.items()}
        data = {"time_ns": series.account_ns, "models": models, "currency": report.get("currency")}
        words = "Where in the queue an order is, is not recorded in these data: the band is what that may change."
        parts.append(Chart(draw("queue_models", data), "Net equity under several queue models", words))
    if report.get("queue_models"):
        parts.append(tables.runs(report["queue_models"], "The same run under several queue models"))
    return Section("Queue models", parts) if parts else None


def controls(report: Report) -> Section | None:
    """Signals that know nothing, with as many trades."""
    found = report.get("controls") or {}
    parts: list[Part] = []
    random = found.get("random") or {}
    if random.get("net_pnl"):
        data = {
            "pnl": random["net_pnl"], "model": random.get("model_net_pnl", report.get("net_pnl")),
            "percentile": random.get("percentile"), "currency": report.get("currency"),
        }  # fmt: skip
        words = f"{len(random['net_pnl']):,} runs, each with as many signals as the model's, of its own seed."
        if data["model"] is not None:
            parts.append(Chart(draw("random_seeds", data), "Net profit of random signals", words))
    runs = {name: one for name, one in found.items() if name != "random" and isinstance(one, Mapping)}
    if runs:
        parts.append(tables.runs({"model": report, **runs}, "Controls through the same strategy"))
    if report.get("look_ahead"):
        caption = "Do the predictions hold the move that they predict? Flagged only where all three signs are there"
        parts.append(tables.key_values(report["look_ahead"], caption))
    return Section("Controls", parts) if parts else None


def rivals(report: Report) -> Section | None:
    """Other judges through the same strategy."""
    found = report.get("rivals")
    if not found:
        return None
    named = {"model": report, **{name: one for name, one in found.items() if isinstance(one, Mapping)}}
    ticks = {name: tables.net_ticks(one) for name, one in named.items()}
    parts: list[Part] = []
    if any(ticks.values()):
        rows = [(name, *(one.get(key) for key in ("mean", "low", "high"))) for name, one in ticks.items() if one]
        columns = zip(*rows, strict=True)
        data: dict[str, Any] = dict(zip(("names", "pnl", "low", "high"), columns, strict=True))
        data["names"] = [tables.words(name) for name in data["names"]]
        figure = draw("rivals", data | {"label": "net ticks a round trip"})
        parts.append(
            Chart(
                figure,
                "The model and its rivals",
                "Net profit of a round trip per unit, in ticks; lines are 95 % intervals by block bootstrap.",
            )
        )
    parts.append(tables.runs(named, "The model and its rivals through the same strategy"))
    return Section("Rivals", parts)


def sweep(report: Report) -> Section | None:
    """The settings that were tried, and what the best one is worth in view of their number."""
    found = report.get("sweep")
    if not found:
        return None
    parts: list[Part] = []
    if found.get("tried") is not None:
        deflated = found.get("deflated_sharpe")
        beside = (
            "" if deflated is None else f" The best one's deflated Sharpe ratio is {deflated:.3g}: the probability "
        )
        beside += "" if deflated is None else "that it is better than the best of as many settings without any merit."
        parts.append(Prose(f"{found['tried']:,} settings were tried.{beside}"))
    rows = found.get("rows") or []
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = [[row.get(key) for key in columns] for row in rows]
        parts.append(Table("Settings that were tried", [tables.words(key) for key in columns], cells))
    return Section("Settings tried", parts) if parts else None


def _at(time_ns: Times, equity: Equity) -> Floats:
    """(a,) equity at other times: the latest known by then, the first before the first."""
    rows = np.maximum(np.searchsorted(equity.time_ns, time_ns, side="right") - 1, 0)
    return np.asarray(equity.net, dtype=np.float64)[rows] if len(equity.net) else np.full(len(time_ns), np.nan)
