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
    log_p = jax.nn.log_softmax(logits, axis=-1)  # (b, h, c)
    cross_entropy = -jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]  # (b, h)
    if class_weights is not None:
        cross_entropy = cross_entropy * class_weights[targets]
    if magnitudes is not None:
        cross_entropy = cross_entropy * (1.0 + jnp.abs(magnitudes))
    p = jnp.exp(log_p)
    # the 1e-8 is NanoARB's, kept so that the losses agree
    entropy = -jnp.sum(p * jnp.log(p + 1e-8), axis=-1)
    known = targets >= 0
    return _mean(cross_entropy, known) + (spread_penalty + slippage_estimate) * _mean(entropy, known)


def expected_pnl_loss(
    logits: Float[Array, "b h c"],
    moves: Float[Array, "b h"],
    costs: Float[Array, "b h"] | float,
    *,
    known: Bool[Array, "b h"] | None = None,
) -> Float[Array, ""]:
    """Minus the profit that the probabilities, held as positions, are expected to make: costs made literal.

        -mean(p_up · (move - cost) + p_down · (-move - cost))

    Every sample is a trade of its own, opened there and closed when the move is over: long with the share p_up of a
    unit, short with p_down, out of the market with the rest. So the best answer is a position where the move exceeds
    the cost, and "neutral" everywhere else. It asks for good trades, not for true probabilities: where none pays, every
    class but neutral vanishes.

    Args:
        logits: unnormalised scores of down, neutral and up.
        moves: signed price moves over the horizon, in ticks or any other unit.
        costs: of a unit bought and sold again, in the unit of the moves: spread, fees and slippage.
        known: which moves are; the others are left out of the mean. None: all.

    Returns:
        The scalar loss, in the unit of the moves; below 0 where trades pay.

    Example:
        >>> import jax.numpy as jnp
        >>> loss = nj.expected_pnl_loss(jnp.array([[[-9.0, -9.0, 9.0]]]), jnp.array([[3.0]]), 1.0)  # surely long
        >>> round(float(loss), 3)
        -2.0
    """
    p = jax.nn.softmax(logits, axis=-1)
    down, up = p[..., 0], p[..., 2]
    profit = (up - down) * moves - (up + down) * costs
    return -_mean(profit, jnp.ones(moves.shape, bool) if known is None else known)


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
