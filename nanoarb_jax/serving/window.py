"""The window model in onnxruntime: it reads the last L ticks at every tick and has no state. Imports no JAX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from nanoarb_jax.artifacts.card import ModelCard
from nanoarb_jax.serving.backends.onnx.session import open_session
from nanoarb_jax.serving.prediction import NotPickled, Prediction, check_features, make_prediction

if TYPE_CHECKING:
    import onnxruntime


class WindowPredictor(NotPickled):
    """Predict tick by tick by running the window model over the last L ticks.

    The features of a tick are taken once and kept in a ring buffer. A window that is not yet full repeats its first
    tick at the old end; until it is full, `ready` is False.

    Example:
        >>> predictor = nj.WindowPredictor.load("window.onnx")  # `nanoarb-jax export --kind window`
        >>> features = np.ones(predictor.features, np.float32)  # (f,) raw features of the book, every tick
        >>> predictor.update(features).probabilities.shape
        (3, 3)
    """

    def __init__(self, session: onnxruntime.InferenceSession, card: ModelCard):
        self._session = session
        self.features, self._length, self.version = card.config.input_dim, card.config.window, card.version
        self.warm_up = self._length
        # every tick is written twice, a window apart: the last L ticks are then always one contiguous slice
        self._ring = np.zeros((2 * self._length, self.features), np.float32)
        self.reset()

    @classmethod
    def load(cls, path: str | Path) -> WindowPredictor:
        """Open a file written by `export --kind window` and run it once, so that the first tick is as fast as any.

        Raises:
            ExportError: missing, truncated, altered, not a window model, or made for other features.
        """
        predictor = cls(*open_session(path, "window"))
        make_prediction(predictor._run(), False, predictor.version)  # compiled now, not at the first tick
        return predictor

    def update(self, features: ArrayLike) -> Prediction:
        """Read one tick; see `StepPredictor.update`."""
        x = check_features(features, self.features)
        if self.ticks == 0:
            self._ring[:] = x
        slot = self.ticks % self._length
        self._ring[slot] = self._ring[slot + self._length] = x
        self.ticks += 1
        return make_prediction(self._run(), self.ticks >= self.warm_up, self.version)

    def reset(self) -> None:
        """Forget the stream: a new session or instrument begins."""
        self.ticks = 0

    def _run(self) -> np.ndarray:
        """Probabilities (h, c) of the window that ends with the newest tick."""
        oldest = self.ticks % self._length
        window = self._ring[oldest : oldest + self._length]
        (probabilities,) = self._session.run(["probabilities"], {"features": window[None]})
        return probabilities[0]
