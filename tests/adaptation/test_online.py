"""Recalibration as labels become known, against a slow twin in terms of the precision, and what it must never do."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.adaptation.online import (
    CONSTANT,
    INPUTS,
    LEAST_CURVATURE,
    LEAST_LOG_PROB,
    OWN,
    STRENGTH,
    _recalibrate_rows,
    check_forgetting,
    new_recalibration,
    recalibrate_stream,
)
from nanoarb_jax.errors import ConfigError
from support.examples import examples


class Stream(NamedTuple):
    """Arguments of `recalibrate_stream`."""

    log_probs: NDArray[np.float64]
    labels: NDArray[np.int8]
    session_starts: NDArray[np.int64]
    horizons: tuple[int, ...]


def random_stream(seed: int, rows: int = 200, horizons: tuple[int, ...] = (1, 5, 30)) -> Stream:
    """Some sessions of forecasts that know a little, some of them sure, with some labels missing."""
    rng, h = np.random.default_rng(seed), len(horizons)
    labels = rng.choice(3, (rows, h), p=(0.2, 0.7, 0.1))
    logits = rng.normal(size=(rows, h, 3)) * rng.choice([0.3, 1.0, 8.0], (rows, 1, 1)) + np.eye(3)[labels]
    labels[rng.random((rows, h)) < 0.1] = -1
    begins = np.sort(rng.integers(0, rows, 2))
    return Stream(log_softmax(logits), labels.astype(np.int8), begins_of(rows, *begins), horizons)


def begins_of(rows: int, *begins: int) -> NDArray[np.int64]:
    """The first row of every row's session, where sessions begin at 0 and at these rows."""
    return np.maximum.accumulate(np.where(np.isin(np.arange(rows), [0, *begins]), np.arange(rows), 0))


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    above = logits - logits.max(axis=-1, keepdims=True)
    return above - np.log(np.exp(above).sum(axis=-1, keepdims=True))


def twin(stream: Stream, column: int, forgetting: float, start: int = 0) -> tuple[NDArray[np.float64], ...]:
    """Log-probabilities of one horizon; and the weights and the precision at the end."""
    horizon, begins = stream.horizons[column], stream.session_starts
    given = np.maximum(stream.log_probs[:, column], LEAST_LOG_PROB)
    x = np.column_stack([np.full(len(given), CONSTANT), OWN * (given - given.mean(axis=1, keepdims=True))])
    weights, precision, turn = np.zeros((INPUTS, 3)), STRENGTH * np.eye(INPUTS), 0
    out = stream.log_probs[:, column].copy()
    for row in range(start, len(given)):
        of = row - horizon
        if of >= start and of >= begins[row] and stream.labels[of, column] >= 0:
            p = np.exp(log_softmax(given[of] + x[of] @ weights))
            curvature = max(p @ (1 - p) / 2, LEAST_CURVATURE) / horizon
            precision = forgetting * precision + curvature * np.outer(x[of], x[of])
            wrong = p - np.eye(3)[stream.labels[of, column]]
            weights = weights - np.outer(np.linalg.solve(precision, x[of]), wrong) / horizon
            precision[turn, turn] += (1 - forgetting) * INPUTS * STRENGTH
            turn = (turn + 1) % INPUTS
        out[row] = log_softmax(given[row] + x[row] @ weights)
    return out, weights, precision


