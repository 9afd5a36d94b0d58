"""The taker: when it enters, when it leaves, and that it says the same compiled and in Python."""

from __future__ import annotations

from typing import Any

import numba
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.trading.contract import Moment, Quotes
from nanoarb_jax.trading.taker import LONG_AGO, TakerSettings, TakerState, decide_taker, taker
from support.moments import HORIZONS, moment, moments, probabilities

MOVES = [[-2.0, 0.0, 2.0], [-4.0, 0.0, 4.0], [-6.0, 0.0, 6.0]]
NONE = Quotes(0, 0.0, 0, 0.0, True)
BUY, SELL = Quotes(101, 1.0, 0, 0.0, True), Quotes(0, 0.0, 100, 1.0, True)
RISES, FALLS = probabilities(0.1, 0.7), probabilities(0.7, 0.1)
FRESH = TakerState(0.0, LONG_AGO)


def decide(met: Moment, settings: TakerSettings = TakerSettings(), moves: Any = None) -> Quotes:  # noqa: B008
    """Of one moment, the strategy having been in the same position the tick before."""
    strategy = taker(settings, HORIZONS, moves)
    quotes, state = strategy.decide(strategy.settings, strategy.state._replace(position=met.position), met)
    assert isinstance(quotes, Quotes) and state == TakerState(met.position, LONG_AGO)
    return quotes


@pytest.mark.parametrize(
    ("p", "threshold", "expected"),
    [(RISES, 0.6, BUY), (FALLS, 0.6, SELL), (RISES, 0.71, NONE), (probabilities(0.4, 0.4), 0.3, NONE)],
)
def test_enters_by_threshold(p: Any, threshold: float, expected: Quotes) -> None:
    assert decide(moment(probabilities=p), TakerSettings(threshold=threshold)) == expected
    assert decide(moment(probabilities=p, ready=False), TakerSettings(threshold=threshold)) == NONE


def test_one_horizon_or_weights() -> None:
    p = probabilities(0.2, 0.2)
    p[1] = RISES[1]
    met = moment(probabilities=p)
    assert decide(met) == decide(met, TakerSettings(horizon=10)) == NONE
    assert decide(met, TakerSettings(horizon=50)) == decide(met, TakerSettings(weights=(0.0, 2.0, 0.0))) == BUY
    half = {"weights": (1.0, 1.0, 0.0)}  # .45 together
    assert decide(met, TakerSettings(**half, threshold=0.44)) == BUY
    assert decide(met, TakerSettings(**half, threshold=0.46)) == NONE


@pytest.mark.parametrize(
    ("settings", "spread", "expected"),
    [
        ({"horizon": 10}, 1, BUY),  # expects .6 · 2 = 1.2 ticks
        ({"horizon": 10}, 2, NONE),
        ({"horizon": 50}, 2, BUY),  # 2.4 ticks
        ({"horizon": 50, "least_edge_ticks": 0.5}, 2, NONE),
        ({"horizon": 50, "taker_fee": 0.003}, 2, NONE),  # .003 · (100 + 102) = .606 ticks
        ({"horizon": 50, "taker_fee": 0.001}, 2, BUY),
        ({"weights": (1.0, 1.0, 0.0)}, 1, BUY),  # 1.8 ticks
        ({"horizon": 10, "least_edge_ticks": -5.0}, 2, BUY),  # against costs, but never against the forecast
    ],
)
def test_enters_by_expected_move_after_costs(settings: dict[str, Any], spread: int, expected: Quotes) -> None:
    chosen, ask = TakerSettings(**settings), 100 + spread
    met = moment(probabilities=RISES, ask_ticks=ask)
    assert decide(met, chosen, MOVES) == expected._replace(buy_ticks=ask if expected.buy_qty else 0)
    mirrored = decide(met._replace(probabilities=FALLS), chosen, MOVES)
    assert mirrored == (SELL if expected.buy_qty else NONE)


CLOSE = Quotes(0, 0.0, 100, 2.5, True)


@pytest.mark.parametrize(
    ("settings", "met", "expected"),
    [
        ({}, {"opened_tick": 991}, NONE),
        ({}, {"opened_tick": 990}, CLOSE),  # the horizon
        ({}, {"opened_tick": 990, "ready": False}, CLOSE),
        ({"hold_ticks": 20}, {"opened_tick": 981}, NONE),
        ({"weights": (1.0, 0.0, 1.0)}, {"opened_tick": 901}, NONE),  # the longest that counts
        ({}, {"entry_ticks": 50.0}, NONE),
        ({"take_profit_ticks": 2.0}, {"entry_ticks": 98.0}, CLOSE),
        ({"take_profit_ticks": 2.0}, {"entry_ticks": 98.5}, NONE),
        ({"stop_ticks": 2.0}, {"entry_ticks": 102.0}, CLOSE),
        ({"stop_ticks": 2.0}, {"entry_ticks": 101.5}, NONE),
        ({}, {"probabilities": FALLS}, CLOSE),
        ({}, {"probabilities": FALLS, "ready": False}, NONE),
    ],
)
def test_leaves_with_the_whole_position(settings: dict[str, Any], met: dict[str, Any], expected: Quotes) -> None:
    held = {"position": 2.5, "entry_ticks": 100.0, "opened_tick": 995}
    chosen = TakerSettings(order_qty=2.5, **settings)
    assert decide(moment(**{**held, **met}), chosen) == expected
    short = {**held, **met, "position": -2.5, "bid_ticks": 99, "ask_ticks": 100}
    if "entry_ticks" in met:
        short["entry_ticks"] = 200.0 - met["entry_ticks"]
    if "probabilities" in met:
        short["probabilities"] = RISES
    assert decide(moment(**short), chosen) == (Quotes(100, 2.5, 0, 0.0, True) if expected == CLOSE else NONE)


