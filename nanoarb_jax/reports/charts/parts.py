"""What charts are put together of: lines, bands, axes, and the checks of what they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.reports.charts.decimation import kept
from nanoarb_jax.reports.charts.palette import faint
from nanoarb_jax.reports.charts.registry import Figure

Trace = dict[str, Any]
Floats = NDArray[np.float64]


def floats(data: Mapping[str, Any], chart: str, *keys: str) -> list[Floats]:
    """Arrays of the same length; None becomes NaN.

    Raises:
        DataError: they are not numbers, or differ in length.
    """
    found: list[Floats] = []
    for key in keys:
        try:
            found.append(np.asarray(data[key], dtype=np.float64).reshape(-1))
        except (TypeError, ValueError) as error:
            raise DataError(f"chart {chart!r}, {key!r}: expected numbers ({error})") from error
        if len(found[-1]) != len(found[0]):
            raise DataError(
                f"chart {chart!r}: {len(found[-1])} values of {key!r} and {len(found[0])} of {keys[0]!r}; "
                "expected equally many"
            )
    return found


def milliseconds(time_ns: ArrayLike) -> Floats:
    """Times in ns since 1970 UTC as Plotly's date axes take them: in ms, to the microsecond."""
    return np.asarray(time_ns, dtype=np.float64) / 1e6


def line(x: ArrayLike, y: ArrayLike, name: str, colour: str, **more: Any) -> Trace:
    """A line through points; `dash`, `shape` and `width` are of the line, anything else of the trace."""
    pen = {"color": colour, "width": more.pop("width", 1.6)}
    pen |= {key: more.pop(key) for key in ("dash", "shape") if key in more}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": pen, **more}


def long_line(x: Floats, y: Floats, name: str, colour: str, **more: Any) -> Trace:
    """A line of fewer points than there are, none of whose peaks is missing."""
    rows = kept(y)
    return line(x[rows], y[rows], name, colour, **more)


def band(x: Floats, low: Floats, high: Floats, name: str, colour: str) -> Trace:
    """The area between two lines, in one trace that goes there and back."""
    known = ~(np.isnan(low) | np.isnan(high))
    x, low, high = x[known], low[known], high[known]
    return {
        "type": "scatter", "mode": "lines", "x": np.concatenate([x, x[::-1]]), "y": np.concatenate([high, low[::-1]]),
        "fill": "toself", "fillcolor": faint(colour), "line": {"width": 0, "color": colour}, "name": name,
        "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with its title, which says the unit."""
    return {"title": {"text": title}, **more}


def time_axis(**more: Any) -> dict[str, Any]:
    """Of dates in UTC."""
    return axis("time, UTC", type="date", **more)


def figure(traces: list[Trace], x: dict[str, Any], y: dict[str, Any], **more: Any) -> Figure:
    """Traces, two axes and what every chart has in common: the legend above it, room for the axes."""
    layout = {
        "xaxis": x, "yaxis": y, "height": 380, "margin": {"l": 64, "r": 16, "t": 24, "b": 48},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
    }  # fmt: skip
    return {"data": traces, "layout": layout | more}


def upright(at: float, words: str, colour: str, **more: Any) -> dict[str, Any]:
    """A vertical line through the chart with words at its top, as parts of a layout."""
    return {
        "shapes": [
            {
                "type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1,
                "line": {"color": colour, "width": 2, "dash": "dash"},
            }
        ],
        "annotations": [
            {
                "x": at, "yref": "paper", "y": 1, "yanchor": "bottom", "text": words, "showarrow": False,
                "font": {"color": colour}, **more,
            }
        ],
    }  # fmt: skip


def escaped(text: object) -> str:
    """Text for Plotly's labels, which read a few tags: what was given appears as it is."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
