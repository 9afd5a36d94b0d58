"""The page of a backtest, put together of what its report and its series hold; what they lack is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanoarb_jax.reports.backtest import beside, forecast, tables
from nanoarb_jax.reports.backtest.series import BacktestSeries
from nanoarb_jax.reports.backtest.verdict import verdict
from nanoarb_jax.reports.charts.decimation import MOST
from nanoarb_jax.reports.charts.registry import draw
from nanoarb_jax.reports.page import Chart, Command, Part, Section, page

Report = Mapping[str, Any]


def backtest_page(report: Report, series: BacktestSeries) -> str:
    """The report of a backtest as one self-contained HTML page.

    Args:
        report: the JSON of `nanoarb-jax backtest`: the figures of the summary at its top, and as far as they are there
            "round_trip_ticks", "markouts", "adverse_selection", "signal_decay", "fill_probability", "heat_map",
            "queue_models", "controls", "look_ahead", "rivals", "sweep", "name", "currency", "strategy" and, on how it
            was made, "command", "checkpoint", "input", "settings", "versions", "reconciliation".
        series: what the charts over time are drawn of.

    Returns:
        HTML, see `page.page`.

    Raises:
        DataError: arrays that belong together differ in length, or plotly is not installed.
    """
    sections = [
        _account(report, series),
        _trades(series),
        forecast.markouts(report),
        forecast.signal_decay(report),
        forecast.fill_probability(report),
        beside.latency_and_fees(report, series),
        beside.queue_models(report, series),
        beside.controls(report),
        beside.rivals(report),
        beside.sweep(report),
        _origin(report),
    ]
    named = [str(report[key]) for key in ("strategy", "name") if report.get(key)]
    title = " – ".join(["Backtest", *named])
    return page(title, verdict(report), [section for section in sections if section is not None])


def _account(report: Report, series: BacktestSeries) -> Section:
    parts: list[Part] = []
    if len(series.account_ns):
        data = {
            "time_ns": series.account_ns, "net": series.net, "gross": series.gross, "position": series.position,
            "currency": report.get("currency"),
        }  # fmt: skip
        fewer = (
            f" Drawn with {MOST:,} points of {len(series.net):,}: no peak is lost." if len(series.net) > MOST else ""
        )
        words = f"The position is valued at the mid.{fewer}"
        parts.append(Chart(draw("equity", data), "Equity and position", words))
        parts.append(
            Chart(draw("drawdown", data), "Drawdown", "How far the net equity is below its highest value so far.")
        )
    parts += [tables.summary(report), tables.costs(report)]
    parts += [one for one in (tables.per_round_trip(report), tables.others(report)) if one is not None]
    return Section("Result", parts)


def _trades(series: BacktestSeries) -> Section | None:
    if not len(series.time_ns):
        return None
    data = {"time_ns": series.time_ns, "bid": series.bid, "ask": series.ask, "fills": series.fills._asdict()}
    number = len(series.fills.time_ns)
    fewer = f" {MOST:,} of {number:,} fills are drawn, equally far apart." if number > MOST else ""
    words = (
        f"{number:,} fills. Triangles that point up are buys, down sells; filled ones took from the book, open ones "
        f"rested in it. Zoom in by drawing a box.{fewer}"
    )
    return Section("Trades", [Chart(draw("trades", data), "Fills and the book's best prices", words)])


def _origin(report: Report) -> Section | None:
    parts: list[Part] = []
    if report.get("command"):
        command = report["command"]
        parts.append(Command(command if isinstance(command, str) else " ".join(map(str, command)), "exact command"))
    of = {
        "checkpoint": "Checkpoint", "input": "Input: what the model reads", "settings": "Settings",
        "versions": "Versions", "reconciliation": "Reconciliation: largest differences between account and fills",
    }  # fmt: skip
    for key, caption in of.items():
        found = report.get(key)
        if found:
            parts.append(tables.key_values(found if isinstance(found, Mapping) else {key: found}, caption))
    return Section("How it was made", parts) if parts else None
