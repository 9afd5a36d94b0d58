"""The bench keeps what it measured of every path, and leaves the process as it found it. How fast is not tested."""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint
from nanoarb_jax.bench import Candidate, Extras, bench_checkpoint, bench_preset, bench_presets, run
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ConfigError
from support.random_model import random_model

KINDS = {
    "window": ("jax_window", "onnx_window"),
    "step": (
        "jax_step", "jax_scan", "onnx_step", "native_predictor", "native_step", "native_step_inloop",
        "native_step_inloop_bf16", "native_step_inloop_int8", "tick_to_prediction", "live_apply_event",
        "live_apply_tick", "live_apply_many",
    ),
    "floor": ("null", "native_null", "weight_read"),
    "stage": ("book_apply", "features", "features_lob44"),
}  # fmt: skip
PATHS = {path: kind for kind, paths in KINDS.items() for path in paths}
FIGURES = {"mean_us", "p50_us", "p95_us", "p99_us", "p999_us", "iterations"}
TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(scope="module")
def measured(nano_checkpoint: Path, compile_quickly: None) -> tuple[dict[str, Any], list[str]]:
    """What a short run gives, and what it said."""
    notes: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run, "BURST_SECONDS", 0.002)
        extras = Extras(lengths=(5,), batches=(3,))
        return bench_checkpoint(nano_checkpoint, 2, notes.append, extras), notes


@pytest.fixture
def result(measured: tuple[dict[str, Any], list[str]]) -> dict[str, Any]:
    return measured[0]


def check_figures(row: dict[str, Any], samples: list[float]) -> None:
    assert row["iterations"] == len(samples) and len(samples) % 2 == 0 and min(samples) > 0
    assert row["p50_us"] <= row["p95_us"] <= row["p99_us"] <= row["p999_us"] <= 1.001 * max(samples)
    assert row["p50_us"] == pytest.approx(np.median(samples), rel=1e-3)


def test_every_path_has_its_row_and_samples(result: dict[str, Any], nano_checkpoint: Path) -> None:
    assert json.loads(json.dumps(result)) == result
    version = load_checkpoint(nano_checkpoint).version
    assert result["model"] == {"preset": "nano", "features": "lob44", "parameters": 4041, "version": version}
    assert {row["path"]: row["kind"] for row in result["rows"]} == PATHS
    assert set(result["samples_us"]) == set(result["load_seconds"]) == set(PATHS)
    for row in result["rows"]:
        assert set(row) == {"path", "kind", "repeats", *FIGURES}
        check_figures(row, result["samples_us"][row["path"]])
    looped = {row["path"]: row["repeats"] for row in result["rows"] if row["repeats"] > 1}
    stages = dict.fromkeys(KINDS["stage"], 1_000)
    inloop = {path: 500 for path in PATHS if "inloop" in path} | {"tick_to_prediction": 500, "live_apply_many": 500}
    inloop |= {"weight_read": 500}
    inloop["jax_scan"] = 256
    assert looped == stages | inloop


def test_floors_and_the_machine(result: dict[str, Any]) -> None:
    (read,) = (row for row in result["rows"] if row["path"] == "weight_read")
    assert result["weight_read_us"] == read["p50_us"] > 0
    assert isinstance(result["native_compiled_anew"], bool)
    assert 1.6 < result["events_per_prediction"] < 1.9  # of this market, see `test_loops`
    assert all(seconds >= 0 for seconds in result["load_seconds"].values())
    machine = result["machine"]
    expected = {"cpu", "cores", "usable_cores", "measured_on_core", "load_1min", "system", "python", "device"}
    assert expected <= set(machine) and isinstance(machine["jax_async_dispatch"], bool)
    assert {"jax", "jaxlib", "numpy", "numba", "llvmlite", "onnxruntime", "nanoarb-jax"} <= set(machine["versions"])


def test_what_it_says(measured: tuple[dict[str, Any], list[str]]) -> None:
    notes = measured[1]
    assert notes[:3] == ["simulating a market", "exporting onnx_window", "exporting onnx_step"]
    loading = [f"loading {row['path']}" for row in measured[0]["rows"]]
    assert notes[3 : 3 + len(loading)] == loading
    assert notes.count("warm-up") == notes.count("round 2 of 2") == 3  # paths, lengths, batches


def test_lengths(result: dict[str, Any]) -> None:
    rows = result["lengths"]
    assert [(row["path"], row["kind"], row["length"]) for row in rows] == [
        ("jax_window", "window", 5), ("jax_step", "step", None), ("native_step", "step", None)
    ]  # fmt: skip
    assert all(set(row) > FIGURES and row["p50_us"] > 0 for row in rows)


