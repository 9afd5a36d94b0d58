"""`adapt`, and adaptation in `evaluate` and `predict`, as a user meets them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from nanoarb_jax.artifacts.checkpoint import load_checkpoint, save_checkpoint
from nanoarb_jax.cli.main import app
from nanoarb_jax.config import DataConfig, ModelConfig
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.simulation.market import synthetic_books
from support.random_model import random_model

pytestmark = pytest.mark.usefixtures("fit_quickly")

LOB44 = DataConfig(feature_set="lob44")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert not [line for line in result.stdout.splitlines() if len(line) > 80 and "/" not in line], result.stdout
    return result.stdout


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of one instrument, as books and as a dataset, and a model that knows nothing of them."""
    folder = tmp_path_factory.mktemp("adapt")
    (folder / "books").mkdir()
    for day in (1, 2):
        name = f"coin_2024010{day}"
        write_book_npz(folder / "books" / f"{name}.npz", synthetic_books(4_000, seed=day, name=name))
    prepare([folder / "books"], folder / "data", LOB44)
    known = {"config": dataclasses.asdict(LOB44), "streams": []}
    save_checkpoint(folder / "model", random_model(ModelConfig.preset("nano")), data=known)
    return folder


def test_adapt(world: Path, tmp_path: Path) -> None:
    """Of a dataset of several days; what is written is served, exported and measured as any other."""
    said = done(
        "adapt", "--checkpoint", world / "model", "--data", world / "data", "--output", tmp_path / "adapted",
        "--json", tmp_path / "figures.json",
    )  # fmt: skip
    figures = read(tmp_path / "figures.json")
    kept = load_checkpoint(tmp_path / "adapted")
    assert figures["version"] == kept.version and figures["of"] == load_checkpoint(world / "model").version
    assert figures["test"]["adapted"]["h10"]["log_loss"] < figures["test"]["model"]["h10"]["log_loss"] - 0.05
    lines = said.splitlines()
    assert lines[0].split()[0] == "horizon" and lines[1].startswith("10 ticks")
    assert lines[-1].startswith(f"adapted {figures['of']} to coin: ")
    for kind, file in (("native", "step.bin"), ("step", "step.onnx")):
        done("export", "--checkpoint", tmp_path / "adapted", "--output", tmp_path / file, "--kind", kind)
    features = make_stream(synthetic_books(1_500, seed=3), LOB44).features[:300]
    expected = StepPredictor.load(tmp_path / "adapted", backend="jax").score(features)
    for path, backend in (
        (tmp_path / "adapted", "native"),
        (tmp_path / "step.bin", "native"),
        (tmp_path / "step.onnx", "onnx"),
    ):
        np.testing.assert_allclose(StepPredictor.load(path, backend=backend).score(features), expected, atol=1e-4)


def test_evaluate_adapted_and_learning(world: Path, tmp_path: Path) -> None:
    said = done(
        "evaluate", "--checkpoint", world / "model", "--data", world / "data", "--adapt", "--learn", 0.999,
        "--json", tmp_path / "figures.json",
    )  # fmt: skip
    figures = read(tmp_path / "figures.json")
    judges = list(figures["mean"])
    assert judges[:4] == ["adapted", "adapted_online", "model", "model_own_prior"]
    assert {"logistic_online", "gradient_boosting_online"} <= set(judges) and "majority_online" not in judges
    losses = {judge: of["h10"]["log_loss"] for judge, of in figures["mean"].items()}
    assert losses["adapted"] < losses["model"] - 0.05
    assert figures["forgetting"] == 0.999 and set(figures["adaptation"]) == set(figures["series"])
    assert "the model adapted to each series' own past is" in " ".join(said.split())
    refused = run("evaluate", "--checkpoint", world / "model", "--data", world / "data", "--adapt", "--split", "train")
    assert refused.exit_code == 2 and refused.stderr.startswith("error: --adapt: ")


def test_predict_adapted(world: Path, tmp_path: Path) -> None:
    """As from an adapted checkpoint, in the scales of the past."""
    past, today = world / "books" / "coin_20240101.npz", world / "books" / "coin_20240102.npz"
    done("adapt", "--checkpoint", world / "model", "--data", past, "--output", tmp_path / "adapted")
    for name, options in (
        ("at_once", ("--checkpoint", world / "model", "--adapt", past)),
        ("before", ("--checkpoint", tmp_path / "adapted", "--scales-from", past)),
    ):
        said = run("predict", "--data", today, "--output", tmp_path / f"{name}.npz", "--backend", "jax", *options)
        assert said.exit_code == 0 and f"{past}, coin_20240101" in said.stdout
    with np.load(tmp_path / "at_once.npz") as one, np.load(tmp_path / "before.npz") as other:
        np.testing.assert_array_equal(one["probabilities"], other["probabilities"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("adapt --checkpoint {0}/model --data {0}/data --output {0}/data", ["data", "not an empty folder"]),
        ("adapt --checkpoint {0}/gone --data {0}/data --output {0}/new", ["gone", "no such folder"]),
        (
            "adapt --checkpoint {0}/model --data {0}/data --output {0}/new --instruments {0}/two.toml",
            ["series of 2 instruments (one, two"],
        ),
        (
            "predict --checkpoint {0}/step.onnx --data {0}/data --output {0}/p.npz --adapt {0}/books --backend onnx",
            ["--adapt", "exported file", "give the checkpoint itself"],
        ),
        ("evaluate --checkpoint {0}/model --data {0}/data --learn 1.5", ["forgetting=1.5", "at most 1"]),
    ],
)
def test_a_mistake_is_one_line(world: Path, arguments: str, said: list[str]) -> None:
    (world / "two.toml").write_text('"*01" = "one"\n"*02" = "two"\n')
    (world / "step.onnx").touch()
    before = sorted(world.iterdir())
    refused = run(*arguments.format(world).split())
    assert refused.exit_code == 2 and len(refused.stderr.splitlines()) == 1, refused.output
    assert all(word in refused.stderr for word in said), refused.stderr
    assert sorted(world.iterdir()) == before
