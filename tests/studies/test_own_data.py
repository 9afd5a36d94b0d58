"""The own-data curve: what is learnt from at each duration, and that nothing else is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nanoarb_jax.config import Config
from nanoarb_jax.data.dataset import Dataset, open_dataset
from nanoarb_jax.data.labelling import Block
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import CheckpointError, DataError, ShortSeriesError
from nanoarb_jax.evaluation.own_past import ModelForecasts
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.studies import own_data as studied
from nanoarb_jax.studies.own_data import LEAST_ROWS, fine_tuning_settings, last_minutes, own_data_curve
from nanoarb_jax.training import build, loop
from support import training_runs
from support.random_model import random_model
from support.training_runs import DATA, MODEL, STREAM, VALIDATED, count_only

pytestmark = pytest.mark.usefixtures("compile_quickly", "fit_quickly")

PER_MINUTE = 400
FIRST, SECOND = (
    stream._replace(ts_ns=np.arange(stream.rows) * (60 * 10**9 // PER_MINUTE))
    for stream in training_runs.DATASET.streams
)
JUDGES = ["model", "model_own_prior", "adapted", "fine_tuned", "logistic", "gradient_boosting"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    made = {"config": dataclasses.asdict(DATA), "streams": []}
    path = save_checkpoint(tmp_path / "model", random_model(MODEL), data=made, training=dataclasses.asdict(STREAM))
    return load_checkpoint(path)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders of the runs of fine-tuning; their models say the same of everything."""
    folders: list[str] = []

    def forecast(config: Config, data: Dataset, folder: Path, streams: Any, adapted: bool) -> Any:
        assert config.train.epochs == studied.EPOCHS and data.streams == tuple(streams)
        folders.append("/".join(folder.parts[-2:]))
        return "version", ModelForecasts([np.full((streams[0].rows, 3, 3), np.log(1 / 3), np.float32)])

    monkeypatch.setattr(studied, "train_and_forecast", forecast)
    return folders


def dataset(*streams: Stream) -> Dataset:
    return Dataset(streams, DATA, [])


def test_the_last_minute_is_cut_out() -> None:
    """Of its rows less the purge the last fifth validates; 500 rows before it warm up."""
    assert FIRST.test == (1_700, 2_000) and DATA.purge == 10
    own = last_minutes(FIRST, 1.0, DATA.purge)
    first = 1_300 - 500
    parts = [(start + first, stop + first) for start, stop in (own.train, own.validation, own.test)]
    assert parts == [(1_300, 1_602), (1_612, 1_690), (1_700, 2_000)] and own.rows == 1_200
    np.testing.assert_array_equal(own.labels, FIRST.labels[first:])
    whole = last_minutes(FIRST, None, DATA.purge)
    assert (whole.train, whole.validation) == ((0, 1_342), (1_352, 1_690)) and whole.rows == FIRST.rows


def test_a_prepared_dataset_is_cut_alike(tmp_path: Path) -> None:
    """Its columns are in files until they are asked for."""
    books = synthetic_books(2_000, 0, name="market_0")
    (tmp_path / "books").mkdir()
    write_book_npz(tmp_path / "books" / "market_0.npz", books)
    prepare([tmp_path / "books"], tmp_path / "data", DATA)
    (mapped,), held = open_dataset(tmp_path / "data").streams, training_runs.DATASET.streams[0]
    minutes = (int(held.ts_ns[held.test[0]]) - int(held.ts_ns[900])) / studied.NS_PER_MINUTE
    one, other = (last_minutes(stream, minutes, DATA.purge) for stream in (held, mapped))
    assert one.rows == other.rows < held.rows
    assert (one.train, one.validation, one.test) == (other.train, other.validation, other.test)
    for column in Block._fields:
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column), err_msg=column)
    np.testing.assert_array_equal(other.labels[slice(*other.test)], held.labels[slice(*held.test)])


def test_too_little_of_a_past() -> None:
    with pytest.raises(ShortSeriesError, match=r"'market_0': only 4\.2 minutes before its test part"):
        last_minutes(FIRST, 5.0, DATA.purge)
    with pytest.raises(ShortSeriesError, match=rf"30 rows, of which 14 to learn from and 6 .* least {LEAST_ROWS} of"):
        last_minutes(FIRST, 0.1, DATA.purge)


