"""The commands as a user meets them: what they make and print, and how they refuse.

A mistake of the user's is exit code 2 and one line that names the thing, the value met, what was expected and what to
do; nothing that exists is touched. Anything else keeps its traceback and exit code 1.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import typer
from typer.testing import CliRunner, Result

from nanoarb_jax import __version__, bench
from nanoarb_jax.artifacts.checkpoint import load_checkpoint, save_checkpoint
from nanoarb_jax.bench import run as bench_run
from nanoarb_jax.cli import data as data_command
from nanoarb_jax.cli import output, tables
from nanoarb_jax.cli import train as train_command
from nanoarb_jax.cli.main import app
from nanoarb_jax.cli.tables import mcc, strongest
from nanoarb_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from nanoarb_jax.errors import OutputError
from nanoarb_jax.evaluation.baselines import BASELINES
from nanoarb_jax.exporters import checks
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.window import WindowPredictor
from support.random_model import random_model

TRAIN = ("--preset", "nano", "--chunk-length", 64, "--batch-size", 8, "--no-tensorboard")
LABELS = ("--label-price", "microprice")
CONFIG = """
[model]
preset = "nano"
horizons = [5, 20]
[data]
horizons = [5, 20]
[train]
epochs = 2
chunk_length = 64
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert not [line for line in result.stdout.splitlines() if len(line) > 80 and "/" not in line], result.stdout
    return result.stdout


def read(path: Path) -> Any:
    return json.loads(path.read_text())


class World(NamedTuple):
    """What the commands made, one after the other, and what they said."""

    folder: Path
    said: dict[str, str]


pytestmark = pytest.mark.usefixtures("compile_quickly", "fit_quickly")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    said: dict[str, str] = {}

    def do(name: str, *arguments: object) -> None:
        said[name] = done(*arguments, "--json", folder / f"{name}.json")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bench_run, "BURST_SECONDS", 0.005)
        do("synth", "data", "synth", "--output", folder / "books", "--rows", 2_000, "--streams", 2)
        said["prepare"] = done("data", "prepare", folder / "books", "--output", folder / "data", *LABELS)
        do("inspect", "data", "inspect", folder / "data")
        start = ("train", "--data", folder / "data", "--output", folder / "run")
        do("train", *start, *TRAIN, "--epochs", 2, "--export-onnx", folder / "run.onnx")
        do("resume", *start, "--resume")
        picture = ("--picture", folder / "reliability.png")
        do("evaluate", "evaluate", "--checkpoint", folder / "run", "--data", folder / "books", *picture)
        do("export", "export", "--checkpoint", folder / "run", "--output", folder / "again.onnx")
        do("bench", "bench", "--checkpoint", folder / "run", "--rounds", 1)
    return World(folder, said)


def test_train(world: World) -> None:
    figures = read(world.folder / "train.json")
    assert figures["epochs"] == 2 and figures["ticks_per_second"] > 0
    assert figures["best"].startswith(str(world.folder / "run" / "best"))
    said = world.said["train"].splitlines()
    assert said[0].startswith("nano preset, 2 streams with ")
    columns = ["epoch", "loss", "valid.", "h10", "h50", "h100", "mean"]
    assert said[1].split() == [*columns, "validation", "MCC,", "*", "kept"]
    assert [line.split()[0] for line in said[2:4]] == ["1/2", "2/2"] and "*" in said[2]
    assert said[4].startswith("kept: epoch ") and "labelled ticks/s on cpu" in said[5]
    assert WindowPredictor.load(world.folder / "run.onnx").version == load_checkpoint(figures["best"]).version


def test_resume_a_run_that_is_done(world: World) -> None:
    assert world.said["resume"].splitlines()[-1] == "nothing was left to train"
    assert read(world.folder / "resume.json")["best"] == read(world.folder / "train.json")["best"]


