"""Quickstart, made tiny: it goes the whole way and leaves what it says it leaves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nanoarb_jax.bench import run as bench_run
from nanoarb_jax.cli import quickstart
from nanoarb_jax.cli.main import app
from nanoarb_jax.config import TrainConfig, load_config
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.window import WindowPredictor


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, compile_quickly: None, fit_quickly: None) -> None:
    settings = TrainConfig(epochs=1, batch_size=8, chunk_length=64)
    config = dataclasses.replace(quickstart.CONFIG, train=settings)
    monkeypatch.setattr(quickstart, "CONFIG", config)
    monkeypatch.setattr(quickstart, "STREAMS", 2)
    monkeypatch.setattr(quickstart, "ROWS", 1_500)
    monkeypatch.setattr(quickstart, "ROUNDS", 1)
    monkeypatch.setattr(bench_run, "BURST_SECONDS", 0.005)


def test_the_whole_way(tiny: None, tmp_path: Path) -> None:
    folder, figures = tmp_path / "made", tmp_path / "figures.json"
    folder.mkdir()  # an empty folder will do
    result = CliRunner().invoke(app, ["quickstart", "--output", str(folder), "--seed", "3", "--json", str(figures)])
    assert result.exit_code == 0, result.output
    said, met = result.stdout, json.loads(figures.read_text())
    for stage in ("1/5 a synthetic market", "2/5 train", "3/5 evaluate", "4/5 export", "5/5 bench", "summary"):
        assert f" {stage} " in said
    assert "MCC on unseen rows, 10/50/100 ticks ahead:\n  model " in said and "next: nanoarb-jax train" in said
    assert not [line for line in said.splitlines() if len(line) > 80 and str(tmp_path) not in line]
    assert {"checkpoint", "onnx", "evaluate", "bench", "seconds"} <= set(met)
    assert set(met["evaluate"]["mean"]) >= {"model", "persistence", "logistic"}
    assert {path.name for path in folder.iterdir()} == {"books", "run", "model.onnx"}
    assert load_config(folder / "run" / "config.toml").train.seed == 3
    tick = np.ones(101)
    step, window = StepPredictor.load(met["checkpoint"]).update(tick), WindowPredictor.load(met["onnx"]).update(tick)
    assert step.version == window.version == met["bench"]["model"]["version"]
