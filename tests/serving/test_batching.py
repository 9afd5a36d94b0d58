"""Batched or one by one, every instrument's predictions are the same, and a flush comes when the rules say so."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import nanoarb_jax as nj
from nanoarb_jax.artifacts.checkpoint import load_checkpoint, named_arrays
from nanoarb_jax.errors import CheckpointError, ConfigError, DataError
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.serving.backends.jax.batch import JaxBatch
from nanoarb_jax.serving.backends.native import pack
from nanoarb_jax.serving.backends.native.batch import NativeBatch
from nanoarb_jax.serving.batching import MicroBatcher
from nanoarb_jax.serving.prediction import Prediction
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.simulation.market import synthetic_books
from support.random_model import random_model

Backend = JaxBatch | NativeBatch
INSTRUMENTS, BATCH, TICKS = 6, 4, 120
STREAMS = {f"s{seed}": lob44(synthetic_books(TICKS, seed=seed), quantity_scale=50.0) for seed in range(INSTRUMENTS)}


@pytest.fixture(scope="module", autouse=True)
def compile_quickly_throughout() -> Iterator[None]:
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module", params=["native", "jax"])
def backend(request: pytest.FixtureRequest, nano_checkpoint: Path) -> Backend:
    checkpoint = load_checkpoint(nano_checkpoint)
    if request.param == "jax":
        return JaxBatch(checkpoint.model, checkpoint.version, INSTRUMENTS, BATCH)
    weights = pack(named_arrays(checkpoint.model), checkpoint.config)
    return NativeBatch(weights, checkpoint.config, checkpoint.version, INSTRUMENTS, BATCH)


@pytest.fixture(scope="module")
def alone(nano_checkpoint: Path) -> dict[str, list[Prediction]]:
    """What a predictor for each instrument says."""
    predictor = StepPredictor.load(nano_checkpoint, backend="jax")
    result = {}
    for name, ticks in STREAMS.items():
        predictor.reset()
        result[name] = [predictor.update(tick) for tick in ticks]
    return result


class Clock:
    ns = 0

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def batcher(backend: Backend, clock: Clock) -> MicroBatcher:
    for row in range(INSTRUMENTS):
        backend.reset(row)
    return MicroBatcher(backend, max_wait_ns=1_000, clock=clock)


def assert_same(met: list[Prediction], expected: list[Prediction]) -> None:
    for one, other in zip(met, expected, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
        np.testing.assert_array_equal(one.confidence, one.probabilities.max(axis=1))
        np.testing.assert_array_equal(one.direction, one.probabilities.argmax(axis=1) - 1)
        assert (one.ready, one.version) == (other.ready, other.version)


def test_equals_separate_predictors(batcher: MicroBatcher, alone: dict[str, list[Prediction]], clock: Clock) -> None:
    """Instruments tick in any order and at any rate, so batches are of every size and kind."""
    rng = np.random.default_rng(1)
    order = rng.permutation(np.repeat(list(STREAMS), TICKS))
    left, met = {name: iter(ticks) for name, ticks in STREAMS.items()}, {name: [] for name in STREAMS}
    sizes = set()
    for name in [*order, None]:
        clock.ns += int(rng.exponential(400))
        flushed = batcher.submit(name, next(left[name])) if name else batcher.flush()
        sizes.add(len(flushed))
        for instrument, prediction in flushed.items():
            met[instrument].append(prediction)
    assert sizes == {0, 1, 2, 3, 4}
    for name, expected in alone.items():
        assert_same(met[name], expected)


@pytest.mark.parametrize("kind", ["native", "jax"])
def test_an_adapted_model(kind: str) -> None:
    config = dataclasses.replace(nj.ModelConfig.preset("nano"), num_layers=2, linear_term=True)
    model, ticks = random_model(config), np.array([stream[:9] for stream in STREAMS.values()])
    backend: Backend = (
        JaxBatch(model, "v", INSTRUMENTS, BATCH)
        if kind == "jax"
        else NativeBatch(pack(named_arrays(model), config), config, "v", INSTRUMENTS, BATCH)
    )
    batcher, met = MicroBatcher(backend, max_wait_ns=10**18), {name: [] for name in STREAMS}
    for tick in ticks.swapaxes(0, 1):
        for name, features in zip(STREAMS, tick, strict=True):
            for instrument, prediction in batcher.submit(name, features).items():
                met[instrument].append(prediction.probabilities)
    for instrument, prediction in batcher.flush().items():
        met[instrument].append(prediction.probabilities)
    expected = jax.nn.softmax(nnx.jit(lambda model, x: model.scan(x)[0])(model, ticks))
    np.testing.assert_allclose(list(met.values()), expected, rtol=0, atol=1e-5)


def test_a_full_batch_is_flushed(batcher: MicroBatcher) -> None:
    assert [batcher.submit(name, STREAMS[name][0]) for name in ("s0", "s1", "s2")] == [{}] * 3
    assert batcher.waiting == 3
    assert list(batcher.submit("s3", STREAMS["s3"][0])) == ["s0", "s1", "s2", "s3"]
    assert batcher.waiting == 0


def test_the_oldest_waits_no_longer_than_told(batcher: MicroBatcher, clock: Clock) -> None:
    batcher.submit("s0", STREAMS["s0"][0])
    clock.ns = 999
    assert batcher.submit("s1", STREAMS["s1"][0]) == batcher.poll() == {}
    clock.ns = 1_000
    assert list(batcher.poll()) == ["s0", "s1"]
    batcher.submit("s2", STREAMS["s2"][0])
    clock.ns = 1_999
    assert batcher.poll() == {}
    clock.ns = 2_500
    assert list(batcher.submit("s3", STREAMS["s3"][0])) == ["s2", "s3"]
    assert batcher.poll() == batcher.flush() == {}


def test_a_second_tick_flushes_the_first(
    batcher: MicroBatcher, alone: dict[str, list[Prediction]], clock: Clock
) -> None:
    batcher.submit("s0", STREAMS["s0"][0])
    batcher.submit("s1", STREAMS["s1"][0])
    clock.ns = 999
    flushed = batcher.submit("s0", STREAMS["s0"][1])
    assert list(flushed) == ["s0", "s1"] and batcher.waiting == 1
    clock.ns = 1_500  # the second tick's own wait counts from its arrival
    assert batcher.poll() == {}
    assert_same([flushed["s0"], batcher.flush()["s0"]], alone["s0"][:2])


def test_no_wait_is_no_wait(backend: Backend, alone: dict[str, list[Prediction]]) -> None:
    backend.reset(0)
    batcher = MicroBatcher(backend, max_wait_ns=0)
    assert_same([batcher.submit("s0", tick)["s0"] for tick in STREAMS["s0"][:5]], alone["s0"][:5])


def test_the_states_of_others_stay_bit_for_bit(backend: Backend) -> None:
    x = np.stack([ticks[0] for ticks in STREAMS.values()])
    for rows in ([0, 1, 2, 3], [4, 5]):
        backend.step(np.array(rows), x[rows])
    before = table(backend)
    backend.step(np.array([5, 1, 3]), x[[5, 1, 3]])
    backend.reset(0)
    after = table(backend)
    np.testing.assert_array_equal(after[[2, 4]], before[[2, 4]])
    assert (after[0] == 0.0).all() and (np.abs(after - before)[[1, 3, 5]].max(axis=1) > 0).all()


def table(backend: Backend) -> np.ndarray:
    """All states, a row for each instrument."""
    leaves = jax.tree.leaves(backend._states)
    return np.concatenate([np.array(leaf).reshape(INSTRUMENTS, -1) for leaf in leaves], axis=1)


def test_reset_of_one_instrument(batcher: MicroBatcher, alone: dict[str, list[Prediction]]) -> None:
    for tick in range(101):
        batcher.submit("s0", STREAMS["s0"][tick])
        batcher.submit("s1", STREAMS["s1"][tick])
    batcher.reset("s0")  # its last tick waits, and is dropped
    assert list(batcher.flush()) == ["s1"]
    batcher.submit("s0", STREAMS["s0"][0])
    batcher.submit("s1", STREAMS["s1"][101])
    flushed = batcher.flush()
    assert_same([flushed["s0"], flushed["s1"]], [alone["s0"][0], alone["s1"][101]])
    with pytest.raises(ConfigError, match="instrument 's9': not known"):
        batcher.reset("s9")


def test_features_are_copied(batcher: MicroBatcher, alone: dict[str, list[Prediction]]) -> None:
    reused = STREAMS["s0"][0].copy()
    batcher.submit("s0", reused)
    reused[:] = STREAMS["s1"][0]
    batcher.submit("s1", reused)
    flushed = batcher.flush()
    assert_same([flushed["s0"], flushed["s1"]], [alone["s0"][0], alone["s1"][0]])


def test_what_is_refused_changes_nothing(batcher: MicroBatcher) -> None:
    batcher.submit("s0", STREAMS["s0"][0])
    with pytest.raises(DataError, match=r"features\[0\]=nan"):
        batcher.submit("s0", np.full(44, np.nan))
    assert batcher.waiting == 1
    for name in list(STREAMS)[1:]:
        batcher.submit(name, STREAMS[name][0])
    waiting = batcher.waiting
    with pytest.raises(ConfigError, match=f"instrument 's9': all {INSTRUMENTS} states are taken"):
        batcher.submit("s9", STREAMS["s0"][0])
    assert batcher.waiting == waiting


@pytest.mark.parametrize("backend_name", ["native", "jax"])
def test_load(nano_checkpoint: Path, tmp_path: Path, alone: dict[str, list[Prediction]], backend_name: str) -> None:
    batcher = MicroBatcher.load(nano_checkpoint, instruments=3, batch=2, max_wait_ns=10**9, backend=backend_name)
    batcher.submit("s0", STREAMS["s0"][0])
    assert_same(list(batcher.submit("s1", STREAMS["s1"][0]).values()), [alone["s0"][0], alone["s1"][0]])
    with pytest.raises(ConfigError, match="max_wait_ns=-1"):
        MicroBatcher(batcher._backend, max_wait_ns=-1)
    for sizes in ({"instruments": 3, "batch": 4}, {"instruments": 1, "batch": 1}):
        with pytest.raises(ConfigError, match=f"batch={sizes['batch']}, instruments={sizes['instruments']}: expected"):
            MicroBatcher.load(nano_checkpoint, **sizes, max_wait_ns=0)
    with pytest.raises(ConfigError, match="backend 'onnx': expected one of native, jax"):
        MicroBatcher.load(nano_checkpoint, instruments=2, batch=2, max_wait_ns=0, backend="onnx")
    with pytest.raises(CheckpointError, match="no such folder"):
        MicroBatcher.load(tmp_path / "gone", instruments=2, batch=2, max_wait_ns=0)


@pytest.mark.subprocess
def test_the_module_itself_needs_no_jax() -> None:
    code = "import sys, nanoarb_jax.serving.batching; assert not {'jax', 'jaxlib', 'flax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_name() -> None:
    assert nj.MicroBatcher is MicroBatcher
