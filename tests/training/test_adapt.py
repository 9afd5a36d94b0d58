"""A checkpoint adapted to an instrument is a checkpoint as any other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nanoarb_jax.errors import DataError, OutputError
from nanoarb_jax.evaluation.own_past import forecast_streams, with_recalibrated
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.studies.forecasts import training_settings_of
from nanoarb_jax.training.adapt import adapt_checkpoint
from support.random_model import random_model
from support.training_runs import DATA, DATASET, HORIZONS, MODEL, STREAM

ONE = dataclasses.replace(DATASET, streams=DATASET.streams[:1])
KNOWN = {"config": dataclasses.asdict(DATA), "streams": [{"name": "other", "instrument": "other"}]}


@pytest.fixture(scope="module")
def universal(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("universal") / "checkpoint"
    settings = dataclasses.asdict(STREAM)
    return load_checkpoint(save_checkpoint(path, random_model(MODEL), data=KNOWN, training=settings))


def test_adapted_checkpoint(universal: Checkpoint, tmp_path: Path) -> None:
    """Its forecasts are those of the judge "adapted", its card says what it learnt from, and the step serves it."""
    adapted = adapt_checkpoint(universal, ONE, tmp_path / "adapted")
    assert set(adapted.report) == {"h2", "h5", "h10"}
    assert adapted.test is not None
    assert adapted.test["adapted"]["h10"]["log_loss"] < adapted.test["model"]["h10"]["log_loss"]
    kept = load_checkpoint(adapted.path)
    assert kept.version == adapted.version != universal.version and kept.config.linear_term
    assert [stream["name"] for stream in kept.learnt] == ["market_0", "other"]
    assert kept.data["initial"]["version"] == kept.training["adaptation"]["of"] == universal.version
    assert not training_settings_of(kept).model.linear_term
    judged = forecast_streams(universal, ONE.streams, adapted=True)
    assert judged.adapted is not None and judged.reports == [adapted.report]
    (served,) = forecast_streams(kept, ONE.streams).log_probs
    np.testing.assert_allclose(served, judged.adapted[0], atol=2e-4)
    step = StepPredictor.load(adapted.path, backend="jax")
    said = [step.update(tick).probabilities for tick in ONE.streams[0].features[:20]]
    np.testing.assert_allclose(np.stack(said), np.exp(served[:20]), atol=1e-4)


def test_adaptation_is_to_one_instrument(universal: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"series of 2 instruments \(market_0, market_1"):
        adapt_checkpoint(universal, DATASET, tmp_path / "adapted")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(OutputError, match="taken"):
        adapt_checkpoint(universal, ONE, tmp_path / "taken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_a_short_test_part_is_not_judged(universal: Checkpoint, tmp_path: Path) -> None:
    stream = ONE.streams[0]
    short = dataclasses.replace(ONE, streams=(stream._replace(test=(stream.rows, stream.rows)),))
    assert adapt_checkpoint(universal, short, tmp_path / "adapted").test is None


def test_model_says_the_same_beside_the_adapted_one(universal: Checkpoint) -> None:
    plain, both = (forecast_streams(universal, DATASET.streams, adapted) for adapted in (False, True))
    assert plain.adapted is None and plain.reports is None
    for one, other in zip(plain.log_probs, both.log_probs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    joined = plain.join(plain).select([3, 0])
    assert joined.adapted is None and joined.log_probs[1] is plain.log_probs[0]


def test_fitted_baselines_are_recalibrated_as_the_model_is() -> None:
    """Others, and rows before the end of the training part, stay as they are."""
    names = ("adapted", "model", "majority", "logistic")
    even = [np.full((stream.rows, 3, 3), np.log(1 / 3)) for stream in DATASET.streams]
    judges = with_recalibrated(dict.fromkeys(names, even), DATASET.streams, HORIZONS, 0.999)
    assert list(judges) == ["adapted", "adapted_online", *names[1:], "logistic_online"]
    for stream, before, after in zip(DATASET.streams, even, judges["logistic_online"], strict=True):
        np.testing.assert_allclose(after[: stream.train[1]], before[: stream.train[1]], atol=1e-6)
        assert np.abs(after[-1] - before[-1]).max() > 0.05
    assert with_recalibrated(judges, DATASET.streams, HORIZONS, None) is judges
