"""Leave-one-out and walk-forward: who learns from what, and that nobody knows what he is judged on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nanoarb_jax.cli.main import app
from nanoarb_jax.config import Config
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import CheckpointError, ConfigError, DataError, NanoarbError
from nanoarb_jax.evaluation.baselines import BaselineForecasts
from nanoarb_jax.evaluation.own_past import ModelForecasts
from nanoarb_jax.studies import forecasts as studied
from nanoarb_jax.studies.forecasts import Forecasts, judge_forecasts, training_settings_of
from nanoarb_jax.studies.leave_one_out import leave_one_out
from nanoarb_jax.studies.walk_forward import walk_forward
from nanoarb_jax.training import build, loop
from nanoarb_jax.units.tasks import Task
from nanoarb_jax.units.workers import Workers
from support import training_runs
from support.random_model import random_model
from support.training_runs import DATA, MODEL, STREAM, VALIDATED, config_of, count_only

CONFIG = config_of(STREAM)
FIRST, SECOND = (stream._replace(instrument_declared=True) for stream in training_runs.DATASET.streams)
DATASET = dataclasses.replace(training_runs.DATASET, streams=(FIRST, SECOND))
DAYS = dataclasses.replace(DATASET, streams=(FIRST, SECOND, FIRST._replace(name="market_0_20240809")))


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Dataset]:
    """{run: data it learnt from}; each run's "model" gives its own number for log-probabilities."""
    seen: dict[str, Dataset] = {}

    def train(config: Config, dataset: Dataset, folder: Path, *, resume: bool) -> Any:
        assert not resume and config.data == dataset.config
        seen[folder.name] = dataset
        model = random_model(MODEL)
        model.heads.bias_out[...] = float(len(seen))
        return SimpleNamespace(best=save_checkpoint(folder, model))

    def scores(run: Checkpoint, streams: Any, adapted: bool) -> ModelForecasts:
        number = float(run.model.heads.bias_out[...][0, 0])
        said = [np.full((stream.rows, 3, 3), number) for stream in streams]
        return ModelForecasts(said, [10 * one for one in said], [{}] * len(said)) if adapted else ModelForecasts(said)

    monkeypatch.setattr(studied, "train", train)
    monkeypatch.setattr(studied, "forecast_streams", scores)
    return seen


def runs_of(forecasts: Forecasts) -> list[int]:
    """Which run forecast each stream."""
    assert [len(log_p) for log_p in forecasts.models.log_probs] == [stream.rows for stream in forecasts.streams]
    return [int(log_p[0, 0, 0]) for log_p in forecasts.models.log_probs]


def test_each_instrument_is_forecast_by_who_never_saw_it(learnt: dict[str, Dataset], tmp_path: Path) -> None:
    """All days of it are left out together."""
    said: list[str] = []
    forecasts = leave_one_out(CONFIG, DAYS, tmp_path, note=said.append)
    assert {run: [s.name for s in data.streams] for run, data in learnt.items()} == {
        "market_0": ["market_1"], "market_1": ["market_0", "market_0_20240809"],
    }  # fmt: skip
    assert [stream.name for stream in forecasts.streams] == ["market_0", "market_1", "market_0_20240809"]
    assert [origin["without"]["streams"] for origin in forecasts.origins] == [
        ["market_0", "market_0_20240809"], ["market_1"], ["market_0", "market_0_20240809"],
    ]  # fmt: skip
    versions = {run: load_checkpoint(tmp_path / run).version for run in learnt}
    assert [o["version"] for o in forecasts.origins] == [versions[f"market_{run}"] for run in (0, 1, 0)]
    assert runs_of(forecasts) == [1, 2, 1] and said == ["1/2: without market_0", "2/2: without market_1"]


