"""What a prediction costs against the length of the window, and what many instruments at once cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from flax import nnx

from nanoarb_jax.serving.backends.jax.step import JaxStep  # isort: skip – first: it sets JAX up before anything computes
from nanoarb_jax.artifacts.checkpoint import Checkpoint, named_arrays
from nanoarb_jax.bench.measure import Call, Candidate, load_all, measure, statistics
from nanoarb_jax.bench.model_paths import jax_window, native_call
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.progress import Note
from nanoarb_jax.serving.backends.jax.batch import JaxBatch
from nanoarb_jax.serving.backends.native import initial_states, pack, step_each


def lengths(
    checkpoint: Checkpoint,
    windows: Mapping[str, nnx.Module],
    counts: Sequence[int],
    ticks: np.ndarray,
    rounds: int,
    burst_seconds: float,
    note: Note,
) -> list[dict[str, Any]]:
    """Windows of several lengths, jitted, beside steps, which have none.

    Args:
        windows: {path: model of windows (b, l, f) to logits}.
        counts: lengths in ticks.

    Returns:
        rows as in the JSON, with `length`: ticks of the window, None for a step.
    """
    config, arrays = checkpoint.config, named_arrays(checkpoint.model)
    shape = (len(config.horizons), config.num_classes)

    def window(model: nnx.Module, length: int) -> Call:
        return jax_window(model, length, config.input_dim)

    candidates: dict[Candidate, tuple[str, int | None]] = {
        Candidate(f"{path}, {length} ticks", "window", partial(window, model, length)): (path, length)
        for path, model in windows.items()
        for length in counts
    }
    step = Candidate("jax_step", "step", lambda: JaxStep(checkpoint.model, checkpoint.version).step)
    native = Candidate("native_step", "step", lambda: native_call(pack(arrays, config), shape))
    candidates |= {step: ("jax_step", None), native: ("native_step", None)}
    calls, _ = load_all(list(candidates), ticks[0], note)
    samples = measure(list(candidates), calls, ticks, rounds, burst_seconds, note)
    return [
        {"path": path, "kind": c.kind, "length": length, **statistics(samples[c.path])}
        for c, (path, length) in candidates.items()
    ]


class JaxBatched:
    """One tick of every instrument of a batch in one call."""

    def __init__(self, model: MambaLOB, version: str, batch: int):
        self._backend, self._rows = JaxBatch(model, version, batch, batch), np.arange(batch, dtype=np.int32)
        self._features = np.zeros((batch, model.config.input_dim), np.float32)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probabilities (b, h, c) after all saw this tick."""
        self._features[:] = features
        return self._backend.step(self._rows, self._features)


class NativeBatched:
    """One tick of every instrument, a few at a time in compiled code."""

    def __init__(self, weights: np.ndarray, features: int, shape: tuple[int, int], batch: int):
        self._weights, self._states = weights, initial_states(weights, batch)
        self._starts = np.arange(batch) * self._states.shape[1]
        self._features = np.zeros((batch, features), np.float32)
        self.probabilities = np.zeros((batch, *shape), np.float32)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probabilities (b, h, c) after all saw this tick."""
        self._features[:] = features
        step_each(self._weights, self._states, self._starts, self._features, self.probabilities)
        return self.probabilities


def batches(
    checkpoint: Checkpoint, sizes: Sequence[int], ticks: np.ndarray, rounds: int, burst_seconds: float, note: Note
) -> list[dict[str, Any]]:
    """One tick of each of several instruments at once.

    Args:
        sizes: instruments.

    Returns:
        rows as in the JSON, times of a call for all of them, with `batch` and `predictions_per_second`, by the median.
    """
    config, arrays = checkpoint.config, named_arrays(checkpoint.model)
    weights, shape = pack(arrays, config), (len(config.horizons), config.num_classes)

    def jax_call(size: int) -> Call:
        return JaxBatched(checkpoint.model, checkpoint.version, size)

    def native(size: int) -> Call:
        return NativeBatched(weights, config.input_dim, shape, size)

    candidates: dict[Candidate, tuple[str, int]] = {}
    for size in sizes:
        candidates[Candidate(f"jax_batch, {size}", "step", partial(jax_call, size))] = ("jax_batch", size)
        candidates[Candidate(f"native_batch, {size}", "step", partial(native, size))] = ("native_batch", size)
    calls, _ = load_all(list(candidates), ticks[0], note)
    samples = measure(list(candidates), calls, ticks, rounds, burst_seconds, note)
    rows = []
    for c, (path, size) in candidates.items():
        figures = statistics(samples[c.path])
        per_second = round(size / figures["p50_us"] * 1e6)
        rows.append({"path": path, "kind": c.kind, "batch": size, "predictions_per_second": per_second, **figures})
    return rows
