"""The baselines: what they know when, and that they learn what there is to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.baseline_inputs import order_flow_inputs
from nanoarb_jax.evaluation.baselines import (
    BASELINES,
    Baseline,
    baseline_forecasts,
    baselines_for,
    gradient_boosting,
    logistic,
    majority,
    ofi_logistic,
    persistence,
    queue_imbalance,
)
from nanoarb_jax.evaluation.judging import judge
from nanoarb_jax.evaluation.metrics import TAU_GRID, class_prior, decide, horizon_metrics
from nanoarb_jax.evaluation.tuned_models import PROBABILITY_FLOOR, Tuning
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.readers.book_npz import read_book_npz
from support.made_stream import random_features, stream_of
from support.series import random_books

HORIZONS = (1, 3)
QUICK = Tuning(strengths=(1e-3,), leaves=(4,), most_rounds=25, patience=5)


def labels_of(features: np.ndarray) -> np.ndarray:
    """(n, 2) labels that the level-1 imbalance half decides; the last rows undefined."""
    noise = np.random.default_rng(1).normal(scale=0.5, size=(len(features), 2))
    labels = (1 + np.sign(np.round(features[:, 3:4] + noise))).astype(np.int8)
    for column, horizon in enumerate(HORIZONS):
        labels[-horizon:, column] = -1
    return labels


def test_persistence_repeats_the_label_just_known() -> None:
    labels = np.array([[0, 2], [2, 2], [1, 0], [0, -1], [-1, -1]], np.int8)
    decisions = persistence(stream_of(labels), HORIZONS).log_probs.argmax(axis=-1)
    np.testing.assert_array_equal(decisions, [[1, 1], [0, 1], [2, 1], [1, 2], [0, 2]])


@given(st.integers(0, 99), st.lists(st.integers(-1, 2), min_size=100, max_size=100))
def test_persistence_never_looks_ahead(now: int, labels: list[int]) -> None:
    before = stream_of(np.array(labels, np.int8)[:, None])
    after = before.labels.copy()
    after[max(now - 10 + 1, 0) :] = 1  # a label anchored later than now - 10 is not known at now
    changed = persistence(before._replace(labels=after), (10,)).log_probs
    np.testing.assert_array_equal(persistence(before, (10,)).log_probs[: now + 1], changed[: now + 1])


@pytest.mark.parametrize("prior", [[0.98, 0.01, 0.01], [0.0, 1.0, 0.0]])
def test_prior_correction_leaves_persistence_alone(prior: list[float]) -> None:
    log_probs = persistence(stream_of(np.tile(np.array([[0], [1], [2]], np.int8), (5, 1))), (1,)).log_probs[:, 0]
    for tau in TAU_GRID:
        np.testing.assert_array_equal(decide(log_probs, prior, tau), log_probs.argmax(axis=-1))


def test_persistence_of_a_stream_shorter_than_the_horizon_is_neutral() -> None:
    np.testing.assert_array_equal(persistence(stream_of(np.full((4, 1), -1)), (10,)).log_probs.argmax(axis=-1), 1)


def test_majority_is_the_training_prior() -> None:
    labels = np.array([[0, 1], [0, 1], [1, -1], [2, 1], [2, 2], [2, 2]], np.int8)
    probabilities = np.exp(majority(stream_of(labels, train=(0, 4)), HORIZONS).log_probs)
    assert probabilities.shape == (6, 2, 3)
    np.testing.assert_allclose(probabilities[:, 0], np.tile([0.5, 0.25, 0.25], (6, 1)), rtol=1e-6)
    np.testing.assert_allclose(probabilities[:, 1], np.tile([0, 1, 0], (6, 1)), atol=1e-6)


LEARNERS = (queue_imbalance, ofi_logistic, logistic, gradient_boosting)


@pytest.mark.parametrize("learner", [queue_imbalance, logistic, gradient_boosting])
def test_they_learn_the_imbalance(learner: Baseline) -> None:
    features = random_features(3000)
    labels = labels_of(features)
    log_probs = learner(stream_of(labels, features, (0, 2000)), HORIZONS, QUICK).log_probs
    assert log_probs.shape == (3000, 2, 3)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=-1), 1.0, atol=1e-5)
    metrics = horizon_metrics(log_probs[2000:-1, 0], labels[2000:-1, 0], class_prior(labels[:2000, 0]), 0.5)
    assert metrics["mcc"] > 0.3


def test_order_flow_is_learnt() -> None:
    features = random_features(1500)
    stream = stream_of(np.ones((1500, 1)), features, (0, 1000))
    pressed = np.sign(order_flow_inputs(stream)[:, 1]).astype(np.int8) + 1
    log_probs = ofi_logistic(stream._replace(labels=pressed[:, None]), (1,), QUICK).log_probs[1000:, 0]
    assert (log_probs.argmax(axis=-1) == pressed[1000:]).mean() > 0.8


@pytest.mark.parametrize("learner", LEARNERS)
def test_they_learn_from_their_range_only(learner: Baseline) -> None:
    features = random_features(400)
    labels = labels_of(features)
    other_features, other_labels = features.copy(), labels.copy()
    # all but the first row, whose price the others are counted from
    other_features[1:50], other_labels[1:50] = random_features(49, seed=2), 0
    other_features[300:], other_labels[300:] = random_features(100, seed=3), 2
    one, other = stream_of(labels, features, (200, 300)), stream_of(other_labels, other_features, (200, 300))
    # memory reaches back a hundred ticks
    first, second = (learner(stream, HORIZONS, QUICK).log_probs[200:300] for stream in (one, other))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("seen", [(1,), (0, 1), (0, 2)])
def test_logistic_with_classes_missing(seen: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).choice(seen, size=(200, 1)).astype(np.int8)
    probabilities = np.exp(logistic(stream_of(labels, train=(0, 150)), HORIZONS).log_probs[:, 0])
    missing = [c for c in range(3) if c not in seen]
    np.testing.assert_allclose(probabilities[:, missing], PROBABILITY_FLOOR, rtol=1e-5)
    np.testing.assert_allclose(probabilities[:, seen].sum(axis=1), 1.0, atol=1e-5)


def test_boosting_learns_of_the_mirrored_market() -> None:
    """Where training only ever rose, it takes falls for as likely."""
    features = random_features(800)
    labels = np.random.default_rng(0).choice([1, 2], size=(800, 1))
    down, neutral, up = np.exp(gradient_boosting(stream_of(labels, features, (0, 600)), (1,)).log_probs)[:, 0].mean(
        axis=0
    )
    assert down == pytest.approx(up, abs=0.05) and neutral == pytest.approx(0.5, abs=0.05)


def test_more_features_change_nothing() -> None:
    features = random_features(400)
    stream = stream_of(labels_of(features), features, (0, 300))
    more = stream._replace(features=np.hstack([features, np.random.default_rng(0).normal(size=(400, 40))]))
    for name, baseline in baselines_for([stream]).items():
        first, second = (baseline(of, HORIZONS, QUICK).log_probs for of in (stream, more))
        np.testing.assert_allclose(first, second, atol=1e-6, err_msg=name)


def test_logistic_shrugs_off_an_outlier() -> None:
    features = random_features(300)
    features[250, 4:] = 1e30
    assert np.isfinite(logistic(stream_of(labels_of(features), features, (0, 200)), HORIZONS).log_probs).all()


@pytest.mark.parametrize("learner", LEARNERS)
def test_learning_needs_a_label(learner: Baseline) -> None:
    with pytest.raises(DataError, match="stream 'made': training rows 0 to 30 have a horizon without a defined label"):
        learner(stream_of(np.full((50, 1), -1), train=(0, 30)), (1,))


def test_all_know_something_of_a_real_market(shared: Path) -> None:
    books = shared / "data" / "derived_top10" / "binance_usdm_btcusdt_20240719.npz"
    stream, horizons = make_stream(read_book_npz(books), DataConfig()), (10, 50, 100)
    met = {
        name: judge(stream, baseline(stream, horizons, QUICK).log_probs, "test", horizons)["h10"]["mcc"]
        for name, baseline in BASELINES.items()
    }
    assert (
        min(met["logistic"], met["gradient_boosting"], met["gradient_boosting_flow"]) > 0.3
        and met["persistence"] > 0.05
    )
    assert min(met["queue_imbalance"], met["ofi_logistic"]) > 0.1 and met["majority"] == 0


def flow_stream(rows: int) -> Stream:
    features = FEATURE_SETS["flow"].rows(random_books(rows, rows), 0.2)
    return stream_of(labels_of(features), features, (0, 200), str(rows))


def test_all_over_all_streams() -> None:
    """In the order of the streams, whatever their lengths; flow's baseline only where all of them have its features."""
    streams = [flow_stream(rows) for rows in (300, 400)]
    said: list[str] = []
    forecasts = baseline_forecasts(streams, HORIZONS, note=said.append, tuning=QUICK)
    assert list(forecasts.log_probs) == list(BASELINES) and len(said) == 2 * len(BASELINES)
    for log_probs in forecasts.log_probs.values():
        assert [one.shape for one in log_probs] == [(rows, 2, 3) for rows in (300, 400)]
    alone = gradient_boosting(streams[1], HORIZONS, QUICK)
    np.testing.assert_array_equal(forecasts.log_probs["gradient_boosting"][1], alone.log_probs)
    chosen = forecasts.choices["400"]
    assert chosen["gradient_boosting"] == dict(zip(("h1", "h3"), alone.choices, strict=True))
    assert chosen["majority"] == {} and chosen["logistic"].keys() == {"h1", "h3"}
    books = [stream._replace(features=stream.features[:, :44]) for stream in streams]
    assert [*BASELINES][:-1] == list(baselines_for([streams[0], books[0]]))


def test_an_error_ends_all() -> None:
    streams = [stream_of(np.full((50, 1), label), train=(0, 30), name=str(label)) for label in (1, -1)]
    with pytest.raises(DataError, match="stream '-1': training rows 0 to 30"):
        baseline_forecasts(streams, (1,), tuning=QUICK)
