"""The native backend of `StepPredictor`: the compiled step with one stream's state."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import DataError, ExportError
from nanoarb_jax.files import first_line
from nanoarb_jax.serving.backends.native.entry_points import cache_misses, initial_state, step, step_all
from nanoarb_jax.serving.backends.native.file import read_native_file
from nanoarb_jax.serving.backends.native.layout import PRECISIONS, Header, read_header
from nanoarb_jax.serving.backends.native.state import flat_state, unflatten_state
from nanoarb_jax.serving.backends.native.weights import header_of, pack


class NativeStep:
    """The native backend of `StepPredictor`.

    Args:
        weights: from `pack`.
        config: the model's shape.
        version: of the weights.

    Raises:
        DataError: weights that `pack` did not make, or of another shape than the config's.

    Attributes:
        weights, packed_state: what `step` takes, for use in other compiled code.
        compile_seconds: what compiling, or fetching from numba's cache on disk, took.
        compiled_anew: False where the cache had it.
    """

    def __init__(self, weights: NDArray[np.uint8], config: ModelConfig, version: str):
        self.weights, self.config, self.version = weights, config, version
        self.features, self.window, self.horizons = config.input_dim, config.window, len(config.horizons)
        self.precision = _check_shape(read_header(weights), config)
        self.packed_state = initial_state(weights)
        missed, began = cache_misses(), time.perf_counter()
        self.step(np.zeros(self.features, np.float32))
        self.scan(np.zeros((1, self.features), np.float32))
        self.compile_seconds = time.perf_counter() - began
        self.compiled_anew = cache_misses() > missed
        self.reset()

    @classmethod
    def load(cls, path: str | Path, precision: str = "fp32") -> NativeStep:
        """Load and compile.

        Args:
            path: a file of `export --kind native`, which is read without JAX; or a checkpoint folder, or the output
                folder of a training run.
            precision: of a checkpoint's matrices, see `pack`; a file has its own.

        Raises:
            ConfigError, CheckpointError, ExportError: see `StepPredictor.load`.

        Example:
            >>> from nanoarb_jax.serving.backends.native import NativeStep
            >>> native = NativeStep.load("checkpoints/nano")
            >>> native.features, native.window, native.step(np.ones(101, np.float32)).shape
            (101, 100, (3, 3))
        """
        if Path(path).is_file():
            file = read_native_file(path)
            try:
                return cls(file.weights, file.card.config, file.card.version)
            except DataError as error:
                raise ExportError(f"{path}: {first_line(error)}") from error
        from nanoarb_jax.artifacts.checkpoint import load_checkpoint, named_arrays

        checkpoint = load_checkpoint(path)
        weights = pack(named_arrays(checkpoint.model), checkpoint.config, precision)
        return cls(weights, checkpoint.config, checkpoint.version)

    def step(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Backend`."""
        probabilities = np.empty((self.horizons, 3), np.float32)
        step(self.weights, self.packed_state, features, probabilities)
        return probabilities

    def scan(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Backend`."""
        probabilities = np.empty((len(features), self.horizons, 3), np.float32)
        # writable too: for an array that is not, numba would compile anew
        ticks = np.require(features, np.float32, ["C", "A", "W"])
        step_all(self.weights, self.packed_state, ticks, probabilities)
        return probabilities

    def reset(self) -> None:
        """See `Backend`."""
        self.packed_state[:] = 0

    def state(self) -> NDArray[np.float32]:
        """See `Backend`."""
        return flat_state(self.packed_state, self.config)

    def set_state(self, state: NDArray[np.float32]) -> None:
        """See `Backend`."""
        unflatten_state(state, self.packed_state, self.config)


def _check_shape(header: Header, config: ModelConfig) -> str:
    """The precision of weights that are of the config's shape."""
    precision = PRECISIONS[header.precision]
    expected = header_of(config, precision)
    for name in (*Header._fields[5:], "state", "room", "bytes"):  # what follows from the shape comes last
        met, wanted = getattr(header, name), getattr(expected, name)
        if met != wanted:
            raise DataError(f"native weights: {name} is {met}, the config's is {wanted}; pack them anew")
    return precision
