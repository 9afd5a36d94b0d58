"""Calibration: by hand, and temperature scaling finding again what was put in."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss

from nanoarb_jax.evaluation.calibration import (
    ECE_BINS,
    brier_score,
    ece_floor,
    ece_of_bins,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability_bins,
    reliability_lists,
    scale,
    scaled_metrics,
    scatter,
)


def calibrated(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities (rows, 3), and labels drawn from them."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([1, 1, 1], size=rows)
    return np.log(probs), (rng.random((rows, 1)) > probs.cumsum(axis=1)).sum(axis=1)


def test_scores_by_hand() -> None:
    log_probs, labels = np.log([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1]]), [1, 2]
    assert log_loss(log_probs, labels) == pytest.approx(sklearn_log_loss(labels, np.exp(log_probs), labels=[0, 1, 2]))
    assert brier_score(log_probs, labels) == pytest.approx((0.04 + 0.25 + 0.09 + 0.49 + 0.04 + 0.81) / 2)


def test_calibration_error_by_hand() -> None:
    # two bins: confidence .9 right half of the time, confidence .5 always right
    probs = [[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
    assert expected_calibration_error(np.log(probs), [0, 1, 1, 2]) == pytest.approx(0.5 * 0.4 + 0.5 * 0.5)
    assert expected_calibration_error([[0, -50, -50], [0, -50, -50]], [0, 0]) == pytest.approx(0.0)


def test_calibration_error_of_calibrated_forecasts_is_small() -> None:
    assert expected_calibration_error(*calibrated(50_000)) < 0.01


@pytest.mark.parametrize(("rows", "alike"), [(600, 1), (6_000, 1), (6_000, 50)])
def test_floor_is_what_perfection_scores(rows: int, alike: int) -> None:
    """Also where fifty rows in a row are the same."""
    many = [[np.repeat(of, alike, axis=0) for of in calibrated(rows // alike, seed)] for seed in range(30)]
    errors = [expected_calibration_error(*one) for one in many]
    floors = [ece_floor(scatter(*one, block=100)) for one in many]
    assert np.mean(floors) == pytest.approx(np.mean(errors), rel=0.12)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_temperature_is_found(temperature: float) -> None:
    log_probs, labels = calibrated(20_000)
    distorted = scale(log_probs, 1 / temperature)
    assert fit_temperature(distorted, labels) == pytest.approx(temperature, rel=0.05)
    np.testing.assert_array_equal(distorted.argmax(axis=1), log_probs.argmax(axis=1))
    metrics = scaled_metrics(distorted, labels, temperature, block=100)
    assert json.loads(json.dumps(metrics)) == metrics
    assert metrics["log_loss_scaled"] == pytest.approx(log_loss(log_probs, labels))
    assert metrics["brier_scaled"] == pytest.approx(brier_score(log_probs, labels))
    assert metrics["ece_scaled"] == pytest.approx(expected_calibration_error(log_probs, labels))


def test_temperature_of_one_hot_forecasts_is_finite() -> None:
    labels = np.array([0, 1, 2, 1])
    one_hot = np.log(np.maximum(np.eye(3)[[0, 1, 2, 0]], 1e-12))
    scaled = scale(one_hot, fit_temperature(one_hot, labels))
    assert np.exp(scaled).max(axis=1) == pytest.approx(0.75, abs=0.01)  # right three times in four


def test_bins_add_up() -> None:
    log_probs, labels = calibrated(900)
    parts = [reliability_bins(log_probs[part], labels[part]) for part in (slice(0, 300), slice(300, None))]
    whole = reliability_bins(log_probs, labels)
    np.testing.assert_allclose(sum(parts), whole)
    assert ece_of_bins(whole) == expected_calibration_error(log_probs, labels)
    lists = reliability_lists(whole)
    assert lists.keys() == {"n", "confidence", "accuracy"} and {len(row) for row in lists.values()} == {ECE_BINS}
    assert sum(lists["n"]) == 900
    # three classes: no confidence is below a third
    assert lists["n"][:5] == [0] * 5 and lists["confidence"][:5] == lists["accuracy"][:5] == [None] * 5
    assert all(low / ECE_BINS < met <= (low + 1) / ECE_BINS for low, met in enumerate(lists["confidence"]) if met)
