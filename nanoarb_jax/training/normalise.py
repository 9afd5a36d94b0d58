"""Mean and standard deviation of the model's inputs over the training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.features.feature_set import mirror_features
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.model.transform import CHANNEL_FUNCTIONS

CHUNK_ROWS = 65_536  # worked through at a time


def fit_transform(model: MambaLOB, streams: Sequence[Stream]) -> None:
    """Set the statistics of the model's input channels to those of the training rows of all streams.

    Every stream has the same weight, however long it is. Its mirror image is counted too, so that mirroring and
    standardising give the same result in either order.
    """
    if model.transform.kind == "identity":
        return
    channels_of = jax.jit(CHANNEL_FUNCTIONS[model.transform.kind])
    moments = [_moments(stream, channels_of) for stream in streams]
    mean = np.mean([m for m, _ in moments], axis=0)
    square = np.mean([s for _, s in moments], axis=0)
    model.transform.fit(jnp.asarray(mean), jnp.asarray(np.sqrt(np.maximum(square - mean**2, 0.0))))


def _moments(stream: Stream, channels_of: Callable[..., jax.Array]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square of each channel over the training rows and their mirror image, in float64."""
    begin, stop = stream.train
    reference, rows = float(stream.features[0, 0]), 0
    total = square = np.zeros(())
    for start in range(begin, stop, CHUNK_ROWS):
        raw = np.asarray(stream.features[max(start - 1, 0) : min(start + CHUNK_ROWS, stop)])
        for x in (raw, mirror_features(raw, reference)):
            channels = np.asarray(channels_of(x[1:], x[:-1]), np.float64)
            total, square, rows = total + channels.sum(0), square + (channels**2).sum(0), rows + len(channels)
    return total / rows, square / rows
