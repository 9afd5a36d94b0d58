"""What `backtest` prints: results of a run in one screen, and of several side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from .output import console, say
from .tables import figure_table

Report = Mapping[str, Any]


def print_run(report: Report) -> None:
    """One run: what it came to, why, and how sure that is."""
    unit = f" {report['currency']}" if report["currency"] else ""
    say(f"{report['name']}: {report['strategy']}, {report['predictions']:,} ticks in {_span(report['span_s'])}")
    trips = report["round_trip_ticks"]["net"]
    rows = [
        ("net profit", f"{_money(report['net_pnl'])}{unit}"),
        ("  after the spread, before fees", f"{_money(report['gross_pnl'])}{unit}"),
        ("  fees", f"{_money(report['fees'])}{unit}"),
        ("  spread paid / earned", f"{_money(report['spread_paid'])} / {_money(report['spread_earned'])}{unit}"),
        ("trades, round trips", f"{report['trades']:,}, {report['round_trips']:,}"),
        ("round trips with a profit", _share(report["hit_rate"])),
        ("profit per round trip, ticks", _interval(trips)),
        (f"Sharpe ratio, a year ({report['samples']:,} samples of 10 s)", _number(report["sharpe"])),
        ("largest drawdown", f"{_money(report['max_drawdown'])}{unit}"),
        ("resting orders filled", _share(report["fill_ratio"]["maker"])),
        ("latency charged to a prediction", _latency(report)),
    ]
    console.print(figure_table(["", "result"], [list(row) for row in rows]))
    for line in _beside(report):
        say(line)
    _print_notes(report)


def print_series(reports: Sequence[Report]) -> None:
    """Several series, a row each."""
    rows = [
        [
            one["name"], f"{one['trades']:,}", f"{_money(one['net_pnl'])} {one['currency']}".strip(),
            _money(one["gross_pnl"]), _number(one["round_trip_ticks"]["net"]["mean"]), _percentile(one),
        ]
        for one in reports
    ]  # fmt: skip
    columns = ["series", "trades", "net", "gross", "ticks/trip", "beats"]
    console.print(figure_table(columns, rows))
    for one in {one["name"].partition(" fold ")[0]: one for one in reports}.values():
        _print_notes(one)


def print_sweep(sweep: Mapping[str, Any]) -> None:
    """Settings that were tried."""
    rows = [
        [one["setting"], f"{one['trades']:,}", _money(one["net_pnl"]), _number(one["sharpe"])] for one in sweep["rows"]
    ]
    console.print(figure_table(["setting", "trades", "net", "Sharpe"], rows))
    deflated = sweep["deflated_sharpe"]
    _tell(f"{sweep['tried']} settings tried, best by Sharpe ratio: {sweep['best']}")
    if deflated is not None:
        _tell(f"deflated Sharpe ratio, the probability that it is not the luck of so many tries: {deflated:.2f}")


def _beside(report: Report) -> list[str]:
    lines: list[str] = []
    if report["trades"] == 0:
        said = f"no trade: {report['orders']:,} orders were sent"
        return [said if report["orders"] else f"{said}, no probability reached what the strategy asks for"]
    if "controls" in report:
        random = report["controls"]["random"]
        lines.append(f"better than {_percentile(report)} of {len(random['net_pnl'])} random signals, per trade")
        for name in ("shuffled", "inverted", "one_tick_late"):
            one = report["controls"][name]
            lines.append(f"{name.replace('_', ' ')}: net {_money(one['net_pnl'])} in {one['trades']:,} trades")
    for name, one in report.get("rivals", {}).items():
        lines.append(f"{name.replace('_', ' ')}: net {_money(one['net_pnl'])} in {one['trades']:,} trades")
    if "queue_models" in report:
        models = ", ".join(f"{name} {_money(one['net_pnl'])}" for name, one in report["queue_models"].items())
        lines.append(f"by queue model: {models}")
    if report.get("look_ahead", {}).get("flagged"):
        lines.append("WARNING: the predictions look as if they knew the moves that they predict")
    return lines


def _print_notes(report: Report) -> None:
    if report["learnt"]:
        _tell(
            f"{report['name']}: the model learnt from it, or a part of it ({report['learnt']}); --split test is unseen"
        )
    if report["stopped"]:
        _tell(f"{report['name']}: trading was stopped by {report['stopped']}")
    if report["differs"]:
        _tell(
            f"{report['name']}: at {report['differs']:,} ticks the exchange's best prices are others than the model's"
        )
    for note in report["notes"]:
        _tell(f"{report['name']}: {note}")


def _tell(text: str) -> None:
    """Say it in lines of 80 characters."""
    say(textwrap.fill(text, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def _percentile(report: Report) -> str:
    found = report.get("controls", {}).get("random", {}).get("percentile")
    return "" if found is None else f"{found:.0f} %"


def _money(value: float) -> str:
    return f"{value:+,.2f}" if abs(value) >= 1 or value == 0 else f"{value:+.3g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _interval(of: Mapping[str, Any]) -> str:
    if of["mean"] is None:
        return ""
    bounds = "" if of["low"] is None else f" [{of['low']:+.2f}, {of['high']:+.2f}]"
    return f"{of['mean']:+.2f}{bounds}"


def _latency(report: Report) -> str:
    how = report["settings"]["inference"]["how"]
    return f"{report['latency_ns_p50'] / 1e3:,.1f} µs (p99 {report['latency_ns_p99'] / 1e3:,.1f}; {how})"


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
