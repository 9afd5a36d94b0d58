"""What one prediction costs on every path, measured side by side.

One round times a burst of each path, and rounds follow each other, so that a slow second of the machine falls on all
paths alike; quote ratios of one run. The process keeps to one core meanwhile, which serves one prediction as fast and
makes ratios steadier. Warm-up is excluded, the garbage collector is off, every sample is kept.
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx
from numba import njit

from nanoarb_jax.serving.jax_step import JaxStep  # isort: skip – first: it sets JAX up before anything computes
from nanoarb_jax.bench_market import EVENTS, EventLoop, FeatureLoop
from nanoarb_jax.checkpoint import Checkpoint, load_checkpoint, model_version, named_arrays, software_versions
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ConfigError
from nanoarb_jax.export import export_window
from nanoarb_jax.market.features import lob44
from nanoarb_jax.market.synthetic import MarketConfig, synthetic_books, synthetic_events
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.serving.onnx import WindowPredictor
from nanoarb_jax.serving.predictor import StepPredictor

PERCENTILES = {"p50_us": 50, "p95_us": 95, "p99_us": 99, "p999_us": 99.9}
# seconds of one path's burst within a round
BURST_SECONDS = 0.25
TICKS = 2_000


@dataclass(frozen=True)
class Candidate:
    """A way to get a prediction, or a part or floor of one.

    Args:
        path, kind: as in the JSON.
        call: takes one tick's raw features (f,), returns when its result is on the host.
        repeats: events or ticks that one call goes through; samples are times of one of them, means over the call.
    """

    path: str
    kind: Literal["window", "step", "stage", "floor"]
    call: Callable[[np.ndarray], object]
    repeats: int = 1


def bench_preset(
    preset: str = "base", rounds: int = 20, note: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """`bench` of random weights of a preset."""
    model = MambaLOB(ModelConfig.preset(preset), rngs=nnx.Rngs(0))
    return bench(Checkpoint(model, model_version(named_arrays(model))), rounds, note)


def bench_checkpoint(
    path: str | Path, rounds: int = 20, note: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """`bench` of a trained checkpoint."""
    return bench(load_checkpoint(path), rounds, note)


def bench(checkpoint: Checkpoint, rounds: int, note: Callable[[str], None]) -> dict[str, Any]:
    """Measure all paths.

    Args:
        checkpoint: the model.
        rounds: interleaved rounds; each gives every path a quarter of a second.
        note: told what is being done.

    Returns:
        the `bench` JSON of DESIGN, with the raw samples in µs under `samples_us`.
    """
    model = checkpoint.model
    if model.config.input_dim != 44:
        raise ConfigError(f"model.input_dim={model.config.input_dim}: expected 44, bench feeds lob44 features")
    note("exporting")
    with tempfile.TemporaryDirectory() as folder:
        onnx_window = WindowPredictor.load(export_window(checkpoint, Path(folder) / "window.onnx").path)
    note("compiling")
    step = StepPredictor(JaxStep(model, checkpoint.version))
    empty = jax.jit(lambda x: x)
    candidates = [
        Candidate("jax_window", "window", JaxWindow(model).update),
        Candidate("onnx_window", "window", onnx_window.update),
        Candidate("jax_step", "step", step.update),
        Candidate("null", "floor", lambda x: np.asarray(empty(x))),
        *market_stages(),
    ]
    ticks = lob44(synthetic_books(TICKS, seed=0), quantity_scale=100.0)
    system = machine()
    with one_core() as core:
        samples = measure(candidates, ticks, rounds, note)
        floor = weight_read_us(model)
    return {
        "machine": {**system, "measured_on_core": core},
        "model": {"preset": model.config.preset_name, "parameters": parameters(model), "version": checkpoint.version},
        "rows": [{"path": c.path, "kind": c.kind, **statistics(samples[c.path])} for c in candidates],
        "weight_read_us": floor,
        "samples_us": {path: [round(float(s), 4) for s in values] for path, values in samples.items()},
    }


def market_stages() -> list[Candidate]:
    """The book under the events of a simulated market like a crypto perpetual's, and the features of its ticks."""
    market = MarketConfig.preset("crypto")
    events, books = synthetic_events(200_000, 0, market), synthetic_books(50_000, 0, market)
    book, features = EventLoop(events, market.tick_size, market.lot_size), FeatureLoop(books)
    return [Candidate("book_apply", "stage", book, EVENTS), Candidate("features", "stage", features, EVENTS)]


