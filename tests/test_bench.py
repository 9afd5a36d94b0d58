"""The bench keeps what it measured, warm-up left out, and leaves the process as it found it. How fast is not tested."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from random_model import random_model

from nanoarb_jax import bench
from nanoarb_jax.bench import Candidate, bench_checkpoint, bench_preset
from nanoarb_jax.checkpoint import Checkpoint, load_checkpoint
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ConfigError

PATHS = {"jax_window": "window", "onnx_window": "window", "jax_step": "step", "null": "floor"}
PATHS |= {"book_apply": "stage", "features": "stage"}


@pytest.fixture(autouse=True)
def short_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BURST_SECONDS", 0.005)


@pytest.fixture
def affinity() -> Iterator[set[int]]:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has no say in where threads run")
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


def test_a_checkpoint(nano_checkpoint: Path, compile_quickly: None) -> None:
    notes: list[str] = []
    result = bench_checkpoint(nano_checkpoint, rounds=2, note=notes.append)
    assert json.loads(json.dumps(result)) == result
    assert result["model"] == {
        "preset": "nano",
        "parameters": 4041,
        "version": load_checkpoint(nano_checkpoint).version,
    }
    assert {row["path"]: row["kind"] for row in result["rows"]} == PATHS
    for row in result["rows"]:
        assert set(row) == {"path", "kind", "mean_us", "p50_us", "p95_us", "p99_us", "p999_us", "iterations"}
        samples = result["samples_us"][row["path"]]
        assert row["iterations"] == len(samples) and len(samples) % 2 == 0 and min(samples) > 0
        assert row["p50_us"] <= row["p95_us"] <= row["p99_us"] <= row["p999_us"] <= max(samples) + 0.01
        assert row["p50_us"] == pytest.approx(np.median(samples), abs=0.02)
    assert result["weight_read_us"] > 0
    assert notes == ["exporting", "compiling", "warm-up", "round 1 of 2", "round 2 of 2"]
    machine = result["machine"]
    assert {"cpu", "cores", "usable_cores", "measured_on_core", "load_1min", "system", "python", "device"} <= set(
        machine
    )
    assert {"jax", "jaxlib", "numpy", "onnxruntime", "nanoarb-jax"} <= set(machine["versions"])
    assert isinstance(machine["jax_async_dispatch"], bool)


def test_a_preset_has_random_weights_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[Checkpoint] = []
    monkeypatch.setattr(bench, "MambaLOB", lambda config, rngs: random_model(config))
    monkeypatch.setattr(bench, "bench", lambda checkpoint, rounds, note: met.append(checkpoint) or {"rounds": rounds})
    assert bench_preset("nano", rounds=3) == {"rounds": 3}
    assert met[0].config == ModelConfig.preset("nano") and len(met[0].version) == 12
    with pytest.raises(ConfigError, match="unknown preset 'huge'"):
        bench_preset("huge")


def test_other_features_are_refused() -> None:
    model = random_model(ModelConfig(input_dim=10, hidden_dim=8, num_layers=1, input_transform="identity"))
    with pytest.raises(ConfigError, match=r"model.input_dim=10: expected 44"):
        bench.bench(Checkpoint(model, "x"), 1, lambda text: None)


def test_rounds_take_turns_and_the_first_is_thrown_away() -> None:
    calls: list[str] = []
    candidates = [Candidate(name, "step", lambda tick, name=name: calls.append(name)) for name in ("a", "b")]
    samples = bench.measure(candidates, np.zeros((10, 3)), 2, lambda text: None)
    turns = [calls[0], *(now for before, now in pairwise(calls) if now != before)]
    assert turns == ["a", "b"] * 3
    assert sum(map(len, samples.values())) == len(calls) - 2 * 20  # the warm-up's bursts
    assert gc.isenabled()


def test_collecting_goes_on_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError):
        bench.measure([Candidate("a", "step", lambda tick: 1 / 0)], np.zeros((1, 1)), 1, lambda text: None)
    assert gc.isenabled()


def test_statistics() -> None:
    figures = bench.statistics(np.arange(1, 1002, dtype=float))
    expected = {"mean_us": 501, "p50_us": 501, "p95_us": 951, "p99_us": 991, "p999_us": 1000, "iterations": 1001}
    assert figures == pytest.approx(expected)


def test_one_core_for_the_while_being(affinity: set[int]) -> None:
    with pytest.raises(ZeroDivisionError), bench.one_core() as core:
        assert os.sched_getaffinity(0) == {core} and core in affinity
        _ = 1 / 0
    assert os.sched_getaffinity(0) == affinity
    for thread in Path("/proc/self/task").iterdir():
        assert os.sched_getaffinity(int(thread.name)) == affinity


def test_without_a_say_in_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with bench.one_core() as core:
        assert core is None
