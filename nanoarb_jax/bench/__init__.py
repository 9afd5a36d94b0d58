"""What one prediction costs on every path, measured side by side on one core.

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

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from nanoarb_jax.bench.model_paths import export_files, model_paths  # isort: skip – first: it sets JAX up before anything computes
from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint, model_version, named_arrays
from nanoarb_jax.bench.environment import machine, one_core
from nanoarb_jax.bench.loops import EventsToPredictions
from nanoarb_jax.bench.market_stages import market_events, market_stages, market_ticks
from nanoarb_jax.bench.measure import Candidate, load_all, measure, statistics
from nanoarb_jax.bench.rivals import describe_rivals, rivals
from nanoarb_jax.bench.sweeps import batches, lengths
from nanoarb_jax.bench.torch_window import need_torch
from nanoarb_jax.bench.transformer import TransformerLOB
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ConfigError
from nanoarb_jax.features.feature_set import feature_set_of
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.serving.backends.native import step

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
]

# seconds of one path's burst within a round
BURST_SECONDS = 0.25
TICKS = 2_000


@dataclass(frozen=True)
class Extras:
    """What is measured beside the paths that always are.

    Args:
        precisions: exported files with fp16 and int8 weights, and as onnxruntime rewrites them.
        rivals: a Transformer and the PyTorch original of the same size; needs torch.
        lengths: windows of so many ticks.
        batches: so many instruments at once.
    """

    precisions: bool = False
    rivals: bool = False
    lengths: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("lengths", "batches"):
            for count in getattr(self, name):
                if count < 1:
                    raise ConfigError(f"{name}: {count}; expected counts of at least 1, e.g. 25,50,100")
        if self.rivals:
            need_torch("rivals")


NOTHING = Extras()


def _silent(text: str) -> None:
    pass


def bench_preset(
    preset: str = "base", rounds: int = 20, note: Callable[[str], None] = _silent, extras: Extras = NOTHING
) -> dict[str, Any]:
    """`bench` of random weights of a preset."""
    model = MambaLOB(ModelConfig.preset(preset), rngs=nnx.Rngs(0))
    return bench(Checkpoint(model, model_version(named_arrays(model))), rounds, note, extras)


def bench_presets(
    presets: Sequence[str], rounds: int = 20, note: Callable[[str], None] = _silent, extras: Extras = NOTHING
) -> dict[str, Any]:
    """`bench_preset` of the first, with the same of the others under `presets`, one after the other."""
    configs = {preset: ModelConfig.preset(preset) for preset in presets}  # refuses unknown ones before the work
    first, *others = (bench_preset(preset, rounds, note, extras) for preset in configs)
    return first | ({"presets": dict(zip(list(configs)[1:], others, strict=True))} if others else {})


def bench_checkpoint(
    path: str | Path, rounds: int = 20, note: Callable[[str], None] = _silent, extras: Extras = NOTHING
) -> dict[str, Any]:
    """`bench` of a trained checkpoint."""
    return bench(load_checkpoint(path), rounds, note, extras)


def bench(
    checkpoint: Checkpoint, rounds: int, note: Callable[[str], None] = _silent, extras: Extras = NOTHING
) -> dict[str, Any]:
    """Measure all paths.

    Args:
        checkpoint: the model.
        rounds: interleaved rounds; each gives every path a quarter of a second.
        note: told what is being done.
        extras: see `Extras`.

    Returns:
        the `bench` JSON of DESIGN, with the raw samples in µs, four digits of each, under `samples_us`.

    Raises:
        ConfigError: the model reads neither lob44 nor flow features.
    """
    model, config, features = checkpoint.model, checkpoint.config, feature_set_of(checkpoint.config.input_dim)
    if features is None:
        raise ConfigError(
            f"model.input_dim={config.input_dim}: expected 44 or 86, bench feeds features of lob44 or flow"
        )
    note("simulating a market")
    ticks, events = market_ticks(TICKS, features), market_events()
    transformer = TransformerLOB(config, parameters(model), rngs=nnx.Rngs(0)) if extras.rivals else None
    with tempfile.TemporaryDirectory() as folder:
        files = export_files(checkpoint, Path(folder), extras.precisions, note)
        candidates = [*model_paths(checkpoint, ticks, events, files), *market_stages(events)]
        if transformer is not None:
            candidates += rivals(config, transformer)
        calls, seconds = load_all(candidates, ticks[0], note)
    system, sweeps = machine(), {}
    with one_core() as core:
        samples = measure(candidates, calls, ticks, rounds, BURST_SECONDS, note)
        if extras.lengths:
            windows = {"jax_window": model} | ({"transformer_window": transformer} if transformer is not None else {})
            sweeps["lengths"] = lengths(checkpoint, windows, extras.lengths, ticks, rounds, BURST_SECONDS, note)
        if extras.batches:
            sweeps["batches"] = batches(checkpoint, extras.batches, ticks, rounds, BURST_SECONDS, note)
    rows = [{"path": c.path, "kind": c.kind, "repeats": c.repeats, **statistics(samples[c.path])} for c in candidates]
    streamed = calls["tick_to_prediction"]
    assert isinstance(streamed, EventsToPredictions)
    return {
        "machine": {**system, "measured_on_core": core},
        "model": {
            "preset": config.preset_name,
            "features": features.name,
            "parameters": parameters(model),
            "version": checkpoint.version,
        },
        "rows": rows,
        "weight_read_us": next(row["p50_us"] for row in rows if row["path"] == "weight_read"),
        "events_per_prediction": round(streamed.applied / streamed.predictions, 4),
        "load_seconds": seconds,
        "native_compiled_anew": sum(step.stats.cache_misses.values()) > 0,
        **({"rivals": describe_rivals(config, transformer)} if transformer is not None else {}),
        **sweeps,
        "samples_us": {path: [float(f"{us:.4g}") for us in values] for path, values in samples.items()},
    }


def parameters(model: MambaLOB) -> int:
    """Trained numbers in the model."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
