"""Sections on predictions and orders: markouts, adverse selection, decay of the signal, queue, latency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nanoarb_jax.reports.backtest.series import BacktestSeries
from nanoarb_jax.reports.charts.registry import draw
from nanoarb_jax.reports.page import Chart, Part, Prose, Section
from nanoarb_jax.reports.page_tables import Table
from nanoarb_jax.reports.words import duration, share

Report = Mapping[str, Any]
NORMAL = 1.96  # standard errors on both sides of a mean that hold 95 % of a normal distribution
TERCILES = ("least sure third", "middle third", "surest third")
BANDS = "Bands are 95 % intervals; errors are clustered by blocks of time."


def markouts(report: Report) -> Section | None:
    """The section on what the price did after fills; None where the report has none."""
    found = report.get("markouts")
    parts: list[Part] = []
    if found:
        after = np.asarray(found["delta_ns"]) / 1e6
        by_kind = {kind: found[kind] for kind in ("maker", "taker") if found.get(kind, {}).get("fills")}
        curves = [_curve(kind, after, one["all"]) for kind, one in by_kind.items()]
        if curves:
            parts.append(Chart(draw("markouts", {"curves": curves}), "Markouts of all fills", _markout_words()))
        for kind, one in by_kind.items():
            terciles = one.get("by_confidence", {}).get("curves", [])
            sure = [_curve(name, after, curve) for name, curve in zip(TERCILES, terciles, strict=False)]
            if sure:
                title = f"Markouts of {kind} fills by the confidence of the prediction"
                parts.append(Chart(draw("markouts", {"curves": sure}), title, BANDS))
    parts += _adverse(report)
    return Section("After the fills", parts) if parts else None


def signal_decay(report: Report) -> Section | None:
    """The section on how long a prediction stays of use."""
    found = report.get("signal_decay")
    if not found:
        return None
    after = np.asarray(found["delta_ns"]) / 1e6
    horizons = {name: one for name, one in found.items() if isinstance(one, Mapping) and one.get("decisions")}
    curves = [_curve(f"horizon {name.removeprefix('h')} ticks", after, one["all"]) for name, one in horizons.items()]
    figure = draw("signal_decay", {"curves": curves})
    caption = (
        "How far the mid went the predicted way, over all ticks whose likeliest class was up or down. Where a curve is "
        f"flat, nothing more is to be gained by waiting; where it lies below costs, nothing is to be earned. {BANDS}"
    )
    parts: list[Part] = [Chart(figure, "Decay of the signal", caption)] if curves else []
    for name, one in horizons.items():
        bins = [_curve(_bin(one["edges"], i), after, curve) for i, curve in enumerate(one.get("curves", []))]
        chosen = [bins[i] for i in sorted({0, len(bins) // 2, len(bins) - 1})] if bins else []
        if chosen:
            title = (
                f"Decay by confidence, {name.removeprefix('h')} ticks ahead: the least sure, the middle and the surest"
            )
            parts.append(Chart(draw("signal_decay", {"curves": chosen}), title, BANDS))
    return Section("Decay of the signal", parts) if parts else None


def fill_probability(report: Report) -> Section | None:
    """The section on resting orders and the queue before them."""
    found = report.get("fill_probability")
    if not found or not found.get("bins"):
        return None
    bins = found["bins"]
    orders, filled = (np.array([one[key] for one in bins], dtype=float) for key in ("orders", "filled_share"))
    low, high = _wilson(filled, orders)
    ahead = [(one["low"] + one["high"]) / 2 for one in bins]
    data = {"ahead": ahead, "probability": filled, "low": low, "high": high, "n": orders}
    caption = (
        "By the quantity displayed at an order's price when it was decided on, in bins of equally many orders. Orders "
        "that the strategy withdrew count as not filled. Band: Wilson's 95 % interval, as if orders were independent."
    )
    rows = [
        (f"{one['low']:g} to {one['high']:g}", one["orders"], share(one["filled_share"]),
         share(one["filled_whole_share"]), duration(one["median_ns_to_fill"]))
        for one in bins
    ]  # fmt: skip
    columns = ("quantity before the order", "orders", "share filled", "share filled in whole", "median time to a fill")
    table = Table(f"{found['orders']:,} orders that rested; {found['never_rested']:,} never did", columns, rows)
    figure = draw("fill_probability", data)
    return Section("Queue position", [Chart(figure, "Fill probability by queue position", caption), table])


def latency(series: BacktestSeries) -> Chart | None:
    """The distribution of latencies that were charged."""
    if not len(series.latency_ns):
        return None
    caption = "From the receipt of a tick until orders decided at it leave."
    return Chart(draw("latency", {"latency_ns": series.latency_ns}), "Latency charged to the simulated clock", caption)


def _markout_words() -> str:
    return (
        "How far the mid lies beyond the price of a fill, to its advantage, some time after it, before fees. A taker "
        f"begins at minus half the spread, a maker at plus half of it. {BANDS}"
    )


def _curve(name: str, after_ms: Any, curve: Mapping[str, Any]) -> dict[str, Any]:
    mean, error = (np.asarray(curve[key], dtype=float) for key in ("mean_ticks", "error_ticks"))
    return {
        "name": name, "after_ms": after_ms, "mean": mean, "low": mean - NORMAL * error, "high": mean + NORMAL * error,
    }  # fmt: skip


def _adverse(report: Report) -> list[Part]:
    found = report.get("adverse_selection")
    if not found or not found.get("fills"):
        return []
    keys = ("half_spread_ticks", "adverse_ticks", "adverse_error_ticks", "markout_ticks", "kept_share", "counted")
    rows = [
        (duration(delta), *(found[key][i] if key in found else None for key in keys))
        for i, delta in enumerate(found["delta_ns"])
    ]
    columns = ("after", "half spread earned", "taken back", "± standard error", "kept: markout", "share kept", "fills")
    caption = "Adverse selection of orders that rested: half spread earned = kept + taken back by the mid, in ticks"
    return [
        Prose("What resting orders earned, and how much of it the market took back:"),
        Table(caption, columns, rows),
    ]


def _bin(edges: Any, i: int) -> str:
    return f"confidence {edges[i]:.2f} to {edges[i + 1]:.2f}" if len(edges) > i + 1 else f"bin {i + 1}"


def _wilson(share: Any, n: Any) -> tuple[Any, Any]:
    """Wilson's interval (1927) of shares of n independent trials."""
    centre = (share + NORMAL**2 / (2 * n)) / (1 + NORMAL**2 / n)
    half = NORMAL / (1 + NORMAL**2 / n) * np.sqrt(share * (1 - share) / n + NORMAL**2 / (4 * n**2))
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)
