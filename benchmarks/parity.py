"""Do all paths say the same over 100,000 real ticks, state carried, and over windows?

    python benchmarks/parity.py --checkpoint checkpoints/small --json benchmarks/results/parity_small.json

Every path reads the same streams from their first tick on, each stream in a fresh state. The JAX scan is what the
others are held against. Windows: the window models against the native step that is reset and reads 100 ticks.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from nanoarb_jax.serving.backends.jax.step import JaxStep  # isort: skip – first: it sets JAX up before anything computes
from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint, named_arrays
from nanoarb_jax.bench import random_checkpoint
from nanoarb_jax.config import DataConfig, ModelConfig
from nanoarb_jax.exporters import export_step, export_window
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.serving.backends.native import NativeStep, pack
from nanoarb_jax.serving.backends.onnx.file import read_model
from nanoarb_jax.serving.backends.onnx.session import load_session
from nanoarb_jax.serving.backends.onnx.step import OnnxStep
from nanoarb_jax.serving.feeds import open_feeds

Scorer = Callable[[np.ndarray], np.ndarray]
CHUNK = 512  # ticks of a call of the scan
LIMITS = {"native_step_bf16": 5e-3, "native_step_int8": 2e-2}  # all others 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="trained weights")
    parser.add_argument("--preset", help="random weights instead")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/derived_top10"))
    parser.add_argument("--ticks", type=int, default=100_000)
    parser.add_argument("--windows", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    given, preset = options.checkpoint, options.preset or "base"
    checkpoint = load_checkpoint(given) if given is not None else random_checkpoint(preset)
    streams = some_streams(options.data, checkpoint.config, options.ticks)
    result = {
        "preset": checkpoint.config.preset_name,
        "version": checkpoint.version,
        "ticks": sum(map(len, streams)),
        "streams": len(streams),
        "against_jax_scan": step_paths(checkpoint, streams),
        "windows": window_paths(checkpoint, streams, options.windows),
    }
    print(json.dumps(result, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def some_streams(data: Path, config: ModelConfig, ticks: int) -> list[np.ndarray]:
    """Features that the model reads of the longest streams, cut so that they add up to `ticks`."""
    settings = DataConfig(feature_set=config.feature_set)
    streams, missing = [], ticks
    for stream in sorted(open_feeds(data, settings, split="test").dataset.streams, key=lambda s: -s.rows):
        streams.append(np.ascontiguousarray(stream.features[:missing]))
        missing -= len(streams[-1])
        if not missing:
            break
    return streams


def jax_scan(model: MambaLOB) -> Scorer:
    """The reference: `MambaLOB.scan` in chunks."""
    run = nnx.jit(lambda model, x, state: model.scan(x, state))

    def scan(x: np.ndarray) -> np.ndarray:
        state, parts = model.initial_state(1), []
        padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % CHUNK, axis=0)])
        for start in range(0, len(padded), CHUNK):
            logits, state = run(model, padded[None, start : start + CHUNK], state)
            parts.append(np.asarray(jax.nn.softmax(logits[0])))
        return np.concatenate(parts)[: len(x)]

    return scan


def by_steps(backend: Any) -> Scorer:
    """A backend tick by tick, from a fresh state."""

    def run(x: np.ndarray) -> np.ndarray:
        backend.reset()
        return np.array([backend.step(tick) for tick in x])

    return run


def step_paths(checkpoint: Checkpoint, streams: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    """Largest difference and share of same directions of each path from the scan."""
    arrays, config, version = named_arrays(checkpoint.model), checkpoint.config, checkpoint.version
    with tempfile.TemporaryDirectory() as folder:
        onnx_step = OnnxStep.load(export_step(checkpoint, Path(folder) / "step.onnx").path)
        optimized = OnnxStep.load(export_step(checkpoint, Path(folder) / "optimized.onnx", optimized=True).path)
    paths = {
        "jax_step": JaxStep(checkpoint.model, version),
        "onnx_step": onnx_step,
        "onnx_step_optimized": optimized,
        "native_step": NativeStep(pack(arrays, config), config, version),
        "native_step_bf16": NativeStep(pack(arrays, config, "bf16"), config, version),
        "native_step_int8": NativeStep(pack(arrays, config, "int8"), config, version),
    }
    scan = jax_scan(checkpoint.model)
    expected = [scan(x) for x in streams]
    result = {}
    for name, backend in paths.items():
        run = by_steps(backend)
        met = [run(x) for x in streams]
        difference = max(float(np.abs(p - q).max()) for p, q in zip(met, expected, strict=True))
        same = [(p.argmax(-1) == q.argmax(-1)).mean(axis=-1) for p, q in zip(met, expected, strict=True)]
        result[name] = {
            "max_difference": difference,
            "same_direction": float(np.concatenate(same).mean()),
            "limit": LIMITS.get(name, 1e-5),
        }
    return result


def window_paths(checkpoint: Checkpoint, streams: Sequence[np.ndarray], count: int) -> dict[str, float]:
    """Largest differences between the window models and a step that is reset and reads the window."""
    length, rng = checkpoint.config.window, np.random.default_rng(0)
    x = streams[0]
    ends = np.sort(rng.choice(np.arange(length, len(x)), count, replace=False))
    native = NativeStep(pack(named_arrays(checkpoint.model), checkpoint.config), checkpoint.config, checkpoint.version)
    jax_window = nnx.jit(lambda model, x: jax.nn.softmax(model(x)))
    with tempfile.TemporaryDirectory() as folder:
        content, _ = read_model(export_window(checkpoint, Path(folder) / "window.onnx").path)
    session = load_session(content)
    worst = {"jax_window": 0.0, "onnx_window": 0.0}
    for end in ends:
        window = x[end - length : end]
        native.reset()
        expected = native.scan(window)[-1]
        met = {
            "jax_window": np.asarray(jax_window(checkpoint.model, window[None]))[0],
            "onnx_window": session.run(["probabilities"], {"features": window[None]})[0][0],
        }
        worst = {name: max(worst[name], float(np.abs(p - expected).max())) for name, p in met.items()}
    return {"windows": count, **worst}


if __name__ == "__main__":
    main()