@pytest.mark.parametrize("expanding", [True, False])
def test_each_block_is_forecast_by_who_saw_what_came_before(
    expanding: bool, learnt: dict[str, Dataset], tmp_path: Path
) -> None:
    forecasts = walk_forward(CONFIG, DATASET, tmp_path, 2, expanding=expanding)
    names = ["market_0 fold 1", "market_1 fold 1", "market_0 fold 2", "market_1 fold 2"]
    assert [stream.name for stream in forecasts.streams] == names and runs_of(forecasts) == [1, 1, 2, 2]
    assert list(learnt) == ["fold_1_of_2", "fold_2_of_2"]
    assert [origin["without"]["row"] for origin in forecasts.origins] == [666, 733, 1333, 1466]
    assert [stream.name for stream in learnt["fold_2_of_2"].streams] == ["market_0", "market_1"]
    for data, test in ((learnt["fold_1_of_2"], (666, 1333)), (learnt["fold_2_of_2"], (1333, 2000))):
        stream = data.streams[0]
        first = 0 if expanding else test[0] - 666
        assert stream.test == test and stream.train[0] == first and stream.validation[1] == test[0] - DATA.purge
        assert stream.train[1] == stream.validation[0] - DATA.purge
        share = (stream.validation[1] - stream.validation[0]) / (stream.validation[1] - first)
        assert share == pytest.approx(0.15 / 0.85, abs=0.01)
        # the threshold is a fixed one here, and the labels come out as they were
        assert stream.threshold_ticks == FIRST.threshold_ticks and np.array_equal(stream.labels, FIRST.labels)


def test_a_short_stream_waits_for_a_fold_with_enough_of_its_past(learnt: dict[str, Dataset], tmp_path: Path) -> None:
    """It is neither learnt from nor judged before; which streams and why is on record."""
    said: list[str] = []
    data = dataclasses.replace(DATASET, streams=(FIRST, cut(SECOND, 1_300)))
    forecasts = walk_forward(CONFIG, data, tmp_path, 2, note=said.append)
    assert [stream.name for stream in forecasts.streams] == ["market_0 fold 1", "market_0 fold 2", "market_1 fold 2"]
    assert [len(data.streams) for data in learnt.values()] == [1, 2] and runs_of(forecasts) == [1, 2, 2]
    (name,), (why,) = forecasts.left_out.keys(), forecasts.left_out.values()
    assert name == "market_1 fold 1" and why.startswith("stream 'market_1': ") and "before row 433" in why
    assert "fold 1/2, without 1 streams that are too short for it yet" in said
    chunks = config_of(dataclasses.replace(STREAM, chunk_length=520))
    data = dataclasses.replace(DATASET, streams=(FIRST, cut(SECOND, 1_900)))
    (why,) = walk_forward(chunks, data, tmp_path / "chunks", 2).left_out.values()
    assert "'market_1': 504 training rows, train.chunk_length=520 needs" in why


def cut(stream: Stream, rows: int) -> Stream:
    """The first rows of a stream."""
    columns = {name: column[:rows] for name, column in stream._asdict().items() if isinstance(column, np.ndarray)}
    return stream._replace(**columns)


def test_a_fold_learns_its_threshold_from_its_past(learnt: dict[str, Dataset], tmp_path: Path) -> None:
    """A later spread or move changes nothing that is learnt or judged before it."""
    folds = []
    config = dataclasses.replace(DATA, threshold_quantile=0.6, threshold_ticks=0.01)
    moves = np.random.default_rng(0).normal(size=FIRST.moves.shape).astype(np.float32)
    for number, factor in enumerate((1.0, 7.0)):
        later = np.where(np.arange(FIRST.rows) < 600, 1.0, factor).astype(np.float32)
        stream = FIRST._replace(moves=moves * later[:, None], spread=FIRST.spread * later)
        walk_forward(CONFIG, Dataset((stream,), config, []), tmp_path / str(number), 2)
        folds.append([learnt[f"fold_{number}_of_2"].streams[0] for number in (1, 2)])
        learnt.clear()
    (early, late), (early_again, late_again) = folds
    assert early.threshold_ticks == early_again.threshold_ticks and late.threshold_ticks != late_again.threshold_ticks
    np.testing.assert_array_equal(early.labels[:600], early_again.labels[:600])
    moved = np.mean(np.abs(early.moves[slice(*early.train)]) >= early.threshold_ticks, axis=0)
    np.testing.assert_allclose(moved, 0.4, atol=0.01)


