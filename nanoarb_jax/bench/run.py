"""All paths of one checkpoint measured in one run, as the `bench` JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from nanoarb_jax.bench.model_paths import export_files, model_paths  # isort: skip – first: it sets JAX up before anything computes
from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint, model_version, named_arrays
from nanoarb_jax.bench.environment import machine, one_core
from nanoarb_jax.bench.live_paths import EventsToPredictions
from nanoarb_jax.bench.market_stages import market_events, market_stages, market_ticks
from nanoarb_jax.bench.measure import Call, Candidate, load_all, measure, statistics
from nanoarb_jax.bench.rivals import describe_rivals, rivals
from nanoarb_jax.bench.sweeps import batches, lengths
from nanoarb_jax.bench.torch_window import need_torch
from nanoarb_jax.bench.transformer import TransformerLOB
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ConfigError
from nanoarb_jax.features.feature_set import FeatureSet, feature_set_of
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.serving.backends.native.entry_points import cache_misses

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


def random_checkpoint(preset: str) -> Checkpoint:
    """Random weights of a preset, always the same ones."""
    model = MambaLOB(ModelConfig.preset(preset), rngs=nnx.Rngs(0))
    return Checkpoint(model, model_version(named_arrays(model)))


def bench_preset(
    preset: str = "base", rounds: int = 20, note: Note = silent, extras: Extras = NOTHING
) -> dict[str, Any]:
    """`bench` of random weights of a preset."""
    return bench(random_checkpoint(preset), rounds, note, extras)


def bench_presets(
    presets: Sequence[str], rounds: int = 20, note: Note = silent, extras: Extras = NOTHING
) -> dict[str, Any]:
    """`bench_preset` of the first, with the same of the others under `presets`, one after the other."""
    configs = {preset: ModelConfig.preset(preset) for preset in presets}  # refuses unknown ones before the work
    first, *others = (bench_preset(preset, rounds, note, extras) for preset in configs)
    return first | ({"presets": dict(zip(list(configs)[1:], others, strict=True))} if others else {})


def bench_checkpoint(
    path: str | Path, rounds: int = 20, note: Note = silent, extras: Extras = NOTHING
) -> dict[str, Any]:
    """`bench` of a trained checkpoint."""
    return bench(load_checkpoint(path), rounds, note, extras)


def bench(checkpoint: Checkpoint, rounds: int, note: Note = silent, extras: Extras = NOTHING) -> dict[str, Any]:
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
    config, features = checkpoint.config, feature_set_of(checkpoint.config.input_dim)
    if features is None:
        raise ConfigError(
            f"model.input_dim={config.input_dim}: expected 44 or 101, bench feeds features of lob44 or flow"
        )
    note("simulating a market")
    ticks, events = market_ticks(TICKS, features), market_events()
    transformer = TransformerLOB(config, parameters(checkpoint.model), rngs=nnx.Rngs(0)) if extras.rivals else None
    with tempfile.TemporaryDirectory() as folder:
        files = export_files(checkpoint, Path(folder), extras.precisions, note)
        candidates = [*model_paths(checkpoint, ticks, events, files), *market_stages(events)]
        if transformer is not None:
            candidates += rivals(config, transformer)
        calls, seconds = load_all(candidates, ticks[0], note)
    system = machine()
    with one_core() as core:
        samples = measure(candidates, calls, ticks, rounds, BURST_SECONDS, note)
        sweeps = _sweeps(checkpoint, transformer, extras, ticks, rounds, note)
    return {
        "machine": {**system, "measured_on_core": core},
        "model": _describe(checkpoint, features),
        **_figures(candidates, calls, samples),
        "load_seconds": seconds,
        "native_compiled_anew": cache_misses() > 0,
        **({"rivals": describe_rivals(config, transformer)} if transformer is not None else {}),
        **sweeps,
        "samples_us": {path: [float(f"{us:.4g}") for us in values] for path, values in samples.items()},
    }


def _sweeps(
    checkpoint: Checkpoint,
    transformer: TransformerLOB | None,
    extras: Extras,
    ticks: NDArray[np.float32],
    rounds: int,
    note: Note,
) -> dict[str, Any]:
    """The rows of the lengths and of the batches that are asked for."""
    sweeps = {}
    if extras.lengths:
        windows: dict[str, nnx.Module] = {"jax_window": checkpoint.model}
        if transformer is not None:
            windows["transformer_window"] = transformer
        sweeps["lengths"] = lengths(checkpoint, windows, extras.lengths, ticks, rounds, BURST_SECONDS, note)
    if extras.batches:
        sweeps["batches"] = batches(checkpoint, extras.batches, ticks, rounds, BURST_SECONDS, note)
    return sweeps


def _describe(checkpoint: Checkpoint, features: FeatureSet) -> dict[str, Any]:
    return {
        "preset": checkpoint.config.preset_name,
        "features": features.name,
        "parameters": parameters(checkpoint.model),
        "version": checkpoint.version,
    }


def _figures(
    candidates: Sequence[Candidate], calls: Mapping[str, Call], samples: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """A row of statistics for each path, and what is read from them."""
    rows = [{"path": c.path, "kind": c.kind, "repeats": c.repeats, **statistics(samples[c.path])} for c in candidates]
    streamed = calls["tick_to_prediction"]
    assert isinstance(streamed, EventsToPredictions)
    return {
        "rows": rows,
        "weight_read_us": next(row["p50_us"] for row in rows if row["path"] == "weight_read"),
        "events_per_prediction": round(streamed.applied / streamed.predictions, 4),
    }


def parameters(model: MambaLOB) -> int:
    """Trained numbers in the model."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