def test_one_order_at_a_time() -> None:
    on_its_way = {"buy_ticks": 99, "buy_qty": 1.0}
    kept = Quotes(99, 1.0, 0, 0.0, True)
    assert decide(moment(probabilities=RISES, **on_its_way)) == kept
    assert decide(moment(probabilities=FALLS, **on_its_way)) == kept
    closing = moment(position=-1.0, entry_ticks=100.0, opened_tick=0, **on_its_way)
    assert decide(closing) == kept
    both = decide(closing._replace(position=1.0))  # an entry on its way does not delay an exit
    assert both == Quotes(99, 1.0, 100, 1.0, True)


def test_position_limit() -> None:
    held = {"probabilities": RISES, "entry_ticks": 101.0, "opened_tick": 999}
    more = TakerSettings(order_qty=0.1, max_position=0.3)
    assert decide(moment(position=0.1, **held)) == NONE
    assert decide(moment(position=0.1 + 0.1, **held), more).buy_qty == 0.1  # 0.30000000000000004 in all
    assert decide(moment(position=0.25, **held), more) == NONE


def test_cools_down_after_an_exit() -> None:
    strategy = taker(TakerSettings(cool_down_ticks=3), HORIZONS)
    state, bought = TakerState(1.0, LONG_AGO), []
    for tick in range(5):
        quotes, state = strategy.decide(strategy.settings, state, moment(tick=tick, probabilities=RISES))
        bought.append(quotes.buy_qty)
    assert bought == [0.0, 0.0, 0.0, 1.0, 1.0] and state == TakerState(0.0, 0)


settings = st.builds(
    TakerSettings,
    weights=st.sampled_from([(), (1.0, 2.0, 0.0)]),
    threshold=st.sampled_from([0.3, 0.45]),
    taker_fee=st.sampled_from([0.0, 0.001, -0.002]),
    max_position=st.sampled_from([1.0, 4.0]),
    cool_down_ticks=st.sampled_from([0, 500]),
    take_profit_ticks=st.sampled_from([None, 5.0]),
    stop_ticks=st.sampled_from([None, 5.0]),
)


@given(settings, st.sampled_from([None, MOVES]), moments(), st.sampled_from([0.0, 1.0]))
def test_any_moment(chosen: TakerSettings, moves: Any, met: Moment, before: float) -> None:
    strategy = taker(chosen, HORIZONS, moves)
    arguments = strategy.settings, TakerState(before, LONG_AGO), met
    quotes, state = decide_taker(*arguments)
    assert (quotes, state) == decide_taker.py_func(*arguments)
    assert numba.typeof(state) == numba.typeof(strategy.state) and quotes.take
    for qty, working, held in (
        (quotes.buy_qty, met.buy_qty, met.position),
        (quotes.sell_qty, met.sell_qty, -met.position),
    ):
        assert qty in (working, chosen.order_qty, -held)
        assert qty == working or held + qty <= strategy.settings.max_position
    assert quotes.buy_qty == met.buy_qty or quotes.buy_ticks == met.ask_ticks
    assert quotes.sell_qty == met.sell_qty or quotes.sell_ticks == met.bid_ticks
    assert len(decide_taker.signatures) == 1  # whatever the settings are


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"threshold": 0.0}, "taker.threshold=0.0: expected a probability"),
        ({"horizon": 10, "weights": (1.0,)}, "taker.horizon=10: expected None where weights are given"),
        ({"weights": (1.0, -1.0, 1.0)}, "taker.weights"),
        ({"weights": (0.0, 0.0, 0.0)}, "taker.weights"),
        ({"order_qty": 2.0, "max_position": 1.0}, "taker.max_position=1.0: expected None or at least order_qty, 2.0"),
        ({"hold_ticks": 0}, "taker.hold_ticks=0"),
        ({"stop_ticks": -1.0}, "taker.stop_ticks=-1.0"),
        ({"taker_fee": 5.0}, "taker.taker_fee=5.0"),
        ({"cool_down_ticks": 1.5}, "taker.cool_down_ticks=1.5: expected an integer"),
        ({"horizon": 20}, "taker.horizon=20: expected one of the model's, 10, 50, 100"),
        ({"weights": (1.0, 1.0)}, r"taker.weights=\(1.0, 1.0\): expected 3"),
    ],
)
def test_refuses(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        taker(TakerSettings(**given), HORIZONS)


def test_refuses_moves_of_another_model() -> None:
    with pytest.raises(ConfigError, match=r"moves_ticks: shape \(2, 3\)"):
        taker(TakerSettings(), HORIZONS, MOVES[:2])
