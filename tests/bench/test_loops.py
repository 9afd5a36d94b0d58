"""What `bench` times is the real thing: loops and windows give what the predictors and the model give."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nanoarb_jax.artifacts.checkpoint import named_arrays
from nanoarb_jax.bench.live_paths import EventsToPredictions, LiveEvents, LiveMany, live_predictor
from nanoarb_jax.bench.loops import NativeLoop, WeightRead, repeats
from nanoarb_jax.bench.market_stages import MARKET, FeatureLoop, market_events
from nanoarb_jax.bench.model_paths import Windowed, jax_null, jax_window, native_call, native_null
from nanoarb_jax.bench.sweeps import JaxBatched, NativeBatched
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.serving.backends.native import NativeStep, pack
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.simulation.market import synthetic_books
from support.random_model import random_model

CONFIG, SHAPE = ModelConfig.preset("nano"), (3, 3)
FLOW = dataclasses.replace(CONFIG, feature_set="flow")


@pytest.fixture(scope="module")
def model() -> MambaLOB:
    return random_model(CONFIG)


@pytest.fixture(scope="module")
def weights(model: MambaLOB) -> np.ndarray:
    return pack(named_arrays(model), CONFIG)


@pytest.fixture(scope="module")
def ticks() -> np.ndarray:
    return lob44(synthetic_books(30, seed=3), quantity_scale=100.0)


def predictor(weights: np.ndarray) -> StepPredictor:
    return StepPredictor(NativeStep(weights, CONFIG, "x"))


def test_a_loop_steps_through_all_ticks(weights: np.ndarray, ticks: np.ndarray) -> None:
    loop, plain = NativeLoop(weights, SHAPE, ticks, 10), predictor(weights)
    for _ in range(3):
        loop()
    expected = plain.score(ticks)
    np.testing.assert_array_equal(loop.probabilities, expected[20:])
    loop()  # from the first tick again, the state goes on
    np.testing.assert_array_equal(loop.probabilities, plain.score(ticks[:10]))


def test_calls_from_python(weights: np.ndarray, ticks: np.ndarray) -> None:
    call, plain = native_call(weights, SHAPE), predictor(weights)
    probabilities = call.__closure__
    assert probabilities is not None
    for tick in ticks[:3]:
        assert call(tick) is None
        last = plain.update(tick).probabilities
    (met,) = (cell.cell_contents for cell in probabilities if getattr(cell.cell_contents, "shape", None) == SHAPE)
    np.testing.assert_array_equal(met, last)
    assert native_null(weights, SHAPE)(ticks[0]) is None
    np.testing.assert_array_equal(jax_null()(ticks[0]), ticks[0])


@pytest.mark.parametrize("config", [CONFIG, FLOW], ids=["lob44", "flow"])
def test_events_to_predictions(config: ModelConfig) -> None:
    """The compiled loop, and the calls that are timed by themselves, against one `LivePredictor` at every event."""
    events, step = market_events()[:4_000], NativeStep(pack(named_arrays(random_model(config)), config), config, "x")
    live = live_predictor(step)
    said = [live.apply(event) for event in events]
    expected = [(number + 1, p.probabilities) for number, p in enumerate(said) if p is not None]
    loop, many = EventsToPredictions(events, step, 100), LiveMany(events, step, 100)
    singles = {ticks: LiveEvents(events, step, ticks) for ticks in (True, False)}
    for made in range(100, len(expected), 100):
        loop()
        np.testing.assert_array_equal(loop.probabilities, [p for _, p in expected[made - 100 : made]])
        assert (loop.predictions, loop.applied) == (made, expected[made - 1][0])
        many.before()
        np.testing.assert_array_equal(many()[1], loop.probabilities)
    for ticks, single in singles.items():
        for wanted in [p for p in said if (p is not None) == ticks][:300]:
            single.before()
            met = single()
            assert (met is None) == (wanted is None)
            if wanted is not None:
                np.testing.assert_array_equal(met.probabilities, wanted.probabilities)
    for _ in range(40):  # past the end of the events, everything is reset and they begin again
        loop()
    assert loop.applied > len(events) and np.isfinite(loop.probabilities).all()


def test_features_of_ticks() -> None:
    books = synthetic_books(2_000, 0, MARKET)
    for flow in (False, True):
        loop = FeatureLoop(books, flow)
        loop()
        loop()
        np.testing.assert_allclose(loop._out[:44], lob44(books, 1.0)[-1], rtol=1e-6)


def test_weights_are_read_whole() -> None:
    arrays = [np.full((3, 5), 2.0, np.float32), np.full(7, -1.0, np.float32)]
    read = WeightRead(arrays, 4)
    assert read._weights.ctypes.data % 64 == 0
    read()
    assert read._sums.tolist() == [23.0] * 4


def test_loops_are_as_long_as_the_model_is_small() -> None:
    assert [repeats(parameters) for parameters in (4_041, 75_785, 499_721, 10**8)] == [500, 65, 10, 10]


def test_windows_hold_the_last_ticks_in_order(ticks: np.ndarray) -> None:
    met: list[np.ndarray] = []
    window = Windowed(lambda x: met.append(x.copy()) or x, 4, 44)
    for tick in ticks[:9]:
        window(tick)
    for last in range(4, 10):
        np.testing.assert_array_equal(met[last - 1][0], ticks[last - 4 : last])


def test_a_jitted_window(model: MambaLOB, weights: np.ndarray, ticks: np.ndarray, compile_quickly: None) -> None:
    window = jax_window(model, 6, 44)
    for tick in ticks[:6]:
        met = window(tick)
    np.testing.assert_allclose(met, predictor(weights).score(ticks[:6])[-1], rtol=0, atol=1e-5)


def test_batches_step_every_instrument(
    model: MambaLOB, weights: np.ndarray, ticks: np.ndarray, compile_quickly: None
) -> None:
    plain, native, jitted = predictor(weights), NativeBatched(weights, 44, SHAPE, 3), JaxBatched(model, "x", 3)
    for tick in ticks[:4]:
        expected = plain.update(tick).probabilities
        for batch in (native, jitted):
            met = batch(tick)
            assert met.shape == (3, 3, 3)
            np.testing.assert_allclose(met, np.stack([expected] * 3), rtol=0, atol=1e-5)
