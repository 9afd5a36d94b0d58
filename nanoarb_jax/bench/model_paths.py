"""The ways from features to probabilities that `bench` compares, and their floors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from numba import njit
from numpy.typing import NDArray

from nanoarb_jax.serving.backends.jax.step import CHUNK, JaxStep  # isort: skip – first: it sets JAX up before anything computes
from nanoarb_jax.artifacts.checkpoint import Checkpoint, named_arrays
from nanoarb_jax.bench.live_paths import EventsToPredictions, LiveEvents, LiveMany
from nanoarb_jax.bench.loops import NativeLoop, WeightRead, repeats
from nanoarb_jax.bench.measure import Call, Candidate
from nanoarb_jax.exporters import export_step, export_window
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.progress import Note
from nanoarb_jax.serving.backends.native import NativeStep, initial_state, pack, step
from nanoarb_jax.serving.backends.onnx.step import OnnxStep
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.window import WindowPredictor

LOWER_PRECISIONS = ("bf16", "int8")


class Windowed:
    """A window model fed tick by tick: what serving without a state costs.

    Args:
        run: windows (1, l, f) to probabilities (1, h, c).
        length, features: l and f.
    """

    def __init__(self, run: Callable[[np.ndarray], np.ndarray], length: int, features: int):
        self._run, self._length, self._ticks = run, length, 0
        # every tick is written twice, a window apart: the last l ticks are then always one contiguous slice
        self._ring = np.zeros((2 * length, features), np.float32)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probabilities (h, c) of the window that ends with this tick."""
        slot = self._ticks % self._length
        self._ring[slot] = self._ring[slot + self._length] = features
        self._ticks += 1
        oldest = self._ticks % self._length
        return self._run(self._ring[None, oldest : oldest + self._length])[0]


def jax_window(model: nnx.Module, length: int, features: int) -> Windowed:
    """A model of windows (b, l, f) to logits, jitted, its weights constants of the program."""
    definition, weights = nnx.split(model)

    def run(x: jax.Array) -> jax.Array:
        return jax.nn.softmax(nnx.merge(definition, weights)(x))

    compiled = jax.jit(run).lower(jax.ShapeDtypeStruct((1, length, features), np.float32)).compile()
    return Windowed(lambda window: np.asarray(compiled(window)), length, features)


def native_call(weights: NDArray[np.uint8], shape: tuple[int, int]) -> Call:
    """The compiled step called from Python, arrays at hand, nothing checked."""
    state, probabilities = initial_state(weights), np.zeros(shape, np.float32)
    return lambda features: step(weights, state, features, probabilities)


@njit
def _nothing(weights, state, features, probabilities):  # type: ignore[no-untyped-def]
    pass


def native_null(weights: NDArray[np.uint8], shape: tuple[int, int]) -> Call:
    """A compiled call with the native step's arguments that does nothing."""
    state, probabilities = initial_state(weights), np.zeros(shape, np.float32)
    return lambda features: _nothing(weights, state, features, probabilities)


def jax_scan(model: MambaLOB, version: str, ticks: np.ndarray) -> Call:
    """A chunk of recorded ticks at a call, in the sequence form, the state carried: offline scoring."""
    backend = JaxStep(model, version)
    return lambda features: backend.scan(ticks[:CHUNK])


def jax_null() -> Call:
    """A jitted call that does nothing."""
    empty = jax.jit(lambda x: x)
    return lambda features: np.asarray(empty(features))


def export_files(checkpoint: Checkpoint, folder: Path, precisions: bool, note: Note) -> dict[str, Path]:
    """{path of a row: exported file}: the window, and the step as onnxruntime rewrites it for one stream; on request
    also the window rewritten, the step of any batch, and both with smaller weights."""
    asked: dict[str, dict[str, Any]] = {"onnx_window": {}, "onnx_step": {"optimized": True}}
    if precisions:
        asked |= {"onnx_window_optimized": {"optimized": True}, "onnx_step_any_batch": {}}
        for precision in ("fp16", "int8"):
            asked[f"onnx_window_{precision}"] = {"precision": precision}
            asked[f"onnx_step_{precision}"] = {"precision": precision, "optimized": True}
    files = {}
    for path, options in asked.items():
        note(f"exporting {path}")
        export = export_window if path.startswith("onnx_window") else export_step
        files[path] = export(checkpoint, folder / f"{path}.onnx", **options).path
    return files


def model_paths(
    checkpoint: Checkpoint, ticks: np.ndarray, events: NDArray[np.void], files: Mapping[str, Path]
) -> list[Candidate]:
    """Every path of the checkpoint's model, and the floors.

    Steps are the backends' own, from features to probabilities on the host; what the predictor around them adds, for
    each the same, is in `native_predictor`.

    Args:
        ticks: (n, f) float32 raw features of the in-loop paths.
        events: of `market_events`.
        files: {path: exported file} of `export_files`.
    """
    model, version, config = checkpoint.model, checkpoint.version, checkpoint.config
    arrays, shape = named_arrays(model), (len(config.horizons), config.num_classes)
    weights, loop = pack(arrays, config), repeats(sum(array.size for array in arrays.values()))

    def onnx(path: str) -> Call:
        if path.startswith("onnx_window"):
            return WindowPredictor.load(files[path]).update
        return OnnxStep.load(files[path]).step

    def native() -> NativeStep:
        return NativeStep(weights, config, version)

    def in_loop(precision: str) -> Candidate:
        name = "native_step_inloop" if precision == "fp32" else f"native_step_inloop_{precision}"
        return Candidate(name, "step", lambda: NativeLoop(pack(arrays, config, precision), shape, ticks, loop), loop)

    return [
        Candidate("jax_window", "window", lambda: jax_window(model, config.window, config.input_dim)),
        *(Candidate(path, "window", partial(onnx, path)) for path in files if path.startswith("onnx_window")),
        Candidate("jax_step", "step", lambda: JaxStep(model, version).step),
        Candidate("jax_scan", "step", lambda: jax_scan(model, version, ticks), CHUNK),
        *(Candidate(path, "step", partial(onnx, path)) for path in files if path.startswith("onnx_step")),
        Candidate("native_predictor", "step", lambda: StepPredictor(native()).update),
        Candidate("native_step", "step", lambda: native_call(weights, shape)),
        *(in_loop(precision) for precision in ("fp32", *LOWER_PRECISIONS)),
        Candidate("tick_to_prediction", "step", lambda: EventsToPredictions(events, native(), loop), loop),
        Candidate("live_apply_event", "step", lambda: LiveEvents(events, native(), ticks=False)),
        Candidate("live_apply_tick", "step", lambda: LiveEvents(events, native(), ticks=True)),
        Candidate("live_apply_many", "step", lambda: LiveMany(events, native(), loop), loop),
        Candidate("null", "floor", jax_null),
        Candidate("native_null", "floor", lambda: native_null(weights, shape)),
        Candidate("weight_read", "floor", lambda: WeightRead(list(arrays.values()), loop), loop),
    ]
