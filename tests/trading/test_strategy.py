"""A signal where the shortest horizon is ready, not neutral and confident enough, and none anywhere else."""

from __future__ import annotations

import numpy as np
import pytest

import nanoarb_jax as nj
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.serving.prediction import Prediction, make_prediction
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.trading.strategy import MlStrategy, Signal, signal_of
from support.fake_backend import FEATURES, FakeBackend


def prediction(shortest: list[float], ready: bool = True) -> Prediction:
    """The longer horizon is always sure that the price goes up."""
    return make_prediction(np.array([shortest, [0.0, 0.0, 1.0]], np.float32), ready, "v")


@pytest.mark.parametrize(
    ("shortest", "ready", "signal"),
    [
        ([0.1, 0.2, 0.7], True, Signal.LONG),
        ([0.7, 0.2, 0.1], True, Signal.SHORT),
        ([0.1, 0.8, 0.1], True, None),
        ([0.2, 0.21, 0.59], True, None),
        ([0.59, 0.21, 0.2], True, None),
        ([0.2, 0.2, 0.6], True, Signal.LONG),  # the threshold itself is enough
        ([0.1, 0.2, 0.7], False, None),
        ([0.7, 0.2, 0.1], False, None),
    ],
)
def test_signals(shortest: list[float], ready: bool, signal: Signal | None) -> None:
    assert signal_of(prediction(shortest, ready), 0.6) is signal


def test_a_signal_is_the_sign_of_the_position() -> None:
    assert (Signal.LONG, Signal.SHORT) == (1, -1)


def test_the_strategy_says_what_its_predictions_say() -> None:
    strategy, alone = MlStrategy(StepPredictor(FakeBackend()), 0.4), StepPredictor(FakeBackend())
    ticks = np.random.default_rng(0).normal(size=(200, FEATURES)).astype(np.float32)
    assert strategy.prediction is None
    signals = []
    for tick in ticks:
        signals.append(strategy.update(tick))
        expected = alone.update(tick)
        np.testing.assert_array_equal(strategy.prediction.probabilities, expected.probabilities)
        assert signals[-1] is signal_of(expected, 0.4)
    assert signals[:4] == [None] * 4, "warm-up"
    assert {Signal.LONG, Signal.SHORT, None} == set(signals)


def test_reset_warms_up_again() -> None:
    strategy = MlStrategy(StepPredictor(FakeBackend(window=3)), confidence_threshold=0.0)
    ready = [strategy.update(np.ones(FEATURES)) is not None or strategy.prediction.ready for _ in range(4)]
    assert ready == [False, False, True, True]
    strategy.reset()
    assert strategy.prediction is None
    strategy.update(np.ones(FEATURES))
    assert not strategy.prediction.ready


def test_a_bad_tick_is_refused_and_forgotten() -> None:
    strategy = MlStrategy(StepPredictor(FakeBackend()))
    strategy.update(np.ones(FEATURES))
    before = strategy.prediction
    with pytest.raises(DataError, match="features"):
        strategy.update(np.full(FEATURES, np.nan))
    assert strategy.prediction is before


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_thresholds_are_probabilities(threshold: float) -> None:
    with pytest.raises(ConfigError, match=r"confidence_threshold=.*expected a probability"):
        MlStrategy(StepPredictor(FakeBackend()), threshold)


def test_public_names() -> None:
    assert (nj.MlStrategy, nj.Signal) == (MlStrategy, Signal)
