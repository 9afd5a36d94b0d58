"""A replay is what a predictor says tick by tick, and a file of it holds the same numbers in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyarrow import csv, parquet

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.errors import DataError, OutputError
from nanoarb_jax.serving import predictions
from nanoarb_jax.serving.feeds import open_feeds
from nanoarb_jax.serving.metrics import ModelMetrics
from nanoarb_jax.serving.predictions import write_predictions
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.replay import Replayed, accuracy, labels_at, replay, replay_dataset
from support.fake_backend import FakeBackend
from support.series import write_three_series

HORIZONS = (10, 50, 100)
WINDOW = 60


def predictor() -> StepPredictor:
    return StepPredictor(FakeBackend(window=WINDOW, features=44))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = write_three_series(tmp_path_factory.mktemp("books"))
    return open_feeds(folder, DataConfig(feature_set="lob44")).dataset


# Streams


def test_labels_at_the_horizons_of_a_model(dataset: Dataset) -> None:
    stream = dataset.streams[0]
    np.testing.assert_array_equal(labels_at(stream, HORIZONS, HORIZONS), stream.labels)
    labels = labels_at(stream, HORIZONS, (5, 100))
    assert (labels[:, 0] == -1).all()
    np.testing.assert_array_equal(labels[:, 1], stream.labels[:, 2])


# Replays


def test_a_replay_is_tick_by_tick_from_the_first_row(dataset: Dataset) -> None:
    metrics, alone = ModelMetrics(), predictor()
    replayed = replay_dataset(predictor(), dataset, HORIZONS, metrics)
    for one, stream in zip(replayed, dataset.streams, strict=True):
        alone.reset()
        said = [alone.update(tick) for tick in stream.features]
        assert one.name == stream.name
        np.testing.assert_array_equal(one.probabilities, [p.probabilities for p in said])
        np.testing.assert_array_equal(one.direction, [p.direction for p in said])
        np.testing.assert_array_equal(one.ready, np.arange(stream.rows) >= WINDOW - 1)
        for name in ("ts_ns", "mid", "labels"):
            np.testing.assert_array_equal(getattr(one, name), getattr(stream, name))
    assert metrics.total == dataset.rows == metrics.latency.get_total_count()


def test_a_part_is_read_with_all_that_comes_before(dataset: Dataset) -> None:
    whole = replay_dataset(predictor(), dataset, HORIZONS, ModelMetrics())
    longs = Dataset(dataset.streams[:2], dataset.config, [])
    begun: list[str] = []
    metrics = ModelMetrics()
    for one, stream, all_of_it in zip(
        replay_dataset(predictor(), longs, HORIZONS, metrics, "validation", begun.append),
        longs.streams,
        whole[:2],
        strict=True,
    ):
        for name in Replayed._fields[1:]:
            expected = getattr(all_of_it, name)[slice(*stream.validation)]
            np.testing.assert_array_equal(getattr(one, name), expected, err_msg=name)
    assert begun == ["long", "longer"]
    assert metrics.total == sum(stop - start for start, stop in (stream.validation for stream in longs.streams))


def test_every_session_begins_anew(dataset: Dataset) -> None:
    stream = dataset.streams[0]
    half = stream.rows // 2
    night = stream._replace(ts_ns=stream.ts_ns + np.where(np.arange(stream.rows) < half, 0, stream.session_gap_ns + 1))
    whole = replay(predictor(), night, night.labels, ModelMetrics())
    columns = {name: getattr(night, name)[half:] for name in ("features", "labels", "mid", "ts_ns")}
    second = replay(predictor(), night._replace(**columns), night.labels[half:], ModelMetrics())
    np.testing.assert_array_equal(whole.probabilities[half:], second.probabilities)
    np.testing.assert_array_equal(whole.ready[half:], second.ready)
    part = replay(predictor(), night, night.labels, ModelMetrics(), (half + 3, half + 9))
    np.testing.assert_array_equal(part.probabilities, whole.probabilities[half + 3 : half + 9])


def test_what_is_ready_and_labelled_is_judged(dataset: Dataset) -> None:
    stream, metrics = dataset.streams[0], ModelMetrics()
    one = replay(predictor(), stream, stream.labels, metrics)
    judged = accuracy([one], HORIZONS)
    for column, horizon in enumerate(HORIZONS):
        known = slice(WINDOW - 1, stream.rows - horizon)
        right = one.probabilities[known, column].argmax(axis=1) == stream.labels[known, column]
        assert judged[f"h{horizon}"] == {"n": right.size, "accuracy": right.mean()}
    assert (metrics.judged, metrics.accuracy) == (judged["h10"]["n"], judged["h10"]["accuracy"])
    both = accuracy([one, one], HORIZONS)["h50"]
    assert both == {"n": 2 * judged["h50"]["n"], "accuracy": judged["h50"]["accuracy"]}


def test_without_labels_nothing_is_judged(dataset: Dataset) -> None:
    stream, metrics = dataset.streams[2], ModelMetrics()
    one = replay(predictor(), stream, stream.labels, metrics)
    assert (metrics.total, metrics.judged) == (300, 0)
    assert accuracy([one], HORIZONS) == {f"h{horizon}": {"n": 0, "accuracy": None} for horizon in HORIZONS}


def test_what_cannot_be_replayed(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"'tiny': has no test part.*replay all of it"):
        replay_dataset(predictor(), Dataset(dataset.streams[2:], dataset.config, []), HORIZONS, ModelMetrics(), "test")
    with pytest.raises(DataError, match="split 'later': expected one of train, validation, test"):
        replay_dataset(predictor(), dataset, HORIZONS, ModelMetrics(), "later")
    for features, remedy in ((10, "anew$"), (101, "anew with --feature-set flow$")):
        with pytest.raises(DataError, match=f"'long': 44 features per tick, the model expects {features}; .* {remedy}"):
            replay_dataset(StepPredictor(FakeBackend(features=features)), dataset, HORIZONS, ModelMetrics())


# Files


@pytest.fixture(scope="module")
def replayed(dataset: Dataset) -> list[Replayed]:
    streams = [dataset.streams[0]._replace(name='of "A", B'), dataset.streams[2]]
    return replay_dataset(predictor(), Dataset(tuple(streams), dataset.config, []), HORIZONS, ModelMetrics())


def joined(replayed: list[Replayed], name: str) -> np.ndarray:
    return np.concatenate([getattr(one, name) for one in replayed])


def test_npz(replayed: list[Replayed], tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.npz", replayed, HORIZONS, "abc")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
        for name in Replayed._fields[1:]:
            np.testing.assert_array_equal(file[name], joined(replayed, name), err_msg=name)
        assert [file["streams"][i] for i in file["stream"]] == ['of "A", B'] * 1_500 + ["tiny"] * 300
        assert tuple(file["horizons"]) == HORIZONS and str(file["version"]) == "abc"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables(replayed: list[Replayed], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    write_predictions(path, replayed, HORIZONS, "abc")
    table = csv.read_csv(path) if suffix == ".csv" else parquet.read_table(path)
    assert suffix == ".csv" or table.schema.metadata[b"version"] == b"abc"
    assert table["stream"].to_pylist() == ['of "A", B'] * 1_500 + ["tiny"] * 300
    for name in ("ts_ns", "mid", "ready"):
        np.testing.assert_array_equal(table[name].to_numpy(), joined(replayed, name))
    for i, horizon in enumerate(HORIZONS):
        columns = [table[f"h{horizon}_{name}"].to_numpy() for name in ("down", "neutral", "up")]
        np.testing.assert_array_equal(np.stack(columns, 1).astype(np.float32), joined(replayed, "probabilities")[:, i])
        np.testing.assert_array_equal(table[f"h{horizon}_direction"].to_numpy(), joined(replayed, "direction")[:, i])
        labels = joined(replayed, "labels")[:, i].tolist()
        assert table[f"h{horizon}_label"].to_pylist() == [label if label >= 0 else None for label in labels]


def test_nothing_is_overwritten(replayed: list[Replayed], tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("mine\n")
    with pytest.raises(OutputError, match=r"p\.csv: exists already"):
        write_predictions(tmp_path / "p.csv", replayed, HORIZONS, "v")
    assert (tmp_path / "p.csv").read_text() == "mine\n"
    with pytest.raises(OutputError, match=r"p.txt: suffix '.txt'; expected one of .npz, .csv, .parquet"):
        write_predictions(tmp_path / "p.txt", replayed, HORIZONS, "v")
    with pytest.raises(OutputError, match="no such folder"):
        write_predictions(tmp_path / "gone" / "p.csv", replayed, HORIZONS, "v")


def test_a_file_that_fails_half_way_is_removed(
    replayed: list[Replayed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(predictions, "_write_table", fail)
    with pytest.raises(OSError, match="no space"):
        write_predictions(tmp_path / "p.csv", replayed, HORIZONS, "v")
    assert not list(tmp_path.iterdir())
