"""How many labelled ticks per second does training process, on what is the time spent, and in how much memory?

    python benchmarks/training_speed.py --preset base --shapes 16x64,16x256,16x1024 --json FILE
    python benchmarks/training_speed.py --device gpu --shapes 16x64,1024x512,4096x256 --dtypes float32,bfloat16 \
        --profile --json benchmarks/results/training_speed_gpu.json

A shape is streams x ticks of an update. Times calls of ten updates (gathering, forward, backward, optimizer, weight
average), as training makes them, after one that compiles and warms up: with all rows on the device, and with rows sent
there for each call. Then three parts alone: the recurrence of all layers forward and backward, gathering, and the
optimizer. Every shape and type has a process of its own, because a peak of memory never falls, and because one that
does not fit then ends alone. docs/gpu.md says how to read the figures.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer
from flax import nnx
from jax.sharding import Mesh

from nanoarb_jax.bench import machine, parameters
from nanoarb_jax.config import Config, DataConfig, ModelConfig
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.model.recurrence import recur_sequence
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.training import source
from nanoarb_jax.training.advance import make_advance
from nanoarb_jax.training.batch import gather
from nanoarb_jax.training.device import choose_devices, matmul_dtype, peak_memory_bytes
from nanoarb_jax.training.loop import LOOK_EVERY
from nanoarb_jax.training.optimizer import average_weights, make_optimizer
from nanoarb_jax.training.plan import EpochPlan
from nanoarb_jax.training.update import CHECKPOINT_TICKS, initial_state, make_update, shardings

ROWS = 50_000  # of the synthetic market; lanes begin anywhere in it
TOP = 20  # operations that a profile lists


def seconds_of(call: Callable[[], Any], calls: int) -> list[float]:
    """Of each call after the first."""
    seconds = []
    for _ in range(calls + 1):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def draw_plan(rows: int, lanes: int, ticks: int) -> EpochPlan:
    """Chunks of `LOOK_EVERY` updates, each anywhere in the stream; every second lane mirrored, none fresh."""
    shape, rng = (LOOK_EVERY, lanes), np.random.default_rng(0)
    mirrored = np.broadcast_to(np.arange(lanes) % 2 == 1, shape)
    return EpochPlan(np.zeros(shape, int), rng.integers(rows - ticks + 1, size=shape), mirrored, np.full(shape, ticks))


class Training:
    """An update of one shape, compiled, and what it is called with.

    Args:
        config: model and training settings; batch_size is given.
        stream: with labels.
        devices: that share the lanes.
    """

    def __init__(self, config: Config, stream: Stream, devices: list[jax.Device]):
        train = config.train
        self.config, self.stream = config, stream
        self.lanes, self.ticks = train.batch_size or 0, train.chunk_length
        mesh = Mesh(np.array(devices), ("data",)) if len(devices) > 1 else None
        self.placement, self.everywhere = (devices[0],) * 2 if mesh is None else shardings(mesh)[:2]
        self.model = MambaLOB(config.model, rngs=nnx.Rngs(0), dtype=matmul_dtype(train.matmul_dtype, devices[0]))
        self.optimizer = make_optimizer(train, 1000)
        update = make_update(self.model, self.optimizer, train, None)
        self.advance = make_advance(update, self.ticks, train, mesh)
        self.plan = draw_plan(stream.train[1] - stream.train[0], self.lanes, self.ticks)

    def read(self, resident: bool) -> Callable[[], Any]:
        """What gives a call its rows and picks, with all rows on the device or not."""
        kept, source.RESIDENT_BYTES = source.RESIDENT_BYTES, sys.maxsize if resident else 0
        device_put = functools.partial(jax.device_put, device=self.everywhere)
        made = source.make_source([self.stream], self.ticks, self.config.train, device_put)
        source.RESIDENT_BYTES = kept
        return lambda: made(self.plan)

    def state(self) -> Any:
        return jax.device_put(initial_state(self.model, self.optimizer, self.lanes), self.placement)


def time_updates(training: Training, resident: bool, calls: int) -> tuple[dict[str, Any], Callable[[], Any], Any]:
    """Figures of an update, the call that makes ten, and its compiled program."""
    read, state = training.read(resident), training.state()
    compiled = training.advance.lower(state, *read(), LOOK_EVERY).compile()

    def call() -> Any:
        nonlocal state
        state = compiled(state, *read(), LOOK_EVERY)
        return state

    seconds = [s / LOOK_EVERY for s in seconds_of(call, calls)]
    speed = training.lanes * training.ticks / float(np.median(seconds))
    return {"update_seconds": [round(s, 6) for s in seconds], "ticks_per_second": round(speed, 1)}, call, compiled


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


def time_gather(training: Training, calls: int) -> float:
    """Seconds of gathering the rows of an update, mirrored lanes included."""
    rows, picks = training.read(resident=True)()

    def shown(i: Any, rows: Any, picks: Any) -> Any:
        return gather(rows, jax.tree.map(lambda a: a[i], picks), training.ticks, training.config.train)

    nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(lambda *a: shown(0, *a), rows, picks))
    loop = jax.jit(lambda *a: jax.lax.fori_loop(0, LOOK_EVERY, lambda i, _: shown(i, *a), nothing))
    return float(np.median(seconds_of(lambda: loop(rows, picks), calls))) / LOOK_EVERY


def time_optimizer(training: Training, calls: int) -> float:
    """Seconds of clipping, AdamW and the average of the weights in an update."""
    start = training.state()
    gradients = jax.tree.map(jnp.ones_like, start.params)

    def step(i: Any, carry: Any) -> Any:
        params, average, state = carry
        changes, state = training.optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, changes)
        return params, average_weights(params, average, i, training.config.train.ema_decay), state

    loop = jax.jit(lambda carry: jax.lax.fori_loop(0, LOOK_EVERY, step, carry))
    carry = start.params, start.average, start.optimizer
    return float(np.median(seconds_of(lambda: loop(carry), calls))) / LOOK_EVERY


def profile(call: Callable[[], Any], program: str) -> dict[str, Any]:
    """Where the device spends one call: the operations that take longest, and how much of the time it computes at all.

    Args:
        call: makes ten updates.
        program: the compiled program as text; it names the line of the model that an operation comes from.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            began = time.perf_counter()
            jax.block_until_ready(call())
            wall = time.perf_counter() - began
        [trace] = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(trace))
    came_from = dict(re.findall(r'^\s*(?:ROOT )?%?([\w.-]+) = .*op_name="([^"]*)"', program, re.MULTILINE))
    kinds, seconds, times = Counter[str](), Counter[str](), Counter[str]()
    for plane in data.planes:
        for line in plane.lines:
            for event in line.events:
                # an operation names its instruction; on a CPU, loops and calls would be counted beside what they hold
                operation = dict(event.stats).get("hlo_op")
                if operation is None or re.match(r"while|call|conditional", str(operation)):
                    continue
                kinds[plane.name] += 1
                seconds[str(operation)] += event.duration_ns * 1e-9
                times[str(operation)] += 1
    busy = sum(seconds.values())
    operations = [
        {
            "operation": name,
            "from": came_from.get(name, ""),
            "us_per_update": round(took / LOOK_EVERY * 1e6, 1),
            "times_per_update": round(times[name] / LOOK_EVERY, 1),
            "share": round(took / busy, 4),
        }
        for name, took in seconds.most_common(TOP)
    ]
    counted = {"planes": dict(kinds), "operations_per_update": round(sum(times.values()) / LOOK_EVERY, 1)}
    return {"busy_share": round(busy / wall, 3), **counted, "longest": operations}


