"""Strategies called from a compiled loop, as the backtest calls them: a state that is carried, moments made there."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from nanoarb_jax.trading.contract import Moment, Strategy
from nanoarb_jax.trading.maker import MakerSettings, maker
from nanoarb_jax.trading.taker import TakerSettings, taker
from support.moments import HORIZONS

MARKET = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], size=(400, 3)).astype(np.float32)


def trade(decide: Any, settings: Any, state: Any, probabilities: np.ndarray, wanted: np.ndarray) -> None:
    """Every order is filled by the next tick; the mid goes where the first horizon points."""
    position, entry, opened, bid = 0.0, 0.0, 0, 1_000
    for tick in range(len(probabilities)):
        p = probabilities[tick]
        moment = Moment(
            tick, tick * 1_000, tick > 20, bid, bid + 1, 1.0, 2.0, p, position, entry, opened * 1_000, opened,
            0, 0.0, 0, 0.0,
        )  # fmt: skip
        quotes, state = decide(settings, state, moment)
        wanted[tick, 0], wanted[tick, 1] = quotes.buy_ticks, quotes.buy_qty
        wanted[tick, 2], wanted[tick, 3] = quotes.sell_ticks, quotes.sell_qty
        if position == 0.0:
            opened, entry = tick, bid + 0.5
        position += quotes.buy_qty - quotes.sell_qty
        wanted[tick, 4] = position
        if position == 0.0:
            opened, entry = 0, 0.0
        bid += int(p[0, 2] > p[0, 0]) - int(p[0, 0] > p[0, 2])


@pytest.mark.parametrize(
    ("strategy", "most"),
    [
        (taker(TakerSettings(max_position=3.0, cool_down_ticks=2, stop_ticks=4.0), HORIZONS), 3.0),
        (maker(MakerSettings(max_position=2.0, pull_threshold=0.5, requote_ticks=2), HORIZONS), 2.0),
    ],
    ids=["taker", "maker"],
)
def test_the_same_as_in_python(strategy: Strategy, most: float) -> None:
    compiled, python = np.zeros((len(MARKET), 5)), np.zeros((len(MARKET), 5))
    loop = numba.njit(error_model="numpy", _nrt=False)(trade)
    loop(strategy.decide, strategy.settings, strategy.state, MARKET, compiled)
    trade(strategy.decide.py_func, strategy.settings, strategy.state, MARKET, python)
    np.testing.assert_array_equal(compiled, python)
    assert np.abs(compiled[:, 4]).max() == most
    assert (compiled[:20, [1, 3]] == 0).all() and (compiled[:, [1, 3]] > 0).any(axis=0).all()
