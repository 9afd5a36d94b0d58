"""A path opened with a backend: the only place that knows every backend and every kind of file.

JAX is imported only where a checkpoint is read: an exported file is served without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nanoarb_jax.errors import ConfigError, ExportError
from nanoarb_jax.serving.backends.backend import Backend, BatchBackend

if TYPE_CHECKING:
    from nanoarb_jax.artifacts.card import ModelCard

STEP_BACKENDS = ("native", "jax", "onnx")
BATCH_BACKENDS = ("native", "jax")


def open_step(path: str | Path, backend: str, precision: str) -> Backend:
    """The step backend of `StepPredictor.load`, compiled and in the state before the first tick; see there."""
    path = Path(path)
    _check_backend(backend, STEP_BACKENDS)
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


def open_batch(path: str | Path, backend: str, instruments: int, batch: int) -> BatchBackend:
    """The backend of `MicroBatcher.load`, compiled and every row in the state before the first tick; see there."""
    _check_backend(backend, BATCH_BACKENDS)
    if backend == "jax":
        from nanoarb_jax.serving.backends.jax.batch import JaxBatch  # isort: skip – sets JAX up before anything computes
        from nanoarb_jax.artifacts.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(path)
        return JaxBatch(checkpoint.model, checkpoint.version, instruments, batch)
    from nanoarb_jax.artifacts.checkpoint import load_checkpoint, named_arrays
    from nanoarb_jax.serving.backends.native import pack
    from nanoarb_jax.serving.backends.native.batch import NativeBatch

    checkpoint = load_checkpoint(path)
    weights = pack(named_arrays(checkpoint.model), checkpoint.config)
    return NativeBatch(weights, checkpoint.config, checkpoint.version, instruments, batch)


def read_card(path: str | Path, backend: str) -> ModelCard:
    """What a checkpoint or an exported file says of its model; the model itself is not loaded.

    Args:
        path: checkpoint folder, output folder of a training run, or exported file.
        backend: that the file is for: "onnx", or "native".

    Raises:
        CheckpointError, ExportError: missing, damaged, or made for something else.
    """
    path = Path(path)
    if not path.is_file():
        from nanoarb_jax.artifacts.checkpoint import find_checkpoint, read_manifest

        return read_manifest(find_checkpoint(path)).card
    if backend == "onnx":
        from nanoarb_jax.serving.backends.onnx.file import read_model

        return read_model(path)[1]
    from nanoarb_jax.serving.backends.native.file import read_native_file

    return read_native_file(path).card


def _check_backend(backend: str, known: tuple[str, ...]) -> None:
    if backend not in known:
        raise ConfigError(f"backend {backend!r}: expected one of {', '.join(known)}")
