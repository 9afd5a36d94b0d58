"""What became of predictions and orders: markouts, the decay of the signal, fills by queue position, latencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nanoarb_jax.errors import DataError
from nanoarb_jax.reports.charts.histogram import bars
from nanoarb_jax.reports.charts.palette import BLUE, DASHES, GREEN, INK, LINES
from nanoarb_jax.reports.charts.parts import Trace, axis, band, escaped, figure, floats, line, upright
from nanoarb_jax.reports.charts.registry import Figure, chart
from nanoarb_jax.reports.words import duration

CURVE = ("name", "after_ms", "mean", "low", "high")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")


@chart("markouts", needs=("curves",))
def markouts(data: Mapping[str, Any]) -> Figure:
    """How far the price moved in favour of fills, by the time since them, with a band of error around each mean.

    Args:
        data: `curves`, a list of {`name`, `after_ms` (t,) above 0, `mean`, `low`, `high` (t,) in ticks}.
    """
    return _over_time(data, "markouts", "time since the fill", "mean move in favour, ticks")


@chart("signal_decay", needs=("curves",))
def signal_decay(data: Mapping[str, Any]) -> Figure:
    """How far the price moved in the predicted direction, by the time since the prediction.

    Args:
        data: `curves` as of the chart "markouts".
    """
    return _over_time(data, "signal_decay", "time since the prediction", "mean move as predicted, ticks")


@chart("fill_probability", needs=("ahead", "probability", "low", "high"))
def fill_probability(data: Mapping[str, Any]) -> Figure:
    """The share of resting orders that were filled, by the quantity before them in the queue when they were sent.

    Args:
        data: `ahead` (b,) quantity; `probability`, `low`, `high` (b,) from 0 to 1; `n` (b,) orders may be missing.
    """
    ahead, share, low, high = floats(data, "fill_probability", "ahead", "probability", "low", "high")
    text = [f"{n:,.0f} orders" for n in floats(data, "fill_probability", "ahead", "n")[1]] if "n" in data else None
    known = np.flatnonzero(~np.isnan(share))
    traces = [
        band(ahead, low, high, "error", BLUE),
        line(ahead[known], share[known], "filled", BLUE, showlegend=False)
        | {"mode": "lines+markers", "marker": {"size": 7, "color": BLUE}}
        | ({"text": [text[i] for i in known], "hovertemplate": "%{y:.1%} of %{text}<extra></extra>"} if text else {}),
    ]
    x = axis("quantity before the order in the queue", rangemode="tozero")
    return figure(traces, x, axis("share of orders filled", tickformat=".0%", rangemode="tozero"))


@chart("latency", needs=("latency_ns",))
def latency(data: Mapping[str, Any]) -> Figure:
    """How long predictions took: the latencies that were charged to the simulated clock.

    Args:
        data: `latency_ns` (n,) above 0.
    """
    (found,) = floats(data, "latency", "latency_ns")
    us = found[np.isfinite(found) & (found > 0)] / 1e3
    wide = len(us) > 0 and us.max() > 30 * us.min()
    traces = [bars(us, BLUE, "predictions", logarithmic=wide) | {"opacity": 0.6}]
    ticks = [base * 10.0**power for power in range(-3, 8) for base in (1, 2, 5)]
    x = axis("inference latency charged", type="log" if wide else "linear", ticksuffix="" if wide else " µs")
    x |= {"tickvals": ticks, "ticktext": [duration(1e3 * tick) for tick in ticks]} if wide else {}
    marks = {}
    if len(us):
        median = float(np.median(us))
        at = float(np.log10(median)) if wide else median
        marks = upright(median, f"median {duration(1e3 * median)}", INK)
        marks["annotations"][0]["x"] = at  # of annotations Plotly expects the logarithm, of lines the value
    return figure(traces, x, axis("predictions"), height=300, bargap=0, **marks)


def _over_time(data: Mapping[str, Any], chart: str, x: str, y: str) -> Figure:
    curves: Sequence[Mapping[str, Any]] = data["curves"]
    traces = [trace for i, curve in enumerate(curves) for trace in _curve(curve, chart, i)]
    longest = max((float(np.max(trace["x"])) for trace in traces if len(trace["x"])), default=1.0)
    ticks = [ms for ms in 10.0 ** np.arange(-3, 8) if ms <= 2 * longest]
    x_axis = axis(x, type="log", tickvals=ticks, ticktext=[duration(1e6 * ms) for ms in ticks])
    return figure(traces, x_axis, axis(y, zeroline=True, zerolinewidth=2))


def _curve(curve: Mapping[str, Any], chart: str, i: int) -> list[Trace]:
    missing = [key for key in CURVE if key not in curve]
    if missing:
        raise DataError(f"chart {chart!r}, a curve: no {', '.join(missing)}; expected {', '.join(CURVE)}")
    after, mean, low, high = floats(curve, chart, *CURVE[1:])
    colour = {"maker": GREEN, "taker": BLUE}.get(curve["name"], LINES[i % len(LINES)])
    known = ~np.isnan(mean) & (after > 0)
    name = escaped(curve["name"])
    drawn = line(after[known], mean[known], name, colour, dash=DASHES[i % len(DASHES)])
    drawn |= {
        "mode": "lines+markers", "marker": {"size": 7, "color": colour, "symbol": SYMBOLS[i % len(SYMBOLS)]},
        "hovertemplate": "%{y:.3f} ticks after %{text}", "text": [duration(1e6 * ms) for ms in after[known]],
    }  # fmt: skip
    return [band(after, low, high, name, colour), drawn] if known.any() else []
