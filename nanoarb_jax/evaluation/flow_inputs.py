"""What a model sees of the `flow` features, and its means over the last ticks, for trees, which remember nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.evaluation.baseline_inputs import rows_before
from nanoarb_jax.features.feature_set import feature_set_of

MEAN_TICKS = (5, 20)
BLOCK = 4_096  # rows at a time


def has_flow(stream: Stream) -> bool:
    """Whether a stream's features are the `flow` ones."""
    found = feature_set_of(stream.features.shape[1])
    return found is not None and found.name == "flow"


def flow_inputs(stream: Stream) -> NDArray[np.float32]:
    """A model's input channels at every tick, and their means over the last 5 and 20 ticks.

    A channel of a tick before is one that the model may remember; the mean of a move or of order flow is its sum.

    Args:
        stream: n ticks of the `flow` features.

    Returns:
        (n, 3 g) float32, of g channels.
    """
    channels, first = _channels(stream), stream.session_starts
    sums = np.vstack([np.zeros((1, channels.shape[1])), np.cumsum(channels, axis=0, dtype=np.float64)])
    after = np.arange(stream.rows) + 1
    columns = [channels]
    for ticks in MEAN_TICKS:
        begin = np.maximum(after - ticks, first)
        columns.append(((sums[after] - sums[begin]) / (after - begin)[:, None]).astype(np.float32))
    return np.hstack(columns)


def _channels(stream: Stream) -> NDArray[np.float32]:
    """(n, g) channels of the model's first stage, before it standardises them."""
    import jax

    from nanoarb_jax.model.transform import CHANNEL_FUNCTIONS

    channels, x, before = jax.jit(CHANNEL_FUNCTIONS["flow"]), stream.features, rows_before(stream.session_starts, 1)
    blocks = []
    for begin in range(0, stream.rows, BLOCK):
        # one shape for all, compiled once: past the last row the last repeats
        rows = np.minimum(np.arange(begin, begin + BLOCK), stream.rows - 1)
        blocks.append(np.asarray(channels(x[rows], x[before[rows]])))
    return np.concatenate(blocks)[: stream.rows]
