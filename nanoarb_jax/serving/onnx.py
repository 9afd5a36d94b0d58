"""The window model in onnxruntime, fed tick by tick. Imports no JAX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from nanoarb_jax.errors import ExportError
from nanoarb_jax.market.features import FEATURE_NAMES, FEATURE_SCHEMA
from nanoarb_jax.serving.onnx_file import ModelInfo, load_session, read_model
from nanoarb_jax.serving.predictor import Prediction, check_features, make_prediction

if TYPE_CHECKING:
    import onnxruntime


class WindowPredictor:
    """Predict tick by tick by running the window model over the last L ticks.

    The features of a tick are taken once and kept in a ring buffer. A window that is not yet full repeats its first
    tick at the old end; until it is full, `ready` is False.

    Example:
        >>> predictor = WindowPredictor.load("model.onnx")
        >>> prediction = predictor.update(features)  # (44,) raw features of the book, every tick
    """

    def __init__(self, session: onnxruntime.InferenceSession, info: ModelInfo):
        self._session = session
        self.features, self.warm_up, self.version = len(info.feature_names), info.window, info.version
        # every tick is written twice, a window apart: the last L ticks are then always one contiguous slice
        self._ring = np.zeros((2 * self.warm_up, self.features), np.float32)
        self.reset()

    @classmethod
    def load(cls, path: str | Path) -> WindowPredictor:
        """Open a file written by `export --kind window` and run it once, so that the first tick is as fast as any.

        Raises:
            ExportError: missing, truncated, altered, not a window model, or made for other features.
        """
        content, info = read_model(path)
        if info.kind != "window":
            raise ExportError(f"{path}: a {info.kind} model, expected a window one; export it with --kind window")
        if info.feature_schema == FEATURE_SCHEMA and info.feature_names != FEATURE_NAMES:
            raise ExportError(
                f"{path}: made for other {FEATURE_SCHEMA} features than this version computes; export it anew"
            )
        predictor = cls(load_session(content, path), info)
        predictor._run()
        return predictor

    def update(self, features: ArrayLike) -> Prediction:
        """Read one tick; see `StepPredictor.update`."""
        x = check_features(features, self.features)
        if self.ticks == 0:
            self._ring[:] = x
        slot = self.ticks % self.warm_up
        self._ring[slot] = self._ring[slot + self.warm_up] = x
        self.ticks += 1
        return make_prediction(self._run(), self.ticks >= self.warm_up, self.version)

    def reset(self) -> None:
        """Forget the stream: a new session or instrument begins."""
        self.ticks = 0

    def _run(self) -> np.ndarray:
        """Probabilities (h, c) of the window that ends with the newest tick."""
        oldest = self.ticks % self.warm_up
        window = self._ring[oldest : oldest + self.warm_up]
        (probabilities,) = self._session.run(["probabilities"], {"features": window[None]})
        return probabilities[0]
