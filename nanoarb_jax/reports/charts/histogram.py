"""How values are distributed, counted here, so that a page holds a few bars and not every value."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from nanoarb_jax.reports.charts.palette import BLUE
from nanoarb_jax.reports.charts.parts import Floats, Trace, axis, escaped, figure, floats
from nanoarb_jax.reports.charts.registry import Figure, chart

BARS = 40


@chart("histogram", needs=("values", "label"))
def histogram(data: Mapping[str, Any]) -> Figure:
    """How values are distributed.

    Args:
        data: `values` (n,); `label`, what they are, with their unit.
    """
    (values,) = floats(data, "histogram", "values")
    return figure(
        [bars(values, BLUE, "values")], axis(escaped(data["label"])), axis("number"), height=300, bargap=0
    )  # fmt: skip


def bars(values: Floats, colour: str, name: str, logarithmic: bool = False) -> Trace:
    """The counts of values between equally far edges, by their logarithms if asked for, as a trace of bars."""
    values = values[np.isfinite(values)]
    edges = _edges(np.log10(values) if logarithmic else values)
    edges = 10**edges if logarithmic else edges
    counts = np.histogram(values, edges)[0]
    return {
        "type": "bar", "x": (edges[:-1] + edges[1:]) / 2, "y": counts, "width": np.diff(edges), "name": name,
        "marker": {"color": colour, "line": {"width": 0}}, "showlegend": False,
        "text": [f"{low:,.4g} to {high:,.4g}" for low, high in pairwise(edges)],
        "textposition": "none", "hovertemplate": "%{text}: %{y:,}<extra></extra>",
    }  # fmt: skip


def _edges(values: Floats) -> Floats:
    """Edges a little outside the lowest and the highest value; values that are all alike have a narrow bar."""
    if not len(values):
        return np.array([0.0, 1.0])
    low, high = float(values.min()), float(values.max())
    room = 1e-6 * (high - low) or abs(low) * 0.02 or 0.5
    alike = high == low
    parts = 1 if alike else min(BARS, max(5, int(2 * len(values) ** 0.5)))
    return np.linspace(low - room, high + room, parts + 1).astype(np.float64)