def test_train_and_measure(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured, asked = read(world.folder / "bench.json"), []
    monkeypatch.setattr(bench, "bench_checkpoint", lambda path, note: asked.append(path) or measured)
    start = ("train", "--data", world.folder / "data", "--output", world.folder / "run")
    said = done(*start, "--resume", "--benchmark", "--json", tmp_path / "figures.json")
    figures = read(tmp_path / "figures.json")
    assert figures["bench"] == measured and asked == [Path(figures["best"])]
    assert said.endswith(world.said["bench"])


def test_evaluate(world: World) -> None:
    figures = read(world.folder / "evaluate.json")
    judges = ["model", "model_own_prior", *BASELINES]
    assert set(figures["series"]) == {"synthetic_00", "synthetic_01"} and figures["unseen"] == []
    for by_judge in [*figures["series"].values(), figures["mean"]]:
        assert list(by_judge) == judges
        for horizons in by_judge.values():
            assert list(horizons) == ["h10", "h50", "h100"]
            assert all({"mcc", "macro_f1", "mcc_argmax"} <= set(metrics) for metrics in horizons.values())
    assert (world.folder / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_says_what_it_found(world: World) -> None:
    figures, said = read(world.folder / "evaluate.json"), world.said["evaluate"]
    lines = said.splitlines()
    assert " ".join(said[: said.index("\n\n")].split()) == figures["verdict"]
    begin = lines.index("MCC [95 %], mean over 2 series (test part, prior-corrected)")
    judge, value, *interval = lines[begin + 2].split()[:4]
    low, high = figures["intervals"]["model"]["h10"]["mcc"]
    assert (judge, value) == ("model", mcc(figures["mean"]["model"]["h10"]["mcc"], 3))
    assert interval == [f"[{mcc(low)},", f"{mcc(high)}]"]
    best = strongest(figures["mean"], 2)
    assert f"MCC of model, {', '.join(best)}" in lines
    assert all(name in said for name in [*BASELINES, *figures["series"], "10 ticks", "100 ticks"])
    for title in ("two-sided p", "ECE as it comes", "log loss", "p_T", "profit per trade", "by UTC hour"):
        assert [line for line in lines if title in line], title
    assert max(len(line) for line in lines if "reliability.png" not in line) <= 80


def test_export(world: World) -> None:
    figures = read(world.folder / "export.json")
    assert figures["bytes"] == (world.folder / "again.onnx").stat().st_size
    assert {"path", "kind", "opset", "nodes", "version", "max_logit_difference"} <= set(figures)
    assert (world.folder / "again.onnx").read_bytes() == (world.folder / "run.onnx").read_bytes()
    assert "differs from JAX by" in world.said["export"]


def test_bench(world: World) -> None:
    figures = read(world.folder / "bench.json")
    assert {"machine", "model", "rows", "weight_read_us", "samples_us"} <= set(figures)
    assert figures["model"]["preset"] == "nano"
    said = world.said["bench"].splitlines()
    assert said[0] == f"µs per prediction, nano preset with {figures['model']['parameters']:,} parameters"
    assert said[1].split() == ["path", "kind", "p50", "p95", "p99", "p99.9", "calls"]
    paths = [row["path"] for row in figures["rows"]]
    rows, ratios = said[2 : 2 + len(paths)], said[2 + len(paths) :]
    assert [line.split()[0] for line in rows] == paths
    p50 = {row["path"]: row["p50_us"] for row in figures["rows"]}
    assert f"jax_window is {p50['jax_window'] / p50['native_step']:,.3g}× native_step" in ratios[0]
    assert len(ratios) == 5 and all("×" in line or "Python adds" in line for line in ratios)


def test_bench_beside_rivals_and_sweeps(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for reaches the library, and what it gives is printed and drawn."""
    measured, asked = read(world.folder / "bench.json"), []
    figures = {key: measured["rows"][0][key] for key in ("kind", "p50_us")}
    rivals = ("transformer_window", "transformer_step", "torch_window")
    measured["rows"] += [measured["rows"][0] | {"path": path} for path in rivals]
    measured["samples_us"] |= {path: [1.0, 2.0] for path in rivals}
    measured["rivals"] = {}
    measured["lengths"] = [
        figures | {"path": path, "length": length} for path, length in (("jax_window", 5), ("jax_step", None))
    ]
    measured["batches"] = [figures | {"path": "native_batch", "batch": 8, "predictions_per_second": 1_234_567}]
    monkeypatch.setattr(bench_run, "bench_preset", lambda *given: asked.append(given) or dict(measured))
    made = tmp_path / "a.png", tmp_path / "a.json"
    said = done(
        "bench", "--preset", "nano", "--preset", "small", "--lengths", "5,10", "--batch", 8, "--precisions",
        "--picture", made[0], "--json", made[1],
    )  # fmt: skip
    extras = bench.Extras(precisions=True, lengths=(5, 10), batches=(8,))
    assert [(preset, rounds, given) for preset, rounds, _, given in asked] == [
        ("nano", 20, extras), ("small", 20, extras)
    ]  # fmt: skip
    assert said.count("transformer_window is ") == said.count("native_batch  1,234,567") == 2
    assert [line.split() for line in said.splitlines() if line.startswith("path ") and "any" in line] == [
        ["path", "5", "any"]
    ] * 2
    assert made[0].read_bytes().startswith(b"\x89PNG") and set(read(made[1])["presets"]) == {"small"}


def test_json_rows_of_numbers_take_one_line(world: World) -> None:
    text = (world.folder / "bench.json").read_text()
    assert len(text.splitlines()) < 400
    assert '"confusion": [\n' in (world.folder / "evaluate.json").read_text()  # nested ones are rows


def test_the_trained_model_is_served(world: World) -> None:
    predictor = StepPredictor.load(world.folder / "run")
    assert predictor.update(np.ones(101)).version == read(world.folder / "export.json")["version"]


def test_books_are_labelled_as_the_model_learnt(world: World, tmp_path: Path) -> None:
    """Here by microprice, which is not the default."""
    done(
        "evaluate", "--checkpoint", world.folder / "run", "--data", world.folder / "data", "--json", tmp_path / "e.json"
    )
    assert read(tmp_path / "e.json") == read(world.folder / "evaluate.json")


def settings_of(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Config:
    """What a training would be started with."""
    met: list[Config] = []

    def stop(settings: Config, *rest: object) -> None:
        met.append(settings)
        raise typer.Exit

    monkeypatch.setattr(train_command, "run", stop)
    done("train", *arguments)
    return met[0]


def test_settings_from_a_file_and_options_beside_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text(CONFIG)
    options = ("--epochs", 1, "--dropout", 0.25, "--no-mirror")
    start = ("--data", world.folder / "books", "--config", tmp_path / "c.toml")
    settings = settings_of(monkeypatch, *start, *options)
    assert (settings.train.epochs, settings.train.chunk_length, settings.train.mirror) == (1, 64, False)
    assert (settings.model.hidden_dim, settings.model.dropout, settings.model.horizons) == (16, 0.25, (5, 20))
    settings = settings_of(monkeypatch, *start, "--preset", "small")
    assert (settings.model.hidden_dim, settings.model.horizons, settings.train.epochs) == (64, (5, 20), 2)


def test_features_from_a_file(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever table names them, with a preset too; two that differ are refused."""
    start = ("--data", world.folder / "books", "--config", tmp_path / "c.toml")
    for table in ("data", "model"):
        (tmp_path / "c.toml").write_text(f'[{table}]\nfeature_set = "flow"\n')
        for options in ((), ("--preset", "nano")):
            settings = settings_of(monkeypatch, *start, *options)
            assert (settings.data.feature_set, settings.model.feature_set) == ("flow", "flow")
    (tmp_path / "c.toml").write_text('[data]\nfeature_set = "flow"\n[model]\nfeature_set = "lob44"\n')
    result = run("train", *start)
    assert result.exit_code == 2
    assert "c.toml: model.feature_set='lob44': expected that of data.feature_set=\"flow\"" in result.stderr


def test_every_setting_is_an_option(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Also those that a shell seldom needs; and the same words as in a file."""
    given = ("--ema-decay", 0.5, "--warmup-fraction", 0.1, "--matmul-dtype", "float32", "--devices", 1)
    settings = settings_of(monkeypatch, "--data", world.folder / "data", *given)
    expected = TrainConfig(ema_decay=0.5, warmup_fraction=0.1, matmul_dtype="float32", devices=1)
    assert settings.train == expected
    for command, table in ((["train"], TrainConfig), (["data", "prepare"], DataConfig)):
        said = done(*command, "--help")
        for field in dataclasses.fields(table):
            assert f"--{field.name.replace('_', '-')}" in said, field.name


def test_older_names_of_output(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done("data", "prepare", world.folder / "books", "--out", tmp_path / "data", *LABELS)
    seen: list[Path] = []

    def stop(settings: Config, dataset: Any, output: Path, resume: bool) -> None:
        seen.append(output)
        raise typer.Exit

    monkeypatch.setattr(train_command, "run", stop)
    for name in ("--output=", "--output-dir="):
        done("train", "--data", tmp_path / "data", f"{name}{tmp_path / 'run'}")
    assert seen == [tmp_path / "run"] * 2
    for command in (["train"], ["data", "prepare"], ["quickstart"], ["evaluate"]):
        words = done(*command, "--help").split()
        assert "--output" in words and not {"--out", "--output-dir", "--work-dir"} & set(words)


def test_without_a_file_the_data_says_what_is_predicted(
    world: World, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(monkeypatch, "--data", broken / "other_data", "--preset", "nano")
    assert settings.model.horizons == settings.data.horizons == (5, 20)
    assert settings.model.hidden_dim == 16


# Mistakes


def cut(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


@pytest.fixture(scope="module")
def broken(world: World) -> Path:
    """Beside the good things, everything that can be wrong with them."""
    folder = world.folder
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("mine\n")
    (folder / "full").mkdir()
    (folder / "full" / "notes.txt").write_text("mine\n")
    done("data", "synth", folder / "short", "--rows", 900, "--streams", 1)
    with np.load(folder / "books" / "synthetic_00.npz") as books:
        nothing = {key: books[key][:0] if books[key].ndim else books[key] for key in books}
    (folder / "no_rows").mkdir()
    np.savez(folder / "no_rows" / "a.npz", **nothing)
    shutil.copytree(folder / "books", folder / "cut_books")
    cut(folder / "cut_books" / "synthetic_01.npz")
    shutil.copytree(folder / "data", folder / "nan_data")
    rows = np.load(folder / "nan_data" / "synthetic_01.npy", mmap_mode="r+")
    rows["features"][17, 3] = np.nan
    rows.flush()
    shutil.copytree(folder / "data", folder / "altered_data")
    content = (folder / "altered_data" / "synthetic_01.npy").read_bytes()
    (folder / "altered_data" / "synthetic_01.npy").write_bytes(
        content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]
    )
    (folder / "c.toml").write_text("[model]\nhorizons = [5, 20]\n[data]\nhorizons = [5, 20]\n")
    done("data", "prepare", folder / "books", "--output", folder / "other_data", "--config", folder / "c.toml")
    identity = ModelConfig(feature_set=10, hidden_dim=8, num_layers=1)
    save_checkpoint(folder / "ten_features", random_model(identity))
    best = Path(read(folder / "train.json")["best"])
    for name in ("cut_json", "cut_arrays"):
        shutil.copytree(best, folder / name)
    cut(folder / "cut_json" / "checkpoint.json")
    cut(max((folder / "cut_arrays" / "arrays").rglob("*"), key=lambda path: path.stat().st_size))
    (folder / "bad.toml").write_text("[train\n")
    (folder / "unknown.toml").write_text("[train]\nlearning_rate = 1.0\n")
    (folder / "value.toml").write_text("[train]\nlr = -1\n")
    return folder


def state_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


NEW = "--output {0}/new"
MISTAKES: dict[str, tuple[str, list[str]]] = {
    # settings
    "bench, unknown preset": ("bench --preset huge", ["'huge'", "base, small, nano"]),
    "train, unknown preset": (f"train --data {{0}}/data {NEW} --preset huge", ["'huge'", "base, small, nano"]),
    "bench, lengths": ("bench --lengths 25,x", ["--lengths 25,x", "whole numbers", "25,50,100"]),
    "bench, no instruments": ("bench --batch 8,0", ["batches: 0", "at least 1"]),
    "bench, two models": ("bench --preset nano --checkpoint {0}/run", ["--preset nano", "leave one out"]),
    "train, value": (f"train --data {{0}}/data {NEW} --lr -1", ["error: --lr -1: expected more than 0"]),
    "train, count": (f"train --data {{0}}/data {NEW} --epochs 0", ["error: --epochs 0: ", "at least 1"]),
    "train, rate": (f"train --data {{0}}/data {NEW} --dropout 1.5", ["error: --dropout 1.5: ", "[0, 1)"]),
    "train, word": (
        f"train --data {{0}}/data {NEW} --objective both", ['error: --objective both: expected "stream" or "window"']
    ),
    "train, switch": (
        f"train --data {{0}}/data {NEW} --objective window --burn-in 9",
        ['error: --burn-in 9: expected 0 with objective "window"'],
    ),
    "train, value in a file": (
        f"train --data {{0}}/data {NEW} --config {{0}}/value.toml --epochs 3",
        ["value.toml: train.lr=-1: expected more than 0"],
    ),
    "prepare, horizons": (
        "data prepare {0}/books --output {0}/new --horizons 50,10", ["error: --horizons 50,10: ", "ascending"]
    ),
    "prepare, value": (
        "data prepare {0}/books --output {0}/new --label-price last",
        ['error: --label-price last: expected "mid" or "microprice"'],
    ),
    "config missing": (f"train --data {{0}}/data {NEW} --config {{0}}/gone.toml", ["gone.toml", "give a TOML file"]),
    "config not TOML": (f"train --data {{0}}/data {NEW} --config {{0}}/bad.toml", ["bad.toml", "not valid TOML"]),
    "config, unknown key": (
        f"train --data {{0}}/data {NEW} --config {{0}}/unknown.toml", ["'learning_rate'", "expected one of", "lr"]
    ),
    "export, opset": ("export --checkpoint {0}/run --output {0}/new.onnx --opset 5", ["opset 5", "17 to 23"]),
    "train, no such device": (
        f"train --data {{0}}/data {NEW} --device gpu", ["error: --device gpu: expected", "only cpu", '"auto"']
    ),
    "train, more devices": (f"train --data {{0}}/data {NEW} --devices 99", ["error: --devices 99: expected at most"]),
    "train, no such teacher": (
        f"train --data {{0}}/data {NEW} --teacher {{0}}/gone", ["error: train.teacher: checkpoint ", "gone"]
    ),
    "train, few lanes": (
        f"train --data {{0}}/data {NEW} --batch-size 3 --accumulate 4",
        ["error: --batch-size 3: expected at least ", "train.accumulate = 4"],
    ),
    # data
    "data missing": (f"train --data {{0}}/gone {NEW}", ["gone", "no such file or folder", "expected"]),
    "data empty": (f"train --data {{0}}/empty {NEW}", ["empty", "book-npz"]),
    "inspect empty": ("data inspect {0}/empty", ["empty", "book-npz"]),
    "books without rows": ("data prepare {0}/no_rows --output {0}/new", ["'a'", "no rows", "at least one"]),
    "books too short": (f"train --data {{0}}/short {NEW}", ["synthetic_00", "900 rows", "at least 1340"]),
    "training part too short": (
        f"train --data {{0}}/data {NEW} --chunk-length 5000",
        ["train.chunk_length=5000", "1300 training rows", "shorten"],
    ),
    "books truncated": (
        "data prepare {0}/cut_books --output {0}/new", ["synthetic_01.npz", "damaged", "fetch it again"]
    ),
    "books truncated, inspected": ("data inspect {0}/cut_books", ["synthetic_01.npz", "damaged"]),
    "not a number": (f"train --data {{0}}/nan_data {NEW}", ["'synthetic_01'", "row 17", "imbalance", "NaN", "mend"]),
    "data altered": ("data inspect {0}/altered_data", ["synthetic_01.npy", "altered", "prepare it again"]),
    # checkpoints against data
    "other horizons": (
        "evaluate --checkpoint {0}/run --data {0}/other_data", ["(5, 20)", "(10, 50, 100)", "prepare the data"]
    ),
    "other feature count": (
        "evaluate --checkpoint {0}/ten_features --data {0}/data", ["101 features", "expects 10"]
    ),
    "bench, other feature count": ("bench --checkpoint {0}/ten_features", ["input_dim=10", "expected 44"]),
    # checkpoints
    "no checkpoint": ("evaluate --checkpoint {0}/gone --data {0}/data", ["gone", "no such folder", "give a folder"]),
    "no checkpoint in it": ("export --checkpoint {0}/full --output {0}/new.onnx", ["full", "no checkpoint.json"]),
    "a file for a checkpoint": ("bench --checkpoint {0}/run.onnx", ["run.onnx", "a file; give a folder"]),
    "checkpoint's JSON cut": ("evaluate --checkpoint {0}/cut_json --data {0}/data", ["cut_json", "checkpoint.json"]),
    "checkpoint's arrays cut": ("bench --checkpoint {0}/cut_arrays", ["cut_arrays", "arrays/", "train it anew"]),
    "nothing to resume": ("train --data {0}/data --output {0}/empty --resume", ["empty", "no run to resume"]),
    "resume elsewhere": ("train --data {0}/data --output {0}/gone --resume", ["gone", "no run to resume"]),
    "resume with settings": (
        "train --data {0}/data --output {0}/run --resume --lr 0.1", ["--lr", "run's own settings", "leave it out"]
    ),
    "resume with other data": (
        "train --data {0}/books/synthetic_00.npz --output {0}/run --resume", ["other data", "same --data"]
    ),
    # what exists stays
    "run exists": ("train --data {0}/data --output {0}/run --preset nano", ["run", "--resume", "another folder"]),
    "run where a file is": ("train --data {0}/data --output {0}/notes.txt --preset nano", ["notes.txt"]),
    "run below a file": ("train --data {0}/data --output {0}/notes.txt/new --preset nano", ["notes.txt"]),
    "export exists": (
        "export --checkpoint {0}/run --output {0}/notes.txt", ["error: --output", "notes.txt", "exists", "another name"]
    ),
    "export exists before training": (
        f"train --data {{0}}/data {NEW} --preset nano --export-onnx {{0}}/notes.txt",
        ["error: --export-onnx", "notes.txt", "exists"],
    ),
    "JSON exists": ("bench --preset nano --json {0}/notes.txt", ["--json", "notes.txt", "another name"]),
    "JSON in no folder": ("bench --preset nano --json {0}/gone/a.json", ["--json", "no such folder", "make it first"]),
    "picture of a judged model exists": (
        "evaluate --checkpoint {0}/run --data {0}/data --picture {0}/reliability.png",
        ["error: --picture", "reliability.png", "another name"],
    ),
    "picture exists": (
        "bench --preset nano --picture {0}/reliability.png", ["error: --picture", "reliability.png", "another name"]
    ),
    "picture of no kind": (
        "bench --preset nano --picture {0}/a.gif", ["error: --picture", "'.gif'", ".png, .svg, .pdf"]
    ),
    "synth into a full folder": (
        "data synth --output {0}/full", ["--output", "full", "not an empty folder", "give another"]
    ),
    "synth into a file": ("data synth --output {0}/notes.txt", ["--output", "notes.txt", "give another"]),
    "prepare into a full folder": (
        "data prepare {0}/books --output {0}/full", ["error: --output", "full", "nothing is overwritten, give another"]
    ),
    "prepare below a file": ("data prepare {0}/books --output {0}/notes.txt/new", ["notes.txt", "cannot be written"]),
    "quickstart into a full folder": ("quickstart --output {0}/full", ["--output", "full", "give another"]),
    "quickstart into a file": ("quickstart --output {0}/notes.txt", ["--output", "notes.txt", "give another"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(broken: Path, name: str) -> None:
    command, words = MISTAKES[name]
    before = state_of(broken)
    result = run(*(part.format(broken) for part in command.split()))
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and all(word in line for word in words), line
    assert state_of(broken) == before


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = [sys.executable, "-c", "from nanoarb_jax.cli.main import main; main()"]
    return subprocess.run([*code, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.subprocess
def test_no_library_talks_beside_the_line(broken: Path) -> None:
    """In a process of its own, where nothing catches what orbax and JAX log."""
    result = command("bench", "--checkpoint", broken / "cut_arrays")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("error: checkpoint ")


def test_malformed_options_are_explained() -> None:
    for arguments in (["bench", "--rounds", "0"], ["train"], ["evaluate", "--split", "future"], ["nonsense"]):
        result = run(*arguments)
        assert result.exit_code == 2 and "Traceback" not in result.stderr


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_bench(*arguments: object) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(bench_run, "bench_preset", broken_bench)
    result = run("bench", "--preset", "nano")
    assert result.exit_code == 1 and isinstance(result.exception, LookupError)
    assert result.stderr == ""  # what Python prints for an exception that escapes


@pytest.mark.parametrize(
    ("error", "code"),
    [(PermissionError(13, "Not allowed", "/x"), 2), (OSError(28, "No space", "/x"), 2), (OSError(5, "I/O", "/x"), 1)],
)
def test_a_full_or_locked_disk_is_no_bug(monkeypatch: pytest.MonkeyPatch, error: OSError, code: int) -> None:
    def failing(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(data_command, "write_synthetic", failing)
    result = run("data", "synth", "anywhere")
    assert result.exit_code == code
    assert (result.stderr == f"error: /x: {error.strerror}; give another place\n") == (code == 2)


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX pipe")
@pytest.mark.subprocess
def test_a_closed_pipe_is_no_bug(world: World) -> None:
    code = [sys.executable, "-c", "from nanoarb_jax.cli.main import main; main()"]
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [*code, "data", "inspect", str(world.folder / "data")], stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert b"Traceback" not in process.stderr


def test_help_and_version() -> None:
    assert done("--version") == f"nanoarb-jax {__version__}\n"
    _, listed = done("--help").split("Commands:")
    assert "..." not in listed  # every line is whole
    for name in ("quickstart", "data", "train", "evaluate", "export", "bench"):
        assert f"  {name} " in listed
        assert done(name, "--help")


# Printing


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    judge = {h: {"mcc": -0.1234, "macro_f1": 0.5} for h in ("h10", "h50", "h100")}
    perfect = {h: {"mcc": 1.0, "macro_f1": 1.0} for h in judge}
    judges = {"model": judge, "persistence": judge, "gradient_boosting": judge, "logistic": perfect}
    names = ["bitstamp_btcusd_20150501_L2snapshots", "es"]
    judged = {"split": "test", "series": dict.fromkeys(names, judges), "mean": judges}
    intervals = {name: {h: {"mcc": [-0.14, -0.1]} for h in judge} for name in judges}
    output.console.print(tables.metrics_table({**judged, "intervals": intervals}))
    row = {"kind": "window", "iterations": 20_000, **dict.fromkeys(("mean_us", "p50_us", "p95_us"), 12.345)}
    row |= {"p99_us": 1_234.5, "p999_us": 123_456.7}
    output.console.print(
        tables.latency_table(
            {"rows": [{"path": "native_step_inloop_bf16", **row}], "model": {"preset": "base", "parameters": 480_000}}
        )
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert "".join(lines).replace(" ", "").count("bitstamp_btcusd_20150501_L2snapshots") == (width == 120)
    assert "-.12 1.00 -.12" in "\n".join(lines) and "-.123 [-.14, -.10]" in "\n".join(lines)
    assert "native_step_inloop_bf16  window  12.3  12.3  1,234  123,457  20,000" in lines


def test_figures_without_their_leading_zero() -> None:
    assert [tables.mcc(x) for x in (0.24, -0.05, -0.001, 0.999, 1.0, -1.0)] == [
        ".24", "-.05", ".00", "1.00", "1.00", "-1.00"
    ]  # fmt: skip


def test_paths_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    line = f"[bold]/{'x' * 100}[/bold]"
    output.say(line)
    assert capsys.readouterr().out == f"{line}\n"


def test_a_json_file_that_came_up_meanwhile_stays(tmp_path: Path) -> None:
    path, figures = tmp_path / "a.json", {"a": [1, 2.5, None], "b": [[1, 2], [3, 4]], "c": ["x, [y]", "z"], "d": []}
    output.write_json(path, figures)
    assert read(path) == figures
    with pytest.raises(OutputError, match=r"--json .*exists already and is never overwritten"):
        output.write_json(path, {})
    assert read(path) == figures


def test_exports_need_their_packages_before_the_training(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "PACKAGES", ("an_onnx_exporter",))
    start = ("train", "--data", world.folder / "data", *TRAIN, "--output", tmp_path / "run")
    result = run(*start, "--export-onnx", tmp_path / "a.onnx")
    assert result.exit_code == 2 and "pip install an_onnx_exporter" in result.stderr
    assert not list(tmp_path.iterdir())


def test_exported_files_pass_the_checker(world: World) -> None:
    onnx.checker.check_model(onnx.load(world.folder / "again.onnx"), full_check=True)
