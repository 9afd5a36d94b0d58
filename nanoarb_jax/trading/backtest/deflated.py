"""The Sharpe ratio of the best of many tries, made smaller for their number.

Who tries many settings and shows the best one shows luck as well. Bailey and López de Prado ("The Deflated Sharpe
Ratio: Correcting for Selection Bias, Backtest Overfitting and Non-Normality", Journal of Portfolio Management, 2014)
ask: how likely is it that the true Sharpe ratio is above the best that so many tries without any merit would show?

All Sharpe ratios here are of one observation (mean over standard deviation of the profits per sample), not of a year:
`sampled.moments` gives them with the other figures.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from nanoarb_jax.errors import ConfigError, DataError

_EULER = float(np.euler_gamma)
_NORMAL = NormalDist()


def expected_maximum(trials: int, variance: float) -> float:
    """The highest Sharpe ratio to be expected of tries whose true ones are all 0.

    Args:
        trials: how many, taken to be independent; settings that trade alike are fewer, and the result is too high,
            which is the careful side.
        variance: of the Sharpe ratios of the tries.

    Source: equation 1 of the paper, an approximation that is good from a handful of trials on.

    >>> from nanoarb_jax.trading.backtest.deflated import expected_maximum
    >>> round(expected_maximum(100, 0.5 / 250), 4)
    0.1132
    """
    if trials < 2:
        return 0.0
    quantiles = [_NORMAL.inv_cdf(1 - 1 / trials), _NORMAL.inv_cdf(1 - 1 / (trials * np.e))]
    return float(np.sqrt(variance) * ((1 - _EULER) * quantiles[0] + _EULER * quantiles[1]))


def probabilistic_sharpe(sharpe: float, benchmark: float, observations: int, skew: float, kurtosis: float) -> float:
    """Probability that the true Sharpe ratio is above a benchmark, given the measured one.

    Args:
        sharpe: measured, of one observation.
        benchmark: the same kind.
        observations: that it was measured on.
        skew: of the observations, 0 for normal ones.
        kurtosis: 3 for normal ones.

    Raises:
        DataError: fewer than two observations, or moments that contradict the Sharpe ratio.
    """
    spread = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if observations < 2 or not spread > 0:
        raise DataError(
            f"observations={observations}, sharpe={sharpe}, skew={skew}, kurtosis={kurtosis}: expected at least two "
            "observations, and moments that they can have; give figures of the same samples, per sample"
        )
    return _NORMAL.cdf((sharpe - benchmark) * np.sqrt(observations - 1) / np.sqrt(spread))


def deflated_sharpe(sharpes: ArrayLike, chosen: int, observations: int, skew: float, kurtosis: float) -> float:
    """Probability that the chosen try's true Sharpe ratio is above what luck shows in the best of as many tries.

    Near 1: hardly luck. At 1/2 it is just what the best of so many worthless tries would show.

    Args:
        sharpes: (t,) of all tries, those given up included, per observation.
        chosen: place of the one that is shown.
        observations: that its Sharpe ratio was measured on.
        skew, kurtosis: of its observations, 0 and 3 for normal ones.

    Raises:
        ConfigError: a place where there is no try.
        DataError: a Sharpe ratio that is not a number; and as `probabilistic_sharpe`.

    >>> from nanoarb_jax.trading.backtest.deflated import deflated_sharpe
    >>> tries = [0.16, 0.02, -0.03, 0.05, 0.01]
    >>> round(deflated_sharpe(tries[:1], 0, 500, -0.5, 5.0), 3), round(deflated_sharpe(tries, 0, 500, -0.5, 5.0), 3)
    (1.0, 0.943)
    """
    of = np.asarray(sharpes, np.float64)
    if not 0 <= chosen < len(of):
        raise ConfigError(f"chosen={chosen}: expected the place of one of {len(of)} tries")
    if not np.isfinite(of).all():
        raise DataError("a Sharpe ratio of a try is not a number: leave out tries without trades, or count them as 0")
    luck = expected_maximum(len(of), float(of.var(ddof=1)) if len(of) > 1 else 0.0)
    return probabilistic_sharpe(float(of[chosen]), luck, observations, skew, kurtosis)
