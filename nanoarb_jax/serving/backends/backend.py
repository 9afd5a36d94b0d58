"""What a backend offers: a pure step and its state, for one stream or for many instruments."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Backend(Protocol):
    """What a step backend offers `StepPredictor`.

    Attributes:
        features: per tick.
        window: ticks until a fresh state is trusted.
        version: of the weights.
    """

    features: int
    window: int
    version: str

    def step(self, features: np.ndarray) -> np.ndarray:
        """Advance the state by one tick, (f,) float32 → probabilities (h, c) float32."""

    def scan(self, features: np.ndarray) -> np.ndarray:
        """Advance the state by n ticks, (n, f) float32 → probabilities (n, h, c): what n steps would give."""

    def reset(self) -> None:
        """Back to the state before the first tick."""

    def state(self) -> np.ndarray:
        """The state as one flat float32 array, a copy, in an order that all backends share.

        Raw features of the previous tick (f), 1 once a tick was seen (else 0), each layer's last convolution inputs
        (k-1, d), each layer's SSM state (n, d).
        """

    def set_state(self, state: np.ndarray) -> None:
        """Take over a state that `state` gave."""


class BatchBackend(Protocol):
    """What a backend for many instruments offers `MicroBatcher`: a table of states, one row for each.

    Attributes:
        features, window, version: see `Backend`.
        instruments: rows of the table.
        batch: most rows of one call.
    """

    features: int
    window: int
    version: str
    instruments: int
    batch: int

    def step(self, rows: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Advance some rows by one tick each.

        Args:
            rows: (r,) int, none twice, at most `batch`.
            features: (r, f) float32, theirs.

        Returns:
            probabilities (r, h, c) float32.
        """

    def reset(self, row: int) -> None:
        """Put a row back to the state before the first tick."""
