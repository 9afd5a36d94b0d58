"""A forecaster with the class frequencies of the instrument's own past."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.evaluation.calibration import log_loss
from nanoarb_jax.evaluation.prior import ADDED_ROWS, fit_class_bias, with_own_prior
from support.made_stream import stream_of

SHARES = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).filter(lambda shares: sum(shares) > 0)


def forecasts(rows: int, sharpness: float, tilt: np.ndarray, seed: int = 0) -> np.ndarray:
    """(rows, 3) log-probabilities."""
    logits = sharpness * np.random.default_rng(seed).normal(size=(rows, 3)) + tilt
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def drawn(rows: int, shares: list[float]) -> np.ndarray:
    return np.random.default_rng(1).choice(3, rows, p=np.array(shares) / sum(shares))


@given(SHARES, st.floats(0.0, 12.0), st.lists(st.floats(-8.0, 8.0), min_size=3, max_size=3))
def test_mean_probabilities_become_the_frequencies(shares: list[float], sharpness: float, tilt: list[float]) -> None:
    """Also of classes that never occur, and of forecasters that are sure of another."""
    log_probs, labels = forecasts(500, sharpness, np.array(tilt)), drawn(500, shares)
    biased = log_probs + fit_class_bias(log_probs, labels)[None]
    means = np.exp(biased - np.logaddexp.reduce(biased, axis=1, keepdims=True)).mean(axis=0)
    added = ADDED_ROWS * np.exp(log_probs).mean(axis=0)
    wanted = (np.bincount(labels, minlength=3) + added) / (500 + ADDED_ROWS)
    np.testing.assert_allclose(means, wanted, atol=1e-5)


def test_a_tilt_is_found_and_undone() -> None:
    """Labels drawn from the forecasts themselves, of which one class is then made likelier."""
    honest = forecasts(20_000, 1.5, np.zeros(3))
    labels = (np.random.default_rng(2).random(20_000)[:, None] > np.exp(honest).cumsum(axis=1)).sum(axis=1)
    bias = fit_class_bias(honest - [0.0, 2.0, 0.0], labels)
    np.testing.assert_allclose(bias - bias[0], [0.0, 2.0, 0.0], atol=0.1)


def stream() -> tuple[Stream, np.ndarray]:
    labels = np.stack([drawn(900, [1, 6, 1]), drawn(900, [3, 1, 0])], axis=1)
    labels[::7, 1] = -1
    return stream_of(labels, train=(100, 600)), np.stack([forecasts(900, 1.0, np.zeros(3), i) for i in (3, 4)], axis=1)


def test_only_the_training_part_is_read() -> None:
    made, log_probs = stream()
    adjusted = with_own_prior(log_probs, made)
    np.testing.assert_allclose(np.exp(adjusted).sum(axis=-1), 1.0, atol=1e-5)
    labels, others = made.labels.copy(), log_probs.copy()
    labels[:100], labels[600:], others[600:] = 0, 2, forecasts(300, 2.0, np.ones(3))[:, None]
    again = with_own_prior(others, made._replace(labels=labels))
    np.testing.assert_array_equal(again[:600], adjusted[:600])
    known = made.labels[100:600, 1] >= 0
    for column, rows in ((0, np.ones(500, bool)), (1, known)):
        truth = made.labels[100:600, column][rows]
        before, after = (log_loss(of[100:600, column][rows], truth) for of in (log_probs, adjusted))
        assert after < before


def test_a_horizon_without_labels_stays_as_it_is() -> None:
    made, log_probs = stream()
    made.labels[100:600, 0] = -1
    adjusted = with_own_prior(log_probs, made)
    np.testing.assert_allclose(adjusted[:, 0], log_probs[:, 0], atol=1e-6)
    assert np.abs(adjusted[:, 1] - log_probs[:, 1]).max() > 0.1
