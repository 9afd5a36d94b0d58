"""Training learns, repeats itself bit for bit – also when it was stopped on the way – and refuses what is wrong.

Every run is of one tiny model; runs of equal settings share their compiled update through JAX's compilation cache.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import jax
import numpy as np
import pytest
from flax import nnx

from nanoarb_jax.artifacts.checkpoint import MANIFEST, load_checkpoint
from nanoarb_jax.config import Config, TrainConfig, load_config
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceError,
    NanoarbError,
    OutputError,
    SettingError,
    TrainingError,
)
from nanoarb_jax.evaluation import validation
from nanoarb_jax.evaluation.baselines import BaselineForecasts
from nanoarb_jax.evaluation.scoring import make_score
from nanoarb_jax.training import build, loop, validate
from nanoarb_jax.training.balance import class_weights, log_prior
from nanoarb_jax.training.device import choose_device, choose_devices, matmul_dtype
from nanoarb_jax.training.log import RunLog
from nanoarb_jax.training.loop import Progress, TrainResult, train
from nanoarb_jax.training.trade_weights import make_row_weights
from support.training_runs import (
    DATA,
    DATASET,
    HORIZONS,
    MODEL,
    STREAM,
    Stopped,
    assert_same_run,
    config_of,
    count_only,
    records,
    states,
    stop_at,
)

WINDOW = dataclasses.replace(STREAM, objective="window", batch_size=100, epochs=2)

pytestmark = pytest.mark.usefixtures("compile_quickly", "look_at_every_update")


class Run:
    """A finished run."""

    def __init__(self, folder: Path, settings: TrainConfig):
        self.folder, self.settings, self.progress = folder, settings, list[Progress]()
        self.lines = list[dict[str, Any]]()
        self.result: TrainResult = train(
            config_of(settings), DATASET, folder, on_update=self.progress.append, on_epoch=self.lines.append
        )


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("streams") / "run", dataclasses.replace(STREAM, tensorboard=True))


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("windows") / "run", WINDOW)


def best_constant_loss() -> float:
    """What a forecast that never changes can reach on the training rows, were it to know their frequencies."""
    labels = np.concatenate([stream.labels[slice(*stream.train)] for stream in DATASET.streams])
    weights = np.concatenate([make_row_weights(stream, STREAM)(slice(*stream.train)) for stream in DATASET.streams])
    losses = []
    for horizon in range(len(HORIZONS)):
        mass = np.array([weights[labels[:, horizon] == c, horizon].sum() for c in range(3)])
        losses.append(-(mass * np.log(mass / mass.sum())).sum() / len(labels))
    return float(np.mean(losses))


@pytest.mark.parametrize("name", ["streams", "windows"])
def test_it_learns(request: pytest.FixtureRequest, name: str) -> None:
    run: Run = request.getfixturevalue(name)
    losses = [line["loss"] for line in run.lines]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.98 * best_constant_loss() < losses[0]
    assert run.result.best_mcc > 0.2  # on rows it has not seen


def test_validation_is_that_of_evaluate(streams: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights get the same figures, whoever asks: state carried from the first row of the session."""
    monkeypatch.setattr(validation, "baseline_forecasts", lambda *_, **__: BaselineForecasts({}, {}))
    nights = tuple(  # one before the validation part, one in it
        stream._replace(ts_ns=stream.ts_ns + 10**15 * (np.arange(stream.rows)[:, None] > [700, 1_600]).sum(axis=1))
        for stream in DATASET.streams
    )
    checkpoint = load_checkpoint(streams.folder)
    model = checkpoint.model
    for dataset in (DATASET, dataclasses.replace(DATASET, streams=nights)):
        judged = validation.evaluate(checkpoint, dataset, "validation")["mean"]["model"]
        weights = nnx.state(model, nnx.Param)
        log_probs = validate.validation_log_probs(make_score(model), weights, model, dataset.streams)
        met = validate.validation_figures(dataset.streams, log_probs, HORIZONS)
        for horizon, metrics in judged.items():
            assert met["validation_loss"][horizon] == pytest.approx(metrics["log_loss"], abs=1e-6)
            assert met["validation_mcc"][horizon] == pytest.approx(metrics["mcc"], abs=1e-6)
        if dataset is DATASET:  # and those figures are what the run wrote down
            kept = streams.lines[streams.result.best_epoch]
            assert met == {key: pytest.approx(kept[key], abs=1e-6) for key in met}
        else:
            assert met["validation_loss"]["mean"] != pytest.approx(kept["validation_loss"]["mean"], abs=1e-6)


