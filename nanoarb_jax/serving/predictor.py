"""The predictor that every backend shares: one tick in, one `Prediction` out.

A backend is a pure step and its state; this shell validates, counts ticks, and names what comes out. JAX is imported
only where a checkpoint is read: an exported file is served without it.
"""

from __future__ import annotations

import io
import math
import time
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from nanoarb_jax.errors import ConfigError, DataError, ExportError

BACKENDS = ("native", "jax", "onnx")
SNAPSHOT_FORMAT = 1


class Prediction(NamedTuple):
    """Where the price goes, per horizon.

    direction (h,) int8: -1 down, 0 neutral, +1 up, the most probable · confidence (h,) float32: its probability ·
    probabilities (h, c) float32: down, neutral, up, summing to 1 · ready: enough ticks were seen to trust it ·
    version: of the weights.
    """

    direction: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray
    ready: bool
    version: str


def make_prediction(probabilities: np.ndarray, ready: bool, version: str) -> Prediction:
    """Name the parts of (h, c) probabilities."""
    horizons = len(probabilities)
    direction, confidence = np.empty(horizons, np.int8), np.empty(horizons, np.float32)
    _most_probable(probabilities, direction, confidence)
    return Prediction(direction, confidence, probabilities, ready, version)


def name_first_prediction(backend: Backend) -> None:
    """Make one prediction and forget it, so that everything is compiled before the first tick."""
    make_prediction(backend.step(np.zeros(backend.features, np.float32)), False, backend.version)
    backend.reset()


@njit(cache=True)
def _most_probable(probabilities, direction, confidence):  # type: ignore[no-untyped-def]
    """Of each row the first largest class, as -1, 0, 1, and its probability; numpy's calls take four times as long."""
    for h in range(probabilities.shape[0]):
        best = 0
        for c in range(1, probabilities.shape[1]):
            if probabilities[h, c] > probabilities[h, best]:
                best = c
        direction[h], confidence[h] = best - 1, probabilities[h, best]


def check_features(features: ArrayLike, expected: int) -> np.ndarray:
    """One tick's features as (f,) float32.

    Raises:
        DataError: no numbers, wrong count, or NaN or infinity.
    """
    x = features if isinstance(features, np.ndarray) and features.dtype == np.float32 else _as_float32(features)
    if x.shape != (expected,):
        raise DataError(
            f"features of shape {x.shape}: expected ({expected},), one tick of the features that the model reads"
        )
    if not x.flags.carray:  # compiled code reads it as it lies
        x = x.copy()
    # one sum of squares costs half of isfinite over all; it may overflow, so its verdict is looked into
    if not math.isfinite(x.dot(x)):
        strange = np.flatnonzero(~np.isfinite(x))
        if strange.size:
            i = int(strange[0])
            raise DataError(f"features[{i}]={x[i]}: expected finite float32 values; skip this tick or mend the feed")
    return x


def _as_float32(features: ArrayLike) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
            return np.asarray(features, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"features: expected the numbers of one tick ({error}); mend the feed") from error


class Backend(Protocol):
    """What a step backend offers the shell."""

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


class StepPredictor:
    """Predict tick by tick: each `update` is one state update, whatever the length of the past.

    Attributes:
        load_seconds: what reading and compiling took; None if it was not loaded but made of a backend.

    Example:
        >>> predictor = StepPredictor.load("checkpoints/small")
        >>> prediction = predictor.update(features)  # (f,) raw features of the book, every tick
        >>> if prediction.ready and prediction.confidence[0] > 0.6: ...
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
        opened = _open(Path(path), backend, precision)
        name_first_prediction(opened)
        predictor = cls(opened)
        predictor.load_seconds = time.perf_counter() - began
        return predictor

    def update(self, features: ArrayLike) -> Prediction:
        """Read one tick.

        Args:
            features: (f,) raw features.

        Returns:
            the prediction; `ready` from the tick that fills the warm-up on.

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
        x = features if isinstance(features, np.ndarray) and features.dtype == np.float32 else _as_float32(features)
        if x.ndim != 2 or x.shape[1] != self._backend.features:
            raise DataError(f"features of shape {x.shape}: expected (n, {self._backend.features}), a row per tick")
        strange = np.argwhere(~np.isfinite(x))
        if len(strange):
            row, i = strange[0]
            raise DataError(f"features[{row}, {i}]={x[row, i]}: expected finite float32 values; leave this tick out")
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
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise DataError(f"snapshot: damaged ({reason}); give the bytes that snapshot() returned") from error
        if layout != SNAPSHOT_FORMAT or version != self.version:
            raise DataError(
                f"snapshot: weights {version!r}, format {layout}; expected {self.version!r}, {SNAPSHOT_FORMAT}; "
                "load the model it was taken from"
            )
        self._backend.set_state(state)
        self.ticks = ticks


def _open(path: Path, backend: str, precision: str) -> Backend:
    """The backend of `StepPredictor.load`, ready for its first tick."""
    if backend not in BACKENDS:
        raise ConfigError(f"backend {backend!r}: expected one of {', '.join(BACKENDS)}")
    if precision != "fp32" and (backend != "native" or path.is_file()):
        met = f"an exported file has its own ({path})" if path.is_file() else f"backend {backend!r} has none"
        raise ConfigError(f"precision {precision!r}: {met}; leave it out")
    if backend == "onnx":
        if path.is_dir():
            raise ExportError(f"{path}: a folder; backend 'onnx' takes a file of nanoarb-jax export --kind step")
        from nanoarb_jax.serving.backends.onnx.step import OnnxStep

        return OnnxStep.load(path)
    if backend == "jax":
        from nanoarb_jax.serving.backends.jax.step import JaxStep  # isort: skip – sets JAX up before anything computes
        from nanoarb_jax.artifacts.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(path)
        return JaxStep(checkpoint.model, checkpoint.version)
    from nanoarb_jax.serving.backends.native import NativeStep

    return NativeStep.load(path, precision)
