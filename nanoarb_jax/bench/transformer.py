"""A rival for `bench`: a Transformer of the model's size over the same window, or with cached keys and values.

Causal decoder blocks (Vaswani et al. 2017, arXiv:1706.03762) with the layer norm before each part (Xiong et al. 2020,
arXiv:2002.04745). Distances between ticks are linear biases of the attention (ALiBi, Press et al. 2022,
arXiv:2108.12409), so that any window length has the same weights. Input transform and heads are the model's own. It is
given what favours it: half as many layers as the Mamba model has (two where it has two), wider ones, and in the last
layer only the last tick.

Shapes: b batch, l length, w width, a attention heads, f raw features.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.model.mamba import Heads, projection
from nanoarb_jax.model.transform import InputTransform

HEAD_WIDTH = 32
_F32 = jnp.float32


class Cache(NamedTuple):
    """What the Transformer remembers between ticks; the newest tick is number `ticks` - 1."""

    previous: jax.Array  # (b, f) raw features of the previous tick
    keys: jax.Array  # (layers, b, l, w), tick t in slot t mod l
    values: jax.Array  # as keys
    ticks: jax.Array  # () int32


class TransformerBlock(nnx.Module):
    """Attention, then two linear maps with GELU between, each behind a layer norm and beside a residual."""

    def __init__(self, width: int, feed_forward: int, *, rngs: nnx.Rngs):
        self.heads = max(1, width // HEAD_WIDTH)
        self.norm_attention, self.norm_feed = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.query = projection(width, width, False, _F32, rngs)
        self.key_value = projection(width, 2 * width, False, _F32, rngs)
        self.out = projection(width, width, True, _F32, rngs)
        self.up = projection(width, feed_forward, True, _F32, rngs)
        self.down = projection(feed_forward, width, True, _F32, rngs)

    def keys_values(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Of ticks (b, l, w)."""
        keys, values = jnp.split(self.key_value(self.norm_attention(x)), 2, axis=-1)
        return keys, values

    def __call__(self, x: jax.Array, keys: jax.Array, values: jax.Array, ages: jax.Array) -> jax.Array:
        """Ticks (b, q, w) that look at keys and values (b, l, w), `ages` (q, l) ticks old; below 0 is not looked at."""

        def split(y: jax.Array) -> jax.Array:
            return y.reshape(*y.shape[:2], self.heads, -1)

        query, slopes = (
            split(self.query(self.norm_attention(x))),
            2.0 ** (-8 * jnp.arange(1, self.heads + 1) / self.heads),
        )
        scores = jnp.einsum("bqaw,blaw->baql", query, split(keys)) * query.shape[-1] ** -0.5
        bias = jnp.where(ages >= 0, -slopes[:, None, None] * ages[None], -jnp.inf)  # (a, q, l)
        mixed = jnp.einsum("baql,blaw->bqaw", jax.nn.softmax(scores + bias[None]), split(values))
        x = x + self.out(mixed.reshape(x.shape))
        return x + self.down(jax.nn.gelu(self.up(self.norm_feed(x))))


class TransformerLOB(nnx.Module):
    """The Transformer.

    Args:
        config: shape of the model it rivals.
        parameters: of that model; the inner width of the feed-forward maps is chosen to come near it.
    """

    def __init__(self, config: ModelConfig, parameters: int, *, rngs: nnx.Rngs):
        width, layers = config.hidden_dim, max(config.num_layers // 2, min(config.num_layers, 2))
        self.config = config
        self.transform = InputTransform(config.input_transform, config.input_dim)
        self.input_proj = projection(self.transform.output_dim, width, True, _F32, rngs)
        self.heads = Heads(config, rngs=rngs)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        outside = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self, nnx.Param)))
        fixed = 4 * width * width + 6 * width  # a block without its feed-forward maps
        room = ((parameters - outside) // layers - fixed) / (2 * width + 1)
        self.feed_forward = max(8, 8 * round(room / 8))
        self.blocks = nnx.List([TransformerBlock(width, self.feed_forward, rngs=rngs) for _ in range(layers)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits (b, h, c) of the last tick of windows (b, l, f)."""
        previous = jnp.concatenate([x[:, :1], x[:, :-1]], axis=1)
        ages = jnp.arange(x.shape[1])[:, None] - jnp.arange(x.shape[1])[None]  # (l, l)
        x = self.input_proj(self.transform(x, previous))
        for block in self.blocks:
            keys, values = block.keys_values(x)
            if block is self.blocks[-1]:
                x, ages = x[:, -1:], ages[-1:]
            x = block(x, keys, values, ages)
        return self.heads(self.norm(x[:, -1]))

    def initial_cache(self, batch: int, length: int) -> Cache:
        """The cache before the first tick, with room for the last `length`."""
        shape = (len(self.blocks), batch, length, self.config.hidden_dim)
        # two arrays, so that a jitted step may take each over
        keys, values = jnp.zeros(shape), jnp.zeros(shape)
        return Cache(jnp.zeros((batch, self.config.input_dim)), keys, values, jnp.zeros((), jnp.int32))

    def step(self, x_t: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """Logits (b, h, c) of one more tick (b, f): it looks at the cached ticks of every layer and at itself.

        Up to `length` ticks these are the window's logits; later ticks know more than a window, since what is cached
        of old ticks has looked at ticks that are older still.
        """
        length = cache.keys.shape[2]
        slot, slots = cache.ticks % length, jnp.arange(length)
        ages = (slot - slots) % length
        ages = jnp.where(ages <= cache.ticks, ages, -1)[None]  # (1, l): slots that hold nothing yet
        previous = jnp.where(cache.ticks > 0, cache.previous, x_t)
        x = self.input_proj(self.transform(x_t, previous))[:, None]  # (b, 1, w)
        keys, values = cache.keys, cache.values
        for i, block in enumerate(self.blocks):
            key, value = block.keys_values(x)
            keys = jax.lax.dynamic_update_slice(keys, key[None], (i, 0, slot, 0))
            values = jax.lax.dynamic_update_slice(values, value[None], (i, 0, slot, 0))
            x = block(x, keys[i], values[i], ages)
        return self.heads(self.norm(x[:, 0])), Cache(x_t, keys, values, cache.ticks + 1)