@contextlib.contextmanager
def one_core() -> Iterator[int | None]:
    """Keep every thread of this process on its last core; yields that core, or None where the system has no say."""
    threads = Path("/proc/self/task")
    if not hasattr(os, "sched_setaffinity") or not threads.is_dir():
        yield None
        return

    def keep_to(cores: set[int]) -> None:
        for thread in threads.iterdir():
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.sched_setaffinity(int(thread.name), cores)

    before = os.sched_getaffinity(0)
    keep_to({max(before)})
    try:
        yield max(before)
    finally:
        keep_to(before)


class JaxWindow:
    """The jitted window model over a ring buffer: what serving without a state would cost in JAX."""

    def __init__(self, model: MambaLOB):
        definition, weights = nnx.split(model)
        window = model.config.window

        def run(x: jax.Array) -> jax.Array:
            return jax.nn.softmax(nnx.merge(definition, weights)(x))

        shape = jax.ShapeDtypeStruct((1, window, model.config.input_dim), np.float32)
        self._run, self._window, self._ticks = jax.jit(run).lower(shape).compile(), window, 0
        self._ring = np.zeros((2 * window, model.config.input_dim), np.float32)

    def update(self, features: np.ndarray) -> np.ndarray:
        """Probabilities (h, c) of the window that ends with this tick."""
        slot = self._ticks % self._window
        self._ring[slot] = self._ring[slot + self._window] = features
        self._ticks += 1
        oldest = self._ticks % self._window
        return np.asarray(self._run(self._ring[None, oldest : oldest + self._window]))[0]


def measure(
    candidates: list[Candidate], ticks: np.ndarray, rounds: int, note: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """Samples in µs per path, over interleaved rounds; the first round warms up and is thrown away."""
    samples: dict[str, list[np.ndarray]] = {c.path: [] for c in candidates}
    bursts = {c.path: 20 for c in candidates}
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()  # what is there stays: a collection between rounds need not look at it
    try:
        for number in range(rounds + 1):
            note(f"round {number} of {rounds}" if number else "warm-up")
            for candidate in candidates:
                taken = burst(candidate.call, ticks, bursts[candidate.path])
                if number:
                    samples[candidate.path].append(taken / candidate.repeats)
                else:
                    bursts[candidate.path] = int(np.clip(BURST_SECONDS * 1e6 / np.median(taken), 20, TICKS))
            gc.collect()
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()
    return {path: np.concatenate(parts) for path, parts in samples.items()}


def burst(call: Callable[[np.ndarray], object], ticks: np.ndarray, count: int) -> np.ndarray:
    """Time `count` calls in a row, each by itself, in µs."""
    clock, times = time.perf_counter_ns, np.empty(count)
    for i in range(count):
        tick = ticks[i % len(ticks)]
        began = clock()
        call(tick)
        times[i] = clock() - began
    return times / 1e3


def statistics(samples: np.ndarray) -> dict[str, float]:
    """Mean and percentiles of samples in µs."""
    values = {key: float(np.percentile(samples, q)) for key, q in PERCENTILES.items()}
    return {"mean_us": float(samples.mean()), **values, "iterations": len(samples)}


def parameters(model: MambaLOB) -> int:
    """Trained numbers in the model."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


@njit(fastmath=True)
def _sum(weights):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for i in range(weights.size):
        total += weights[i]
    return total


def weight_read_us(model: MambaLOB) -> float:
    """Median time to read all weights once, in µs: no float32 step can be faster."""
    weights = np.concatenate([array.ravel() for array in named_arrays(model).values()])
    times = burst(lambda _: _sum(weights), np.zeros((1, 1)), 300)
    return float(np.median(times[50:]))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "device": str(jax.devices()[0]),
        "jax_async_dispatch": jax.config.read("jax_cpu_enable_async_dispatch"),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "onnxruntime_threads": 1,
        "versions": software_versions() | {name: metadata.version(name) for name in ("jaxlib", "onnxruntime")},
    }
