"""Training losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int


def transaction_cost_aware_loss(
    logits: Float[Array, "b h c"],
    targets: Int[Array, "b h"],
    magnitudes: Float[Array, "b h"] | None = None,
    *,
    spread_penalty: float = 0.001,
    slippage_estimate: float = 0.0005,
    class_weights: Float[Array, c] | None = None,
) -> Float[Array, ""]:
    """Cross-entropy that counts large moves more, plus a cost on indecision.

        mean(w[y] · CE · (1 + |magnitude|)) + (spread_penalty + slippage_estimate) · mean(entropy)

    Args:
        logits: unnormalised class scores.
        targets: classes 0 down, 1 neutral, 2 up; below 0: not known, left out of both means.
        magnitudes: signed moves; a trade on a move of m earns in proportion to |m|. None leaves the factor at 1.
        spread_penalty: cost per nat of entropy: an undecided model trades in and out and pays the spread.
        slippage_estimate: added to the penalty, since each such trade also slips. NanoARB's PyTorch loss declared
            this argument and never used it; 0 gives that loss exactly.
        class_weights: factor per class on the cross-entropy. As in NanoARB the mean is over samples, not over weights.

    Returns:
        The scalar loss. With `magnitudes=None` and both costs 0 it is plain cross-entropy.
    """
    weights = jnp.ones(targets.shape) if magnitudes is None else 1.0 + jnp.abs(magnitudes)
    log_p = jax.nn.log_softmax(logits, axis=-1)  # (b, h, c)
    # the 1e-8 is NanoARB's, kept so that the losses agree
    p = jnp.exp(log_p)
    entropy = _mean(-jnp.sum(p * jnp.log(p + 1e-8), axis=-1), targets >= 0)
    loss = weighted_cross_entropy(logits, targets, weights, class_weights)
    return loss + (spread_penalty + slippage_estimate) * entropy


def weighted_cross_entropy(
    logits: Float[Array, "b h c"],
    targets: Int[Array, "b h"],
    weights: Float[Array, "b h"],
    class_weights: Float[Array, c] | None = None,
) -> Float[Array, ""]:
    """mean(weight · w[y] · CE), the mean over the samples with a known label.

    Args:
        logits: unnormalised class scores.
        targets: classes 0 down, 1 neutral, 2 up; below 0: not known, left out of the mean.
        weights: factor per sample and horizon.
        class_weights: factor per class. The mean is over samples, not over weights.
    """
    log_p = jax.nn.log_softmax(logits, axis=-1)  # (b, h, c)
    cross_entropy = -weights * jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]  # (b, h)
    if class_weights is not None:
        cross_entropy = cross_entropy * class_weights[targets]
    return _mean(cross_entropy, targets >= 0)


def distillation_loss(
    logits: Float[Array, "b h c"],
    teacher_logits: Float[Array, "b h c"],
    temperature: float,
    counted: Bool[Array, b] | None = None,
) -> Float[Array, ""]:
    """How far a student's probabilities are from its teacher's (Hinton, Vinyals, Dean 2015).

        T² · mean(KL(softmax(teacher / T) ‖ softmax(student / T)))

    Args:
        logits: the student's.
        teacher_logits: the teacher's, on the same inputs.
        temperature: T; a higher one makes both softer, so that the order of the unlikely classes counts more. The
            factor T² keeps the size of the gradient.
        counted: (b,) samples to average over; None: every one, also those without a known label.

    Returns:
        The scalar loss, 0 where both agree.

    Example:
        >>> import jax.numpy as jnp
        >>> from nanoarb_jax.model.losses import distillation_loss
        >>> logits = jnp.array([[[0.3, 1.0, -0.5]]])
        >>> float(distillation_loss(logits, logits, 2.0))
        0.0
    """
    log_p = jax.nn.log_softmax(logits / temperature, axis=-1)
    teacher_log_p = jax.nn.log_softmax(teacher_logits / temperature, axis=-1)
    divergence = jnp.sum(jnp.exp(teacher_log_p) * (teacher_log_p - log_p), axis=-1)  # (b, h)
    every = jnp.ones(len(divergence), bool) if counted is None else counted
    return temperature**2 * _mean(divergence, jnp.broadcast_to(every[:, None], divergence.shape))


def _mean(values: Float[Array, "b h"], known: Bool[Array, "b h"]) -> Float[Array, ""]:
    """Over the known ones; 0 where there is none."""
    return jnp.sum(jnp.where(known, values, 0.0)) / jnp.maximum(jnp.sum(known), 1)
