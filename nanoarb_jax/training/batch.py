"""The rows of an update, gathered on the device from the training rows that lie there, as the plan says."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nanoarb_jax.config import TrainConfig
from nanoarb_jax.data.labels import UNDEFINED, UP
from nanoarb_jax.features.feature_set import mirror_of


class TrainingRows(NamedTuple):
    """Training rows of several streams end to end: n rows, f features, h horizons."""

    features: Any  # (n, f) float32, raw
    labels: Any  # (n, h) int8
    weights: Any  # (n, h) float32, of the label in the loss


class Picks(NamedTuple):
    """Which rows the s lanes of an update are shown; with a leading axis, those of several updates."""

    start: Any  # (s,) int32, first row of the lane
    mirrored: Any  # (s,) bool, bid and ask swapped, labels flipped
    reference: Any  # (s,) float32, price that a mirrored lane is reflected about
    age: Any  # (s,) int32, ticks since the lane's state started anew; 0: it does so now


class Batch(NamedTuple):
    """The rows of an update: s lanes, l ticks."""

    features: Any  # (s, l, f) float32
    labels: Any  # (s, l, h) int32
    weights: Any  # (s, l, h) float32
    fresh: Any  # (s,) bool, the lane's state starts anew
    counted: Any  # (s, l) bool, the tick counts in the loss: the burn-in of its lane is over


def gather(rows: TrainingRows, picks: Picks, ticks: int, config: TrainConfig) -> Batch:
    """Read the rows of one update; inside jit, from rows on the device.

    Args:
        rows, picks: from a `Source`.
        ticks: rows per lane.
        config: burn-in, and whether to heed `picks.mirrored`.
    """
    tick = jnp.arange(ticks)[None]
    at = picks.start[:, None] + tick  # (s, l)
    x, y, weights = (column.at[at].get(mode="promise_in_bounds") for column in rows)
    y = y.astype(jnp.int32)
    if config.mirror:
        flipped = picks.mirrored[:, None, None]
        x = jnp.where(flipped, _mirrored(x, picks.reference), x)
        y = jnp.where(flipped & (y != UNDEFINED), UP - y, y)
    return Batch(x, y, weights, picks.age == 0, picks.age[:, None] + tick >= config.burn_in)


def _mirrored(x: jax.Array, reference: jax.Array) -> jax.Array:
    """The same as `mirror_features`, bit for bit: for float32 prices, both round the mirrored price only once."""
    order, sign = mirror_of(x.shape[-1])
    prices = 2 * reference[:, None, None] - x[..., :2]
    return jnp.concatenate([prices, x[..., order[2:]] * sign[None, None, 2:]], axis=-1)
