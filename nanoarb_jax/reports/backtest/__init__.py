"""The page of a backtest: what `nanoarb-jax backtest --report FILE.html` writes."""

from __future__ import annotations

from nanoarb_jax.reports.backtest.assembly import backtest_page
from nanoarb_jax.reports.backtest.series import BacktestSeries, Equity, Fills

__all__ = ["BacktestSeries", "Equity", "Fills", "backtest_page"]