def test_nothing_but_the_own_minutes_is_learnt_from(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other labels before and after them, and other books after them, change no forecast up to there."""
    said: list[np.ndarray] = []
    judge = studied.judge

    def listen(stream: Stream, log_probs: np.ndarray, *rest: Any) -> Any:
        said.append(log_probs)
        return judge(stream, log_probs, *rest)

    monkeypatch.setattr(studied, "judge", listen)
    monkeypatch.setattr(studied, "EPOCHS", 1)
    start, stop = 1_300, 1_690
    labels, features, moves = FIRST.labels.copy(), FIRST.features.copy(), FIRST.moves.copy()
    for other in (slice(0, start), slice(stop, None)):
        labels[other] = np.where(labels[other] >= 0, 2 - labels[other], -1)
        moves[other] *= -3
    features[stop:, 4:] *= 3
    others = FIRST._replace(labels=labels, features=features, moves=moves)
    for number, stream in enumerate((FIRST, others)):
        own_data_curve(checkpoint, dataset(stream), tmp_path / str(number), minutes=(1.0,))
    before = stop - (start - 500)
    assert len(said) == 2 * len(JUDGES)
    for judge_name, one, other in zip(JUDGES, said[: len(JUDGES)], said[len(JUDGES) :], strict=True):
        np.testing.assert_allclose(one[:before], other[:before], rtol=1e-6, atol=1e-6, err_msg=judge_name)
        assert not np.allclose(one[before:], other[before:]), judge_name
    model, tuned = (said[JUDGES.index(name)] for name in ("model", "fine_tuned"))
    assert not np.allclose(model, tuned)


def test_the_curve(checkpoint: Checkpoint, tmp_path: Path, runs: list[str]) -> None:
    """Each duration with the series that have it, and means over those that have all."""
    told: list[str] = []
    short = SECOND._replace(ts_ns=SECOND.ts_ns // 10)
    data = dataset(FIRST, short, FIRST._replace(name="no_times", timed=False))
    result = own_data_curve(checkpoint, data, tmp_path / "work", minutes=(1.0, 60.0, None), note=told.append)
    assert json.loads(json.dumps(result)) == result
    minute, hour, everything = result["durations"]
    assert [duration["minutes"] for duration in result["durations"]] == [1.0, 60.0, None]
    assert minute["rows"] == {"market_0": 390} and everything["rows"] == {"market_0": 1_690, "market_1": 1_860}
    assert "only 0.5 minutes" in minute["left_out"]["market_1"] and len(hour["left_out"]) == 2
    assert hour["mean"] == {} and list(minute["mean"]) == list(everything["mean"]) == JUDGES
    assert result["common"]["series"] == ["market_0"] and result["common"]["means"][1] == {}
    assert result["common"]["means"][2] == everything["series"]["market_0"]
    model = minute["series"]["market_0"]["model"]["h5"]
    assert set(model) == {"mcc", "log_loss", "macro_f1"}
    assert model["log_loss"] == pytest.approx(everything["series"]["market_0"]["model"]["h5"]["log_loss"])
    assert "market_0, 1 min" in told and told[-1] == "2 of 2 series"
    assert runs == [f"fine_tuned/{name}" for name in ("market_0_1_min", "market_0_all", "market_1_all")]
    assert minute["series"]["market_0"]["fine_tuned"]["h5"]["log_loss"] == pytest.approx(np.log(3))


def test_finished_runs_are_not_trained_again(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "make_update", count_only)
    monkeypatch.setattr(loop._Run, "_validate", lambda run: VALIDATED)
    first = own_data_curve(checkpoint, dataset(FIRST), tmp_path / "work", minutes=(1.0,))

    def refuse(*_: Any, **__: Any) -> Any:
        return pytest.fail

    monkeypatch.setattr(build, "make_update", refuse)
    assert own_data_curve(checkpoint, dataset(FIRST), tmp_path / "work", minutes=(1.0,)) == first


def test_fine_tuning_goes_on_from_the_model(checkpoint: Checkpoint) -> None:
    train = fine_tuning_settings(checkpoint).train
    assert train.init == str(checkpoint.path) and train.teacher is None and train.keep == "loss"
    assert train.lr == pytest.approx(STREAM.lr / 3) and train.chunk_length == STREAM.chunk_length


def test_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    untimed = dataset(FIRST._replace(timed=False))
    with pytest.raises(DataError, match="no series with real times"):
        own_data_curve(checkpoint, untimed, tmp_path)
    with pytest.raises(DataError, match=r"no series has enough of a past; stream 'market_0': only 4\.2 minutes"):
        own_data_curve(checkpoint, dataset(FIRST), tmp_path, minutes=(5.0,))
    adapted = Checkpoint(random_model(dataclasses.replace(MODEL, linear_term=True)), "0")
    with pytest.raises(CheckpointError, match="adapted already"):
        own_data_curve(adapted, dataset(FIRST), tmp_path)
    unknown = Checkpoint(random_model(MODEL), "0")
    with pytest.raises(CheckpointError, match="does not say how it was trained"):
        own_data_curve(unknown, dataset(FIRST), tmp_path)
