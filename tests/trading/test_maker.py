"""The maker: where it quotes, what it keeps and cancels, and that it says the same compiled and in Python."""

from __future__ import annotations

from typing import Any

import numba
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.trading.contract import NO_QUOTES, Moment, Quotes
from nanoarb_jax.trading.maker import LONG_AGO, MakerSettings, MakerState, decide_maker, maker
from support.moments import HORIZONS, moment, moments, probabilities

FRESH = MakerState(LONG_AGO, LONG_AGO)


def decide(met: Moment, moves: Any = None, **settings: Any) -> Quotes:
    strategy = maker(MakerSettings(**settings), HORIZONS, moves)
    return strategy.decide(strategy.settings, FRESH, met)[0]


@pytest.mark.parametrize(
    ("met", "settings", "expected"),
    [
        ({}, {}, (99, 102)),  # about 100.5, rounded outward
        ({}, {"half_spread_ticks": 0.5}, (100, 101)),
        ({}, {"half_spread_ticks": 0.1}, (100, 101)),
        ({"position": 2.0}, {}, (98, 101)),  # 99.5
        ({"position": -2.0}, {}, (100, 103)),
        ({"position": 2.0}, {"risk_aversion": 0.0}, (99, 102)),
        ({"position": 2.0}, {"order_qty": 2.0}, (99, 101)),  # one order: 100 -+ 1
        ({"probabilities": probabilities(0.1, 0.5)}, {"signal_ticks": 5.0}, (100, 104)),  # 102.5, never at the ask
        ({"probabilities": probabilities(0.5, 0.1)}, {"signal_ticks": 5.0}, (97, 101)),
        ({"position": 4.0}, {"risk_aversion": 3.0}, (87, 101)),  # never at the bid
    ],
)
def test_prices(met: dict[str, Any], settings: dict[str, Any], expected: tuple[int, int]) -> None:
    quotes = decide(moment(**met), **settings)
    assert (quotes.buy_ticks, quotes.sell_ticks) == expected
    assert quotes.buy_qty == quotes.sell_qty == settings.get("order_qty", 1.0) and not quotes.take


def test_expected_move_of_a_table() -> None:
    met = moment(probabilities=probabilities(0.0, 0.5))
    quotes = decide(met, [[0.0, 0.0, 4.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], half_spread_ticks=2.5)  # about 102.5
    assert (quotes.buy_ticks, quotes.sell_ticks) == (100, 105)
    assert decide(met._replace(ready=False)) == NO_QUOTES


def test_a_quote_keeps_its_place() -> None:
    """Until the wanted price, 99 and 102 here, is far enough; and what is left of it stays."""
    resting = {"buy_ticks": 97, "buy_qty": 0.4, "sell_ticks": 103, "sell_qty": 1.0}
    assert decide(moment(**resting), requote_ticks=3) == Quotes(97, 0.4, 103, 1.0, False)
    assert decide(moment(**resting), requote_ticks=2) == Quotes(99, 1.0, 103, 1.0, False)
    assert decide(moment(**resting)) == Quotes(99, 1.0, 102, 1.0, False)


def test_kept_quotes_never_cross() -> None:
    """Neither the market, nor each other."""
    at_the_ask = moment(buy_ticks=101, buy_qty=1.0)
    assert decide(at_the_ask, requote_ticks=9).buy_ticks == 99
    old = moment(bid_ticks=100, ask_ticks=110, buy_ticks=108, buy_qty=1.0, sell_ticks=107, sell_qty=1.0)
    assert decide(old, requote_ticks=9)[::2] == (104, 106, False)


def test_turned_forecast_pulls_the_quote() -> None:
    strategy = maker(MakerSettings(pull_ticks=2), HORIZONS)
    state, bids = strategy.state, []
    for tick in range(6):
        p = probabilities(0.7, 0.1) if tick == 1 else probabilities(0.2, 0.2)
        quotes, state = strategy.decide(strategy.settings, state, moment(tick=tick, probabilities=p))
        bids.append(quotes.buy_qty)
        assert quotes.sell_qty == 1.0
    assert bids == [1.0, 0.0, 0.0, 0.0, 1.0, 1.0] and state == MakerState(1, LONG_AGO)
    assert decide(moment(probabilities=probabilities(0.1, 0.7)))[1::2] == (1.0, 0.0)


def test_position_limit() -> None:
    assert decide(moment(position=4.0))[1::2] == (1.0, 1.0)
    assert decide(moment(position=4.5))[1::2] == (0.0, 1.0)
    assert decide(moment(position=-4.5))[1::2] == (1.0, 0.0)
    left = moment(position=4.5, buy_ticks=98, buy_qty=0.5)  # wanted: 97
    assert decide(left, requote_ticks=2)[:2] == (98, 0.5)


settings = st.builds(
    MakerSettings,
    weights=st.sampled_from([(), (1.0, 2.0, 0.0)]),
    signal_ticks=st.sampled_from([0.0, 1.0, 7.3]),
    half_spread_ticks=st.sampled_from([1e-18, 0.5, 2.0]),
    risk_aversion=st.sampled_from([0.0, 0.7, 20.0]),
    pull_threshold=st.sampled_from([0.45, 1.0]),
    requote_ticks=st.sampled_from([1, 3, 50]),
    order_qty=st.sampled_from([0.5, 1.0]),
    max_position=st.sampled_from([None, 4.0]),
)


@given(settings, moments(most=2.5))
def test_any_moment(chosen: MakerSettings, met: Moment) -> None:
    strategy = maker(chosen, HORIZONS)
    arguments = strategy.settings, FRESH, met
    quotes, state = decide_maker(*arguments)
    assert (quotes, state) == decide_maker.py_func(*arguments)
    assert numba.typeof(state) == numba.typeof(strategy.state)
    if not met.ready:
        assert (quotes, state) == (NO_QUOTES, FRESH)
        return
    assert quotes.buy_ticks < met.ask_ticks and quotes.sell_ticks > met.bid_ticks
    assert quotes.buy_ticks < quotes.sell_ticks and not quotes.take
    limit = strategy.settings.max_position
    assert quotes.buy_qty == 0 or met.position + quotes.buy_qty <= limit
    assert quotes.sell_qty == 0 or met.position - quotes.sell_qty >= -limit
    assert len(decide_maker.signatures) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"half_spread_ticks": 0.0}, "maker.half_spread_ticks=0.0: expected more than 0"),
        ({"risk_aversion": -1.0}, "maker.risk_aversion=-1.0"),
        ({"pull_threshold": 1.5}, "maker.pull_threshold=1.5"),
        ({"requote_ticks": 0}, "maker.requote_ticks=0"),
        ({"order_qty": 0.0}, "maker.order_qty=0.0: expected more than 0"),
        ({"horizon": 0}, "maker.horizon=0"),
        ({"weights": [1.0]}, "maker.weights"),
        ({"horizon": 7}, "maker.horizon=7: expected one of the model's"),
    ],
)
def test_refuses(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        maker(MakerSettings(**given), HORIZONS)