def test_batches(result: dict[str, Any]) -> None:
    rows = result["batches"]
    assert [(row["path"], row["batch"]) for row in rows] == [("jax_batch", 3), ("native_batch", 3)]
    for row in rows:
        assert set(row) > FIGURES
        assert row["predictions_per_second"] == round(row["batch"] / row["p50_us"] * 1e6)


def test_the_process_is_left_as_it_was(result: dict[str, Any]) -> None:
    assert gc.isenabled()
    if hasattr(os, "sched_getaffinity"):
        assert len(os.sched_getaffinity(0)) == result["machine"]["usable_cores"]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Checkpoint, Extras]]:
    """Nothing is measured; what would be is listed."""
    met: list[tuple[Checkpoint, Extras]] = []

    def count(checkpoint: Checkpoint, rounds: int, note: object, extras: Extras) -> dict[str, Any]:
        met.append((checkpoint, extras))
        return {"model": checkpoint.config.preset_name, "rounds": rounds}

    monkeypatch.setattr(run, "MambaLOB", lambda config, rngs: random_model(config))
    monkeypatch.setattr(run, "bench", count)
    return met


def test_a_preset_has_random_weights_of_its_size(counted: list[tuple[Checkpoint, Extras]]) -> None:
    assert bench_preset("nano", rounds=3) == {"model": "nano", "rounds": 3}
    assert counted[0][0].config == ModelConfig.preset("nano") and len(counted[0][0].version) == 12
    with pytest.raises(ConfigError, match="unknown preset 'huge'"):
        bench_preset("huge")


def test_presets_side_by_side(counted: list[tuple[Checkpoint, Extras]]) -> None:
    extras = Extras(lengths=(7,))
    met = bench_presets(["small", "nano", "small"], 3, extras=extras)
    nano = {"model": "nano", "rounds": 3}
    assert met == {"model": "small", "rounds": 3, "presets": {"nano": nano}}
    assert [given for _, given in counted] == [extras, extras]
    assert "presets" not in bench_presets(["nano"])
    with pytest.raises(ConfigError, match="unknown preset 'huge'"):
        bench_presets(["nano", "huge"])
    assert len(counted) == 3  # the unknown one was met before the work


def test_other_features_are_refused() -> None:
    model = random_model(ModelConfig(feature_set=10, hidden_dim=8, num_layers=1))
    with pytest.raises(ConfigError, match=r"model.input_dim=10: expected 44 or 101"):
        run.bench(Checkpoint(model, "x"), 1)


def test_a_flow_model_is_fed_flow_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all paths only those that load fast are measured here."""
    paths, fast, fed = run.model_paths, ("native_step", "tick_to_prediction", "weight_read"), []

    def few(checkpoint: Checkpoint, ticks: np.ndarray, *rest: Any) -> list[Candidate]:
        fed.append(ticks)
        return [candidate for candidate in paths(checkpoint, ticks, *rest) if candidate.path in fast]

    monkeypatch.setattr(run, "model_paths", few)
    monkeypatch.setattr(run, "export_files", lambda *arguments: {})
    monkeypatch.setattr(run, "market_stages", lambda events: [])
    monkeypatch.setattr(run, "BURST_SECONDS", 0.002)
    flow = dataclasses.replace(ModelConfig.preset("nano"), feature_set="flow")
    result = run.bench(Checkpoint(random_model(flow), "x"), 1)
    assert [row["path"] for row in result["rows"]] == list(fast) and result["model"]["features"] == "flow"
    (ticks,) = fed
    assert ticks.shape == (run.TICKS, 101) and ticks[:, 84].any() and (ticks[:, 85] == 1).all()


@pytest.mark.parametrize("extras", [{"lengths": (5, 0)}, {"batches": (-1,)}])
def test_counts_are_checked(extras: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ConfigError, match=r"(lengths: 0|batches: -1); expected counts of at least 1"):
        Extras(**extras)


@pytest.mark.skipif(TORCH, reason="torch is installed")
def test_rivals_need_torch_before_the_work() -> None:
    with pytest.raises(ConfigError, match=r"rivals: needs torch.*pip install 'nanoarb-jax\[bench\]'"):
        Extras(rivals=True)


@pytest.mark.skipif(not TORCH, reason="torch is not installed: pip install 'nanoarb-jax[bench]'")
def test_rivals(nano_checkpoint: Path, compile_quickly: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BURST_SECONDS", 0.002)
    result = bench_checkpoint(nano_checkpoint, 1, extras=Extras(rivals=True, lengths=(5,)))
    kinds = {row["path"]: row["kind"] for row in result["rows"]}
    assert kinds == PATHS | {"transformer_window": "window", "transformer_step": "step", "torch_window": "window"}
    assert math.isclose(result["rivals"]["transformer"]["parameters"], 4041, rel_tol=0.1)
    assert [row["length"] for row in result["lengths"] if row["path"] == "transformer_window"] == [5]
