"""The losses, worked out by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nanoarb_jax as nj
from nanoarb_jax.model.losses import distillation_loss

# one sample, two horizons, chosen so that the probabilities are (1/2, 1/4, 1/4) and (1/8, 1/8, 3/4)
pytestmark = pytest.mark.usefixtures("compile_quickly")
LOGITS = np.log([[[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]]]).astype(np.float32) + 3.0
TARGETS = np.array([[0, 1]])
ENTROPY = (1.5 * math.log(2) + 0.25 * math.log(8) + 0.75 * math.log(4 / 3)) / 2


def test_by_hand() -> None:
    magnitudes, weights = np.array([[-0.5, 3.0]], np.float32), np.array([2.0, 10.0, 7.0], np.float32)
    loss = nj.transaction_cost_aware_loss(
        LOGITS, TARGETS, magnitudes, spread_penalty=0.3, slippage_estimate=0.2, class_weights=weights
    )
    cross_entropy = (2.0 * math.log(2) * 1.5 + 10.0 * math.log(8) * 4.0) / 2
    assert float(loss) == pytest.approx(cross_entropy + 0.5 * ENTROPY, rel=1e-5)


def test_defaults() -> None:
    """No magnitudes, no weights, the two costs of the original's signature."""
    cross_entropy = (math.log(2) + math.log(8)) / 2
    loss = nj.transaction_cost_aware_loss(LOGITS, TARGETS)
    assert float(loss) == pytest.approx(cross_entropy + (0.001 + 0.0005) * ENTROPY, rel=1e-6)


def test_slippage_adds_to_the_penalty() -> None:
    def loss(spread: float, slippage: float) -> float:
        return float(nj.transaction_cost_aware_loss(LOGITS, TARGETS, spread_penalty=spread, slippage_estimate=slippage))

    assert loss(0.1, 0.3) == pytest.approx(loss(0.4, 0.0), rel=1e-6) == pytest.approx(loss(0.0, 0.4), rel=1e-6)
    assert loss(0.1, 0.3) - loss(0.1, 0.0) == pytest.approx(0.3 * ENTROPY, rel=1e-4)


def test_cross_entropy_is_the_special_case() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(50, 3, 3)).astype(np.float32), rng.integers(0, 3, (50, 3))
    plain = nj.transaction_cost_aware_loss(logits, targets, spread_penalty=0.0, slippage_estimate=0.0)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert float(plain) == pytest.approx(-np.take_along_axis(log_p, targets[..., None], -1).mean(), rel=1e-6)


def test_certainty_is_finite() -> None:
    """A probability of 0 gives no NaN, neither in the loss nor in its gradient."""
    logits = jnp.array([[[1e4, 0.0, -1e4]]])
    loss, gradient = jax.value_and_grad(nj.transaction_cost_aware_loss)(logits, jnp.array([[0]]))
    assert abs(float(loss)) < 1e-6 and np.isfinite(gradient).all()


def test_unknown_labels_count_nowhere() -> None:
    both, one = np.concatenate([LOGITS, LOGITS[:, ::-1]]), jnp.array([[0, 1], [-1, -1]])
    assert float(nj.transaction_cost_aware_loss(both, one)) == float(nj.transaction_cost_aware_loss(LOGITS, TARGETS))
    assert float(nj.transaction_cost_aware_loss(LOGITS, -TARGETS - 1)) == 0.0


# a teacher with the probabilities (1/4, 1/2, 1/4) and (1/8, 1/8, 3/4), the second as the student's
TEACHER = np.log([[[1.0, 2.0, 1.0], [1.0, 1.0, 6.0]]]).astype(np.float32) - 1.0


def test_distillation_by_hand() -> None:
    """At T = 1 the mean divergence; at T = 1/2 probabilities go as their squares."""
    assert float(distillation_loss(LOGITS, TEACHER, 1.0)) == pytest.approx(0.25 * math.log(2) / 2, rel=1e-5)
    # student (4, 1, 1) / 6, teacher (1, 4, 1) / 6
    expected = 0.25 * (0.5 * math.log(4)) / 2
    assert float(distillation_loss(LOGITS, TEACHER, 0.5)) == pytest.approx(expected, rel=1e-5)
    assert float(distillation_loss(LOGITS, LOGITS + 2.0, 3.0)) == pytest.approx(0.0, abs=1e-6)


def test_distillation_of_some_samples() -> None:
    both, taught = np.concatenate([LOGITS, LOGITS]), np.concatenate([TEACHER, 0 * TEACHER])
    loss = distillation_loss(both, taught, 1.0, jnp.array([True, False]))
    assert float(loss) == pytest.approx(float(distillation_loss(LOGITS, TEACHER, 1.0)), rel=1e-6)


def test_distillation_pulls_towards_the_teacher() -> None:
    """The gradient is T times the difference of the softened probabilities; at high T that of the logits themselves."""

    def gradient(temperature: float) -> jax.Array:
        return jax.grad(distillation_loss)(jnp.asarray(LOGITS), TEACHER, temperature)[0, 0]

    difference = np.array([0.25, -0.25, 0.0])
    np.testing.assert_allclose(gradient(1.0), difference / 2, atol=1e-6)
    centred = (LOGITS - LOGITS.mean(-1, keepdims=True) - TEACHER + TEACHER.mean(-1, keepdims=True))[0, 0]
    np.testing.assert_allclose(gradient(1e3), centred / 3 / 2, atol=1e-3)


def test_distillation_of_certain_models_is_finite() -> None:
    sure, other = jnp.array([[[1e4, 0.0, -1e4]]]), jnp.array([[[0.0, 1e4, -1e4]]])
    for teacher in (sure, other):
        loss, gradient = jax.value_and_grad(distillation_loss)(sure, teacher, 1.0)
        assert np.isfinite(loss) and np.isfinite(gradient).all()
