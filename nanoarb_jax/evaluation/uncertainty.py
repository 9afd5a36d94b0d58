"""How sure are the means over series, and the first judge's lead over the others?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.evaluation.bootstrap import (
    FIGURES,
    block_length,
    interval,
    over_instruments,
    paired,
    resampled_figures,
)
from nanoarb_jax.evaluation.summaries import Judgement, Judgements

# judges that were fitted to the very instrument; a result holds those that the features of its series allow
FITTED_BASELINES = ("queue_imbalance", "ofi_logistic", "logistic", "gradient_boosting", "gradient_boosting_flow")
ONLINE = "_online"  # behind the name of a judge that is recalibrated as labels become known


def uncertainty(streams: Sequence[Stream], judgements: Judgements) -> dict[str, Any]:
    """Bootstrap 95 % intervals of means over series, and the first judge against every other.

    Series are resampled independently of each other, judges together, see `bootstrap`.

    Returns:
        {"intervals": {judge: {"h10": {figure of FIGURES: [low, high]}}},
         "paired": {other judge: {"h10": {**`paired` of the MCC, "macro_f1": `paired`, "log_loss": `paired`}}},
         "best_baseline": {"h10": {"judge": name, **its "paired"}}}, differences first less other. The best baseline is
        the one of FITTED_BASELINES, recalibrated ones included, with the best mean MCC at that horizon; without any a
        horizon is left out.
    """
    first_series = next(iter(judgements.values()))
    judges, horizons = list(first_series), list(next(iter(first_series.values())))
    instruments = [stream.instrument for stream in streams]
    intervals: dict[str, Any] = {judge: {} for judge in judges}
    tests: dict[str, Any] = {judge: {} for judge in judges[1:]}
    best: dict[str, Any] = {}
    for key in horizons:
        found = _resample(judgements, key, instruments)
        for i, judge in enumerate(judges):
            intervals[judge][key] = {figure: interval(found.means[:, i, k]) for k, figure in enumerate(FIGURES)}
        for i, judge in enumerate(judges[1:], start=1):
            tests[judge][key] = _compare(found, i)
        fitted = [judge for judge in judges[1:] if judge.removesuffix(ONLINE) in FITTED_BASELINES]
        if fitted:
            name = max(fitted, key=lambda judge: found.measured[judges.index(judge), 0])
            best[key] = {"judge": name, **tests[name][key]}
    return {"intervals": intervals, "paired": tests, "best_baseline": best}


class _Resampled(NamedTuple):
    """Means over series of j judges at one horizon, in the order of FIGURES."""

    measured: NDArray[np.float64]  # (j, figures)
    means: NDArray[np.float64]  # (r, j, figures) on resamples of blocks
    over: NDArray[np.float64] | None  # (r, j, figures) of instruments and blocks
    instruments: int


def _resample(judgements: Judgements, key: str, instruments: Sequence[str]) -> _Resampled:
    figures = [
        [[horizons[key].metrics[figure] for figure in FIGURES] for horizons in judges.values()]
        for judges in judgements.values()
    ]
    each = [
        _resample_series([horizons[key] for horizons in judges.values()], number)
        for number, judges in enumerate(judgements.values())
    ]
    samples = np.stack(each, axis=1)  # (r, s, j, figures)
    over = over_instruments(samples, instruments)
    return _Resampled(np.mean(figures, axis=0), samples.mean(axis=1), over, len(set(instruments)))


def _resample_series(judgements: Sequence[Judgement], number: int) -> NDArray[np.float64]:
    horizon, labels = judgements[0].horizon, judgements[0].decisions.labels
    decided = np.stack([judgement.decisions.decided for judgement in judgements])
    losses = np.stack([judgement.losses for judgement in judgements])
    return resampled_figures(labels, decided, losses, block_length(horizon), (number, horizon))


def _compare(found: _Resampled, other: int) -> dict[str, Any]:
    """The first judge less another: `paired` of the MCC, and in it those of the other FIGURES."""
    tests = [
        paired(
            float(found.measured[0, k] - found.measured[other, k]),
            found.means[:, 0, k] - found.means[:, other, k],
            None if found.over is None else found.over[:, 0, k] - found.over[:, other, k],
            found.instruments,
        )
        for k in range(len(FIGURES))
    ]
    return tests[0] | dict(zip(FIGURES[1:], tests[1:], strict=True))
