"""The native backend for many instruments: a table of states, of which some rows are stepped, four at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.serving.backends.native.entry_points import initial_states, step_each


class NativeBatch:
    """One tick of up to `batch` instruments as one compiled call; see `BatchBackend`.

    Args:
        weights: from `pack`.
        config: the model's shape.
        version: of the weights.
        instruments: rows of states.
        batch: most rows of one call.
    """

    def __init__(self, weights: NDArray[np.uint8], config: ModelConfig, version: str, instruments: int, batch: int):
        self.features, self.window, self.version = config.input_dim, config.window, version
        self.instruments, self.batch = instruments, batch
        self._weights, self._horizons = weights, len(config.horizons)
        self._states = initial_states(weights, instruments)
        self.step(np.arange(1), np.zeros((1, self.features), np.float32))  # compiles
        self.reset(0)

    def step(self, rows: NDArray[np.integer], features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `BatchBackend`."""
        probabilities = np.empty((len(rows), self._horizons, 3), np.float32)
        starts = rows.astype(np.int64) * self._states.shape[1]
        step_each(self._weights, self._states, starts, features, probabilities)
        return probabilities

    def reset(self, row: int) -> None:
        """See `BatchBackend`."""
        self._states[row] = 0
