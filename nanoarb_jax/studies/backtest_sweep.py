"""A sweep of a strategy's settings through one run: how many were tried, and what the best one is worth."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nanoarb_jax.progress import Note, silent
from nanoarb_jax.studies.backtests import Run, again, fee_share
from nanoarb_jax.trading.backtest.deflated import deflated_sharpe
from nanoarb_jax.trading.backtest.results import summarise
from nanoarb_jax.trading.contract import as_tuple

_SWEPT = (
    "net_pnl", "gross_pnl", "fees", "trades", "hit_rate", "sharpe", "sharpe_per_sample", "samples", "skew", "kurtosis",
)  # fmt: skip


def tried(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a sweep of settings came to: how many were tried, the best one, and what its Sharpe ratio is worth.

    Args:
        runs: summaries, see `summarise`, with "setting".

    Returns:
        "tried", "best" (its setting), "deflated_sharpe" (probability that the best one's Sharpe ratio exceeds what the
        best of so many without merit would show; None for fewer than two runs with a Sharpe ratio), "rows".
    """
    known = [one for one in runs if one.get("sharpe_per_sample") is not None]
    found: dict[str, Any] = {"tried": len(runs), "best": None, "deflated_sharpe": None, "rows": list(runs)}
    if known:
        best = int(np.argmax([one["sharpe_per_sample"] for one in known]))
        of = known[best]
        found["best"] = of["setting"]
        if len(known) > 1 and of["samples"] > 2:
            sharpes = np.array([one["sharpe_per_sample"] for one in known])
            found["deflated_sharpe"] = deflated_sharpe(sharpes, best, of["samples"], of["skew"], of["kurtosis"])
    return found


def sweep_beside(
    run: Run, swept: Sequence[tuple[str, Sequence[float]]], own: Mapping[str, Any], note: Note = silent
) -> dict[str, Any]:
    """All combinations of settings through the same run, see `tried`; the run's own settings are one of them.

    Args:
        run: that they stand beside.
        swept: names of settings with their values.
        own: summary of the run.
        note: told which is at work.
    """
    names = [name for name, _ in swept]
    rows = [{"setting": "as given", **{key: own[key] for key in _SWEPT}}]
    fee = fee_share(run.series.venue.settings, run.series)
    given = run.strategy(fee)
    for values in itertools.product(*(values for _, values in swept)):
        changed = dict(zip(names, values, strict=True))
        setting = ", ".join(f"{name}={value:g}" for name, value in changed.items())
        note(setting)
        changed |= fee
        strategy = run.strategy(changed)
        if _same(strategy.settings, given.settings):
            continue
        recorded = again(run, run.recorded.probabilities, strategy=strategy)
        whole = summarise(recorded, run.series.market, run.capital, run.trading_days)
        rows.append({"setting": setting, **{key: whole[key] for key in _SWEPT}})
    return tried(rows)


def _same(one: Any, other: Any) -> bool:
    """Whether two settings are equal, arrays in them too."""
    pairs = zip(as_tuple(one), as_tuple(other), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)
