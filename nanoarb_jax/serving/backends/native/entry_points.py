"""The compiled step: one tick of the model as one numba function over one weight buffer and one state. No JAX.

It is called from Python, from other compiled code (a strategy, a backtest), or by its address from another language:

>>> from nanoarb_jax.serving.backends.native import NativeStep, initial_state, step
>>> weights = NativeStep.load("checkpoints/nano").weights
>>> state, probabilities = initial_state(weights), np.empty((3, 3), np.float32)
>>> step(weights, state, np.ones(101, np.float32), probabilities)  # raw features of a tick
>>> bool(np.allclose(probabilities.sum(axis=1), 1, atol=1e-5))  # down, neutral, up for each horizon
True

    typedef void step(const uint8_t *weights, float *state, const float *features, float *probabilities);

The same weights give the same probabilities as `MambaLOB.step`, to 1e-5 in float32.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import types
from numba.core.ccallback import CFunc
from numpy.typing import NDArray

from nanoarb_jax.kernel_cache import kept
from nanoarb_jax.serving.backends.native.compiling import entry_point
from nanoarb_jax.serving.backends.native.kernel import first, step_group
from nanoarb_jax.serving.backends.native.layout import aligned, read_header
from nanoarb_jax.serving.backends.native.matmul import GROUP
from nanoarb_jax.serving.backends.native.memory import address


@entry_point
def step(weights, state, features, probabilities):  # type: ignore[no-untyped-def]
    """Read one tick: advance the state and give the probabilities. Allocates nothing, checks nothing, holds no GIL.

    Args:
        weights: (bytes,) uint8, from `pack`.
        state: (floats,) float32, from `initial_state`; changed.
        features: (f,) float32, raw and finite.
        probabilities: (h, 3) float32 – down, neutral, up per horizon; overwritten.
    """
    w = address(weights)
    step_group(w, first(w), 1, address(state), address(features), address(probabilities))


@entry_point
def step_all(weights, state, features, probabilities):  # type: ignore[no-untyped-def]
    """`step` over the ticks of one stream in order: features (n, f), probabilities (n, h, 3)."""
    w = address(weights)
    for i in range(features.shape[0]):
        step_group(w, first(w), 1, address(state), address(features[i]), address(probabilities[i]))


@entry_point
def step_each(weights, states, starts, features, probabilities):  # type: ignore[no-untyped-def]
    """`step` for one tick of each of b instruments, four at a time: every reading of the weights serves four.

    Args:
        weights: as for `step`.
        states: (instruments, floats) float32, from `initial_states`; changed where a tick is read.
        starts: (b,) int64, where the instruments' states begin in `states`: row times floats; none twice.
        features, probabilities: (b, f) and (b, h, 3) float32, rows in the order of `starts`.
    """
    at, b = 0, len(starts)
    while at < b:
        streams = GROUP if at + GROUP <= b else 1
        first_start, x, out = address(starts[at:]), address(features[at]), address(probabilities[at])
        step_group(address(weights), first_start, streams, address(states), x, out)
        at += streams


@functools.cache  # also keeps the function alive
def _c_step() -> Any:
    """`step` as a C function."""

    def native_step(weights, state, features, probabilities):  # type: ignore[no-untyped-def]
        step_group(weights, first(weights), 1, state, features, probabilities)

    floats = types.CPointer(types.float32)
    signature = ((types.CPointer(types.uint8), floats, floats, floats), types.void)
    function = kept(CFunc(native_step, signature, {}, {"error_model": "numpy", "_nrt": False}))
    function.compile()
    return function


def initial_state(weights: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The state before the first tick of a stream, with room for intermediate results; a state serves one stream."""
    return initial_states(weights, 1)[0]


def initial_states(weights: NDArray[np.uint8], instruments: int) -> NDArray[np.float32]:
    """A table of states for `step_each`, (instruments, floats) float32."""
    room = read_header(weights).room
    return aligned(4 * room * instruments).view(np.float32).reshape(instruments, room)


def step_address() -> int:
    """Address of a C function that is `step`: (weights, state, features, probabilities) as pointers, no result.

    Valid as long as this process lives; for ctypes: `ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(step_address())`.
    """
    return int(_c_step().address)


def cache_misses() -> int:
    """How often `step` and `step_all` were compiled in this process instead of fetched from numba's cache on disk."""
    return sum(sum(function.stats.cache_misses.values()) for function in (step, step_all))
