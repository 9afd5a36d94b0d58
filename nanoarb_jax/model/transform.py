"""The model's first stage: raw features to stationary, scale-free inputs.

A price of 4,800 dollars or a queue of 300 contracts means nothing to a model that must also read bitcoin. Every channel
here is a ratio or a relative change, so neither the price level, nor the tick size, nor the quantity unit enters; what
scale is left is removed with the mean and standard deviation of the training rows, frozen into the model. The only
memory is the previous tick, and it is part of the model's state, so that a step sees what a scan sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx

if TYPE_CHECKING:
    from jaxtyping import Array, Float

LEVELS = 10
# relative price changes are counted in units of a hundredth of a basis point
PRICE_UNIT = 1e-6
# inputs further out than this many standard deviations say no more than "very far"
CLIP = 8.0
_TINY = 1e-12


class Statistic(nnx.Variable):
    """A frozen training statistic: saved and served with the weights, never trained."""


def signed_log(x: Float[Array, ...]) -> Float[Array, ...]:
    """sign(x) · log(1 + |x|): heavy tails in, bell shapes out; odd, so that mirrored markets mirror."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def lob44_channels(x: Float[Array, "... 44"], previous: Float[Array, "... 44"]) -> Float[Array, "... 55"]:
    """Scale-free channels of one tick of `lob44` features and the tick before it.

    Args:
        x: raw features, order as in `nanoarb_jax.market.features`.
        previous: those of the previous tick; `x` itself where there is none.

    Returns:
        Channels: 0 microprice return · 1 weighted-mid return · 2 weighted mid above microprice · 3 spread · 4 change of
        spread · 5–14 cumulative imbalance per depth · 15–34 level quantities (bid, ask) over the book's mean level ·
        35–54 their changes. Finite for any input up to 1e20 in size.
    """
    micro, weighted, spread = x[..., 0:1], x[..., 1:2], x[..., 2:3]
    quantities, changes = x[..., 4:24], x[..., 4:24] - previous[..., 4:24]
    bid_depth, ask_depth = x[..., 24:34], x[..., 34:44]
    price = jnp.abs(micro) * PRICE_UNIT + _TINY
    mean_level = (jnp.abs(bid_depth[..., -1:]) + jnp.abs(ask_depth[..., -1:])) / (2 * LEVELS) + _TINY
    imbalance = (bid_depth - ask_depth) / (jnp.abs(bid_depth) + jnp.abs(ask_depth) + _TINY)
    return jnp.concatenate(
        [
            signed_log((micro - previous[..., 0:1]) / price),
            signed_log((weighted - previous[..., 1:2]) / price),
            signed_log((weighted - micro) / price),
            signed_log(spread),
            signed_log(spread - previous[..., 2:3]),
            imbalance,
            signed_log(quantities / mean_level),
            signed_log(changes / mean_level),
        ],
        axis=-1,
    )


class InputTransform(nnx.Module):
    """`lob44_channels`, standardised and clipped; or nothing at all (`identity`).

    Args:
        kind: "lob44" or "identity".
        input_dim: raw features per tick.
    """

    def __init__(self, kind: str, input_dim: int):
        self.kind = kind
        self.output_dim = 55 if kind == "lob44" else input_dim
        if kind == "lob44":
            self.mean = Statistic(jnp.zeros(self.output_dim))
            self.std = Statistic(jnp.ones(self.output_dim))

    def __call__(self, x: Float[Array, "... f"], previous: Float[Array, "... f"]) -> Float[Array, "... g"]:
        """Model inputs of a tick from its raw features and those of the tick before."""
        if self.kind == "identity":
            return x
        channels = lob44_channels(x, previous)
        lead = (1,) * (channels.ndim - 1)
        mean, std = (jnp.reshape(s[...], (*lead, -1)) for s in (self.mean, self.std))
        return jnp.clip((channels - mean) / std, -CLIP, CLIP)

    def fit(self, mean: jax.Array, std: jax.Array) -> None:
        """Set the training statistics of the channels; a channel that never moves keeps its unit scale."""
        if self.kind == "identity":
            return
        self.mean[...] = jnp.asarray(mean, jnp.float32)
        self.std[...] = jnp.where(jnp.asarray(std) > 1e-6, jnp.asarray(std), 1.0).astype(jnp.float32)
