"""A gated recurrent unit in the place of the Mamba block, for the ablation: does the selective scan earn its place?"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.model.mamba import BlockState

UNITS = 20  # with them it has as many weights as the Mamba block of `nano`: 2,600 against 2,592


class GRUBlock(nnx.Module):
    """GRU (Cho et al. 2014) and an output projection, called as a `MambaBlock` is.

    Its hidden values lie where the first SSM state of as many channels does.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs, dtype: jnp.dtype):
        f, h = config.hidden_dim, UNITS
        bound = 1 / math.sqrt(h)

        def uniform(*shape: int) -> nnx.Param:
            return nnx.Param(jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound))

        self.kernel_in, self.kernel_state = uniform(f, 3 * h), uniform(h, 3 * h)
        self.bias_in, self.bias_state = uniform(3 * h), uniform(3 * h)
        self.kernel_out = uniform(h, f)

    def scan(
        self, x: Float[Array, "l b f"], state: BlockState, checkpoint_ticks: int | None = None
    ) -> tuple[Float[Array, "l b f"], BlockState]:
        """A sequence at once, tick by tick."""
        inputs = x @ self.kernel_in[...] + self.bias_in[...][None, None]
        kernel, bias = self.kernel_state[...], self.bias_state[...][None]

        def recur(hidden: jax.Array, given: jax.Array) -> tuple[jax.Array, jax.Array]:
            reset, update, candidate = jnp.split(given, 3, axis=-1)
            recurrent = jnp.split(hidden @ kernel + bias, 3, axis=-1)
            update = jax.nn.sigmoid(update + recurrent[1])
            candidate = jnp.tanh(candidate + jax.nn.sigmoid(reset + recurrent[0]) * recurrent[2])
            hidden = (1 - update) * candidate + update * hidden
            return hidden, hidden

        last, outputs = jax.lax.scan(recur, state.ssm[:, 0, :UNITS], inputs, unroll=8)
        return outputs @ self.kernel_out[...], BlockState(state.conv, state.ssm.at[:, 0, :UNITS].set(last))