def test_a_fold_measures_its_market_in_its_past(learnt: dict[str, Dataset], tmp_path: Path) -> None:
    """The dataset's scales, which reach into its first folds, have no influence, nor have later quantities."""
    whole = FIRST.features.copy()
    whole[:, 4:44] *= 3.0  # as if the dataset had counted in a third of the quantity
    later = FIRST.features.copy()
    later[600:, 4:44] *= 7.0
    changed = {
        "as it is": FIRST,
        "other scales": FIRST._replace(features=whole, quantity_scale=FIRST.quantity_scale / 3.0, spread_scale=9.0),
        "later": FIRST._replace(features=later),
    }
    folds = {}
    for number, (name, stream) in enumerate(changed.items()):
        walk_forward(CONFIG, Dataset((stream,), DATA, []), tmp_path / str(number), 2)
        folds[name] = [learnt[f"fold_{number}_of_2"].streams[0] for number in (1, 2)]
    for fold, (as_it_is, other) in enumerate(zip(folds["as it is"], folds["other scales"], strict=True)):
        assert other.quantity_scale == pytest.approx(as_it_is.quantity_scale)
        assert other.spread_scale == as_it_is.spread_scale
        np.testing.assert_allclose(other.features, as_it_is.features, rtol=1e-6)
        best = as_it_is.features[slice(*as_it_is.train)][:, [4, 14]]
        assert np.median(best) == pytest.approx(1.0), fold
    early, late = folds["later"]
    np.testing.assert_array_equal(early.features[:600], folds["as it is"][0].features[:600])
    assert late.quantity_scale != folds["as it is"][1].quantity_scale


