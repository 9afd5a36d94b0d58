"""Charts by name, from plain arrays to Plotly figures, for every report that is a page.

    charts.names()                   which there are
    charts.needs("drawdown")         the keys that a chart reads
    charts.draw("drawdown", data)    a figure, {"data": …, "layout": …}

A figure is plain data, as Plotly's JavaScript reads it, in the colours of the light scheme; a page exchanges them for
those of the dark one. Plotly itself is not needed to draw one. A new chart is a function with the decorator `chart`, in
a file that is imported here.
"""

from __future__ import annotations

from nanoarb_jax.reports.charts import account, comparison, forecast, histogram, trades
from nanoarb_jax.reports.charts.registry import Figure, chart, draw, names, needs

__all__ = ["Figure", "account", "chart", "comparison", "draw", "forecast", "histogram", "names", "needs", "trades"]