def test_what_a_run_leaves(streams: Run) -> None:
    folder, result, settings = streams.folder, streams.result, streams.settings
    assert {place.name for place in folder.iterdir()} == {
        "config.toml", "run.json", "metrics.jsonl", "latest", "best", "tensorboard",
    }  # fmt: skip
    assert load_config(folder / "config.toml") == config_of(settings)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == streams.lines and [line["epoch"] for line in lines] == [0, 1, 2]
    for line in lines:
        assert line.keys() == {
            "epoch", "update", "loss", "validation_loss", "validation_mcc", "calibration", "ticks_per_second",
            "peak_memory_bytes",
        }  # fmt: skip
        assert line["validation_mcc"].keys() == line["validation_loss"].keys() == {"mean", "h2", "h5", "h10"}
        assert math.isfinite(line["loss"]) and line["ticks_per_second"] > 0 and line["peak_memory_bytes"] > 1e6

    best = min(lines, key=lambda line: line["validation_loss"]["mean"])
    assert result.best == folder / "best" / str(best["update"]) and list((folder / "best").iterdir()) == [result.best]
    assert (result.best_epoch, result.best_mcc) == (best["epoch"], best["validation_mcc"]["mean"])
    assert result.best_loss == best["validation_loss"]["mean"]
    checkpoint = load_checkpoint(folder)
    assert checkpoint.config == MODEL
    assert checkpoint.metrics == {key: best[key] for key in ("validation_loss", "validation_mcc", "loss")}
    assert checkpoint.training["update_kept"] == best["update"] and checkpoint.training["lr"] == settings.lr
    assert [stream["name"] for stream in checkpoint.data["streams"]] == ["market_0", "market_1"]
    assert checkpoint.data["config"]["threshold_ticks"] == 0.5

    per_epoch = 22
    assert (result.updates, result.epochs, result.ticks) == (3 * per_epoch, 3, 3 * per_epoch * 4 * 32)
    assert sorted(int(place.name) for place in (folder / "latest").iterdir()) == [63, 66]
    (events,) = (folder / "tensorboard").iterdir()
    content = events.read_bytes()
    assert all(tag in content for tag in (b"train/loss", b"train/ticks_per_second", b"validation_mcc/h10"))


def test_progress(streams: Run) -> None:
    assert [p.update for p in streams.progress] == list(range(1, 67))
    assert {(p.epochs, p.updates) for p in streams.progress} == {(3, 66)}
    assert [p.epoch for p in streams.progress] == [0] * 22 + [1] * 22 + [2] * 22
    ends = [p.loss for p in streams.progress if p.update % 22 == 0]
    assert ends == [line["loss"] for line in streams.lines]


def test_same_seed_same_numbers(streams: Run, tmp_path: Path) -> None:
    again = Run(tmp_path / "run", STREAM)
    assert_same_run(again.folder, streams.folder)
    assert not (again.folder / "tensorboard").exists()


@pytest.mark.parametrize(
    ("name", "stops"),
    [("streams", [1, 14, 31, 65]), ("windows", [13, 50])],
    ids=["streams", "windows"],
)
def test_resumed_is_uninterrupted(request: pytest.FixtureRequest, name: str, stops: list[int], tmp_path: Path) -> None:
    """Stopped in the middle of epochs, some updates after the last state was kept."""
    whole: Run = request.getfixturevalue(name)
    settings, folder = dataclasses.replace(whole.settings, tensorboard=False), tmp_path / "run"
    for number, stop in enumerate(stops):
        with pytest.raises(Stopped):
            train(config_of(settings), DATASET, folder, resume=number > 0, on_update=stop_at(stop))
    seen: list[Progress] = []
    result = train(config_of(settings), DATASET, folder, resume=True, on_update=seen.append)
    assert seen[0].update == stops[-1] // 9 * 9 + 1  # goes on after the last state kept, not from the start
    assert_same_run(folder, whole.folder)
    assert (result.best_mcc, result.best_epoch) == (whole.result.best_mcc, whole.result.best_epoch)

    # a finished run has nothing left to do
    seen.clear()
    assert train(config_of(settings), DATASET, folder, resume=True, on_update=seen.append).best == result.best
    assert not seen
    assert_same_run(folder, whole.folder)


