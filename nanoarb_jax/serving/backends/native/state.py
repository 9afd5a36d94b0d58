"""From the packed state of the native step to the flat state that every backend can read, and back.

packed    see `layout.StateOffsets`: whole vectors, h in the order in which the kernel walks through it
flat      previous (f), flag, the tails of all layers (k-1, d), h of all layers (n, d); nothing padded
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import DataError
from nanoarb_jax.serving.backends.native.layout import state_offsets, whole
from nanoarb_jax.serving.backends.native.simd import LANES
from nanoarb_jax.serving.backends.native.weights import header_of


class Views(NamedTuple):
    """Parts of a packed state, as views."""

    flag: NDArray[np.float32]  # (1,)
    previous: NDArray[np.float32]  # (f,)
    tails: list[NDArray[np.float32]]  # (k-1, inner) each
    recurrences: list[NDArray[np.float32]]  # (inner/16, n, 16) each


def views(packed: NDArray[np.float32], config: ModelConfig) -> Views:
    """Where things are in a packed state."""
    at, inner = state_offsets(header_of(config, "fp32")), whole(config.d_inner)  # alike in every precision
    layers = [packed[at.layers + i * at.layer_stride :][: at.layer_stride] for i in range(config.num_layers)]
    tails: list[NDArray[np.float32]] = [layer[at.tail : at.recurrence].reshape(-1, inner) for layer in layers]
    recurrences: list[NDArray[np.float32]] = [
        layer[at.recurrence :].reshape(-1, config.d_state, LANES) for layer in layers
    ]
    previous = packed[at.previous :][: config.input_dim]
    return Views(packed[at.flag :][:1], previous, tails, recurrences)


def flat_state(packed: NDArray[np.float32], config: ModelConfig) -> NDArray[np.float32]:
    """The flat state (floats,) of a packed one, a copy."""
    met, used = views(packed, config), config.d_inner
    tails = [tail[:, :used] for tail in met.tails]
    recurrences = [h.swapaxes(0, 1).reshape(config.d_state, -1)[:, :used] for h in met.recurrences]
    return np.concatenate([np.ravel(part) for part in (met.previous, met.flag, *tails, *recurrences)])


def unflatten_state(flat: NDArray[np.float32], packed: NDArray[np.float32], config: ModelConfig) -> None:
    """Overwrite a packed state with a flat one.

    Raises:
        DataError: of another shape or dtype, or not finite; the packed state stays as it was.
    """
    used, taps, states = config.d_inner, config.d_conv - 1, config.d_state
    sizes = [config.input_dim, 1, *[taps * used] * config.num_layers, *[states * used] * config.num_layers]
    if flat.shape != (sum(sizes),) or flat.dtype != np.float32 or not np.isfinite(flat).all():
        raise DataError(f"state {flat.dtype}{flat.shape}: expected finite float32{(sum(sizes),)}")
    packed[:] = 0
    met = views(packed, config)
    previous, flag, *rest = np.split(flat, np.cumsum(sizes)[:-1])
    met.previous[:], met.flag[:] = previous, flag
    for tail, values in zip(met.tails, rest[: config.num_layers], strict=True):
        tail[:, :used] = values.reshape(taps, used)
    for h, values in zip(met.recurrences, rest[config.num_layers :], strict=True):
        padded = np.zeros((states, whole(used)), np.float32)
        padded[:, :used] = values.reshape(states, used)
        h[:] = padded.reshape(states, -1, LANES).swapaxes(0, 1)
