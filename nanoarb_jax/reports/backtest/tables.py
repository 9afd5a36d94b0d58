"""Tables of a backtest: its summary, its costs, and runs beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nanoarb_jax.reports.page_tables import Table, shown
from nanoarb_jax.reports.words import duration, share

Report = Mapping[str, Any]

# key of the report: words, and how the value is shown
MONEY = {
    "gross_pnl": "gross profit: after the spread, before fees",
    "fees": "fees (below 0: rebates)",
    "net_pnl": "net profit: after fees",
    "spread_paid": "spread paid by orders that took, against the mid at the decision; in the gross profit",
    "spread_earned": "spread earned by orders that rested; in the gross profit",
    "profit_per_round_trip": "mean net profit of a round trip",
    "trading_value": "value traded",
    "max_drawdown": "largest fall of the equity from its highest value",
}
SUMMARY: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "trades": ("trades (fills)", shown),
    "maker_fills": ("of which orders that rested", shown),
    "taker_fills": ("of which orders that took", shown),
    "orders": ("orders sent", shown),
    "round_trips": ("round trips: from flat to flat", shown),
    "hit_rate": ("round trips with a net profit", share),
    "sharpe": ("Sharpe ratio, a year", shown),
    "sortino": ("Sortino ratio, a year", shown),
    "sampling_s": ("seconds between the samples of these ratios", shown),
    "trading_days": ("days of trading in their year", shown),
    "return_over_max_drawdown": ("net profit ÷ largest fall", shown),
    "return": ("net profit ÷ capital", share),
    "turnover": ("value traded ÷ capital", shown),
    "time_in_market": ("time with a position", share),
    "max_position": ("largest position", shown),
    "predictions": ("predictions", shown),
    "ready_share": ("of which after the warm-up", share),
    "latency_ns_charged": ("inference latency charged, mean", duration),
    "latency_ns_p50": ("its median", duration),
    "latency_ns_p99": ("its 99th percentile", duration),
    "span_s": ("length of the data", lambda seconds: duration(1e9 * seconds)),
    "events": ("market data events", shown),
    "refused": ("orders not sent since they could have exceeded the largest position", shown),
    "withdrawn": ("withdrawals of all orders while data were stale", shown),
    "stopped": ("trading was stopped by", shown),
}
RUN = {
    "net_pnl": "net profit", "gross_pnl": "gross profit", "fees": "fees", "trades": "trades",
    "round_trips": "round trips", "hit_rate": "with a profit", "sharpe": "Sharpe ratio",
}  # fmt: skip
COST = ("gross_pnl", "fees", "net_pnl", "spread_paid", "spread_earned", "profit_per_round_trip")


def summary(report: Report) -> Table:
    """The figures that matter, in words; those that the report lacks are left out."""
    money = [(MONEY[key], shown(report[key])) for key in ("net_pnl", "max_drawdown", "trading_value") if key in report]
    rows = [(words, _or_dash(show, report[key])) for key, (words, show) in SUMMARY.items() if report.get(key, "") != ""]
    return Table(f"Summary; money in {currency(report)}", ("", "value"), money + rows)


def costs(report: Report) -> Table:
    """From the gross to the net profit."""
    rows = [(MONEY[key], report[key]) for key in COST if key in report]
    return Table(f"Costs, in {currency(report)}", ("", currency(report)), rows)


def per_round_trip(report: Report) -> Table | None:
    """Profit per unit in ticks with its intervals."""
    found = report.get("round_trip_ticks")
    if not found:
        return None
    names = ("mean", "low", "high", "median", "median_low", "median_high")
    rows = [(f"{kind} of fees" if kind == "net" else "gross", *(found[kind].get(name) for name in names))
            for kind in ("gross", "net") if kind in found]  # fmt: skip
    columns = ("", "mean", "from", "to", "median", "from", "to")
    return Table("Profit of a round trip per unit, in ticks; 95 % intervals by block bootstrap", columns, rows)


def others(report: Report) -> Table | None:
    """Every other figure of the report by its key, so that nothing is lost."""
    known = {*MONEY, *SUMMARY}
    rows = [(key, value) for key, value in report.items() if key not in known and isinstance(value, int | float)]
    return Table("Further figures, by their keys in the JSON file", ("key", "value"), rows) if rows else None


def runs(named: Mapping[str, Report], caption: str) -> Table:
    """Several runs beside each other, a row each, with the columns that at least one has."""
    keys = [key for key in RUN if any(key in run for run in named.values())]
    with_ticks = any(net_ticks(run) for run in named.values())
    columns = ["", *(RUN[key] for key in keys), *(["net ticks a trip", "from", "to"] if with_ticks else [])]
    rows = []
    for name, run in named.items():
        ticks = net_ticks(run) or {}
        cells = [share(run.get(key)) if key == "hit_rate" else run.get(key) for key in keys]
        rows.append([words(name), *cells, *([ticks.get(key) for key in ("mean", "low", "high")] if with_ticks else [])])
    return Table(caption, columns, rows)


def key_values(found: Mapping[str, Any], caption: str) -> Table:
    """Settings and the like: {"a": {"b": 1}} is shown as a.b, 1."""
    return Table(caption, ("", "value"), [(key, shown(value)) for key, value in _flat(found)])


def net_ticks(run: Report) -> Report | None:
    """Net profit per round trip in ticks with its interval, where a run has it."""
    found = (run.get("round_trip_ticks") or {}).get("net")
    return found if found and found.get("mean") is not None else None


def currency(report: Report) -> str:
    """Of the account, as far as the report names it."""
    return str(report.get("currency") or "the account's currency")


def words(name: object) -> str:
    """A key as words."""
    return str(name).replace("_", " ")


def _or_dash(show: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else show(value)


def _flat(found: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in found.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{before}{key}.")
        else:
            rows.append((f"{before}{key}", value))
    return rows
