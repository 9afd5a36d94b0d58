"""One model predicts, another takes over as if it had read the last ticks, and mistakes change nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import nanoarb_jax as nj
from nanoarb_jax.errors import CheckpointError, ConfigError, DataError
from nanoarb_jax.serving.prediction import Prediction
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.swap import ModelRegistry
from support.fake_backend import FEATURES, FakeBackend

TICKS = np.random.default_rng(3).normal(size=(60, FEATURES)).astype(np.float32)
WINDOWS = {"short": 4, "long": 9}  # warm-ups of the models that `registry` holds


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    def load(path: str, *, backend: str, precision: str) -> StepPredictor:
        if path == "gone":
            raise CheckpointError("checkpoint gone: no such folder")
        features = 101 if path == "flow" else FEATURES
        return StepPredictor(FakeBackend(path, WINDOWS.get(path, 5), features))

    monkeypatch.setattr(StepPredictor, "load", load)
    registry = ModelRegistry()
    for name in WINDOWS:
        assert registry.load(name, name) == name
    return registry


def replayed(name: str, ticks: np.ndarray) -> Prediction:
    """What a fresh model says of the last of some ticks."""
    model = StepPredictor(FakeBackend(name, WINDOWS[name]))
    return [model.update(tick) for tick in ticks][-1]


def same(met: Prediction, expected: Prediction) -> bool:
    same_values = all(np.array_equal(a, b) for a, b in zip(met[:3], expected[:3], strict=True))
    return same_values and met[3:] == expected[3:]


def test_names_and_the_active_one(registry: ModelRegistry) -> None:
    assert (registry.names, registry.active) == (("short", "long"), None)
    registry.switch("long")
    assert registry.active == "long"
    assert registry.predict(TICKS[0]).version == "long"


def test_nothing_is_active_before_a_switch(registry: ModelRegistry) -> None:
    with pytest.raises(ConfigError, match="no model is active; switch to one of short, long"):
        registry.predict(TICKS[0])
    with pytest.raises(ConfigError, match=r"no model is active; switch to a model, after load\(name, path\)"):
        ModelRegistry().predict(TICKS[0])


def test_an_unknown_model_changes_nothing(registry: ModelRegistry) -> None:
    registry.switch("short")
    registry.predict(TICKS[0])
    with pytest.raises(ConfigError, match="model 'best': not loaded; expected one of short, long"):
        registry.switch("best")
    assert registry.active == "short"
    assert same(registry.predict(TICKS[1]), replayed("short", TICKS[:2]))


def test_names_are_unique(registry: ModelRegistry) -> None:
    registry.switch("short")
    with pytest.raises(ConfigError, match="model 'short': this name is taken"):
        registry.load("short", "other")
    with pytest.raises(ConfigError, match="model '': this name is empty"):
        registry.load("", "other")
    assert registry.predict(TICKS[0]).version == "short"


def test_a_model_that_cannot_be_loaded_or_reads_other_features_stays_out(registry: ModelRegistry) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        registry.load("new", "gone")
    with pytest.raises(ConfigError, match=f"'new': reads 101 features, 'short' reads {FEATURES}.*use another"):
        registry.load("new", "flow")
    assert registry.names == ("short", "long")


@pytest.mark.parametrize("seen", [0, 1, 3, 8, 9, 10, 30])
def test_a_model_takes_over_as_if_it_had_read_the_last_ticks(registry: ModelRegistry, seen: int) -> None:
    registry.switch("short")
    for tick in TICKS[:seen]:
        registry.predict(tick)
    registry.switch("long")
    first = max(seen - WINDOWS["long"], 0)
    for stop in range(seen + 1, seen + 5):
        prediction = registry.predict(TICKS[stop - 1])
        assert same(prediction, replayed("long", TICKS[first:stop]))
        assert prediction.ready == (stop >= WINDOWS["long"])


def test_and_so_does_the_first_one_when_it_comes_back(registry: ModelRegistry) -> None:
    for start, name in ((0, "short"), (10, "long"), (20, "short")):
        registry.switch(name)
        met = [registry.predict(tick) for tick in TICKS[start : start + 10]]
    assert met[0].ready
    assert same(met[-1], replayed("short", TICKS[20 - WINDOWS["short"] : 30]))


def test_switching_to_the_active_one_changes_nothing(registry: ModelRegistry) -> None:
    registry.switch("short")
    for tick in TICKS[:20]:
        registry.predict(tick)
    registry.switch("short")
    assert same(registry.predict(TICKS[20]), replayed("short", TICKS[:21]))


def test_ticks_are_kept_for_models_that_come_later(registry: ModelRegistry) -> None:
    registry.switch("short")
    for tick in TICKS[:20]:
        registry.predict(tick)
    registry.load("later", "later")
    for i, name in enumerate(registry.names, start=20):
        registry.switch(name)
        assert registry.predict(TICKS[i]).ready


def test_ticks_are_copied(registry: ModelRegistry) -> None:
    registry.switch("short")
    reused = np.empty(FEATURES, np.float32)
    for tick in TICKS[:12]:
        reused[:] = tick
        registry.predict(reused)
    registry.switch("long")
    assert same(registry.predict(TICKS[12]), replayed("long", TICKS[3:13]))


def test_a_bad_tick_is_not_kept(registry: ModelRegistry) -> None:
    registry.switch("short")
    for tick in TICKS[:12]:
        registry.predict(tick)
        with pytest.raises(DataError, match="features"):
            registry.predict(np.full(FEATURES, np.inf))
    registry.switch("long")
    assert same(registry.predict(TICKS[12]), replayed("long", TICKS[3:13]))


def test_reset_forgets_the_stream(registry: ModelRegistry) -> None:
    registry.switch("short")
    for tick in TICKS[:20]:
        registry.predict(tick)
    registry.reset()
    assert registry.active == "short"
    assert same(registry.predict(TICKS[20]), replayed("short", TICKS[20:21]))
    registry.switch("long")
    assert not registry.predict(TICKS[21]).ready


def test_switching_while_another_thread_predicts(registry: ModelRegistry) -> None:
    """Every tick is read by one model, wholly before or after a switch, and none is lost to the one that takes over."""
    registry.switch("short")
    done, rng = threading.Event(), np.random.default_rng(0)

    def switch() -> None:
        while not done.is_set():
            for name in WINDOWS:
                registry.switch(name)

    thread = threading.Thread(target=switch)
    thread.start()
    ticks: list[np.ndarray] = []
    met: list[Prediction] = []
    changed: list[int] = []
    while len(changed) < 30 and len(ticks) < 100_000:
        ticks.append(rng.normal(size=FEATURES).astype(np.float32))
        met.append(registry.predict(ticks[-1]))
        if len(met) > 10 and met[-1].version != met[-2].version:
            changed.append(len(met) - 1)
    done.set()
    thread.join()
    assert changed
    for i in changed:
        name = met[i].version
        assert same(met[i], replayed(name, np.array(ticks[i - WINDOWS[name] : i + 1])))


def test_real_models(nano_checkpoint: Path) -> None:
    registry = ModelRegistry()
    alone = StepPredictor.load(nano_checkpoint, backend="jax")
    assert registry.load("nano", nano_checkpoint, backend="jax") == alone.version
    registry.switch("nano")
    tick = np.ones(44, np.float32)
    assert same(registry.predict(tick), alone.update(tick))


def test_public_name() -> None:
    assert nj.ModelRegistry is ModelRegistry
