"""The optimizer: AdamW, learning-rate warm-up and cosine decay, clipping by global norm, an average of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

if TYPE_CHECKING:
    from nanoarb_jax.config import TrainConfig


def decays(path: tuple[Any, ...]) -> bool:
    """Whether weight decay applies to the parameter at this path: to matrices and kernels only.

    The name decides, not the shape, since A_log is a matrix too: decay of A_log, D, biases or norm scales would pull
    memory lengths and gains towards arbitrary values.
    """
    names = [str(getattr(part, "key", getattr(part, "name", part))) for part in path]
    return any(name.startswith("kernel") or name == "conv_kernel" for name in names)


def decay_mask(params: Any) -> Any:
    """True where weight decay applies, same structure as `params`."""
    return jax.tree_util.tree_map_with_path(lambda path, _: decays(path), params)


def make_optimizer(config: TrainConfig, updates: int) -> optax.GradientTransformation:
    """Build the optimizer of a run of `updates` updates."""
    warmup = max(1, round(config.warmup_fraction * updates))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.lr, warmup, max(updates, warmup + 1), end_value=config.lr * config.final_lr_fraction
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(schedule, b2=config.beta2, weight_decay=config.weight_decay, mask=decay_mask),
    )


def average_weights(params: Any, average: Any, update: jax.Array, decay: float) -> Any:
    """Exponential moving average whose decay ramps up, so that the initial weights are soon forgotten."""
    ramped = jnp.minimum(decay, (1.0 + update) / (10.0 + update))
    return optax.incremental_update(params, average, 1.0 - ramped)
