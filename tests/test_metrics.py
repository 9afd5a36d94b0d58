"""Metrics against scikit-learn and against cases worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, matthews_corrcoef

from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.metrics import (
    TAU_GRID,
    choose_tau,
    class_prior,
    confusion_counts,
    decide,
    expected_calibration_error,
    horizon_metrics,
    mcc_from_confusion,
    mean_over_series,
)

PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)


def forecasts(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities that know something of imbalanced labels, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=rows, p=[0.1, 0.8, 0.1])
    logits = rng.normal(size=(rows, 3)) + np.eye(3)[labels] + np.log([0.1, 0.8, 0.1])
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), labels


@given(PAIRS)
def test_confusion_and_mcc_equal_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, decisions = np.array(pairs).T
    confusion = confusion_counts(labels, decisions)
    np.testing.assert_array_equal(confusion, confusion_matrix(labels, decisions, labels=[0, 1, 2]))
    if len({*labels, *decisions}) > 1:  # scikit-learn warns of a single class
        assert mcc_from_confusion(confusion) == pytest.approx(matthews_corrcoef(labels, decisions), abs=1e-12)
    else:
        assert mcc_from_confusion(confusion) == 0.0


@pytest.mark.parametrize(
    ("confusion", "expected"), [(np.diag([1, 2, 3]), 1.0), ([[0, 3], [3, 0]], -1.0), (np.zeros((3, 3)), 0.0)]
)
def test_mcc_of_extremes(confusion: np.ndarray, expected: float) -> None:
    assert mcc_from_confusion(confusion) == pytest.approx(expected)


def test_class_prior_ignores_undefined_labels() -> None:
    np.testing.assert_array_equal(class_prior(np.array([-1, 0, 1, 1, 2, -1], np.int8)), [0.25, 0.5, 0.25])
    np.testing.assert_allclose(class_prior(np.array([-1], np.int8)), np.full(3, 1 / 3))


def test_decide_divides_by_the_prior() -> None:
    log_probs, prior = np.log([[0.2, 0.7, 0.1]]), np.array([0.1, 0.8, 0.1])
    assert decide(log_probs, prior, 0.0) == [1]
    assert decide(log_probs, prior, 1.0) == [0]


def test_decide_survives_a_class_never_seen() -> None:
    log_probs = np.log([[1e-12, 0.4, 0.6], [0.3, 0.3, 0.4]])
    decisions = decide(log_probs, np.array([0.0, 0.5, 0.5]), 1.5)
    np.testing.assert_array_equal(decisions, [2, 0])


def test_choose_tau_is_the_best_of_the_grid() -> None:
    log_probs, labels = forecasts(2000)
    prior = class_prior(labels)
    scores = {tau: matthews_corrcoef(labels, decide(log_probs, prior, tau)) for tau in TAU_GRID}
    chosen = choose_tau(log_probs, labels, prior)
    assert scores[chosen] == pytest.approx(max(scores.values()))
    assert scores[chosen] > scores[0.0] + 0.02


def test_choose_tau_takes_the_smallest_of_equals() -> None:
    labels = np.array([0, 1, 2, 1])
    one_hot = np.log(np.maximum(np.eye(3)[labels], 1e-12))
    assert choose_tau(one_hot, labels, class_prior(labels)) == 0.0


def test_calibration_error_by_hand() -> None:
    # two bins: confidence .9 right half of the time, confidence .5 always right
    probs = [[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
    assert expected_calibration_error(np.log(probs), [0, 1, 1, 2]) == pytest.approx(0.5 * 0.4 + 0.5 * 0.5)
    assert expected_calibration_error([[0, -50, -50], [0, -50, -50]], [0, 0]) == pytest.approx(0.0)


def test_calibration_error_of_calibrated_forecasts_is_small() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([1, 1, 1], size=50_000)
    labels = (rng.random((50_000, 1)) > probs.cumsum(axis=1)).sum(axis=1)
    assert expected_calibration_error(np.log(probs), labels) < 0.01


def test_horizon_metrics() -> None:
    log_probs, labels = forecasts(500)
    prior, tau = class_prior(labels), 0.8
    metrics = horizon_metrics(log_probs.astype(np.float32), labels.astype(np.int8), prior, tau)
    assert json.loads(json.dumps(metrics)) == metrics
    decisions = decide(log_probs, prior, tau)
    assert metrics["n"] == 500
    assert metrics["tau"] == 0.8
    assert metrics["accuracy"] == pytest.approx((decisions == labels).mean())
    assert metrics["mcc"] == pytest.approx(matthews_corrcoef(labels, decisions))
    assert metrics["mcc_argmax"] == pytest.approx(matthews_corrcoef(labels, log_probs.argmax(axis=1)))
    assert metrics["log_loss"] == pytest.approx(-np.mean([row[y] for row, y in zip(log_probs, labels, strict=True)]))
    confusion = np.array(metrics["confusion"])
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(labels))
    f1 = 2 * np.diag(confusion) / (confusion.sum(axis=0) + confusion.sum(axis=1))
    assert metrics["macro_f1"] == pytest.approx(f1.mean())


def test_macro_f1_counts_a_class_that_is_not_there() -> None:
    log_probs = np.log(np.full((4, 3), 1e-12) + np.eye(3)[[0, 0, 1, 1]])
    metrics = horizon_metrics(log_probs, [0, 0, 1, 1], np.array([0.5, 0.5, 0.0]), 0.0)
    assert metrics["accuracy"] == 1.0
    assert metrics["macro_f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("labels", [[0, -1, 2], []])
def test_undefined_labels_are_refused(labels: list[int]) -> None:
    log_probs = np.zeros((len(labels), 3))
    with pytest.raises(DataError, match="drop undefined rows"):
        horizon_metrics(log_probs, labels, np.full(3, 1 / 3), 0.0)
    with pytest.raises(ValueError, match="drop undefined rows"):
        choose_tau(log_probs, labels, np.full(3, 1 / 3))


def test_mean_over_series() -> None:
    one = {"mcc": 0.1, "macro_f1": 0.4, "accuracy": 0.5, "ece": 0.0, "mcc_argmax": 0.0, "n": 10}
    two = one | {"mcc": 0.3, "n": 99}
    mean = mean_over_series({"a": {"model": {"h10": one}}, "b": {"model": {"h10": two}}})
    assert mean.keys() == {"model"}
    assert mean["model"]["h10"].keys() == {"mcc", "macro_f1", "accuracy", "ece", "mcc_argmax"}
    assert math.isclose(mean["model"]["h10"]["mcc"], 0.2)
    assert mean_over_series({}) == {}
