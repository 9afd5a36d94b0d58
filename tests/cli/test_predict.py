"""`predict` as a user meets it: any backend, any data, files in three formats, and mistakes in one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import csv, parquet
from typer.testing import CliRunner, Result

from nanoarb_jax.artifacts.checkpoint import load_checkpoint, named_arrays, save_checkpoint
from nanoarb_jax.cli.main import app
from nanoarb_jax.config import DataConfig, ModelConfig
from nanoarb_jax.data.dataset import open_dataset
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.exporters import export_native, export_step
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.serving.backends.native import pack
from nanoarb_jax.serving.backends.native.file import native_file
from nanoarb_jax.serving.feeds import open_feeds
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.scales import ScaleSource
from nanoarb_jax.serving.window import WindowPredictor
from nanoarb_jax.simulation.market import synthetic_books, synthetic_events
from support.random_model import random_model

LOB44 = DataConfig(feature_set="lob44")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def done(*arguments: object) -> list[str]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout.splitlines()


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Books of two series."""
    folder = tmp_path_factory.mktemp("data")
    for name, rows in (("first", 1_500), ("second", 1_400)):
        write_book_npz(folder / f"{name}.npz", synthetic_books(rows, seed=rows))
    return folder


@pytest.fixture(scope="module")
def expected(nano_checkpoint: Path, data: Path) -> np.ndarray:
    """Probabilities of all ticks, in float32 by the native step."""
    predictor, parts = StepPredictor.load(nano_checkpoint), []
    for stream in open_feeds(data, LOB44, ScaleSource(warm_up=90)).dataset.streams:
        predictor.reset()
        parts.append(predictor.score(stream.features))
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def models(nano_checkpoint: Path, nano_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The nano model at rest in every way it can be served from."""
    checkpoint = load_checkpoint(nano_checkpoint)
    folder = tmp_path_factory.mktemp("models")
    weights = pack(named_arrays(checkpoint.model), checkpoint.config, "int8")
    (folder / "int8.bin").write_bytes(native_file(weights, checkpoint.config, checkpoint.version))
    export_step(checkpoint, folder / "step.onnx", parity_data=np.ones((1, 3, 44), np.float32))
    return {
        "checkpoint": nano_checkpoint, "int8": folder / "int8.bin", "onnx": folder / "step.onnx", "window": nano_onnx,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "options", "tolerance"),
    [
        ("checkpoint", (), 1e-6),
        ("checkpoint", ("--backend", "jax"), 1e-5),
        ("checkpoint", ("--precision", "bf16"), 1e-2),
        ("int8", ("--backend", "native"), 5e-2),
        ("onnx", ("--backend", "onnx"), 1e-5),
    ],
)
def test_any_backend(
    models: dict[str, Path],
    data: Path,
    expected: np.ndarray,
    tmp_path: Path,
    model: str,
    options: tuple[str, ...],
    tolerance: float,
) -> None:
    said = done(
        "--checkpoint", models[model], "--data", data, "--output", tmp_path / "p.npz",
        "--json", tmp_path / "p.json", "--warm-up", 90, *options,
    )  # fmt: skip
    with np.load(tmp_path / "p.npz") as file:
        np.testing.assert_allclose(file["probabilities"], expected, atol=tolerance)
        assert file["streams"].tolist() == ["first", "second"]
        np.testing.assert_array_equal(file["direction"], file["probabilities"].argmax(axis=2) - 1)
        np.testing.assert_array_equal(file["ready"], np.r_[np.arange(1_500), np.arange(1_400)] >= 99)
        known = file["ready"] & (file["labels"][:, 1] >= 0)
        right = (file["direction"] == file["labels"] - 1)[known, 1]
    figures = read(tmp_path / "p.json")
    assert figures["series"] == {"first": 1_500, "second": 1_400} and figures["predictions"] == 2_900
    assert figures["accuracy"]["h50"] == {"n": 2_900 - 2 * (99 + 50), "accuracy": right.mean()}
    assert figures["ticks_per_second"] > 0 and 0 < figures["latency_ns"]["p50"] <= figures["latency_ns"]["p99"]
    assert figures["backend"] == (options[1] if "--backend" in options else "native")
    assert figures["precision"] == (None if model != "checkpoint" else "bf16" if "bf16" in options else "fp32")
    assert said[0] == f"{tmp_path / 'p.npz'}: 2,900 predictions of 2 series"
    assert said[1].startswith("model read and compiled in ") and figures["load_seconds"] > 0
    assert "ticks/s with" in said[2] and "latency p50" in said[2]
    assert said[3].startswith("accuracy h10 .") and max(map(len, said[1:4])) <= 80
    assert said[4:] == [
        "scales of first, second: its own first 90 ticks, whose predictions do not count",
        "not recognised as learnt from: first, second",
    ]


def test_a_part_of_each_series(nano_checkpoint: Path, data: Path, expected: np.ndarray, tmp_path: Path) -> None:
    start = ("--checkpoint", nano_checkpoint, "--data", data, "--split", "test")
    for suffix, reader in ((".csv", csv.read_csv), (".parquet", parquet.read_table)):
        done(*start, "--output", tmp_path / f"p{suffix}")
        table = reader(tmp_path / f"p{suffix}")
        parts = [stream.test for stream in open_feeds(data, LOB44).dataset.streams]
        rows = np.r_[slice(*parts[0]), slice(1_500 + parts[1][0], 1_500 + parts[1][1])]
        np.testing.assert_allclose(table["h100_up"].to_numpy(), expected[rows, 2, 2], atol=1e-6)
        assert table["stream"].unique().to_pylist() == ["first", "second"]


def test_data_are_read_as_the_model_learnt(data: Path, tmp_path: Path) -> None:
    """Here with labels by microprice, which is not the default, at horizons of its own."""
    config = ModelConfig(hidden_dim=8, d_state=4, num_layers=1, horizons=(5, 20), window=30)
    made = {
        "config": {"feature_set": "lob44", "label_price": "microprice", "horizons": [5, 20]},
        "streams": [{"name": "second"}],
    }
    model = save_checkpoint(tmp_path / "model", random_model(config), data=made)
    start = ("--checkpoint", model, "--data", data, "--output", tmp_path / "p.npz", "--warm-up", 20)
    said = done(*start, "--json", tmp_path / "p.json")
    settings = dataclasses.replace(LOB44, label_price="microprice", horizons=(5, 20))
    labels = np.concatenate([stream.labels for stream in open_feeds(data, settings).dataset.streams])
    with np.load(tmp_path / "p.npz") as file:
        np.testing.assert_array_equal(file["labels"], labels)
        assert file["horizons"].tolist() == [5, 20]
        assert file["ready"][:31].tolist() == [False] * 29 + [True] * 2
        about = json.loads(str(file["about"]))
    figures = read(tmp_path / "p.json")
    assert (figures["unseen"], figures["learnt"]) == (["first"], {"second": "same name; the model says no more"})
    assert (
        about == {name: figures[name] for name in ("input", "scales", "accounts")} and about["input"]["clock"] == "book"
    )
    assert about["scales"]["second"]["warm_up"] == 20
    assert said[-2:] == [
        "the model learnt from second, or a part of it (same name; the model says no more)",
        "not recognised as learnt from: first",
    ]


def test_a_feed_too_short_for_labels(nano_checkpoint: Path, tmp_path: Path) -> None:
    feed = synthetic_events(1_000, seed=1)
    np.savez(tmp_path / "feed.npz", data=feed)
    start = ("--checkpoint", nano_checkpoint, "--data", tmp_path / "feed.npz", "--output", tmp_path / "p.csv")
    said = done(*start, "--json", tmp_path / "p.json")
    assert not [line for line in said if line.startswith("accuracy")]
    assert "no labels: stream 'feed'" in said[3] and "expected at least" in said[3]
    figures = read(tmp_path / "p.json")
    assert list(figures["unlabelled"]) == ["feed"] and figures["accuracy"]["h10"] == {"n": 0, "accuracy": None}
    table = csv.read_csv(tmp_path / "p.csv")
    assert table.num_rows == figures["predictions"] > 0 and table["h10_label"].null_count == table.num_rows
    result = run(*start[:-1], tmp_path / "q.csv", "--split", "test")
    assert result.exit_code == 2 and "'feed': has no test part" in result.stderr
    assert not (tmp_path / "q.csv").exists()


def test_what_the_reader_is_told(nano_checkpoint: Path, tmp_path: Path) -> None:
    """As `prepare` takes it; and anomalies are treated as they are asked to be."""
    np.savez(tmp_path / "feed.npz", data=synthetic_events(1_000, seed=1))
    start = ("--checkpoint", nano_checkpoint, "--data", tmp_path / "feed.npz")
    options = ("--tick-size", 0.005, "--lot-size", 0.5, "--policy", "crossed=raise")
    said = done(*start, "--output", tmp_path / "p.npz", "--json", tmp_path / "p.json", *options, "--warm-up", 100_000)
    assert "no labels: stream 'feed'" in said[3]
    figures = read(tmp_path / "p.json")
    assert figures["accounts"]["feed"]["ticks"] == figures["predictions"]
    scales = figures["scales"]["feed"]
    assert (scales["tick_size"], scales["lot_size"]) == (0.005, 0.5)
    for option, word in (("--tick-size", "-1"), ("--policy", "crossed=keep"), ("--symbol", "X")):
        result = run(*start, "--output", tmp_path / "q.npz", option, word)
        assert result.exit_code == 2 and f"{option} " in result.stderr and not (tmp_path / "q.npz").exists()


def test_help() -> None:
    (line,) = [
        line for line in CliRunner().invoke(app, ["--help"]).stdout.splitlines() if line.startswith("  predict ")
    ]
    assert "..." not in line and "tick by tick" in line
    assert "--precision" in "\n".join(done("--help"))


MISTAKES = {
    "suffix": ("--data {0} --output {1}/p.txt", ["p.txt", "suffix", ".npz, .csv, .parquet"]),
    "exists": ("--data {0} --output {1}/mine.csv", ["mine.csv", "exists already", "another name"]),
    "no folder": ("--data {0} --output {1}/gone/p.csv", ["no such folder", "make it first"]),
    "no data": ("--data {1}/gone --output {1}/p.csv", ["gone", "no such file or folder"]),
    "precision": ("--data {0} --output {1}/p.csv --backend jax --precision int8", ["'int8'", "leave it out"]),
    "checkpoint in onnxruntime": ("--data {0} --output {1}/p.csv --backend onnx", ["nanoarb-jax export"]),
    "JSON exists": ("--data {0} --output {1}/p.csv --json {1}/mine.csv", ["--json", "mine.csv", "exists"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(nano_checkpoint: Path, data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.csv").write_text("mine\n")
    words, expected = MISTAKES[name]
    result = run("--checkpoint", nano_checkpoint, *(word.format(data, tmp_path) for word in words.split()))
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and all(word in line for word in expected), line
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_a_model_of_other_features(data: Path, tmp_path: Path) -> None:
    config = ModelConfig(feature_set=10, hidden_dim=8, num_layers=1)
    model = save_checkpoint(tmp_path / "ten", random_model(config))
    result = run("--checkpoint", model, "--data", data, "--output", tmp_path / "p.csv")
    assert result.exit_code == 2 and "101 features per tick, the model expects 10" in result.stderr


def test_a_model_of_flow_features(data: Path, tmp_path: Path) -> None:
    """The same of books, whose features are made as it reads them, and of a dataset prepared so; also from a file."""
    config = dataclasses.replace(ModelConfig.preset("nano"), feature_set="flow")
    model = save_checkpoint(tmp_path / "flow", random_model(config))
    (tmp_path / "file").write_bytes(native_file(pack(named_arrays(random_model(config)), config), config, "v"))
    prepare([data], tmp_path / "prepared", DataConfig(feature_set="flow"))
    met = []
    for number, (weights, books) in enumerate(((model, data), (tmp_path / "file", tmp_path / "prepared"))):
        scales = () if number else ("--scales-from", tmp_path / "prepared")
        done("--checkpoint", weights, "--data", books, "--output", tmp_path / f"{number}.npz", *scales)
        with np.load(tmp_path / f"{number}.npz") as file:
            met.append(file["probabilities"])
    np.testing.assert_array_equal(*met)
    predictor, stream = StepPredictor.load(model), open_dataset(tmp_path / "prepared").streams[0]
    np.testing.assert_array_equal(met[0][: stream.rows], predictor.score(np.array(stream.features)))
    prepare([data], tmp_path / "other", LOB44)
    result = run("--checkpoint", model, "--data", tmp_path / "other", "--output", tmp_path / "p.csv")
    assert result.exit_code == 2 and "prepare the data anew with --feature-set flow" in result.stderr


def test_an_exported_window(models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    """At every tick what its predictor says."""
    done("--checkpoint", models["window"], "--data", data, "--output", tmp_path / "p.npz", "--backend", "onnx")
    predictor, stream = WindowPredictor.load(models["window"]), open_feeds(data, LOB44).dataset.streams[0]
    expected = [predictor.update(tick).probabilities for tick in stream.features[:150]]
    with np.load(tmp_path / "p.npz") as file:
        np.testing.assert_allclose(file["probabilities"][:150], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["native", "step"])
def test_an_exported_file_knows_how_its_data_were_made(kind: str, nano_checkpoint: Path, tmp_path: Path) -> None:
    config = dataclasses.asdict(dataclasses.replace(LOB44, clock="bbo"))
    trained = save_checkpoint(
        tmp_path / "trained",
        load_checkpoint(nano_checkpoint).model,
        data={"config": config, "streams": [{"name": "x"}]},
    )
    feed = synthetic_events(3_000, seed=1)
    np.savez(tmp_path / "feed.npz", data=feed)
    file = tmp_path / "file"
    ones = np.ones((1, 3, 44), np.float32)
    {"native": export_native, "step": export_step}[kind](load_checkpoint(trained), file, parity_data=ones)
    rows = {}
    for name, path, backend in (("checkpoint", trained, "native"), ("file", file, "onnx" if kind == "step" else kind)):
        arguments = ("--checkpoint", path, "--data", tmp_path / "feed.npz", "--backend", backend)
        done(*arguments, "--output", tmp_path / f"{name}.npz")
        with np.load(tmp_path / f"{name}.npz") as predictions:
            rows[name] = predictions["ts_ns"]
    np.testing.assert_array_equal(rows["file"], rows["checkpoint"])
