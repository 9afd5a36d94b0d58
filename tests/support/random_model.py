"""Models for tests whose weights matter less than that there are some."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.model.mamba import MambaLOB, abstract_model
from nanoarb_jax.model.transform import Statistic


def random_model(config: ModelConfig, dtype: jnp.dtype = jnp.float32) -> MambaLOB:
    """A model with every weight and statistic drawn at random, which is quicker than to initialise it."""
    model, rng = abstract_model(config, dtype), np.random.default_rng(1)

    def draw(leaf: Any) -> jax.Array:
        scale = leaf.shape[-2] ** -0.5 if leaf.ndim > 1 else 0.3
        return jnp.asarray(scale * rng.normal(size=leaf.shape), jnp.float32)

    nnx.update(model, jax.tree.map(draw, nnx.state(model, nnx.Param)))
    if config.input_transform != "identity":
        channels = model.transform.output_dim
        model.transform.mean = Statistic(jnp.asarray(rng.normal(size=channels), jnp.float32))
        model.transform.std = Statistic(jnp.asarray(rng.uniform(0.5, 2.0, channels), jnp.float32))
    return model
