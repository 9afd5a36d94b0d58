"""A run beside others: at other latencies and fees, with random signals, and of rivals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nanoarb_jax.errors import DataError
from nanoarb_jax.reports.charts.histogram import bars
from nanoarb_jax.reports.charts.palette import BLUE, GREY, INK, gains
from nanoarb_jax.reports.charts.parts import axis, escaped, figure, floats, upright
from nanoarb_jax.reports.charts.registry import Figure, chart


@chart("heat_map", needs=("latencies", "fees", "pnl"))
def heat_map(data: Mapping[str, Any]) -> Figure:
    """Net PnL by inference latency and fee: blue is gained, orange is lost, and the figures stand in the fields.

    Args:
        data: `latencies` (l,) and `fees` (f,), words for the axes; `pnl` (l, f); `currency` and `fee_unit` may
            be missing.
    """
    rows, columns = ([escaped(name) for name in data[key]] for key in ("latencies", "fees"))
    pnl = np.asarray(data["pnl"], dtype=np.float64)
    if pnl.shape != (len(rows), len(columns)):
        raise DataError(
            f"chart 'heat_map', 'pnl': shape {pnl.shape}; expected ({len(rows)} latencies, {len(columns)} fees)"
        )
    most = float(np.nanmax(np.abs(pnl))) if np.isfinite(pnl).any() else 1.0
    unit = f", {escaped(data['currency'])}" if data.get("currency") else ""
    trace = {
        "type": "heatmap", "x": columns, "y": rows, "z": pnl, "zmin": -(most or 1.0), "zmax": most or 1.0,
        "colorscale": gains(), "xgap": 2, "ygap": 2, "hoverongaps": False,
        "texttemplate": "%{z:,.3~r}", "textfont": {"color": INK},
        "hovertemplate": "latency %{y}, fee %{x}: %{z:,.6~g}<extra></extra>",
        "colorbar": {"thickness": 12, "title": {"text": f"net PnL{unit}", "side": "right"}},
    }  # fmt: skip
    unit = f", {escaped(data['fee_unit'])}" if data.get("fee_unit") else ""
    x, y = axis(f"fee{unit}", type="category"), axis("inference latency", type="category")
    return figure([trace], x, y, height=120 + 52 * max(len(rows), 3))


@chart("random_seeds", needs=("pnl", "model", "percentile"))
def random_seeds(data: Mapping[str, Any]) -> Figure:
    """Net PnL of random signals with as many trades, one run a seed, and where the model is among them.

    Args:
        data: `pnl` (s,) of the seeds; `model`, its own; `percentile`, share of seeds below it, 0 to 100; `currency`
            may be missing.
    """
    (pnl,) = floats(data, "random_seeds", "pnl")
    model, percentile = float(data["model"]), data["percentile"]
    rank = "" if percentile is None else f": above {float(percentile):.3g} % of them"
    known = pnl[np.isfinite(pnl)]
    left = len(known) > 0 and model > (known.min() + known.max()) / 2  # words end at a line that is far right
    marks = upright(model, f"the model{rank}", BLUE, xanchor="right" if left else "left")
    unit = f", {escaped(data['currency'])}" if data.get("currency") else ""
    traces = [bars(pnl, GREY, "random signals") | {"opacity": 0.5}]
    return figure(traces, axis(f"net PnL{unit}"), axis("seeds"), height=300, bargap=0, **marks)


@chart("rivals", needs=("names", "pnl", "low", "high"))
def rivals(data: Mapping[str, Any]) -> Figure:
    """A bar for each judge through the same strategy, with its interval.

    Args:
        data: `names` (r,); `pnl`, `low`, `high` (r,), NaN where there is no interval; `label` of the axis and
            `highlight`, the name to be drawn in another colour, may be missing.
    """
    names = [str(name) for name in data["names"]]
    places = {**data, "names": np.arange(len(names))}
    _, pnl, low, high = floats(places, "rivals", "names", "pnl", "low", "high")
    colours = [BLUE if name == data.get("highlight", "model") else GREY for name in names]
    sizes = {"type": "data", "symmetric": False, "array": high - pnl, "arrayminus": pnl - low}
    trace = {
        "type": "bar", "orientation": "h", "y": [escaped(name) for name in names], "x": pnl, "name": "net PnL",
        "marker": {"color": colours}, "error_x": sizes | {"color": INK, "thickness": 1.5, "width": 5},
        "showlegend": False, "hovertemplate": "%{y}: %{x:,.6~g}<extra></extra>",
    }  # fmt: skip
    y = axis("", type="category", autorange="reversed")
    x = axis(escaped(data.get("label", "net PnL")), zeroline=True, zerolinewidth=2)
    return figure([trace], x, y, height=110 + 40 * max(len(names), 2), bargap=0.35)
