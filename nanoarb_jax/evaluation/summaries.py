"""From judgements, one per series, judge and horizon, to what is said of all series together."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.evaluation.calibration import ece_floor, ece_of_bins, reliability_lists
from nanoarb_jax.evaluation.metrics import confusion_counts, mcc_from_confusion, mean_over_series
from nanoarb_jax.evaluation.trading import Decisions, transaction_shares

LARGE_TICK_SPREAD = 2.0  # ticks: a book that stands closer than this is held by its tick size (Briola et al. 2024)
PROFITS = ("profit_per_trade_ticks", "profit_per_trade_bp")
REGIME_KEYS = ("mcc", "macro_f1", *PROFITS)
HOUR_NS = 3_600_000_000_000


class Judgement(NamedTuple):
    """What one judge came to on one series and horizon.

    Attributes:
        horizon: in ticks.
        metrics: plain JSON values.
        decisions: of the judged rows.
        losses: (n,) -log p of what came true, as the probabilities come.
        bins: (2, 3, ECE_BINS) `reliability_bins`, raw and temperature-scaled.
        scatter: (ECE_BINS,) of the scaled ones.
    """

    horizon: int
    metrics: dict[str, Any]
    decisions: Decisions
    losses: NDArray[np.float64]
    bins: NDArray[np.float64]
    scatter: NDArray[np.float64]


Judgements: TypeAlias = Mapping[str, Mapping[str, Mapping[str, Judgement]]]  # {series: {judge: {"h10": judgement}}}


def median_profits(series: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Profit per trade after the spread, the median over the series in which a judge trades.

    A mean would be that of the market with the widest spread.

    Args:
        series: {name: {judge: {horizon: metrics}}}, see `judging.judge_streams`.

    Returns:
        {judge: {horizon: {"profit_per_trade_ticks", "profit_per_trade_bp"}}}, None where the judge never trades.
    """
    first = next(iter(series.values()))

    def median(judge: str, key: str, name: str) -> float | None:
        known = [value for each in series.values() if (value := each[judge][key].get(name)) is not None]
        return statistics.median(known) if known else None

    return {
        judge: {key: {name: median(judge, key, name) for name in PROFITS} for key in by_horizon}
        for judge, by_horizon in first.items()
    }


def pooled(judgements: Judgements) -> dict[str, dict[str, dict[str, Any]]]:
    """Calibration of all series together, each weighing the same, and p_T of all their transactions.

    A thousand rows that hang together leave a calibration error of some hundredths to a perfect forecaster (see
    `ece_floor`); together the series say more.

    Returns:
        {judge: {"h10": {"ece", "ece_scaled", "ece_floor", "reliability_raw", "reliability", "p_t"}}}; reliability is
        scaled, and its "n" a share of all rows.
    """
    return {
        judge: {key: _pool([each[judge][key] for each in judgements.values()]) for key in horizons}
        for judge, horizons in _first(judgements).items()
    }


def _pool(judgements: Sequence[Judgement]) -> dict[str, Any]:
    raw, scaled = np.mean([judgement.bins / len(judgement.decisions.rows) for judgement in judgements], axis=0)
    lists = [judgement.metrics["p_t"] for judgement in judgements]
    counted, correct = (np.sum([one[key] for one in lists], axis=0).tolist() for key in ("transactions", "correct"))
    return {
        "ece": ece_of_bins(raw),
        "ece_scaled": ece_of_bins(scaled),
        "ece_floor": ece_floor(np.sum([judgement.scatter for judgement in judgements], axis=0) / len(judgements) ** 2),
        "reliability_raw": reliability_lists(raw),
        "reliability": reliability_lists(scaled),
        "p_t": transaction_shares(counted, correct),
    }


def regimes(streams: Sequence[Stream], series: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Means over the series whose training-median spread is below two ticks ("large_tick"), and over the others.

    Where the tick is large, queues are long and the spread hardly moves; where it is small, prices move with every
    order. Forecasts are worth different things there (Briola, Bartolucci, Aste 2024).

    Returns:
        {"large_tick": {"series": [names], judge: {"h10": {key of REGIME_KEYS: mean}}}, "small_tick": …}; only names
        (none) where a regime has no series.
    """
    found: dict[str, list[str]] = {"large_tick": [], "small_tick": []}
    for stream in streams:
        spread = float(np.median(stream.spread[slice(*stream.train)]))
        found["large_tick" if spread < LARGE_TICK_SPREAD else "small_tick"].append(stream.name)
    return {
        regime: {"series": names, **mean_over_series({name: series[name] for name in names}, REGIME_KEYS)}
        for regime, names in found.items()
    }


def hours(streams: Sequence[Stream], judgements: Judgements) -> dict[str, dict[str, Any]]:
    """MCC by UTC hour of the judged row, of the confusion counts of all series together that have real times.

    Returns:
        {"03": {judge: {"h10": {"n", "mcc"}}}}, hours in order, every horizon in each; "mcc" is None where no row of an
        hour is judged at a horizon, as in the last minutes of a series.
    """
    horizons = next(iter(_first(judgements).values()))
    nothing = {key: np.zeros((3, 3), np.int64) for key in horizons}
    counts: dict[str, dict[str, dict[str, NDArray[np.int64]]]] = {}
    for stream in (one for one in streams if one.timed):
        hour_of_row = stream.ts_ns // HOUR_NS % 24
        for judge, horizons in judgements[stream.name].items():
            for key, judgement in horizons.items():
                rows, labels, decided, _ = judgement.decisions
                for hour in np.unique(hour_of_row[rows]):
                    at = hour_of_row[rows] == hour
                    judges = counts.setdefault(f"{hour:02d}", {judge: dict(nothing) for judge in _first(judgements)})
                    judges[judge][key] = judges[judge][key] + confusion_counts(labels[at], decided[at])
    return {
        hour: {
            judge: {
                key: {"n": int(c.sum()), "mcc": mcc_from_confusion(c) if c.any() else None} for key, c in cells.items()
            }
            for judge, cells in counts[hour].items()
        }
        for hour in sorted(counts)
    }


def _first(judgements: Judgements) -> Mapping[str, Mapping[str, Judgement]]:
    """Judges and horizons, which are the same for every series."""
    return next(iter(judgements.values()))
