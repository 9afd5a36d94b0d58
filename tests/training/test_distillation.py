"""A student learns from its teacher: the update written plainly, runs that resume, and teachers that are refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from typer.testing import CliRunner

from nanoarb_jax.artifacts.checkpoint import load_checkpoint, save_checkpoint
from nanoarb_jax.cli.main import app
from nanoarb_jax.config import Config, ModelConfig, TrainConfig
from nanoarb_jax.errors import CheckpointError, ConfigError, NanoarbError
from nanoarb_jax.evaluation.scoring import make_score, score_streams
from nanoarb_jax.model.losses import distillation_loss
from nanoarb_jax.model.mamba import MambaLOB, ModelState
from nanoarb_jax.training.batch import Batch
from nanoarb_jax.training.loop import train
from nanoarb_jax.training.update import initial_state
from support.random_model import random_model
from support.training_runs import DATASET, HORIZONS, MODEL, STREAM, Stopped, assert_same_run, config_of, states, stop_at
from support.updates import FIRST, LANES, SECOND, STEP, Twin, assert_near, clear, compiled, copied, small

pytestmark = pytest.mark.usefixtures("compile_quickly", "look_at_every_update")

WIDER = ModelConfig(hidden_dim=12, d_state=5, num_layers=1, horizons=(2, 5), dropout=0.5)
SETTINGS = TrainConfig(
    input_jitter=0.0, loss="cross-entropy", teacher="wider", teacher_weight=0.3, teacher_temperature=1.5
)


def cross_entropy(logits: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    """Weighted mean over all samples, of which the unknown count 0."""
    each = weights * optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    return jnp.where(labels >= 0, each, 0.0).mean()


def loss_of(settings: TrainConfig, logits: jax.Array, taught: jax.Array, batch: Batch) -> jax.Array:
    """Both losses over the ticks that count; logits and taught (s, l, 2, 3)."""
    last = slice(-1, None) if settings.objective == "window" else slice(None)
    logits, taught, labels, weights = (a[:, last] for a in (logits, taught, batch.labels, batch.weights))
    hard = cross_entropy(logits, labels, weights) / (labels >= 0).mean()
    return 0.7 * hard + 0.3 * distillation_loss(logits.reshape(-1, 2, 3), taught.reshape(-1, 2, 3), 1.5)


def test_the_update_written_plainly() -> None:
    """Teacher: the same chunks, its own carried state, no dropout. An unknown label leaves its teaching in place."""
    student, teacher, optimizer = small(dropout=0.5), random_model(WIDER), optax.sgd(STEP)
    labelled, teaching = Twin(student, SETTINGS), Twin(teacher, SETTINGS)
    update = compiled(student, optimizer, SETTINGS, None, teacher)
    state = initial_state(student, optimizer, LANES, teacher)
    unknown = SECOND.labels.copy()
    unknown[0] = -1

    def plain(params: Any, batch: Batch, carried: ModelState, taught: jax.Array, key: jax.Array) -> jax.Array:
        return loss_of(SETTINGS, labelled.scan(params, batch, carried, key)[0], taught, batch)

    loss_and_gradient, scan = jax.jit(jax.value_and_grad(plain)), jax.jit(teaching.scan)
    carried, teacher_state = student.initial_state(LANES), teacher.initial_state(LANES)
    for number, batch in enumerate((FIRST, SECOND._replace(labels=unknown))):
        params, before = jax.tree.map(jnp.copy, state.params), state.loss
        state = update(copied(state), batch)
        taught, teacher_state = scan(nnx.state(teacher, nnx.Param), batch, teacher_state)
        key = jax.random.fold_in(jax.random.key(SETTINGS.seed), number)
        loss, gradient = loss_and_gradient(params, batch, carried, taught, key)
        assert_near(state.loss - before, loss)
        assert_near(state.params, jax.tree.map(lambda p, g: p - STEP * g, params, gradient))
        assert_near(state.teacher, teacher_state)
        # before the second chunk, lane 1 starts anew: for both
        carried, teacher_state = clear(state.carried, lane=1), clear(teacher_state, lane=1)


def test_of_windows_the_last_tick_is_taught() -> None:
    student, teacher, optimizer = small(), random_model(WIDER), optax.sgd(STEP)
    settings = dataclasses.replace(SETTINGS, objective="window")
    state = initial_state(student, optimizer, LANES, teacher)
    logits, taught = (
        jax.jit(Twin(model, settings).scan)(nnx.state(model, nnx.Param), FIRST, model.initial_state(LANES))[0]
        for model in (student, teacher)
    )
    loss = compiled(student, optimizer, settings, None, teacher)(state, FIRST).loss
    assert_near(loss, loss_of(settings, logits, taught, FIRST))


def test_without_a_teacher_nothing_is_kept_of_one() -> None:
    state = initial_state(small(), optax.sgd(STEP), LANES)
    assert state.teacher is None


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = random_model(dataclasses.replace(WIDER, horizons=HORIZONS))
    data = {"streams": [{"name": "taught here"}]}
    return save_checkpoint(tmp_path_factory.mktemp("teacher") / "wide é", model, data=data)


def taught(teacher: Path, **changes: Any) -> Config:
    # not calibrated, since that is done with the labels
    alone: dict[str, Any] = {"epochs": 2, "teacher": str(teacher), "teacher_weight": 1.0, "calibrate": False}
    settings = dataclasses.replace(STREAM, **alone, **changes)
    return config_of(settings)


@pytest.fixture(scope="module")
def whole(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(taught(teacher), DATASET, folder)
    return folder


def validation_scores(model: MambaLOB) -> np.ndarray:
    """Log-probabilities of the validation rows, (n, h, c)."""
    rows = [stream.validation for stream in DATASET.streams]
    scored = score_streams(make_score(model), nnx.state(model, nnx.Param), model, DATASET.streams, rows)
    return np.concatenate(scored)


def test_a_student_comes_near_its_teacher(whole: Path, teacher: Path) -> None:
    """The random teacher knows nothing of the labels: only who listens to it comes nearer to it than to them."""
    student, expected = (validation_scores(load_checkpoint(place).model) for place in (whole, teacher))
    labels = np.concatenate([stream.labels[slice(*stream.train)] for stream in DATASET.streams])
    frequencies = np.log([np.bincount(column, minlength=3) / len(column) for column in labels.T])
    near, far = (
        float(distillation_loss(scores, expected, 1.0))
        for scores in (student, np.zeros_like(student) + frequencies[None])
    )
    assert near < 0.1 * far


def test_the_teacher_is_on_record(whole: Path, teacher: Path) -> None:
    version = load_checkpoint(teacher).version
    origin = {"version": version, "streams": [{"name": "taught here"}]}
    assert json.loads((whole / "run.json").read_text())["teacher"] == origin
    kept = load_checkpoint(whole)
    assert kept.training["teacher"] == str(teacher) and kept.data["teacher"] == origin
    assert {stream["name"] for stream in kept.learnt} == {"market_0", "market_1", "taught here"}
    assert any(name.startswith(".teacher") for name in states(whole)["44"])


def test_resumed_is_uninterrupted(whole: Path, teacher: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for number, stop in enumerate((14, 31)):
        with pytest.raises(Stopped):
            train(taught(teacher), DATASET, folder, resume=number > 0, on_update=stop_at(stop))
    train(taught(teacher), DATASET, folder, resume=True)
    assert_same_run(folder, whole)


def test_another_teacher_in_its_place(whole: Path, tmp_path: Path) -> None:
    """By path it is the same; its weights tell."""
    place = tmp_path / "teacher"
    folder = shutil.copytree(whole, tmp_path / "run")
    config = taught(place)
    (folder / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"^train.teacher: checkpoint .*teacher: no such folder"):
        train(config, DATASET, folder, resume=True)
    other = save_checkpoint(place, random_model(dataclasses.replace(WIDER, horizons=HORIZONS, d_state=4)))
    with pytest.raises(
        CheckpointError, match=r"run: began with teacher weights \w{12}, .*teacher holds \w{12}; put back"
    ) as e:
        train(config, DATASET, folder, resume=True)
    assert load_checkpoint(other).version in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"horizons": (2, 5)}, ConfigError, r"^train.teacher=.*horizons \(2, 5, 10\) like .*, not \(2, 5\); give one"),
        ({"feature_set": 43}, ConfigError, "^train.teacher=.*reads 44 features per tick like the student, not 43;"),
        (None, CheckpointError, r"^train.teacher: checkpoint .*: holds no checkpoint.json"),
    ],
)
def test_teachers_that_do_not_fit(
    changes: dict[str, Any] | None, error: type[NanoarbError], message: str, tmp_path: Path
) -> None:
    place = tmp_path / "teacher"
    if changes is None:
        place.mkdir()
    else:
        save_checkpoint(place, random_model(dataclasses.replace(MODEL, **changes)))
    with pytest.raises(error, match=message) as caught:
        train(taught(place), DATASET, tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def command(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["train", "--data", "d", "--output", *map(str, arguments)])

    monkeypatch.setattr("nanoarb_jax.data.dataset.open_dataset", lambda *_, **__: DATASET)
    refused = command(tmp_path / "run", "--preset", "nano", "--teacher", tmp_path / "gone")
    assert refused.exit_code == 2 and "teacher: checkpoint" in refused.output and "no such folder" in refused.output
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    refused = command(tmp_path / "run", "--resume", "--teacher", tmp_path / "gone")
    assert refused.exit_code == 2 and "--teacher: the run's own settings hold" in refused.output
