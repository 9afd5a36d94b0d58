"""Does the native step stay right, fast and small over ten million ticks?

    python benchmarks/endurance.py --checkpoint checkpoints/small --json benchmarks/results/endurance_small.json

Real ticks run through one carried state, series after series and round after round; then a fresh float64 twin reads the
last ticks, from so far back that its empty state is forgotten, and both must say the same. Then the same step is timed
on real ticks, on a constant tick and on ticks that fade to nothing: numbers that turn denormal would be slow.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from float64_twin import Float64Twin
from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint, named_arrays
from nanoarb_jax.bench import random_checkpoint
from nanoarb_jax.config import DataConfig
from nanoarb_jax.serving.backends.native import NativeStep, initial_state, pack, step_all
from nanoarb_jax.serving.backends.native.state import Views, views
from nanoarb_jax.serving.feeds import open_feeds

BLOCK = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="trained weights")
    parser.add_argument("--preset", help="random weights instead")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/derived_top10"))
    parser.add_argument("--ticks", type=int, default=10_000_000)
    parser.add_argument("--twin-ticks", type=int, default=40_000, help="that the float64 twin reads")
    parser.add_argument("--compared", type=int, default=2_000, help="of them compared, the last")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    given, preset = options.checkpoint, options.preset or "base"
    checkpoint = load_checkpoint(given) if given is not None else random_checkpoint(preset)
    settings = DataConfig(feature_set=checkpoint.config.feature_set)
    dataset = open_feeds(options.data, settings, split="test").dataset
    features = np.concatenate([stream.features for stream in dataset.streams])
    native = NativeStep(pack(named_arrays(checkpoint.model), checkpoint.config), checkpoint.config, checkpoint.version)
    result = {
        "preset": checkpoint.config.preset_name,
        "version": checkpoint.version,
        "distinct_ticks": len(features),
        **endure(native, features, options.ticks),
        **drift(native, checkpoint, features, options.ticks, options.twin_ticks, options.compared),
        **speeds(checkpoint, features),
    }
    print(json.dumps(result, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def endure(native: NativeStep, features: np.ndarray, ticks: int) -> dict[str, object]:
    """Run them all; the state stays in `native`."""
    native.scan(features[:BLOCK])  # what is allocated once is allocated now
    native.reset()
    before, began, done = memory_kib(), time.perf_counter(), 0
    while done < ticks:
        start = done % len(features)
        block = features[start : start + min(BLOCK, ticks - done)]
        native.scan(block)
        done += len(block)
    return {
        "ticks": done,
        "us_per_tick": (time.perf_counter() - began) / done * 1e6,
        "memory_grown_kib": memory_kib() - before,
    }


def drift(
    native: NativeStep, checkpoint: Checkpoint, features: np.ndarray, ticks: int, twin_ticks: int, compared: int
) -> dict[str, object]:
    """The next ticks in float32, from the state of ten million, and in float64, from nothing."""
    twin = Float64Twin(named_arrays(checkpoint.model), checkpoint.config)
    rows = np.arange(ticks, ticks + twin_ticks) % len(features)
    exact = np.array([twin.step(features[row]) for row in rows])[-compared:]
    met = native.scan(features[rows])[-compared:]
    return {
        "compared_ticks": compared,
        "twin_warm_up": twin_ticks - compared,
        "max_probability_difference": float(np.abs(met - exact).max()),
        "same_direction": float((met.argmax(-1) == exact.argmax(-1)).mean()),
    }


def speeds(checkpoint: Checkpoint, features: np.ndarray) -> dict[str, object]:
    """Time per tick, interleaved rounds, on inputs of some kinds, and through states that nothing drives.

    A book that fades or stands still does not fade for the model, whose inputs are ratios. So "decaying" is the model
    without B and C, whose state begins at ones, shrinks for n ticks and would pass through the denormal numbers.
    """
    n, arrays, config = 20_000, named_arrays(checkpoint.model), checkpoint.config
    fading = features[0] * np.float32(0.995) ** np.arange(n, dtype=np.float32)[:, None]
    kinds = {"real": features[:n], "constant": np.repeat(features[:1], n, axis=0), "fading": fading}
    kinds["zero"], kinds["decaying"] = np.zeros_like(fading), features[:n]
    weights = {kind: pack(arrays, config) for kind in ("real", "constant", "fading", "zero")}
    silent = {name: 0 * a if name.endswith("x_proj.kernel") else a for name, a in arrays.items()}
    weights["decaying"] = pack(silent, config)
    states = {kind: initial_state(weights[kind]) for kind in kinds}
    out = np.empty((n, len(config.horizons), 3), np.float32)
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(9):
        for kind, ticks in kinds.items():
            if kind == "decaying":
                for h in views(states[kind], config).recurrences:
                    h[:] = 1.0
            x = np.ascontiguousarray(ticks, np.float32)
            began = time.perf_counter()
            step_all(weights[kind], states[kind], x, out)
            times[kind].append((time.perf_counter() - began) / n * 1e6)
    decayed = np.concatenate([h.ravel() for h in views(states["decaying"], config).recurrences])
    return {
        "us_by_input": {kind: float(np.median(t)) for kind, t in times.items()},
        "denormal_state_values": {kind: denormals(views(state, config)) for kind, state in states.items()},
        "decayed_to_zero": float((decayed == 0).mean()),
    }


def denormals(state: Views) -> int:
    """How many values of the SSM state are neither zero nor normal."""
    sizes = np.abs(np.concatenate([h.ravel() for h in state.recurrences]))
    return int(((sizes > 0) & (sizes < np.finfo(np.float32).tiny)).sum())


def memory_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
