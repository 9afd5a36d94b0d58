"""The predictor that every backend shares: one tick in, one `Prediction` out.

A backend is a pure step and its state; the predictor around it checks the features, counts ticks, and makes
a `Prediction` of the probabilities.
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line
from nanoarb_jax.serving.backends.backend import Backend
from nanoarb_jax.serving.loading import open_step
from nanoarb_jax.serving.prediction import NotPickled, Prediction, check_features, check_many, make_prediction

SNAPSHOT_FORMAT = 1


class StepPredictor(NotPickled):
    """Predict tick by tick: each `update` is one state update, whatever the length of the past.

    One object serves one stream and one thread: nothing in it is locked.

    Attributes:
        warm_up: ticks until a fresh state is trusted.
        ticks: read since the state was fresh.
        load_seconds: what reading and compiling took; None if it was not loaded but made of a backend.

    Example:
        >>> ticks = nj.open_dataset("books", nj.DataConfig(feature_set="flow")).streams[0].features  # (n, f)
        >>> predictor = nj.StepPredictor.load("checkpoints/small")
        >>> for features in ticks[:200]:  # raw features of the book, every tick
        ...     prediction = predictor.update(features)
        >>> prediction.ready, prediction.probabilities.shape
        (True, (3, 3))
    """

    def __init__(self, backend: Backend):
        self._backend = backend
        self.version = backend.version
        self.features, self.warm_up = backend.features, backend.window
        self.ticks = 0
        self.load_seconds: float | None = None

    @classmethod
    def load(cls, path: str | Path, backend: str = "native", precision: str = "fp32") -> StepPredictor:
        """Load and compile: the first tick is as fast as any.

        Args:
            path: checkpoint folder, or the output folder of a training run; for "native" and "onnx" also a file of
                `export --kind native` or `export --kind step`, which is read without JAX.
            backend: "native" (the compiled step), "jax", or "onnx" (an exported file in onnxruntime).
            precision: of the native step's matrices: "fp32", "bf16" or "int8". Exported files have theirs in them.

        Raises:
            ConfigError: no such backend or precision, or one that does not fit the other or the path.
            CheckpointError: see `load_checkpoint`.
            ExportError: an exported file that is missing, damaged or of another kind.
        """
        began = time.perf_counter()
        opened = open_step(path, backend, precision)
        first = opened.step(np.zeros(opened.features, np.float32))
        make_prediction(first, False, opened.version)  # compiled now, not at the first tick
        opened.reset()
        predictor = cls(opened)
        predictor.load_seconds = time.perf_counter() - began
        return predictor

    def update(self, features: ArrayLike) -> Prediction:
        """Read one tick.

        Args:
            features: (f,) raw features.

        Returns:
            the prediction; `ready` once `warm_up` ticks were read.

        Raises:
            DataError: wrong count, NaN or infinity. The state stays as it was.
        """
        probabilities = self._backend.step(check_features(features, self._backend.features))
        self.ticks += 1
        return make_prediction(probabilities, self.ticks >= self.warm_up, self.version)

    def score(self, features: ArrayLike) -> np.ndarray:
        """Read many ticks at once: the probabilities that `update` would give at each, for replays and studies.

        Args:
            features: (n, f) raw features, in order.

        Returns:
            (n, h, c) float32 probabilities; the state is that after the last tick.

        Raises:
            DataError: wrong shape, NaN or infinity. The state stays as it was.
        """
        x = check_many(features, self._backend.features)
        probabilities = self._backend.scan(x)
        self.ticks += len(x)
        return probabilities

    def reset(self) -> None:
        """Forget the stream: a new session or instrument begins."""
        self._backend.reset()
        self.ticks = 0

    def snapshot(self) -> bytes:
        """The whole state, to `restore` in another process; a numpy archive, nothing pickled."""
        buffer = io.BytesIO()
        state = self._backend.state()
        np.savez(buffer, format=SNAPSHOT_FORMAT, version=self.version, ticks=self.ticks, state=state)
        return buffer.getvalue()

    def restore(self, blob: bytes) -> None:
        """Take over a snapshot: the next update is what it would have been there.

        Raises:
            DataError: damaged, or of other weights. The state stays as it was.
        """
        try:
            with np.load(io.BytesIO(blob), allow_pickle=False) as file:
                layout, version = int(file["format"]), str(file["version"])
                ticks, state = int(file["ticks"]), file["state"]
            if ticks < 0:
                raise ValueError(f"{ticks} ticks")
        except Exception as error:  # numpy and zipfile raise many kinds on bytes that are not, or no longer, an archive
            raise DataError(
                f"snapshot: damaged ({first_line(error)}); give the bytes that snapshot() returned"
            ) from error
        if layout != SNAPSHOT_FORMAT or version != self.version:
            raise DataError(
                f"snapshot: weights {version!r}, format {layout}; expected {self.version!r}, {SNAPSHOT_FORMAT}; "
                "load the model it was taken from"
            )
        self._backend.set_state(state)
        self.ticks = ticks
