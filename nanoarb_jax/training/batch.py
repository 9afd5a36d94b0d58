"""The rows of one update, read from the streams as the plan says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nanoarb_jax.config import TrainConfig
from nanoarb_jax.dataset import Stream
from nanoarb_jax.market.labels import mirror_labels
from nanoarb_jax.market.mirror import mirror_features
from nanoarb_jax.training.plan import Plan


class Batch(NamedTuple):
    """What one update is computed from: s lanes, l ticks, f features, h horizons; on the host, inside jit traced.

    Moves and costs are in label thresholds of their stream and horizon, so that instruments weigh alike.
    """

    features: Any  # (s, l, f) float32
    labels: Any  # (s, l, h) int32
    moves: Any  # (s, l, h) float32, signed
    costs: Any  # (s, l, h) float32, of a unit bought and sold again: spread, fees and slippage
    fresh: Any  # (s,) bool, the lane's state starts anew
    counted: Any  # (s, l) bool, the tick counts in the loss: the burn-in of its lane is over


def gather(streams: Sequence[Stream], plan: Plan, update: int, ticks: int, config: TrainConfig) -> Batch:
    """Read the rows of one update.

    Args:
        streams: as numbered in the plan.
        plan, update: the epoch and the update within it.
        ticks: rows per lane.
        config: costs, burn-in, and whether to heed `plan.mirrored`.
    """
    lanes = zip(plan.stream[update], plan.start[update], plan.mirrored[update], strict=True)
    rows = [_lane(streams[index], start, ticks, flip and config.mirror, config) for index, start, flip in lanes]
    features, labels, moves, costs = (np.stack(column) for column in zip(*rows, strict=True))
    counted = plan.age[update][:, None] + np.arange(ticks)[None] >= config.burn_in
    return Batch(features, labels, moves, costs, plan.fresh[update], counted)


def _lane(stream: Stream, start: int, ticks: int, mirrored: bool, config: TrainConfig) -> tuple[np.ndarray, ...]:
    first = stream.train[0] + start
    rows = slice(first, first + ticks)
    threshold = np.asarray(stream.threshold_ticks, np.float32)[None]
    x, y, moves = stream.features[rows], stream.labels[rows], stream.moves[rows]
    if mirrored:
        x, y, moves = mirror_features(x, float(stream.features[0, 0])), mirror_labels(y), -moves
    costs = stream.spread[rows][:, None] + np.float32(config.fee_ticks + config.slippage_ticks)
    return np.asarray(x, np.float32), y.astype(np.int32), moves / threshold, costs / threshold
