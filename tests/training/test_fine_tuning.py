"""A run that begins from a checkpoint: its weights and input statistics, its place in the record, a shape that fits."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from nanoarb_jax.artifacts.checkpoint import load_checkpoint, named_arrays, save_checkpoint
from nanoarb_jax.cli.main import app
from nanoarb_jax.config import Config, TrainConfig
from nanoarb_jax.errors import CheckpointError, ConfigError, NanoarbError
from nanoarb_jax.training import build, loop
from nanoarb_jax.training.lineage import load_initial
from nanoarb_jax.training.loop import train
from support.random_model import random_model
from support.training_runs import DATASET, MODEL, STREAM, VALIDATED, Stopped, config_of, count_only, stop_at

pytestmark = pytest.mark.usefixtures("look_at_every_update")
DROPPED = dataclasses.replace(MODEL, dropout=0.4)  # as little of it as one likes


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on two streams, from weights that had learnt on a third."""
    data = {"streams": [{"name": "first"}, {"name": "second"}], "initial": {"version": "0", "streams": ["before"]}}
    return save_checkpoint(tmp_path_factory.mktemp("initial") / "checkpoint", random_model(DROPPED), data=data)


def tuned(initial: Path, **changes: Any) -> Config:
    return config_of(dataclasses.replace(STREAM, epochs=1, init=str(initial), **changes))


def test_a_run_begins_from_it(initial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and statistics; what was learnt from whom is on record, and the same is asked for again to go on."""
    monkeypatch.setattr(build, "make_update", count_only)
    monkeypatch.setattr(loop._Run, "_validate", lambda run: VALIDATED)
    place, folder = shutil.copytree(initial, tmp_path / "initial"), tmp_path / "run"
    config, before = tuned(place), load_checkpoint(place)
    with pytest.raises(Stopped):
        train(config, DATASET, folder, on_update=stop_at(14))
    train(config, DATASET, folder, resume=True)

    kept = load_checkpoint(folder)
    given, begun = named_arrays(before.model), named_arrays(kept.model)
    assert given.keys() == begun.keys() and {"transform.mean", "transform.std"} < given.keys()
    assert all(np.array_equal(array, begun[name]) for name, array in given.items())
    assert kept.config == MODEL  # the run's own dropout
    origin = {"version": before.version, "streams": [{"name": name} for name in ("first", "second", "before")]}
    assert kept.data["initial"] == json.loads((folder / "run.json").read_text())["initial"] == origin
    assert {stream["name"] for stream in kept.learnt} == {"before", "first", "second", "market_0", "market_1"}

    place.rename(tmp_path / "away")
    with pytest.raises(CheckpointError, match=r"^train.init: checkpoint .*initial: no such folder"):
        train(config, DATASET, folder, resume=True)
    other = random_model(DROPPED)
    other.heads.bias_out[...] += 1.0
    save_checkpoint(place, other)
    with pytest.raises(CheckpointError, match=r"began with initial weights \w{12}, .*initial holds \w{12}; put back"):
        train(config, DATASET, folder, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_state": 5}, "model.d_state=4 like the run's, not 5; give the run the shape"),
        ({"horizons": (2, 5)}, r"model.horizons=\(2, 5, 10\) like the run's, not \(2, 5\); give"),
        ({"linear_term": True}, "model.linear_term=False like the run's, not True; give the run the shape"),
        ({"dt_rank": 1}, None),  # what None comes to
    ],
)
def test_another_shape_is_refused(changes: dict[str, Any], message: str | None, tmp_path: Path) -> None:
    place = save_checkpoint(tmp_path / "initial", random_model(dataclasses.replace(MODEL, **changes)))
    if message is None:
        assert load_initial(tuned(place), jnp.float32) is not None
        return
    with pytest.raises(ConfigError, match=f"^train.init='.*initial': expected a checkpoint with {message}") as caught:
        train(tuned(place), DATASET, tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_command(initial: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without --preset the checkpoint's shape holds; with one that differs it is refused."""
    seen: list[Config] = []

    def stop(settings: Config, *_: Any, **__: Any) -> None:
        seen.append(settings)
        raise NanoarbError("seen")

    def command(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["train", "--data", "d", "--output", *map(str, arguments)])

    monkeypatch.setattr("nanoarb_jax.data.dataset.open_dataset", lambda *_, **__: DATASET)
    refused = command(tmp_path / "run", "--init", initial, "--preset", "nano")
    assert refused.exit_code == 2 and f"--init {initial}: expected" in refused.output
    assert "model.hidden_dim=16 like the run's, not 8" in refused.output
    missing = command(tmp_path / "run", "--init", tmp_path / "none")
    assert missing.exit_code == 2 and "error: --init: checkpoint " in missing.output
    monkeypatch.setattr("nanoarb_jax.training.loop.train", stop)
    assert command(tmp_path / "run", "--init", initial, "--dropout", "0.2").exit_code == 2
    assert seen[0].model == dataclasses.replace(MODEL, dropout=0.2) and seen[0].train.init == str(initial)
    flow = save_checkpoint(tmp_path / "flow", random_model(dataclasses.replace(MODEL, feature_set="flow")))
    assert command(tmp_path / "run", "--init", flow).exit_code == 2  # of other features: what is read, the data say
    assert seen[1].model == MODEL and seen[1].data == DATASET.config
    assert TrainConfig().init is None