def test_resumed_where_calls_were_cut_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five updates a call, of rows sent for each; stopped in the middle of what was one call of the other run."""
    monkeypatch.setattr(loop, "LOOK_EVERY", 5)
    monkeypatch.setattr("nanoarb_jax.training.source.RESIDENT_BYTES", 0)
    settings = dataclasses.replace(STREAM, epochs=2, chunk_length=64, checkpoint_every=7)
    whole, resumed, seen = tmp_path / "whole", tmp_path / "resumed", list[int]()
    train(config_of(settings), DATASET, whole, on_update=lambda progress: seen.append(progress.update))
    assert seen == [1, 5, 7, 10, 11, 14, 15, 20, 21, 22]
    with pytest.raises(Stopped):
        train(config_of(settings), DATASET, resumed, on_update=stop_at(15))
    train(config_of(settings), DATASET, resumed, resume=True)
    assert_same_run(resumed, whole)


def test_a_run_from_before_a_setting_goes_on(streams: Run, tmp_path: Path) -> None:
    """`beta2` was .99 before it was a setting: a run whose config does not name it had that."""
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train(config_of(STREAM), DATASET, folder, on_update=stop_at(31))
    settings = (folder / "config.toml").read_text()
    assert "\nbeta2 = 0.99\n" in settings
    (folder / "config.toml").write_text(settings.replace("\nbeta2 = 0.99\n", "\n"))
    result = train(load_config(folder / "config.toml"), DATASET, folder, resume=True)
    assert (result.best_mcc, result.best_epoch) == (streams.result.best_mcc, streams.result.best_epoch)
    assert records(folder)[-1]["loss"] == streams.lines[-1]["loss"]
    assert load_checkpoint(folder).training["beta2"] == 0.99
    later = dataclasses.replace(STREAM, beta2=0.999)
    with pytest.raises(ConfigError, match="differs from the settings given"):
        train(config_of(later), DATASET, folder, resume=True)


def test_stopped_between_best_and_state(streams: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hardest moment: an epoch's best weights and line are written, its state is not."""
    folder, save = tmp_path / "run", loop._Run._save

    def stop_at_the_end_of_the_second_epoch(run: Any, done: int) -> None:
        if done == 44:
            raise Stopped
        save(run, done)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(loop._Run, "_save", stop_at_the_end_of_the_second_epoch)
        train(config_of(STREAM), DATASET, folder)
    assert len(records(folder)) == 2
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "upd')  # and half a line more
    train(config_of(STREAM), DATASET, folder, resume=True)
    assert_same_run(folder, streams.folder)