def test_a_fold_is_judged_by_its_own_past(
    learnt: dict[str, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """τ, temperature, class prior and own prior know nothing of the fold's test rows, nor of what comes later.

    Of a series of three sessions, one of which begins in a fold's training part and one in its test part.
    """
    monkeypatch.setattr(studied, "baseline_forecasts", lambda *_, **__: BaselineForecasts({}, {}))
    sessions = np.searchsorted([300, 900], np.arange(FIRST.rows), side="right")
    nights = FIRST._replace(ts_ns=FIRST.ts_ns + 10**15 * sessions)
    folds = walk_forward(CONFIG, Dataset((nights,), DATA, []), tmp_path, 2).streams
    assert folds[0].sessions(*folds[0].train) == [(0, 300), (300, folds[0].train[1])]
    assert folds[0].sessions(*folds[0].test) == [(666, 900), (900, 1333)]
    noise = np.random.default_rng(0).normal(size=(FIRST.rows, 3, 3)) + np.eye(3)[np.maximum(FIRST.labels, 0)]
    log_probs = (noise - np.log(np.exp(noise).sum(axis=-1, keepdims=True))).astype(np.float32)
    for stream in folds:
        changed = stream.labels.copy()
        changed[stream.test[0] :] = np.where(changed[stream.test[0] :] >= 0, 2, -1)
        first, again = (
            judge_forecasts(Forecasts((of,), ModelForecasts([log_probs]), [{}]), DATA.horizons)["series"][stream.name]
            for of in (stream, stream._replace(labels=changed))
        )
        for judge in ("model", "model_own_prior"):
            for horizon, metrics in first[judge].items():
                for key in ("tau", "temperature"):
                    assert metrics[key] == again[judge][horizon][key]
                assert metrics["log_loss"] != again[judge][horizon]["log_loss"]
                # the same decisions, of rows whose truth alone is another
                decided = (np.sum(of[judge][horizon]["confusion"], axis=0).tolist() for of in (first, again))
                assert next(decided) == next(decided)


def test_a_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was trained says with which settings."""
    monkeypatch.setattr(build, "make_update", count_only)
    monkeypatch.setattr(loop._Run, "_validate", lambda run: VALIDATED)
    monkeypatch.setattr(studied, "forecast_streams", lambda *_: ModelForecasts([np.zeros((FIRST.rows, 3, 3))]))
    initial = save_checkpoint(tmp_path / "initial", random_model(MODEL), data={"streams": [{"name": "synthetic"}]})
    config = config_of(dataclasses.replace(STREAM, epochs=1, chunk_length=128, init=str(initial)))
    leave_one_out(config, DATASET, tmp_path / "runs")
    kept = load_checkpoint(tmp_path / "runs" / "market_1")
    assert kept.data["streams"][0]["name"] == "market_0" and training_settings_of(kept) == config

    def refuse(*_: Any, **__: Any) -> Any:
        return pytest.fail

    monkeypatch.setattr(build, "make_update", refuse)
    leave_one_out(config, DATASET, tmp_path / "runs")


def test_forecasts_are_judged_beside_the_baselines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept: list[Any] = []

    def baselines(streams: Any, horizons: Any, *, keep: Any, note: Any) -> Any:
        kept.append(keep)
        return BaselineForecasts({"baseline": log_probs}, {})

    monkeypatch.setattr(studied, "baseline_forecasts", baselines)
    log_probs = [np.full((stream.rows, 3, 3), np.log(1 / 3), np.float32) for stream in DATASET.streams]
    origins = [{"version": str(i), "without": {"row": stream.test[0]}} for i, stream in enumerate(DATASET.streams)]
    forecasts = Forecasts(DATASET.streams, ModelForecasts(log_probs), origins)
    result = judge_forecasts(forecasts, DATA.horizons, keep=tmp_path)
    assert result["split"] == "test" and result["origins"]["market_1"] == origins[1]
    assert list(result["mean"]) == ["model", "model_own_prior", "baseline"] and kept == [tmp_path]
    met = result["series"]["market_0"]
    assert met["model"]["h5"]["log_loss"] == pytest.approx(np.log(3))
    assert met["model_own_prior"]["h5"]["log_loss"] < met["model"]["h5"]["log_loss"]
    json.dumps(result)
    # who never saw an instrument is judged with the instrument's own prior first of all
    again = judge_forecasts(forecasts._replace(zero_shot=True), DATA.horizons)
    assert list(again["mean"]) == ["model_own_prior", "model", "baseline"] and "model" in again["paired"]


def test_command(learnt: dict[str, Dataset], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings of the checkpoint, the protocol asked for, what it is asked with."""
    model, judged, kept = Checkpoint(random_model(MODEL), "abc", data={"streams": []}), list[Forecasts](), list[Path]()
    learning: list[float | None] = []

    def judge(forecasts: Forecasts, horizons: Any, *, forgetting: float | None, keep: Path, note: Any) -> Any:
        judged.append(forecasts)
        learning.append(forgetting)
        kept.append(keep)
        raise NanoarbError("seen")

    def command(*arguments: object) -> Any:
        start = ("evaluate", "--checkpoint", "c", "--data", "d", "--protocol")
        return CliRunner().invoke(app, [*start, *map(str, arguments)])

    monkeypatch.setattr("nanoarb_jax.artifacts.checkpoint.load_checkpoint", lambda _: model)
    monkeypatch.setattr("nanoarb_jax.data.dataset.open_dataset", lambda *_, **__: DATASET)
    monkeypatch.setattr(studied, "training_settings_of", lambda met: CONFIG if met is model else None)
    monkeypatch.setattr(studied, "judge_forecasts", judge)
    monkeypatch.chdir(tmp_path)
    assert "error: seen" in command("leave-one-out").stderr
    assert (tmp_path / "runs" / "leave-one-out_abc" / "market_1").is_dir()
    asked = ("--folds", 2, "--work-dir", "mine", "--adapt", "--learn", 0.99)
    assert "error: seen" in command("walk-forward", *asked).stderr
    assert (tmp_path / "mine" / "fold_2_of_2").is_dir()
    assert [len(forecasts.streams) for forecasts in judged] == [2, 4]
    assert [forecasts.zero_shot for forecasts in judged] == [True, False]
    assert [forecasts.models.adapted is not None for forecasts in judged] == [False, True] and learning == [None, 0.99]
    assert kept == [Path("runs/leave-one-out_abc/baselines"), Path("mine/baselines")]
    for option in (["--split", "train"], ["--window-mode"]):
        refused = command("walk-forward", *option)
        assert refused.exit_code == 2 and f"{' '.join(option)}: --protocol walk-forward judges" in refused.stderr


def test_settings_that_a_checkpoint_does_not_say() -> None:
    with pytest.raises(CheckpointError, match="does not say how it was trained; give a run's best"):
        training_settings_of(Checkpoint(random_model(MODEL), "0"))


def test_refused(tmp_path: Path) -> None:
    one = dataclasses.replace(DATASET, streams=(FIRST,))
    with pytest.raises(DataError, match=r"leave-one-out: only \['market_0'\] in the data; expected at least two"):
        leave_one_out(CONFIG, one, tmp_path)
    with pytest.raises(
        DataError, match=r"stream 'market_0': \d+ rows to learn from and 0 to validate with .* row 181;"
    ):
        walk_forward(CONFIG, one, tmp_path, 10)
    guessed = dataclasses.replace(DATASET, streams=(FIRST, SECOND._replace(instrument_declared=False)))
    with pytest.raises(DataError, match=r"of 1 series, such as 'market_1' .*--instruments"):
        leave_one_out(CONFIG, guessed, tmp_path)
    data = {"streams": [{"name": "market_1_20240808"}, {"name": "market_0"}]}
    knows = save_checkpoint(tmp_path / "knows", random_model(MODEL), data=data)
    others = dataclasses.replace(DATASET, streams=(SECOND, FIRST._replace(instrument="another")))
    for setting in ("init", "teacher"):
        config = config_of(dataclasses.replace(STREAM, **{setting: str(knows)}))
        with pytest.raises(ConfigError, match=rf"^train.{setting}=.*learnt from 'market_1', which is to be judged"):
            leave_one_out(config, others, tmp_path)
        with pytest.raises(ConfigError, match=rf"^train.{setting}=.*learnt from 'market_0' \(same name"):
            walk_forward(config, DATASET, tmp_path, 2)
    assert [place.name for place in tmp_path.iterdir()] == ["knows"]


@pytest.mark.subprocess
@pytest.mark.usefixtures("compile_quickly")
def test_other_processes_train_the_same_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions and log-probabilities, to the last bit, and nothing is left beside the runs."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)  # workers of an earlier test would compile as they did there
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # theirs as well
    config, said = config_of(dataclasses.replace(STREAM, epochs=1)), list[str]()
    here = walk_forward(config, DATASET, tmp_path / "here", 2)
    there = walk_forward(config, DATASET, tmp_path / "there", 2, workers=Workers(jobs=2), note=said.append)
    assert here.origins == there.origins and said[0] == "2 models to train"
    for one, other in zip(here.models.log_probs, there.models.log_probs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert {path.name for path in (tmp_path / "there").iterdir()} == {"fold_1_of_2", "fold_2_of_2"}


def test_workers_are_given_the_same_models(
    learnt: dict[str, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be sent to them is worked on here, the last one first."""

    def run_last_first(tasks: list[Task], workers: Workers, tell: Any) -> list[Any]:
        made = [task.work(*task.arguments) for task in reversed(tasks)]
        assert [task.claim.name for task in tasks if task.claim] == [
            f".{task.arguments[0].name}.lock" for task in tasks
        ]
        return made[::-1]

    monkeypatch.setattr(studied, "run_tasks", run_last_first)
    forecasts = leave_one_out(CONFIG, DAYS, tmp_path, workers=Workers("dask"))
    assert list(learnt) == ["market_1", "market_0"] and runs_of(forecasts) == [2, 1, 2]
    assert [origin["without"]["streams"][-1] for origin in forecasts.origins][:2] == ["market_0_20240809", "market_1"]
    learnt.clear()
    forecasts = walk_forward(CONFIG, DATASET, tmp_path, 2, workers=Workers("dask"))
    assert list(learnt) == ["fold_2_of_2", "fold_1_of_2"] and runs_of(forecasts) == [2, 2, 1, 1]
