"""The deflated Sharpe ratio against the example of the paper, and against simulated tries without merit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.trading.backtest.deflated import deflated_sharpe, expected_maximum, probabilistic_sharpe


def test_the_example_of_the_paper() -> None:
    """2.5 a year over 1250 days, the best of 100 tries whose Sharpe ratios have a variance of 1/2 a year."""
    luck = expected_maximum(100, 0.5 / 250)
    assert luck == pytest.approx(0.1132, abs=5e-5)
    assert probabilistic_sharpe(2.5 / math.sqrt(250), luck, 1250, -3, 10) == pytest.approx(0.9004, abs=5e-5)


def test_the_example_as_a_list_of_tries() -> None:
    best, rest = 2.5 / math.sqrt(250), np.resize([1.0, -1.0], 99)
    low, high = 0.0, 0.1  # how far the others are spread, for the variance of the example
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.append(middle * rest, best).var(ddof=1) < 0.5 / 250 else (low, middle)
    tries = np.append(low * rest, best)
    assert deflated_sharpe(tries, 99, 1250, -3, 10) == pytest.approx(0.9004, abs=5e-5)


@pytest.mark.parametrize("trials", [5, 30, 300])
def test_the_highest_of_tries_without_merit(trials: int) -> None:
    highest = np.random.default_rng(trials).normal(0, 0.2, (4000, trials)).max(axis=1)
    assert expected_maximum(trials, 0.04) == pytest.approx(highest.mean(), rel=0.05)


def test_one_try_is_not_deflated() -> None:
    assert deflated_sharpe([0.1], 0, 300, 0, 3) == probabilistic_sharpe(0.1, 0.0, 300, 0, 3)
    assert probabilistic_sharpe(0.1, 0.1, 300, -1, 5) == 0.5


def test_more_tries_make_it_less_likely() -> None:
    tries = np.random.default_rng(0).normal(0, 0.05, 200)
    likely = [deflated_sharpe(np.append(tries[:count], 0.15), count, 500, 0, 3) for count in (5, 50, 200)]
    assert likely == sorted(likely, reverse=True)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="one of 2 tries"):
        deflated_sharpe([0.1, 0.2], 2, 300, 0, 3)
    with pytest.raises(DataError, match="not a number"):
        deflated_sharpe([0.1, math.nan], 0, 300, 0, 3)
    with pytest.raises(DataError, match="at least two"):
        deflated_sharpe([0.1], 0, 1, 0, 3)
    with pytest.raises(DataError, match="moments"):
        deflated_sharpe([2.0], 0, 300, 5, 3)