def untouched(folder: Path, act: Callable[[], object], error: type[NanoarbError], message: str) -> None:
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(error, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_a_run_is_not_overwritten(streams: Run, tmp_path: Path) -> None:
    untouched(
        streams.folder,
        lambda: train(config_of(STREAM), DATASET, streams.folder),
        OutputError,
        "holds a training run",
    )
    for name in ("metrics.jsonl", "best", "latest"):  # what is left of one, too
        (tmp_path / name / name).mkdir(parents=True)
        act = functools.partial(train, config_of(STREAM), DATASET, tmp_path / name)
        untouched(tmp_path, act, OutputError, rf"holds a training run \({name}\)")
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/run"):
        act = functools.partial(train, config_of(STREAM), DATASET, tmp_path / place)
        untouched(tmp_path, act, OutputError, "cannot be written")


def test_resume_wants_the_same_settings_and_data(streams: Run, tmp_path: Path) -> None:
    folder, settings = streams.folder, streams.settings

    def resume(config: Config, data: Dataset = DATASET, place: Path = folder) -> Callable[[], object]:
        return lambda: train(config, data, place, resume=True)

    other = config_of(dataclasses.replace(settings, lr=0.01))
    untouched(folder, resume(other), ConfigError, "differs from the settings given")
    larger = dataclasses.replace(config_of(settings), model=dataclasses.replace(MODEL, hidden_dim=16))
    untouched(folder, resume(larger), ConfigError, "differs from the settings given")
    for changed in (
        DATASET.streams[:1],
        DATASET.streams[::-1],
        (DATASET.streams[0], DATASET.streams[1]._replace(quantity_scale=2.0)),
    ):
        data = dataclasses.replace(DATASET, streams=changed)
        untouched(folder, resume(config_of(settings), data), DataError, "trained on other data")
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere"):
        untouched(tmp_path, resume(config_of(settings), place=place), CheckpointError, "no run to resume")


def test_no_state_or_a_damaged_one(streams: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(streams.folder, tmp_path / "run")
    config = config_of(streams.settings)
    shutil.rmtree(folder / "latest" / "66" / "state")
    with pytest.raises(
        CheckpointError, match=r"latest/66: cannot be read .*; remove that folder to resume from the last"
    ) as e:
        train(config, DATASET, folder, resume=True)
    assert "\n" not in str(e.value)
    shutil.rmtree(folder / "latest" / "66")
    train(config, DATASET, folder, resume=True)
    assert_same_run(folder, streams.folder)
    shutil.rmtree(folder / "latest")
    with pytest.raises(CheckpointError, match="no state to resume from"):
        train(config, DATASET, folder, resume=True)


def test_resume_with_other_lanes(streams: Run, tmp_path: Path) -> None:
    """As on another device, where the lanes that the settings leave open are others."""
    folder, settings = tmp_path / "run", dataclasses.replace(STREAM, batch_size=None)
    shutil.copytree(streams.folder / "latest", folder / "latest")
    shutil.copy(streams.folder / "run.json", folder)
    (folder / "config.toml").write_text(config_of(settings).to_toml())
    with pytest.raises(
        CheckpointError, match=r"latest/66: .*carried.* is float32\(4, .*; resume on the kind of device"
    ):
        train(config_of(settings), DATASET, folder, resume=True)


def test_every_epoch_has_its_own_order(tmp_path: Path) -> None:
    run = loop._open_run(config_of(STREAM), DATASET, tmp_path / "run", False, jax.devices())
    run.close()
    first, again, second = run.plan.epoch(0), run.plan.epoch(0), run.plan.epoch(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.start, second.start)
    settings = config_of(dataclasses.replace(STREAM, seed=1))
    other = loop._open_run(settings, DATASET, tmp_path / "other", False, jax.devices())
    other.close()
    assert not np.array_equal(first.start, other.plan.epoch(0).start)
    kernel, other_kernel = (r.parts.model.input_proj.kernel[...] for r in (run, other))
    assert (kernel != other_kernel).any()


@pytest.mark.parametrize(
    ("keep", "kept", "stopped"), [("loss", 1, 3), ("mcc", 0, 2), ("last", 3, 4)], ids=["loss", "mcc", "last"]
)
def test_the_epoch_that_is_kept(
    keep: Any, kept: int, stopped: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is asked for, of equals the first; and patience with the same."""
    losses, scores = [0.9, 0.5, 0.5, 0.1], [0.3, 0.3, 0.1, 0.9]
    epoch = iter(range(4))

    def validated(run: Any) -> dict[str, Any]:
        i = next(epoch)
        return {"validation_loss": {"mean": losses[i]}, "validation_mcc": {"mean": scores[i]}}

    monkeypatch.setattr(build, "make_update", count_only)
    monkeypatch.setattr(loop._Run, "_validate", validated)
    config = config_of(dataclasses.replace(STREAM, epochs=4, patience=1, keep=keep, chunk_length=256))
    result = train(config, DATASET, tmp_path / "run")
    assert (result.epochs, result.best_epoch, result.updates) == (stopped, kept, 3 * stopped)
    assert (result.best_loss, result.best_mcc) == (losses[kept], scores[kept])
    assert result.best.name == str(3 * (kept + 1)) and (result.best / MANIFEST).is_file()
    # a run that has stopped stays so
    assert train(config, DATASET, tmp_path / "run", resume=True) == dataclasses.replace(
        result, ticks=0, ticks_per_second=0.0, peak_memory_bytes=ANY
    )


def test_classes_are_balanced_as_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []

    def stop(model: Any, optimizer: Any, settings: Any, weights: Any, *_: Any, logit_offset: Any, **__: Any) -> None:
        seen.append((weights, logit_offset))
        raise Stopped

    monkeypatch.setattr(build, "make_update", stop)
    for number, wanted in enumerate(({"class_weights": True}, {"logit_adjustment": 2.0})):
        with pytest.raises(Stopped):
            train(config_of(dataclasses.replace(STREAM, **wanted)), DATASET, tmp_path / str(number))
    (weights, none), (nothing, offset) = seen
    assert none is None and nothing is None
    np.testing.assert_array_equal(weights, class_weights(DATASET.streams))
    np.testing.assert_array_equal(offset, 2.0 * log_prior(DATASET.streams))


def test_loss_that_is_not_finite(tmp_path: Path) -> None:
    settings = dataclasses.replace(STREAM, lr=1e30, checkpoint_every=1)
    with pytest.raises(
        TrainingError, match=r"loss=(nan|inf) at update \d+, .*; lower train.lr, .* --lr, .*; no weights were kept"
    ) as caught:
        train(config_of(settings), DATASET, tmp_path / "run")
    assert "\n" not in str(caught.value)
    # no state of after the accident was kept
    for arrays in states(tmp_path / "run").values():
        assert np.isfinite(np.frombuffer(arrays[".loss"], np.float32)).all()
    assert not (tmp_path / "run" / "best").exists()


def test_weights_that_are_not_finite_are_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = validate.score_streams
    monkeypatch.setattr(validate, "score_streams", lambda *given: [array * np.nan for array in real(*given)])
    with pytest.raises(TrainingError, match="validation scores are NaN or infinite at update 22"):
        train(config_of(STREAM), DATASET, tmp_path / "run")
    assert not (tmp_path / "run" / "best").exists()


@pytest.mark.parametrize(
    ("model", "settings", "error", "message"),
    [
        ({}, {"device": "gpu"}, SettingError, "^train.device='gpu': expected .* JAX sees only cpu; a GPU needs"),
        ({}, {"chunk_length": 5_000}, DataError, r"stream 'market_0': 1390 training rows, train.chunk_length=5000"),
        ({}, {"burn_in": 1_390}, DataError, r"stream 'market_0': 1390 training rows, train.burn_in=1390 leaves none"),
        ({"window": 1_400}, {"objective": "window"}, DataError, "'market_0': 1390 training rows, model.window=1400"),
        ({"feature_set": 43}, {}, DataError, "44 features per tick, the model expects 43"),
    ],
)
def test_mistakes_leave_no_folder(
    model: dict[str, Any], settings: dict[str, Any], error: type[NanoarbError], message: str, tmp_path: Path
) -> None:
    config = Config(dataclasses.replace(MODEL, **model), DATA, dataclasses.replace(STREAM, **settings))
    with pytest.raises(error, match=message):
        train(config, DATASET, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_horizons_of_data_and_model(tmp_path: Path) -> None:
    other = dataclasses.replace(DATA, horizons=(3, 5, 10))
    with pytest.raises(DataError, match=r"labels at horizons \(2, 5, 10\), the model predicts \(3, 5, 10\)"):
        train(Config(dataclasses.replace(MODEL, horizons=(3, 5, 10)), other, STREAM), DATASET, tmp_path / "run")


def test_tensorboard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^train.tensorboard=True: .*--no-tensorboard, .*pip install tensorboardX$"):
        train(config_of(dataclasses.replace(STREAM, tensorboard=True)), DATASET, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_devices() -> None:
    cpu = jax.devices("cpu")[0]
    assert choose_device("cpu") == cpu
    assert choose_device("auto") == jax.devices()[0]
    assert choose_devices("auto") == jax.devices() and choose_devices("cpu", 1) == [cpu]
    count = len(jax.devices("cpu"))
    with pytest.raises(
        SettingError, match=f"^train.devices={count + 1}: expected at most {count}, .* of kind cpu in this process$"
    ):
        choose_devices("cpu", count + 1)
    assert matmul_dtype("auto", cpu) == np.float32
    assert matmul_dtype("bfloat16", cpu) == jax.numpy.bfloat16


def test_one_process_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(DeviceError, match=r"^train: 2 processes of jax.distributed, .*; expected one per run; see"):
        train(config_of(STREAM), DATASET, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_log_keeps_what_came_before(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0, 0, tensorboard=False)
    for epoch in range(3):
        log.epoch({"epoch": epoch})
    RunLog(tmp_path, 20, 2, tensorboard=False).epoch({"epoch": 2, "again": True})
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert lines == [{"epoch": 0}, {"epoch": 1}, {"epoch": 2, "again": True}]
