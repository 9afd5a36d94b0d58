"""Settings are chosen on the validation rows where these clearly favour some, and stay as usual elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from nanoarb_jax.evaluation.tuned_models import Problem, Rows, Tuning, fit_boosting, fit_logistic, one_thread

BOOSTING = Tuning(leaves=(4, 8), most_rounds=60, patience=5, choosing_rows=1_000, usual_rounds=5)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def rows(count: int, seed: int, clean: float = 1.0) -> Rows:
    """Labels that the signs of two inputs decide together, at so many of the rows; no straight line tells them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 5)).astype(np.float32)
    told = np.where(x[:, 2] > 1, 1, np.where(x[:, 0] * x[:, 1] > 0, 2, 0))
    return Rows(x, np.where(rng.random(count) < clean, told, rng.integers(0, 3, count)).astype(np.int8))


def test_boosting_grows_where_there_is_more_to_learn() -> None:
    train, validation, unseen = rows(4_000, 0), rows(2_000, 1), rows(1_000, 2)
    grown, choice = fit_boosting(Problem(train, None, validation), unseen.x, BOOSTING)
    usual, other = fit_boosting(Problem(train, None, validation.of_classes(np.array([1]))), unseen.x, BOOSTING)
    assert choice["rounds"] > 20 and other == {"leaves": 4, "rounds": 5}
    right, usually_right = ((p.argmax(axis=1) == unseen.y).mean() for p in (grown, usual))
    assert right > 0.9 > usually_right
    np.testing.assert_allclose(grown.sum(axis=1), 1.0)


@pytest.mark.parametrize("fit", [fit_boosting, fit_logistic])
def test_noise_changes_no_setting(fit) -> None:  # type: ignore[no-untyped-def]
    train, validation = rows(600, 0, clean=0.0), rows(300, 1, clean=0.0)
    _, choice = fit(Problem(train, None, validation), validation.x, BOOSTING)
    if fit is fit_boosting:
        assert choice["rounds"] <= BOOSTING.usual_rounds
    else:
        assert choice["C"] <= BOOSTING.usual_strength


def test_logistic_trusts_what_is_clear() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3_000, 1)).astype(np.float32)
    known = Rows(x, np.digitize(x[:, 0] + 0.1 * rng.normal(size=3_000), (-0.5, 0.5)).astype(np.int8))
    problem = Problem(Rows(known.x[:2_000], known.y[:2_000]), None, Rows(known.x[2_000:], known.y[2_000:]))
    assert fit_logistic(problem, x, Tuning())[1] == {"C": 0.1}


@pytest.mark.parametrize("fit", [fit_boosting, fit_logistic])
def test_one_class_alone(fit) -> None:  # type: ignore[no-untyped-def]
    one = rows(100, 0).of_classes(np.array([2]))
    probabilities, choice = fit(Problem(one, None, rows(100, 1)), rows(7, 2).x, BOOSTING)
    np.testing.assert_array_equal(probabilities, np.tile([0.0, 0.0, 1.0], (7, 1)))
    assert choice == {}


def test_a_class_that_training_does_not_show() -> None:
    """It is no reason not to choose, and the rows that show it are not chosen by."""
    two = np.array([0, 2])
    problem = Problem(rows(2_000, 0).of_classes(two), None, rows(1_000, 1))
    probabilities, choice = fit_boosting(problem, rows(50, 2).x, BOOSTING)
    assert (probabilities[:, 1] == 0).all() and choice["rounds"] > 5


def test_short_series_learn_from_the_mirrored_rows() -> None:
    train, mirrored = rows(400, 0).of_classes(np.array([0, 1])), rows(400, 3).of_classes(np.array([1, 2]))
    problem = Problem(train, mirrored, rows(0, 1))
    with_them, without = (fit_boosting(problem, rows(50, 2).x, Tuning(mirrored_rows=most))[0] for most in (30_000, 10))
    assert (with_them[:, 2] > 0).all() and (without[:, 2] == 0).all()