def measure(config: Config, devices: list[jax.Device], calls: int, profiled: bool) -> dict[str, Any]:
    """All figures of one shape."""
    train = config.train
    lanes, ticks = train.batch_size or 0, train.chunk_length
    stream = make_stream(synthetic_books(int(ROWS / 0.7) + 2_000, seed=0), config.data)._replace(train=(0, ROWS))
    with jax.default_device(devices[0]):
        training = Training(config, stream, devices)
        resident, call, compiled = time_updates(training, True, calls)
        peak = peak_memory_bytes(devices[0])
        speed = resident["ticks_per_second"]
        parts = {
            "scan": time_scan(config.model, lanes // len(devices), ticks, calls),
            "gather": time_gather(training, calls),
            "optimizer": time_optimizer(training, calls),
        }
        shares = {
            name: {"seconds": round(s, 6), "share": round(s * speed / (lanes * ticks), 3)} for name, s in parts.items()
        }
        profiled_call = {"profile": profile(call, compiled.as_text())} if profiled else {}
        sent, *_ = time_updates(training, False, 1)
    return {
        "matmul_dtype": str(matmul_dtype(train.matmul_dtype, devices[0])),
        "ticks_per_second": speed,
        "model_flops_per_second": 6 * parameters(training.model) * speed,
        "paths": {"resident": resident, "sent": sent},
        "parts": shares,
        "peak_memory_bytes": peak,
        "program_bytes": compiled.memory_analysis().temp_size_in_bytes,
        **profiled_call,
    }


def measure_apart(options: list[str]) -> dict[str, Any]:
    """`main` of one shape in a process of its own: its figures, or why it failed."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, __file__, "--alone", "--json", str(result), *options]
        ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if ended.returncode == 0:
            return json.loads(result.read_text())
    errors = [line for line in ended.stderr.splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return {"failed": errors[-1][:300] if errors else f"ended with {ended.returncode}"}


def main(
    preset: str = "base",
    feature_set: str = "flow",
    shapes: Annotated[str, typer.Option(help="Streams x ticks of an update, several as 16x64,1024x512.")] = "16x64",
    dtypes: Annotated[str, typer.Option(help="Operands of the projections, several as float32,bfloat16.")] = "auto",
    calls: Annotated[int, typer.Option(help="Of ten updates, after one that warms up.")] = 5,
    device: str = "auto",
    devices: Annotated[int, typer.Option(help="That share the streams; of a CPU at most its cores.")] = 1,
    profiled: Annotated[bool, typer.Option("--profile", help="List the operations that take longest.")] = False,
    alone: Annotated[bool, typer.Option(hidden=True)] = False,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    recipe = Config.recipe(preset)
    model = dataclasses.replace(recipe.model, feature_set=feature_set)
    settings = Config(model, DataConfig(feature_set=feature_set), recipe.train)
    if alone:
        lanes, ticks = map(int, shapes.split("x"))
        train = dataclasses.replace(
            recipe.train, batch_size=lanes, chunk_length=ticks, matmul_dtype=dtypes, device=device, devices=devices
        )
        chosen = choose_devices(device, devices)
        figures = measure(dataclasses.replace(settings, train=train), chosen, calls, profiled)
        figures |= {"machine": machine(), "device": f"{chosen[0].platform}:{chosen[0].device_kind}"}
    else:
        given = ["--preset", preset, "--feature-set", feature_set, "--calls", str(calls), "--device", device]
        given += ["--devices", str(devices), *["--profile"] * profiled]
        figures = {
            "question": "labelled ticks per second of training updates",
            "config": dataclasses.asdict(settings),
            "rows": [],
        }
        for shape in shapes.split(","):
            for dtype in dtypes.split(","):
                row = {"shape": shape, **measure_apart([*given, "--shapes", shape, "--dtypes", dtype])}
                figures["rows"].append(row)
                print(f"{preset}, {shape}, {dtype}: {sentence(row)}", flush=True)
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=1) + "\n")


def sentence(row: dict[str, Any]) -> str:
    if "failed" in row:
        return row["failed"]
    parts = ", ".join(f"{name} {part['share']:.0%}" for name, part in row["parts"].items())
    return (
        f"{row['ticks_per_second']:,.0f} labelled ticks/s ({row['paths']['sent']['ticks_per_second']:,.0f} with rows "
        f"sent); {parts}; peak memory {row['peak_memory_bytes'] / 2**20:,.0f} MiB"
    )


if __name__ == "__main__":
    typer.run(main)
