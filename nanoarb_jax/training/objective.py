"""The loss that the settings name, against the labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from nanoarb_jax.config import TrainConfig
from nanoarb_jax.model.losses import expected_pnl_loss, transaction_cost_aware_loss


def label_loss(
    logits: jax.Array,
    labels: jax.Array,
    moves: jax.Array,
    costs: jax.Array,
    config: TrainConfig,
    class_weights: jax.Array | None,
) -> jax.Array:
    """The settings' loss against the labels: logits (b, h, c), the others (b, h), see `Batch`."""
    cap = config.magnitude_cap
    if config.loss == "expected-pnl":
        # moves are cut at the costs plus a fixed profit, not at a fixed move, so that a trade can pay at any spread
        return expected_pnl_loss(logits, jnp.clip(moves, -costs - cap, costs + cap), costs, known=labels >= 0)
    if config.loss == "cross-entropy":
        return transaction_cost_aware_loss(
            logits, labels, spread_penalty=0.0, slippage_estimate=0.0, class_weights=class_weights
        )
    return transaction_cost_aware_loss(
        logits,
        labels,
        jnp.minimum(jnp.abs(moves), cap),
        spread_penalty=config.spread_penalty,
        slippage_estimate=config.slippage_estimate,
        class_weights=class_weights,
    )
