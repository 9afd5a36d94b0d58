"""The baselines: what they know when, and that they learn what there is to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.config import DataConfig
from nanoarb_jax.dataset import make_stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.baselines import PROBABILITY_FLOOR, baseline_inputs, logistic, persistence
from nanoarb_jax.evaluation.metrics import TAU_GRID, class_prior, decide, horizon_metrics
from nanoarb_jax.evaluation.validation import judge
from nanoarb_jax.market.readers.book_npz import read_book_npz

HORIZONS = (1, 3)


def features_of(rows: int, seed: int = 0) -> np.ndarray:
    """Random books as (rows, 44) raw features: prices a walk, quantities log-normal, a few levels empty."""
    rng = np.random.default_rng(seed)
    quantities = rng.lognormal(size=(rows, 2, 10))
    quantities[:, :, 5:] *= rng.random((rows, 2, 5)) > 0.1
    spread = rng.integers(1, 4, rows)
    bid, ask = quantities[:, 0], quantities[:, 1]
    imbalance = (bid[:, 0] - ask[:, 0]) / (bid[:, 0] + ask[:, 0])
    microprice = 1000 + 0.01 * (rng.integers(-1, 2, rows).cumsum() + imbalance * spread / 2)
    prices = [microprice, microprice + 0.001 * rng.normal(size=rows), spread, imbalance]
    sides = [bid, ask, bid.cumsum(axis=1), ask.cumsum(axis=1)]
    return np.column_stack([*prices, *sides]).astype(np.float32)


def labels_of(features: np.ndarray) -> np.ndarray:
    """(n, 2) labels that the level-1 imbalance half decides; the last rows undefined."""
    noise = np.random.default_rng(1).normal(scale=0.5, size=(len(features), 2))
    labels = (1 + np.sign(np.round(features[:, 3:4] + noise))).astype(np.int8)
    for column, horizon in enumerate(HORIZONS):
        labels[-horizon:, column] = -1
    return labels


def test_persistence_repeats_the_label_just_known() -> None:
    labels = np.array([[0, 2], [2, 2], [1, 0], [0, -1], [-1, -1]], np.int8)
    decisions = persistence(labels, HORIZONS).argmax(axis=-1)
    np.testing.assert_array_equal(decisions, [[1, 1], [0, 1], [2, 1], [1, 2], [0, 2]])


@given(st.integers(0, 99), st.lists(st.integers(-1, 2), min_size=100, max_size=100))
def test_persistence_never_looks_ahead(now: int, labels: list[int]) -> None:
    before = np.array(labels, np.int8)[:, None]
    after = before.copy()
    after[max(now - 10 + 1, 0) :] = 1  # a label anchored later than now - 10 is not known at now
    np.testing.assert_array_equal(persistence(before, (10,))[: now + 1], persistence(after, (10,))[: now + 1])


@pytest.mark.parametrize("prior", [[0.98, 0.01, 0.01], [0.0, 1.0, 0.0]])
def test_prior_correction_leaves_persistence_alone(prior: list[float]) -> None:
    log_probs = persistence(np.tile(np.array([[0], [1], [2]], np.int8), (5, 1)), (1,))[:, 0]
    for tau in TAU_GRID:
        np.testing.assert_array_equal(decide(log_probs, prior, tau), log_probs.argmax(axis=-1))


def test_persistence_of_a_stream_shorter_than_the_horizon_is_neutral() -> None:
    np.testing.assert_array_equal(persistence(np.full((4, 1), -1, np.int8), (10,)).argmax(axis=-1), 1)


def test_inputs_are_finite_and_bounded() -> None:
    inputs = baseline_inputs(features_of(300))
    assert inputs.shape == (300, 54)
    assert inputs.dtype == np.float32
    assert np.isfinite(inputs).all()
    assert np.abs(inputs).max() < 50


@given(st.integers(1, 59))
def test_inputs_never_look_ahead(now: int) -> None:
    before, after = features_of(60), features_of(60)
    after[now:] = features_of(60, seed=1)[now:]
    np.testing.assert_array_equal(baseline_inputs(before)[:now], baseline_inputs(after)[:now])


def test_inputs_do_not_know_the_price_level() -> None:
    features = features_of(200).astype(np.float64)
    dearer = features.copy()
    dearer[:, :2] *= 3
    np.testing.assert_allclose(baseline_inputs(features), baseline_inputs(dearer), atol=1e-6)


def test_logistic_learns_the_imbalance() -> None:
    features = features_of(3000)
    labels = labels_of(features)
    log_probs = logistic(features, labels, (0, 2000))
    assert log_probs.shape == (3000, 2, 3)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=-1), 1.0, atol=1e-5)
    metrics = horizon_metrics(log_probs[2000:-1, 0], labels[2000:-1, 0], class_prior(labels[:2000, 0]), 0.5)
    assert metrics["mcc"] > 0.3


def test_logistic_learns_from_its_range_only() -> None:
    features = features_of(400)
    labels = labels_of(features)
    other_features, other_labels = features.copy(), labels.copy()
    other_features[:50], other_labels[:50] = features_of(50, seed=2), 0
    other_features[300:], other_labels[300:] = features_of(100, seed=3), 2
    a, b = logistic(features, labels, (100, 300)), logistic(other_features, other_labels, (100, 300))
    np.testing.assert_array_equal(a[100:300], b[100:300])


@pytest.mark.parametrize("seen", [(1,), (0, 1), (0, 2)])
def test_logistic_with_classes_missing(seen: tuple[int, ...]) -> None:
    features = features_of(200)
    labels = np.random.default_rng(0).choice(seen, size=(200, 1)).astype(np.int8)
    probabilities = np.exp(logistic(features, labels, (0, 150))[:, 0])
    missing = [c for c in range(3) if c not in seen]
    np.testing.assert_allclose(probabilities[:, missing], PROBABILITY_FLOOR, rtol=1e-5)
    np.testing.assert_allclose(probabilities[:, seen].sum(axis=1), 1.0, atol=1e-5)


def test_logistic_shrugs_off_an_outlier() -> None:
    features = features_of(300)
    features[250, 4:] = 1e30
    assert np.isfinite(logistic(features, labels_of(features), (0, 200))).all()


def test_logistic_needs_a_label() -> None:
    with pytest.raises(DataError, match="no defined label"):
        logistic(features_of(50), np.full((50, 1), -1, np.int8), (0, 30))


def test_both_know_something_of_a_real_market(shared: Path) -> None:
    books = shared / "data" / "derived_top10" / "binance_usdm_btcusdt_20240719.npz"
    stream, horizons = make_stream(read_book_npz(books), DataConfig()), (10, 50, 100)
    regression = judge(stream, logistic(stream.features, stream.labels, stream.train), "test", horizons)
    assert regression["h10"]["mcc"] > 0.3
    assert judge(stream, persistence(stream.labels, horizons), "test", horizons)["h10"]["mcc"] > 0.05
