"""Where a native step's time goes: each stage by itself, with its operands in the cache, and the step as a whole.

    python benchmarks/native_profile.py --preset base --json benchmarks/results/native_profile_base.json

Stages of one step add up to less than the step where the weights do not fit the cache: the rest is waiting for them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flax import nnx
from numba import njit

from nanoarb_jax.artifacts.checkpoint import named_arrays
from nanoarb_jax.bench import one_core
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.serving.backends.native import initial_state, pack, step
from nanoarb_jax.serving.backends.native.kernel import convolve, layer_norm, selective_step
from nanoarb_jax.serving.backends.native.layout import PRECISIONS, aligned, whole
from nanoarb_jax.serving.backends.native.matmul import matmul_one
from nanoarb_jax.serving.backends.native.matrices import stored_matrix
from nanoarb_jax.serving.backends.native.memory import address
from nanoarb_jax.serving.backends.native.transform import transform_features
from nanoarb_jax.serving.backends.native.weights import TRANSFORMS

ROUNDS, CALLS = 25, 200
Calls = dict[str, Callable[[int], object]]  # each makes a stage so many times
KINDS = {"fp32": np.float32(0), "bf16": np.uint16(0), "int8": np.int8(0)}


@njit
def _matmuls(block, kind, x, outputs, y, calls):  # type: ignore[no-untyped-def]
    for _ in range(calls):
        matmul_one(address(block), kind, address(x), x.size, outputs, address(y), address(y))


@njit
def _recurs(block, inner, state_size, h, u, z, delta, mixed, calls):  # type: ignore[no-untyped-def]
    for _ in range(calls):
        selective_step(address(block), inner, state_size, address(h), address(u), address(z), address(delta),
               address(mixed), address(mixed))  # fmt: skip


@njit
def _convolves(block, inner, taps, past, u, calls):  # type: ignore[no-untyped-def]
    for _ in range(calls):
        convolve(address(block), inner, taps, address(past), address(u))


@njit
def _norms(x, y, calls):  # type: ignore[no-untyped-def]
    for _ in range(calls):
        layer_norm(address(x), x.size, x.size, address(y))


@njit
def _transforms(block, transform, x, out, calls):  # type: ignore[no-untyped-def]
    for _ in range(calls):
        transform_features(address(block), transform, address(x), address(x), address(out))


@njit
def _steps(weights, state, features, probabilities, calls):  # type: ignore[no-untyped-def]
    for _ in range(calls):
        step(weights, state, features, probabilities)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with one_core():
        result = {"preset": options.preset, "stages_us": profile(ModelConfig.preset(options.preset))}
    for name, us in result["stages_us"].items():
        print(f"{name:<34}{us:8.3f} µs")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def profile(config: ModelConfig) -> dict[str, float]:
    """Best-round µs of each stage of one step."""
    shapes = matrix_shapes(config)
    best = best_round(matmul_calls(shapes) | stage_calls(config) | step_calls(config))
    times = {name: count for name, (_, _, count) in shapes.items()}
    times |= {"recurrence and gate": config.num_layers, "convolution": config.num_layers}
    times["layer norm"] = config.num_layers + 1
    return {name: us * times.get(name.partition(" ")[2], times.get(name, 1)) for name, us in best.items()}


def matrix_shapes(config: ModelConfig) -> dict[str, tuple[int, int, int]]:
    """{matrix: (rows, outputs, how often a step multiplies by one like it)}."""
    hidden, inner, n = whole(config.hidden_dim), whole(config.d_inner), config.d_state
    head = len(config.horizons) * whole(config.hidden_dim // 2)
    return {
        "input projection": (64, hidden, 1),
        "in_proj": (hidden, 2 * inner, config.num_layers),
        "x_proj": (inner, whole(config.rank + 2 * n), config.num_layers),
        "dt_proj": (whole(config.rank, 4), inner, config.num_layers),
        "out_proj": (inner, hidden, config.num_layers),
        "heads, first layer": (hidden, head, 1),
        "heads, second layer": (head, 16, 1),
    }


def matmul_calls(shapes: dict[str, tuple[int, int, int]]) -> Calls:
    """One product with each matrix, in each precision."""
    calls: Calls = {}
    rng = np.random.default_rng(0)
    for precision in PRECISIONS:
        for name, (rows, outputs, _) in shapes.items():
            parts = stored_matrix(0.1 * rng.normal(size=(rows, outputs)).astype(np.float32), precision)
            block = aligned(sum(p.nbytes for p in parts))
            block[:] = np.concatenate([p.view(np.uint8) for p in parts])
            arguments = block, KINDS[precision], floats(rows), outputs, floats(outputs)
            calls[f"{precision} {name}"] = lambda count, a=arguments: _matmuls(*a, count)
    return calls


def stage_calls(config: ModelConfig) -> Calls:
    """The stages that are no products."""
    hidden, inner, n, k = whole(config.hidden_dim), whole(config.d_inner), config.d_state, config.d_conv
    h, u, z, delta, mixed = (floats(size) for size in (inner * n, inner, inner, inner, whole(n)))
    decays = aligned(4 * inner * (n + 1))
    decays.view(np.float32)[:] = -0.1
    taps = aligned(4 * inner * (k + 1))
    ticks, statistics = floats(96), aligned(4 * 128)
    past, x, y, channels = floats(inner * k), floats(hidden), floats(hidden), floats(64)
    calls: Calls = {
        "recurrence and gate": lambda count: _recurs(decays, inner, n, h, u, z, delta, mixed, count),
        "convolution": lambda count: _convolves(taps, inner, k, past, u, count),
        "layer norm": lambda count: _norms(x, y, count),
    }
    for name in ("lob44", "flow"):
        arguments = statistics, TRANSFORMS.index(name), ticks, channels
        calls[f"input transform, {name}"] = lambda count, a=arguments: _transforms(*a, count)
    return calls


def step_calls(config: ModelConfig) -> Calls:
    """The whole step in each precision."""
    calls: Calls = {}
    arrays = named_arrays(MambaLOB(config, rngs=nnx.Rngs(0)))
    for precision in PRECISIONS:
        weights = pack(arrays, config, precision)
        arguments = weights, initial_state(weights), floats(44), np.empty((len(config.horizons), 3), np.float32)
        calls[f"{precision} step"] = lambda count, a=arguments: _steps(*a, count)
    return calls


def best_round(calls: Calls) -> dict[str, float]:
    """The least µs of one call of each, in turns."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.perf_counter()
            call(CALLS)
            samples[name].append((time.perf_counter() - began) / CALLS * 1e6)
    return {name: min(values) for name, values in samples.items()}


def floats(count: int) -> np.ndarray:
    """Aligned ones."""
    array = aligned(4 * count).view(np.float32)
    array[:] = 1.0
    return array


if __name__ == "__main__":
    main()
