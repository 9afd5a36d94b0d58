"""The account over time: equity, position, drawdown; and the same run under several queue models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nanoarb_jax.errors import DataError
from nanoarb_jax.reports.charts.decimation import MOST, kept
from nanoarb_jax.reports.charts.palette import BLUE, DASHES, GREEN, GREY, LINES, ORANGE, faint
from nanoarb_jax.reports.charts.parts import (
    axis,
    band,
    escaped,
    figure,
    floats,
    line,
    long_line,
    milliseconds,
    time_axis,
)
from nanoarb_jax.reports.charts.registry import Figure, chart


@chart("equity", needs=("time_ns", "net", "gross", "position"))
def equity(data: Mapping[str, Any]) -> Figure:
    """Net and gross equity, and the position below them.

    Args:
        data: `time_ns` (n,) ns since 1970 UTC; `net`, `gross` (n,) in the account's currency; `position` (n,);
            `currency`, its name, may be missing.
    """
    time_ns, net, gross, position = floats(data, "equity", "time_ns", "net", "gross", "position")
    time = milliseconds(time_ns)
    held = {"shape": "hv", "yaxis": "y2", "fill": "tozeroy", "fillcolor": faint(GREEN)}
    traces = [
        long_line(time, gross, "gross: before fees", ORANGE, dash="dot"),
        long_line(time, net, "net: after fees", BLUE, width=2.2),
        long_line(time, position, "position", GREEN, **held),
    ]
    money, below = axis(_money("equity", data), domain=[0.36, 1]), axis("position", domain=[0, 0.26], anchor="x")
    return figure(traces, time_axis(anchor="y2"), money, yaxis2=below, height=480, hovermode="x unified")


@chart("drawdown", needs=("time_ns", "net"))
def drawdown(data: Mapping[str, Any]) -> Figure:
    """How far the net equity is below its highest value so far.

    Args:
        data: `time_ns` (n,); `net` (n,); `currency` may be missing.
    """
    time_ns, net = floats(data, "drawdown", "time_ns", "net")
    below = net - np.fmax.accumulate(net) if len(net) else net
    area = {"fill": "tozeroy", "fillcolor": faint(ORANGE), "showlegend": False}
    traces = [long_line(milliseconds(time_ns), below, "below the highest value", ORANGE, **area)]
    return figure(traces, time_axis(), axis(_money("drawdown", data)), height=260)


@chart("queue_models", needs=("time_ns", "models"))
def queue_models(data: Mapping[str, Any]) -> Figure:
    """Net equity of the same run under several queue models, and the area between the lowest and the highest.

    Args:
        data: `time_ns` (n,); `models` {name: (n,) net equity at these times}; `currency` may be missing.
    """
    models = {str(name): net for name, net in data["models"].items()}
    if not models:
        raise DataError("chart 'queue_models', 'models': there is none; expected the net equity of at least one")
    time_ns, *nets = floats({**models, "time_ns": data["time_ns"]}, "queue_models", "time_ns", *models)
    rows = np.unique(np.concatenate([kept(net, MOST // len(nets)) for net in nets]))
    time, together = milliseconds(time_ns)[rows], np.array(nets)[:, rows]
    traces = [band(time, np.min(together, axis=0), np.max(together, axis=0), "between them", GREY)]
    for i, (name, net) in enumerate(zip(models, together, strict=True)):
        traces.append(line(time, net, escaped(name), LINES[i % len(LINES)], dash=DASHES[i % len(DASHES)]))
    return figure(traces, time_axis(), axis(_money("net equity", data)), hovermode="x unified")


def _money(what: str, data: Mapping[str, Any]) -> str:
    return f"{what}, {escaped(data['currency'])}" if data.get("currency") else what
