"""The account in regular samples, and hftbacktest's own measures of them.

A Sharpe ratio depends on how often it looks. Here it is every `SAMPLE_S` seconds: the last record in each window of
that length, counted from midnight UTC, as hftbacktest resamples; where nothing was recorded in a window, the one
before it is held. So pauses count as time in which nothing was earned, samples are equally far apart, and the number
of samples in a year is what hftbacktest takes it to be. Drawdowns are measured at every record.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.trading.backtest.records import Market, equity

SAMPLE_S = 10
TRADING_DAYS = 365
LEAST_SAMPLES = 3


def with_prices(account: NDArray[np.void]) -> NDArray[np.void]:
    """The records with a price: while one side of the book is empty there is no mid."""
    return account[np.isfinite(account["price"])]


def sampled(account: NDArray[np.void], seconds: int = SAMPLE_S) -> NDArray[np.void]:
    """(s,) ACCOUNT, one for each window of time, stamped with its beginning; the last record in it or before it.

    Args:
        account: (n,) records in the order of time, n > 0.
        seconds: length of a window.
    """
    step = seconds * 1_000_000_000
    first, last = account["timestamp"][[0, -1]] // step
    begins = np.arange(first, last + 1) * step
    rows = np.searchsorted(account["timestamp"], begins + step, side="left") - 1
    samples = account[rows]  # a copy, of the right records with their own times
    samples["timestamp"] = begins
    return samples


def measures(account: NDArray[np.void], market: Market, trading_days: float = TRADING_DAYS) -> dict[str, float | None]:
    """hftbacktest's measures of a run, as its `Metric` classes compute them.

    Args:
        account: (n,) ACCOUNT.
        market: whose accounting is used.
        trading_days: in a year: 365 where the market never closes, 252 for shares.

    Returns:
        "sharpe" and "sortino" (of samples, per year), "max_drawdown" (account's currency, at every record),
        "return_over_max_drawdown"; None where one is not defined.
    """
    from hftbacktest.stats import InverseAssetRecord, LinearAssetRecord
    from hftbacktest.stats.metrics import SR, MaxDrawdown, ReturnOverMDD, Sortino

    record = InverseAssetRecord if market.inverse else LinearAssetRecord
    account = with_prices(account)
    found: dict[str, Any] = {}
    if not len(account):
        return dict.fromkeys(("sharpe", "sortino", "return_over_max_drawdown")) | {"max_drawdown": 0.0}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of ratios over 0, which become None
        every = record(account).contract_size(market.contract_size).resample(None)
        found |= every.stats([MaxDrawdown("max_drawdown"), ReturnOverMDD("return_over_max_drawdown")]).splits[-1]
        samples = sampled(account)
        if len(samples) >= LEAST_SAMPLES:
            ratios = [SR("sharpe", trading_days), Sortino("sortino", trading_days)]
            of_samples = record(samples).contract_size(market.contract_size).resample(f"{SAMPLE_S}s")
            found |= of_samples.stats(ratios).splits[-1]
    names = ("sharpe", "sortino", "max_drawdown", "return_over_max_drawdown")
    return {name: defined(found.get(name)) for name in names}


def moments(account: NDArray[np.void], market: Market) -> dict[str, float | int | None]:
    """What a deflated Sharpe ratio needs to know of the profits per sample.

    Returns:
        "samples" (profits, one fewer than records), "sharpe_per_sample" (mean over standard deviation, not of a year),
        "skew", "kurtosis" (3 for a normal distribution); None where profits do not vary.
    """
    account = with_prices(account)
    profits = np.diff(equity(sampled(account), market)) if len(account) else np.zeros(0)
    found: dict[str, float | int | None] = {"samples": len(profits)}
    deviation = profits.std() if len(profits) else 0.0
    if len(profits) + 1 < LEAST_SAMPLES or not deviation > 0:
        return found | dict.fromkeys(("sharpe_per_sample", "skew", "kurtosis"))
    scores = (profits - profits.mean()) / deviation
    return found | {
        "sharpe_per_sample": float(profits.mean() / profits.std(ddof=1)),
        "skew": float((scores**3).mean()),
        "kurtosis": float((scores**4).mean()),
    }


def defined(figure: Any) -> float | None:
    """A figure as a float, or None where it is none."""
    return float(figure) if figure is not None and np.isfinite(figure) else None
