"""How many labelled ticks per second does training process?

    python benchmarks/training_speed.py --preset base --json benchmarks/results/training_speed_cpu.json

Times whole updates (forward, backward, optimizer, weight average, gathering the batch) after two that compile and warm
up, on a synthetic market; every sample is kept. On a GPU give it more lanes: --device gpu --batch-size 512.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer
from flax import nnx

from nanoarb_jax.bench import machine, parameters
from nanoarb_jax.config import DataConfig, ModelConfig, TrainConfig
from nanoarb_jax.dataset import make_stream
from nanoarb_jax.market.synthetic import synthetic_books
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.training.batch import gather
from nanoarb_jax.training.device import choose_device, matmul_dtype, peak_memory_bytes
from nanoarb_jax.training.optimizer import make_optimizer
from nanoarb_jax.training.plan import plan_streams
from nanoarb_jax.training.update import initial_state, make_update

WARM_UP = 2


def main(
    preset: str = "base",
    batch_size: int = 16,
    chunk_length: int = 256,
    updates: int = 12,
    device: str = "auto",
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    chosen = choose_device(device)
    config = TrainConfig(batch_size=batch_size, chunk_length=chunk_length)
    needed = batch_size * chunk_length * (updates + WARM_UP)
    stream = make_stream(synthetic_books(int(needed / 0.7) + 2_000, seed=0), DataConfig())
    plan = plan_streams([needed], chunk_length, batch_size, np.random.default_rng(0))
    with jax.default_device(chosen):
        dtype = matmul_dtype(config.matmul_dtype, chosen)
        model = MambaLOB(ModelConfig.preset(preset), rngs=nnx.Rngs(0), dtype=dtype)
        optimizer = make_optimizer(config, updates)
        update, state = make_update(model, optimizer, config, None), initial_state(model, optimizer, batch_size)
        seconds = []
        for i in range(updates + WARM_UP):
            began = time.perf_counter()
            state = update(state, gather([stream], plan, i, chunk_length, config))
            jax.block_until_ready(state)
            seconds.append(time.perf_counter() - began)
    ticks = batch_size * chunk_length
    median = float(np.median(seconds[WARM_UP:]))
    figures = {
        "question": "labelled ticks per second of training updates",
        "machine": machine(),
        "device": f"{chosen.platform}:{chosen.device_kind}",
        "model": {"preset": preset, "parameters": parameters(model)},
        "matmul_dtype": str(dtype),
        "train": dataclasses.asdict(config),
        "ticks_per_update": ticks,
        "update_seconds": [round(s, 4) for s in seconds[WARM_UP:]],
        "ticks_per_second": round(ticks / median, 1),
        "peak_memory_bytes": peak_memory_bytes(chosen),
    }
    print(
        f"{preset}: {figures['ticks_per_second']:,.0f} labelled ticks/s (median of {updates} updates of "
        f"{batch_size} x {chunk_length}), peak memory {figures['peak_memory_bytes'] / 2**20:,.0f} MiB"
    )
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
