"""A backend without a model, for tests of what stands around one."""

from __future__ import annotations

import numpy as np

FEATURES, HORIZONS = 4, 3


class FakeBackend:
    """Probabilities that depend on all ticks since the reset, the newest most."""

    def __init__(self, version: str = "fake", window: int = 5, features: int = FEATURES):
        self.version, self.window, self.features = version, window, features
        self._weights = np.random.default_rng(list(version.encode())).normal(size=(features, HORIZONS * 3))
        self.reset()

    def step(self, features: np.ndarray) -> np.ndarray:
        self._state = 0.7 * self._state + features
        logits = np.exp(np.tanh(self._state @ self._weights)).reshape(HORIZONS, 3)
        return (logits / logits.sum(axis=1, keepdims=True)).astype(np.float32)

    def reset(self) -> None:
        self._state = np.zeros(self.features)

    def state(self) -> np.ndarray:
        return self._state.astype(np.float32)

    def set_state(self, state: np.ndarray) -> None:
        self._state = state.astype(float)
