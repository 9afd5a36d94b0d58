"""`nanoarb-jax bench`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from nanoarb_jax.errors import ConfigError

from .output import JsonOption, claim_json, console, latency_table, noting, say, write_json


def bench(
    preset: Annotated[
        str | None, typer.Option(help="Random weights of this size: base (default), small or nano.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Trained weights instead: a checkpoint or the output folder of a run.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds over all paths; more rounds, steadier tails.")] = 20,
    json_path: JsonOption = None,
) -> None:
    """Measure what one prediction costs on every path, in one run."""
    claim_json(json_path)
    if preset is not None and checkpoint is not None:
        raise ConfigError(f"--preset {preset} and --checkpoint {checkpoint}: expected one of them; leave one out")
    from nanoarb_jax.bench import bench_checkpoint, bench_preset

    with noting("measuring") as note:
        if checkpoint is not None:
            result = bench_checkpoint(checkpoint, rounds, note)
        else:
            result = bench_preset(preset or "base", rounds, note)
    show(result)
    write_json(json_path, result)


def show(result: Mapping[str, Any]) -> None:
    """The table, and how much cheaper the step is than a window, from the medians."""
    console.print(latency_table(result))
    p50 = {row["path"]: row["p50_us"] for row in result["rows"]}
    step = p50["jax_step"]
    say(
        f"jax_step is {p50['jax_window'] / step:.1f}× below jax_window and {p50['onnx_window'] / step:.1f}× below "
        f"onnx_window (p50)\nreading the weights once takes {result['weight_read_us']:.1f} µs"
    )
