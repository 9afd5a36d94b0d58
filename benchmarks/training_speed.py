"""How many labelled ticks per second does training process, how much of the time is the scan, and in how much memory?

    python benchmarks/training_speed.py --preset base --chunk-lengths 256,512,1024,2048 \
        --json benchmarks/results/training_speed_cpu.json

Times calls of ten updates (gathering, forward, backward, optimizer, weight average), as training makes them, after one
that compiles and warms up, on a synthetic market: once with all rows on the device, once with rows sent there for each
call. Then the recurrence of all layers alone, forward and backward, at the same shapes. A peak of memory never falls,
so that every chunk length has a process of its own. On a GPU give it more lanes: --device gpu --batch-size 512.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from flax import nnx

from nanoarb_jax.bench import machine, parameters
from nanoarb_jax.config import DataConfig, ModelConfig, TrainConfig
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.model.recurrence import recur_sequence
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.training import source
from nanoarb_jax.training.advance import make_advance
from nanoarb_jax.training.device import choose_device, matmul_dtype, peak_memory_bytes
from nanoarb_jax.training.loop import LOOK_EVERY
from nanoarb_jax.training.optimizer import make_optimizer
from nanoarb_jax.training.plan import plan_streams
from nanoarb_jax.training.update import CHECKPOINT_TICKS, initial_state, make_update


def seconds_of(call: Callable[[], Any], calls: int) -> list[float]:
    """Of each call after the first."""
    seconds = []
    for _ in range(calls + 1):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def time_updates(
    model: MambaLOB, stream: Stream, config: TrainConfig, device: jax.Device, calls: int
) -> dict[str, dict[str, Any]]:
    """Seconds per update, one figure per call, and ticks per second: {"resident": …, "sent": …}."""
    lanes, ticks = config.batch_size or 0, config.chunk_length
    optimizer = make_optimizer(config, LOOK_EVERY * calls)
    advance = make_advance(make_update(model, optimizer, config, None), ticks, config)
    plan = plan_streams([stream.train[1] - stream.train[0]], ticks, lanes, np.random.default_rng(0))

    def time_path(resident_bytes: int) -> dict[str, Any]:
        source.RESIDENT_BYTES = resident_bytes
        read = source.make_source([stream], ticks, config, lambda rows: jax.device_put(rows, device))
        state = jax.device_put(initial_state(model, optimizer, lanes), device)

        def call() -> Any:
            nonlocal state
            state = advance(state, *read(plan), LOOK_EVERY)
            return state

        seconds = [s / LOOK_EVERY for s in seconds_of(call, calls)]
        speed = lanes * ticks / float(np.median(seconds))
        return {"update_seconds": [round(s, 5) for s in seconds], "ticks_per_second": round(speed, 1)}

    return {"resident": time_path(source.RESIDENT_BYTES), "sent": time_path(0)}


def time_scan(config: ModelConfig, lanes: int, ticks: int, calls: int) -> float:
    """Seconds of the recurrence of all layers in an update, forward and backward."""
    d, n = config.d_inner, config.d_state
    keys = jax.random.split(jax.random.key(0), 4)
    u, B, C = (jax.random.normal(key, (ticks, lanes, k)) for key, k in zip(keys, (d, n, n), strict=False))
    delta = jax.nn.softplus(jax.random.normal(keys[3], (ticks, lanes, d)) - 3)
    A, h = -jnp.ones((n, d)) * jnp.arange(1.0, n + 1)[:, None], jnp.zeros((lanes, n, d))

    def loss(*given: jax.Array) -> jax.Array:
        last, y = recur_sequence(*given, CHECKPOINT_TICKS)
        return jnp.sum(jnp.tanh(y)) + jnp.sum(last)

    gradient = jax.jit(jax.grad(loss, argnums=tuple(range(6))))
    return config.num_layers * float(np.median(seconds_of(lambda: gradient(h, u, delta, A, B, C), 3 * calls)))


def sweep(lengths: str, *options: object) -> list[dict[str, Any]]:
    """Memory and speed against the chunk length, each in a process of its own."""
    rows = []
    for length in map(int, lengths.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "result.json"
            command = [sys.executable, __file__, "--chunk-length", length, "--calls", 1, "--json", result, *options]
            subprocess.run(list(map(str, command)), check=True)
            figures = json.loads(result.read_text())
        rows.append({"chunk_length": length, **{k: figures[k] for k in ("peak_memory_bytes", "ticks_per_second")}})
    return rows


LOB44 = DataConfig(feature_set="lob44")  # what presets read


def main(
    preset: str = "base",
    batch_size: int = 16,
    chunk_length: int = 256,
    calls: Annotated[int, typer.Option(help="Of ten updates, after one that warms up.")] = 5,
    device: str = "auto",
    chunk_lengths: Annotated[str, typer.Option(help="Also measure memory at these, as 256,512.")] = "",
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    chosen, shape = choose_device(device), ModelConfig.preset(preset)
    config = TrainConfig(batch_size=batch_size, chunk_length=chunk_length, input_jitter=0.0)
    ticks = batch_size * chunk_length
    books = synthetic_books(int(ticks * LOOK_EVERY / 0.7) + 2_000, seed=0)
    stream = make_stream(books, LOB44)._replace(train=(0, ticks * LOOK_EVERY))  # no lane is left out
    with jax.default_device(chosen):
        dtype = matmul_dtype(config.matmul_dtype, chosen)
        model = MambaLOB(shape, rngs=nnx.Rngs(0), dtype=dtype)
        paths = time_updates(model, stream, config, chosen, calls)
        peak = peak_memory_bytes(chosen)
        scan = time_scan(shape, batch_size, chunk_length, calls)
    update = ticks / paths["resident"]["ticks_per_second"]
    figures = {
        "question": "labelled ticks per second of training updates",
        "machine": machine(),
        "device": f"{chosen.platform}:{chosen.device_kind}",
        "model": {"preset": preset, "parameters": parameters(model)},
        "matmul_dtype": str(dtype),
        "train": dataclasses.asdict(config),
        "ticks_per_update": ticks,
        "ticks_per_second": paths["resident"]["ticks_per_second"],
        "paths": paths,
        "scan": {"seconds": round(scan, 5), "share": round(scan / update, 3)},
        "peak_memory_bytes": peak,
    }
    print(f"{preset}, {batch_size} x {chunk_length}: {sentence(figures)}")
    if chunk_lengths:
        given = ("--preset", preset, "--batch-size", batch_size, "--device", device)
        figures["chunk_lengths"] = sweep(chunk_lengths, *given)
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=1) + "\n")


def sentence(figures: dict[str, Any]) -> str:
    paths, share = figures["paths"], figures["scan"]["share"]
    return (
        f"{paths['resident']['ticks_per_second']:,.0f} labelled ticks/s ({paths['sent']['ticks_per_second']:,.0f} with "
        f"rows sent), {share:.0%} of it the scan, peak memory {figures['peak_memory_bytes'] / 2**20:,.0f} MiB"
    )


if __name__ == "__main__":
    typer.run(main)
