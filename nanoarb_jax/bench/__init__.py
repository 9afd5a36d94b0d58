"""What one prediction costs on every path, measured side by side on one core.

    run            all paths of a checkpoint, and the JSON that comes of it
    measure        interleaved rounds, samples, percentiles
    environment    the machine, and one core of it
    model_paths    windows and steps in JAX, onnxruntime and compiled code, and their floors
    market_stages  the book and the features
    loops          compiled loops around the native step, from events to predictions
    sweeps         cost against the length of a window; many instruments at once
    rivals         a Transformer and the PyTorch original of the same size: transformer, torch_window

In the terms of STAC-ML Markets (Inference), a step is Tacana (one new row per inference), and a window is Sumaco (a
fresh window per inference).
"""

from nanoarb_jax.bench.run import (  # isort: skip – first: it sets JAX up before anything computes
    Extras,
    bench,
    bench_checkpoint,
    bench_preset,
    bench_presets,
    parameters,
    random_checkpoint,
)
from nanoarb_jax.bench.environment import machine, one_core
from nanoarb_jax.bench.measure import Candidate

__all__ = [
    "Candidate",
    "Extras",
    "bench",
    "bench_checkpoint",
    "bench_preset",
    "bench_presets",
    "machine",
    "one_core",
    "parameters",
    "random_checkpoint",
]
