"""The model's first stage: raw features to stationary inputs, of `flow` without units.

A price of 4,800 dollars or a queue of 300 contracts means nothing to a model that must also read bitcoin. `flow`
measures quantities and moves by the scales of the instrument that its features carry, and knows neither the level of
the price nor a unit. `lob44` has no such scales: its moves are shares of the price, so that prices shifted by a
constant look otherwise to it. What scale is left is removed with the mean and standard deviation of the training rows,
frozen into the model. The only memory is the previous tick, and it is part of the model's state, so that a step sees
what a scan sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

if TYPE_CHECKING:
    from jaxtyping import Array, Float

LEVELS = 10
# relative price changes, of `lob44`, are counted in units of a hundredth of a basis point
PRICE_UNIT = 1e-6
# inputs further out than this many standard deviations say no more than "very far"
CLIP = 8.0
# standard deviation of a channel that never moved in training: it stays at 0 also where it moves later, since the model
# has not learned what that means (signed trades, of books without trades)
INERT = 1e12
_TINY = 1e-12
# The logged channels of `flow_channels`: column, factor, unit (0 spread scale, 1 none). Columns are the features, then
# the changes of microprice and spread, and the order flow of 5 and of 10 levels.
_MICROPRICE_MOVE, _SPREAD_CHANGE, _FLOW_5, _FLOW_10 = range(101, 105)
_LOGGED = (
    (_MICROPRICE_MOVE, 4, 0),
    (_SPREAD_CHANGE, 20, 0),
    (84, 1, 0),  # mid change
    (44, 4, 0),  # microprice above mid
    (2, 20, 0),  # spread
    (83, 1000, 0),  # volatility
    (85, 1, 1),  # spread scale
    (81, 1000, 1),  # time since the last tick
    (4, 100, 1),  # bid quantity, level 0
    (5, 100, 1),  # level 1
    (14, 100, 1),  # ask quantity, level 0
    (15, 100, 1),  # level 1
    (45, 1, 1),  # order flow imbalance, level 0
    (46, 1, 1),  # level 1
    (47, 1, 1),  # level 2
    (_FLOW_5, 1, 1),
    (_FLOW_10, 1, 1),
    (55, 1, 1),  # signed volume
    (56, 1, 1),  # volume
    *((column, 1, 1) for column in range(86, 101)),  # what followed books like this one
)
_COLUMN, _FACTOR, _UNIT = (np.array(of, np.int32) for of in zip(*_LOGGED, strict=True))


class Statistic(nnx.Variable):
    """A frozen training statistic: saved and served with the weights, never trained."""


def signed_log(x: Float[Array, ...]) -> Float[Array, ...]:
    """sign(x) · log(1 + |x|): heavy tails in, bell shapes out; odd, so that mirrored markets mirror."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def lob44_channels(x: Float[Array, "... 44"], previous: Float[Array, "... 44"]) -> Float[Array, "... 55"]:
    """Channels of one tick of `lob44` features and the tick before it, moves as shares of the price.

    Args:
        x: raw features, order as in `nanoarb_jax.features.lob44`.
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


def flow_channels(x: Float[Array, "... 101"], previous: Float[Array, "... 101"]) -> Float[Array, "... 50"]:
    """Channels of one tick of `flow` features and the tick before it, in the scales of the instrument.

    None knows the level of the price, nor the units of price and quantity: moves are in spread scales, quantities in
    quantity scales. Few ones on purpose: the 40 quantities of a book and their changes are what a model overfits to
    first.

    Args:
        x: raw features, order as in `nanoarb_jax.features.flow`.
        previous: those of the previous tick; `x` itself where there is none.

    Returns:
        Channels: 0 change of the microprice · 1 change of spread · 2 mid change · 3 microprice above mid · 4 spread ·
        5 volatility · 6 spread scale, in ticks · 7 time since the last tick · 8–11 bid and ask quantity at levels 0 and
        1 · 12–16 order flow imbalance of levels 0, 1, 2, 0–4 and 0–9 · 17 signed volume · 18 volume · 19–33 what
        followed books like this one · 34–43 cumulative imbalance per depth · 44–49 what happened. 0–33 are logarithms,
        whose factors say where they begin to bend.
    """
    bid_depth, ask_depth, order_flow = x[..., 24:34], x[..., 34:44], x[..., 45:55]
    scale = jnp.abs(x[..., 85:86]) + _TINY
    units = jnp.concatenate([scale, jnp.ones_like(scale)], axis=-1)
    columns = [
        x,
        x[..., 84:85] + x[..., 44:45] - previous[..., 44:45],
        x[..., 2:3] - previous[..., 2:3],
        jnp.sum(order_flow[..., :5], axis=-1, keepdims=True),
        jnp.sum(order_flow, axis=-1, keepdims=True),
    ]
    # taken by tables: a compiled step would run a kernel for every slice
    factor = jnp.reshape(jnp.asarray(_FACTOR), (1,) * (x.ndim - 1) + (-1,))
    logged = factor * jnp.take(jnp.concatenate(columns, axis=-1), _COLUMN, axis=-1) / jnp.take(units, _UNIT, axis=-1)
    imbalance = (bid_depth - ask_depth) / (jnp.abs(bid_depth) + jnp.abs(ask_depth) + _TINY)
    return jnp.concatenate([signed_log(logged), imbalance, x[..., 75:81]], axis=-1)


CHANNEL_FUNCTIONS = {"lob44": lob44_channels, "flow": flow_channels}


def _channels(kind: str, features: int) -> int:
    """How many channels a feature set gives."""
    tick = jax.ShapeDtypeStruct((features,), jnp.float32)
    return jax.eval_shape(CHANNEL_FUNCTIONS[kind], tick, tick).shape[0]


class InputTransform(nnx.Module):
    """Channels of a feature set, standardised and clipped; or nothing at all (`identity`).

    Args:
        kind: "lob44", "flow" or "identity".
        input_dim: raw features per tick.
    """

    def __init__(self, kind: str, input_dim: int):
        self.kind = kind
        self.output_dim = input_dim if kind == "identity" else _channels(kind, input_dim)
        if kind != "identity":
            self.mean = Statistic(jnp.zeros(self.output_dim))
            self.std = Statistic(jnp.ones(self.output_dim))

    def __call__(self, x: Float[Array, "... f"], previous: Float[Array, "... f"]) -> Float[Array, "... g"]:
        """Model inputs of a tick from its raw features and those of the tick before."""
        if self.kind == "identity":
            return x
        channels = CHANNEL_FUNCTIONS[self.kind](x, previous)
        lead = (1,) * (channels.ndim - 1)
        mean, std = (jnp.reshape(s[...], (*lead, -1)) for s in (self.mean, self.std))
        return jnp.clip((channels - mean) / std, -CLIP, CLIP)

    def fit(self, mean: jax.Array, std: jax.Array) -> None:
        """Set the training statistics of the channels; one that never moves becomes `INERT`."""
        if self.kind == "identity":
            return
        self.mean[...] = jnp.asarray(mean, jnp.float32)
        self.std[...] = jnp.where(jnp.asarray(std) > 1e-6, jnp.asarray(std), INERT).astype(jnp.float32)
