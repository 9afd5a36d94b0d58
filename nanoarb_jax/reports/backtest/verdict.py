"""The sentences at the top of a backtest's page: what came of it, why, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanoarb_jax.reports.backtest.tables import net_ticks
from nanoarb_jax.reports.words import brief

Report = Mapping[str, Any]


def verdict(report: Report) -> str:
    """What came of a backtest, in a few sentences.

    >>> from nanoarb_jax.reports.backtest.verdict import verdict
    >>> verdict({"net_pnl": -2.0, "gross_pnl": 3.0, "fees": 5.0, "trades": 40, "currency": "USDT"})
    'The strategy lost 2 USDT in 40 trades: it gained 3 before fees, and fees were 5.'
    """
    if report.get("trades") == 0:
        why = f"; trading was stopped by {report['stopped']}" if report.get("stopped") else ""
        return f"No trade was made{why}."
    parts = [_profit(report), _certainty(report), _rank(report), _suspicion(report), _stopped(report)]
    return " ".join(part for part in parts if part)


def _profit(report: Report) -> str:
    net, gross, fees = (report.get(key) for key in ("net_pnl", "gross_pnl", "fees"))
    if net is None:
        return "The report has no net profit."
    unit = f" {report['currency']}" if report.get("currency") else ""
    trades = f" in {report['trades']:,} trades" if report.get("trades") is not None else ""
    begun = f"The strategy {'earned' if net > 0 else 'lost'} {brief(abs(net))}{unit}{trades}"
    if gross is None or fees is None:
        return f"{begun}."
    before = f"gained {brief(gross)}" if gross >= 0 else f"lost {brief(-gross)}"
    charged = f"fees were {brief(fees)}" if fees >= 0 else f"rebates were {brief(-fees)}"
    return f"{begun}: it {before} before fees, and {charged}."


def _certainty(report: Report) -> str:
    found = net_ticks(report)
    if found is None:
        return ""
    begun = f"A round trip left {brief(found['mean'])} ticks per unit after fees"
    if found.get("low") is None or found.get("high") is None:
        return f"{begun}, of too few for an interval."
    limits = f"95 % interval {brief(found['low'])} to {brief(found['high'])}"
    sure = "" if found["low"] > 0 or found["high"] < 0 else ", so that neither profit nor loss is certain"
    return f"{begun} ({limits}){sure}."


def _rank(report: Report) -> str:
    percentile = ((report.get("controls") or {}).get("random") or {}).get("percentile")
    return "" if percentile is None else f"It did better than {percentile:.3g} % of as many random signals, per trade."


def _suspicion(report: Report) -> str:
    if not (report.get("look_ahead") or {}).get("flagged"):
        return ""
    return "Its predictions look as if they held the move that they predict: do not trust this result."


def _stopped(report: Report) -> str:
    return f"Trading was stopped by {report['stopped']} before the data ended." if report.get("stopped") else ""
