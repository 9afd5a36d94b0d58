"""Calibration: fitted on validation rows, folded into the heads so that the logits are those over T, plus the bias."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from nanoarb_jax.artifacts.checkpoint import load_checkpoint
from nanoarb_jax.config import ModelConfig, TrainConfig
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.evaluation.scoring import make_score
from nanoarb_jax.training.calibrate import calibrated, calibrates, fit_calibration, fold_calibration
from nanoarb_jax.training.loop import train
from nanoarb_jax.training.validate import validation_figures, validation_log_probs
from support.random_model import random_model
from support.training_runs import DATASET, HORIZONS, STREAM, config_of, records

# as in test_loop.py, whose compiled update is read again
pytestmark = pytest.mark.usefixtures("compile_quickly", "look_at_every_update")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def drawn(rows: int, seed: int, direction: float = 0.0) -> tuple[Stream, np.ndarray]:
    """A stream whose labels follow these true log-probabilities (rows, 2, c); "up" is likelier by `direction`."""
    rng = np.random.default_rng(seed)
    truth = log_softmax(rng.normal(size=(rows, 2, 3)) + np.array([0.0, 0.5, direction]))
    labels = (rng.random((rows, 2, 1)) > np.exp(truth).cumsum(-1)).sum(-1).clip(max=2).astype(np.int8)
    labels[::7] = -1
    return DATASET.streams[0]._replace(labels=labels, validation=(0, rows)), truth


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_was_distorted_is_found_again(symmetric: bool) -> None:
    """Probabilities too sure by a factor and tilted are put right; so are those of a short stream."""
    direction = 0.0 if symmetric else 0.8
    drawings = [drawn(40_000, 0, direction), drawn(20_000, 1, direction)]
    temperature, bias = np.array([2.0, 0.7]), np.array([[0.4, 0.0, 0.4], [-0.3, 0.0, -0.3]])
    if not symmetric:
        bias[:, 2] += 0.5
    streams, truths = zip(*drawings, strict=True)
    distorted = [log_softmax((truth - bias) * temperature[:, None]) for truth in truths]
    found = fit_calibration(streams, distorted, (2, 5), symmetric=symmetric)
    assert list(found) == ["h2", "h5"] and json.loads(json.dumps(found)) == found
    for i, one in enumerate(found.values()):
        assert one["temperature"] == pytest.approx(temperature[i], rel=0.03)
        np.testing.assert_allclose(one["bias"], bias[i], atol=0.04)
        assert one["bias"][1] == 0 and (not symmetric or one["bias"][0] == one["bias"][2])
    for truth, log_p in zip(truths, distorted, strict=True):
        np.testing.assert_allclose(calibrated(log_p, found), truth, atol=0.15)
    assert fit_calibration(streams, distorted, (2, 5), symmetric=symmetric) == found


def test_the_mirrored_market_has_the_same_calibration() -> None:
    stream, truth = drawn(2_000, 0, direction=0.7)
    mirrored = stream._replace(labels=np.where(stream.labels < 0, -1, 2 - stream.labels).astype(np.int8))
    one, other = (
        fit_calibration([s], [log_p], (2, 5), symmetric=True)
        for s, log_p in ((stream, truth), (mirrored, truth[..., ::-1]))
    )
    for a, b in zip(one.values(), other.values(), strict=True):
        assert a["temperature"] == pytest.approx(b["temperature"], rel=1e-4)
        np.testing.assert_allclose(a["bias"], b["bias"], atol=1e-4)


def test_each_stream_weighs_the_same() -> None:
    """Rows that are there twice do not count twice."""
    (long, p), (short, q) = drawn(3_000, 0), drawn(500, 1)
    twice = long._replace(labels=np.concatenate([long.labels] * 2), validation=(0, 6_000))
    once, doubled = (
        fit_calibration(streams, log_probs, (2, 5), symmetric=True)
        for streams, log_probs in (((long, short), (p, q)), ((twice, short), (np.concatenate([p, p]), q)))
    )
    for a, b in zip(once.values(), doubled.values(), strict=True):
        assert a["temperature"] == pytest.approx(b["temperature"], rel=1e-4)


def test_it_stays_finite() -> None:
    """Where a class never comes, or the rows are known for sure: at the bounds."""
    stream, truth = drawn(300, 0)
    for labels, log_p in ((np.ones_like(stream.labels), truth), (truth.argmax(-1).astype(np.int8), truth)):
        found = fit_calibration([stream._replace(labels=labels)], [log_p], (2, 5), symmetric=True)
        for one in found.values():
            assert 0.19 < one["temperature"] < 5.01 and np.abs(one["bias"]).max() <= 3.0


@pytest.mark.parametrize("linear_term", [False, True])
def test_folded_logits_are_those_over_t_plus_the_bias(linear_term: bool) -> None:
    model = random_model(ModelConfig(hidden_dim=8, d_state=4, num_layers=1, horizons=(2, 5), linear_term=linear_term))
    x = np.random.default_rng(0).normal(size=(2, 20, 44)).astype(np.float32)
    before, _ = model.scan(x)
    calibration = {
        "h2": {"temperature": 2.0, "bias": [0.3, 0.0, 0.3]},
        "h5": {"temperature": 0.5, "bias": [-1.0, 0.0, 2.0]},
    }
    fold_calibration(model, calibration)
    after, _ = model.scan(x)
    expected = np.asarray(before) / np.array([[2.0], [0.5]]) + np.array([[0.3, 0.0, 0.3], [-1.0, 0.0, 2.0]])
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        log_softmax(np.asarray(after)), calibrated(log_softmax(np.asarray(before)), calibration), atol=1e-5
    )


def test_a_run_keeps_calibrated_weights(tmp_path: Path) -> None:
    """The figures of an epoch are those of the weights that were kept of it, and no calibration is left to find."""
    result = train(config_of(dataclasses.replace(STREAM, keep="last")), DATASET, tmp_path / "run")
    kept, line = load_checkpoint(result.best), records(tmp_path / "run")[-1]
    assert kept.training["calibration"] == line["calibration"] and list(line["calibration"]) == ["h2", "h5", "h10"]
    weights = nnx.state(kept.model, nnx.Param)
    log_probs = validation_log_probs(make_score(kept.model), weights, kept.model, DATASET.streams)
    figures = validation_figures(DATASET.streams, log_probs, HORIZONS)
    assert figures["validation_loss"] == pytest.approx(line["validation_loss"], abs=1e-5)
    for one in fit_calibration(DATASET.streams, log_probs, HORIZONS, symmetric=True).values():
        assert one["temperature"] == pytest.approx(1.0, abs=1e-3)
        np.testing.assert_allclose(one["bias"], 0.0, atol=1e-3)


def test_who_does_not_calibrate(tmp_path: Path) -> None:
    assert calibrates(TrainConfig())
    for settings in ({"calibrate": False}, {"class_weights": True}, {"logit_adjustment": 0.5}):
        assert not calibrates(TrainConfig(**settings))
    settings = dataclasses.replace(STREAM, calibrate=False)
    result = train(config_of(settings), DATASET, tmp_path / "run")
    assert "calibration" not in records(tmp_path / "run")[0]
    assert load_checkpoint(result.best).training["calibration"] is None
