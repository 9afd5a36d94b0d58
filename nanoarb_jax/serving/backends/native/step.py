"""The compiled step: one tick of the model as one numba function over one weight buffer and one state. No JAX.

It is called from Python, from other compiled code (a strategy, a backtest), or by its address from another language:

>>> weights = NativeStep.load("checkpoints/nano").weights  # doctest: +SKIP
>>> state, probabilities = initial_state(weights), np.empty((3, 3), np.float32)  # doctest: +SKIP
>>> step(weights, state, features, probabilities)  # doctest: +SKIP

    typedef void step(const uint8_t *weights, float *state, const float *features, float *probabilities);

The same weights give the same probabilities as `MambaLOB.step`, to 1e-5 in float32.
"""

from __future__ import annotations

import functools
import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
from numba import cfunc, njit, types
from numpy.typing import NDArray

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import DataError, ExportError
from nanoarb_jax.features import feature_set
from nanoarb_jax.serving.backends.native import kernel as native_kernel
from nanoarb_jax.serving.backends.native import simd, vector_math
from nanoarb_jax.serving.backends.native import weights as native_weights
from nanoarb_jax.serving.backends.native.file import read_native_file
from nanoarb_jax.serving.backends.native.kernel import GROUP, one, step_group
from nanoarb_jax.serving.backends.native.simd import address
from nanoarb_jax.serving.backends.native.state import flat_state, unflatten_state
from nanoarb_jax.serving.backends.native.weights import HEADER, MAGIC, PRECISIONS, Header, aligned, pack, sizes

__all__ = [
    "NativeStep",
    "initial_state",
    "initial_states",
    "pack",
    "step",
    "step_address",
    "step_all",
    "step_each",
]

_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True, "_nrt": False}


def _fingerprint() -> int:
    """Of the code that compiled functions hold: numba's cache on disk would not notice a change in another file."""
    digest = hashlib.sha256()
    for module in (feature_set, simd, vector_math, native_weights, native_kernel):
        digest.update(Path(str(module.__file__)).read_bytes())
    return int.from_bytes(digest.digest()[:7], "little")


def _entry_points(fingerprint: int) -> tuple[Any, Any, Any, Any]:
    """What is cached on disk; `fingerprint`, a variable of these functions, is part of what they are kept under."""

    @njit(**_OPTIONS)
    def step(weights, state, features, probabilities):  # type: ignore[no-untyped-def]
        """Read one tick: advance the state and give the probabilities. Allocates nothing, checks nothing, holds no GIL.

        Args:
            weights: (bytes,) uint8, from `pack`.
            state: (floats,) float32, from `initial_state`; changed.
            features: (f,) float32, raw and finite.
            probabilities: (h, 3) float32 – down, neutral, up per horizon; overwritten.
        """
        _ = fingerprint
        w = address(weights)
        step_group(w, one(w), 1, address(state), address(features), address(probabilities))

    @njit(**_OPTIONS)
    def step_all(weights, state, features, probabilities):  # type: ignore[no-untyped-def]
        """`step` over the ticks of one stream in order: features (n, f), probabilities (n, h, 3)."""
        _ = fingerprint
        w = address(weights)
        for i in range(features.shape[0]):
            step_group(w, one(w), 1, address(state), address(features[i]), address(probabilities[i]))

    @njit(**_OPTIONS)
    def step_each(weights, states, starts, features, probabilities):  # type: ignore[no-untyped-def]
        """`step` for one tick of each of b instruments, four at a time: what is read of the weights serves four.

        Args:
            weights: as for `step`.
            states: (instruments, floats) float32, from `initial_states`; changed where a tick is read.
            starts: (b,) int64, where the instruments' states begin in `states`: row times floats; none twice.
            features, probabilities: (b, f) and (b, h, 3) float32, rows in the order of `starts`.
        """
        _ = fingerprint
        at, b = 0, len(starts)
        while at < b:
            streams = GROUP if at + GROUP <= b else 1
            group, x, out = address(starts[at:]), address(features[at]), address(probabilities[at])
            step_group(address(weights), group, streams, address(states), x, out)
            at += streams

    @functools.cache  # which also keeps it in memory
    def c_function() -> Any:
        floats = types.CPointer(types.float32)
        signature = types.void(types.CPointer(types.uint8), floats, floats, floats)

        @cfunc(signature, cache=True, error_model="numpy", _nrt=False)  # type: ignore[call-arg]  # not in numba's stubs
        def native_step(weights, state, features, probabilities):  # type: ignore[no-untyped-def]
            _ = fingerprint
            step_group(weights, one(weights), 1, state, features, probabilities)

        return native_step

    return step, step_all, step_each, c_function


step, step_all, step_each, _c_function = _entry_points(_fingerprint())


def header(weights: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What a weight buffer says of itself, see `native_weights.Header`.

    Raises:
        DataError: not a weight buffer of `pack`.
    """
    if not isinstance(weights, np.ndarray) or weights.dtype != np.uint8 or weights.ndim != 1:
        raise DataError(f"native weights of type {type(weights).__name__}: expected (bytes,) uint8 from pack()")
    if weights.size >= 8 * HEADER:
        met = weights[: 8 * HEADER].view(np.int64)
        if met[Header.MAGIC] == MAGIC and met[Header.BYTES] == weights.size:
            return met
    raise DataError(f"native weights: {weights.size} bytes that pack() did not make, or not whole; pack them anew")


def initial_state(weights: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The state before the first tick of a stream, with room for intermediate results; a state serves one stream."""
    return initial_states(weights, 1)[0]


def initial_states(weights: NDArray[np.uint8], instruments: int) -> NDArray[np.float32]:
    """A table of states for `step_each`, (instruments, floats) float32."""
    room = int(header(weights)[Header.ROOM])
    return aligned(4 * room * instruments).view(np.float32).reshape(instruments, room)


def step_address() -> int:
    """Address of a C function that is `step`: (weights, state, features, probabilities) as pointers, no result.

    Valid as long as this process lives; for ctypes: `ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(step_address())`.
    """
    return int(_c_function().address)


def _cache_misses() -> int:
    return sum(sum(function.stats.cache_misses.values()) for function in (step, step_all))


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
        met = header(weights)
        for place, expected in sizes(config).items():
            if met[place] != expected:
                raise DataError(
                    f"native weights: {place.name.lower()} is {met[place]}, the config's is {expected}; pack them anew"
                )
        self.precision = PRECISIONS[met[Header.PRECISION]]
        self.packed_state = initial_state(weights)
        missed, began = _cache_misses(), time.perf_counter()
        self.step(np.zeros(self.features, np.float32))
        self.scan(np.zeros((1, self.features), np.float32))
        self.compile_seconds = time.perf_counter() - began
        self.compiled_anew = _cache_misses() > missed
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
            >>> native = NativeStep.load("checkpoints/nano")  # doctest: +SKIP
            >>> state, out = initial_state(native.weights), np.empty((3, 3), np.float32)  # doctest: +SKIP
            >>> step(native.weights, state, features, out)  # doctest: +SKIP
        """
        if Path(path).is_file():
            file = read_native_file(path)
            try:
                return cls(file.weights, file.card.config, file.card.version)
            except DataError as error:
                raise ExportError(f"{path}: {error}") from error
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
