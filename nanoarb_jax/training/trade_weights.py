"""What each label weighs in the loss: with the cost-aware loss the more, the more a trade there could have earned.

    gain   = max(|move| - spread - fees - slippage, 0)   in ticks; nobody has to make a trade that does not pay
    weight = (1 + f(gain / mean gain)) / mean weight     f is `train.magnitude_weight`

Both means are of one stream and horizon, over its training rows: the mean gain of those whose trades pay, so that the
size of an instrument's tick does not matter, and the mean weight of all, so that no stream counts more than its rows
and the learning rate keeps its meaning. Weights tilt the probabilities towards up and down; `calibrate` undoes that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import TrainConfig
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.data.streams import Stream

CHUNK_ROWS = 1 << 20  # worked through at a time

# rows of a stream -> (n, h) float32
RowWeights = Callable[[slice], NDArray[np.float32]]


def make_row_weights(stream: Stream, config: TrainConfig) -> RowWeights:
    """Measure a stream's training rows and build `(some of its rows) -> weights of their labels (n, h)`."""
    if config.loss == "cross-entropy":
        return lambda rows: np.ones_like(stream.moves[rows])
    unit = _mean_gain(stream, config)
    mean = _mean_weights(stream, unit, config)
    return lambda rows: _weights(stream, rows, unit, config) / mean


def gains(stream: Stream, at: slice, config: TrainConfig) -> NDArray[np.float32]:
    """What a trade in the direction of the move could have earned after costs, (n, h) in ticks, at least 0."""
    spread = np.maximum(stream.spread[at], 0.0)  # some datasets hold normalised prices, whose spread means nothing
    costs = spread[:, None] + np.float32(config.fee_ticks + config.slippage_ticks)
    return np.maximum(np.abs(stream.moves[at]) - costs, 0.0)


def _weights(stream: Stream, at: slice, unit: NDArray[np.float32], config: TrainConfig) -> NDArray[np.float32]:
    """1 + f(gain / unit), (n, h)."""
    relative = gains(stream, at, config) / unit
    if config.magnitude_weight == "capped":
        return 1.0 + np.minimum(relative, np.float32(config.magnitude_cap))
    return 1.0 + (np.sqrt if config.magnitude_weight == "root" else np.log1p)(relative)


def _mean_gain(stream: Stream, config: TrainConfig) -> NDArray[np.float32]:
    """Mean gain of the training rows whose trades pay, (h,) in ticks; 1 where none pays."""
    total, count = np.zeros((2, stream.moves.shape[1]))
    for at in _chunks(stream):
        gain = gains(stream, at, config)
        total, count = total + gain.sum(axis=0, dtype=np.float64), count + (gain > 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), 1.0).astype(np.float32)


def _mean_weights(stream: Stream, unit: NDArray[np.float32], config: TrainConfig) -> NDArray[np.float32]:
    """Mean of `_weights` over the training rows with a known label, (h,); 1 where there is none."""
    total, count = np.zeros((2, stream.moves.shape[1]))
    for at in _chunks(stream):
        known = stream.labels[at] != UNDEFINED
        total = total + (known * _weights(stream, at, unit, config)).sum(axis=0, dtype=np.float64)
        count = count + known.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), 1.0).astype(np.float32)


def _chunks(stream: Stream) -> Iterator[slice]:
    """The training rows, some at a time."""
    first, stop = stream.train
    return (slice(start, min(start + CHUNK_ROWS, stop)) for start in range(first, stop, CHUNK_ROWS))
