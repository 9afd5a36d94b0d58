"""Metrics against scikit-learn and against cases worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, matthews_corrcoef

from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.metrics import (
    TAU_GRID,
    choose_tau,
    class_prior,
    confusion_counts,
    decide,
    horizon_metrics,
    mcc_from_confusion,
    mcc_of_confusions,
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
    f1 = f1_score(labels, decisions, average=None)
    assert list(metrics["f1"]) == ["down", "neutral", "up"] and list(metrics["f1"].values()) == pytest.approx(list(f1))
    assert metrics["macro_f1"] == pytest.approx(f1.mean())
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, decisions))
    assert metrics["brier"] == pytest.approx(((np.exp(log_probs) - np.eye(3)[labels]) ** 2).sum(axis=1).mean())


def test_macro_f1_counts_a_class_that_is_not_there() -> None:
    log_probs = np.log(np.full((4, 3), 1e-12) + np.eye(3)[[0, 0, 1, 1]])
    metrics = horizon_metrics(log_probs, [0, 0, 1, 1], np.array([0.5, 0.5, 0.0]), 0.0)
    assert metrics["accuracy"] == metrics["balanced_accuracy"] == 1.0
    assert metrics["macro_f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("labels", [[0, -1, 2], []])
def test_undefined_labels_are_refused(labels: list[int]) -> None:
    log_probs = np.zeros((len(labels), 3))
    with pytest.raises(DataError, match="drop undefined rows"):
        horizon_metrics(log_probs, labels, np.full(3, 1 / 3), 0.0)
    with pytest.raises(ValueError, match="drop undefined rows"):
        choose_tau(log_probs, labels, np.full(3, 1 / 3))


def test_mcc_of_many_matrices() -> None:
    counts = np.random.default_rng(0).integers(0, 50, size=(4, 5, 3, 3))
    counts[0, 0] = [[5, 0, 0], [3, 0, 0], [2, 0, 0]]
    expected = [[mcc_from_confusion(one) for one in row] for row in counts]
    np.testing.assert_allclose(mcc_of_confusions(counts), expected)
    assert expected[0][0] == 0.0


def test_mean_over_series() -> None:
    one = {"mcc": 0.1, "macro_f1": 0.4, "profit_per_trade_bp": None, "profit_per_trade_ticks": None, "n": 10}
    two = one | {"mcc": 0.3, "profit_per_trade_ticks": -2.0, "n": 99}
    mean = mean_over_series({"a": {"model": {"h10": one}}, "b": {"model": {"h10": two}}})
    assert mean.keys() == {"model"}
    assert mean["model"]["h10"].keys() == {"mcc", "macro_f1", "profit_per_trade_bp", "profit_per_trade_ticks"}
    assert math.isclose(mean["model"]["h10"]["mcc"], 0.2)
    # series without trades do not count; none at all has no mean
    assert (
        mean["model"]["h10"]["profit_per_trade_ticks"] == -2.0 and mean["model"]["h10"]["profit_per_trade_bp"] is None
    )
    assert mean_over_series({}) == {}