@settings(max_examples=examples(50))
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.91, 0.99, 0.9999, 1.0]), st.integers(0, 60))
def test_equals_a_plain_twin(seed: int, forgetting: float, start: int) -> None:
    stream = random_stream(seed)
    learnt = recalibrate_stream(*stream, forgetting, start)
    assert learnt.dtype == np.float32
    for column in range(len(stream.horizons)):
        np.testing.assert_allclose(learnt[:, column], twin(stream, column, forgetting, start)[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(learnt[:start], stream.log_probs[:start].astype(np.float32))
    np.testing.assert_allclose(np.exp(learnt).sum(axis=2), 1.0, atol=1e-5)


@pytest.mark.parametrize("forgetting", [1.0, 0.999])
def test_weights_and_covariance(forgetting: float) -> None:
    """Without forgetting the covariance is that of all labels at once: (Σ w x xᵀ + STRENGTH · I)⁻¹."""
    stream = random_stream(1, 2_000, (5,))
    memory = memory_after(stream, forgetting)
    _, weights, precision = twin(stream, 0, forgetting)
    np.testing.assert_allclose(memory.weights[0], weights, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(unpacked(memory.covariance[0]), np.linalg.inv(precision), rtol=1e-8, atol=1e-12)


def memory_after(stream: Stream, forgetting: float) -> Any:
    """What was learnt at the end of a stream."""
    memory, out = new_recalibration(len(stream.horizons)), stream.log_probs.copy()
    log_probs, labels, begins, horizons = stream
    _recalibrate_rows(log_probs, labels, begins, 0, np.array(horizons), forgetting, memory, out)
    assert all(np.isfinite(array).all() for array in (*memory, out))
    return memory


def unpacked(triangle: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric matrix of which this is the upper triangle."""
    upper = np.zeros((INPUTS, INPUTS))
    upper[np.triu_indices(INPUTS)] = triangle
    return upper + np.triu(upper, 1).T


@settings(max_examples=examples(50))
@given(st.integers(0, 2**32 - 1), st.integers(0, 199))
def test_nothing_later_is_read(seed: int, row: int) -> None:
    """Labels from a row on are known a horizon later; forecasts from a row on change nothing before it."""
    stream, rng = random_stream(seed), np.random.default_rng(seed)
    learnt = recalibrate_stream(*stream, 0.99)
    labels, log_probs = stream.labels.copy(), stream.log_probs.copy()
    labels[row:] = rng.integers(-1, 3, labels[row:].shape)
    log_probs[row:] = log_softmax(rng.normal(size=log_probs[row:].shape))
    other = recalibrate_stream(*stream._replace(labels=labels), 0.99)
    for column, horizon in enumerate(stream.horizons):
        np.testing.assert_array_equal(other[: row + horizon, column], learnt[: row + horizon, column])
    other = recalibrate_stream(*stream._replace(log_probs=log_probs), 0.99)
    np.testing.assert_array_equal(other[:row], learnt[:row])


def test_sessions_void_labels_and_what_was_learnt_stays() -> None:
    stream = random_stream(2)._replace(session_starts=begins_of(200, 100))
    void = stream.labels.copy()
    for column, horizon in enumerate(stream.horizons):
        void[100 - horizon : 100, column] = -1
    learnt = recalibrate_stream(*stream, 0.999)
    np.testing.assert_array_equal(learnt, recalibrate_stream(*stream._replace(labels=void), 0.999))
    assert (learnt[100] != stream.log_probs[100].astype(np.float32)).all()


def test_before_the_first_label_nothing_changes() -> None:
    stream = random_stream(3, horizons=(30,))
    learnt = recalibrate_stream(*stream, 0.999)
    np.testing.assert_allclose(learnt[:30], stream.log_probs[:30], atol=1e-5)
    assert (abs(learnt[60:] - stream.log_probs[60:]) > 1e-3).any()


def test_a_known_shift_of_the_class_frequencies() -> None:
    rng, truth = np.random.default_rng(4), np.array([0.1, 0.6, 0.3])
    labels = rng.choice(3, (20_000, 1), p=truth).astype(np.int8)
    even = np.log(np.full((20_000, 1, 3), 1 / 3))
    learnt = np.exp(recalibrate_stream(even, labels, np.zeros(20_000, np.int64), (1,), 1.0))
    np.testing.assert_allclose(learnt[-1, 0], truth, atol=0.02)


def test_a_forecaster_that_is_too_sure() -> None:
    """Its log loss falls to nearly that of the truth."""
    rng, rows = np.random.default_rng(5), 20_000
    truth = log_softmax(rng.normal(size=(rows, 1, 3)))
    labels = (np.exp(truth).cumsum(axis=2) < rng.random((rows, 1, 1))).sum(axis=2).astype(np.int8)
    learnt = recalibrate_stream(log_softmax(3.0 * truth), labels, np.zeros(rows, np.int64), (1,), 0.9999)
    losses = [-np.take_along_axis(one, labels[..., None], axis=2)[rows // 2 :].mean() for one in (truth, learnt)]
    assert losses[1] < losses[0] + 0.003


@pytest.mark.parametrize("sure", [0.4, 0.98, 1 - 1e-9])
def test_a_million_labels_of_one_class(sure: float) -> None:
    """In a market where nothing happens, nothing runs away: what is known stays about the prior."""
    rows, other = 1_000_000, (1 - sure) / 2
    log_probs = np.tile(np.log([other, sure, other]), (rows, 1, 1))
    stream = Stream(log_probs, np.ones((rows, 1), np.int8), np.zeros(rows, np.int64), (10,))
    memory = memory_after(stream, 0.999)
    assert abs(memory.weights).max() < 12.0  # it grows by the logarithm of the labels alone
    spread = np.linalg.eigvalsh(unpacked(memory.covariance[0]))
    assert spread.min() > 0 and spread.max() < 1.1 / STRENGTH


def test_extreme_forecasts_stay_finite() -> None:
    stream, rng = random_stream(6, 3_000), np.random.default_rng(6)
    extreme = rng.choice([0.0, -1e-9, -50.0, -1e4, -np.inf], stream.log_probs.shape)
    learnt = recalibrate_stream(extreme, *stream[1:], 0.95)
    assert np.isfinite(learnt).all()
    np.testing.assert_allclose(np.exp(learnt).sum(axis=2), 1.0, atol=1e-5)


@pytest.mark.parametrize("forgetting", [0.9, 0.0, -1.0, 1.0001, float("nan"), True, "0.99", None])
def test_forgetting_out_of_range(forgetting: Any) -> None:
    with pytest.raises(ConfigError, match=r"^forgetting=.*: expected a factor above 0.9 and at most 1, such as 0.9999"):
        check_forgetting(forgetting)
    with pytest.raises(ConfigError, match="expected a factor"):
        recalibrate_stream(*random_stream(0), forgetting)
