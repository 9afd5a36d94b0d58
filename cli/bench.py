"""`nanoarb-jax bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoarb_jax.errors import ConfigError

from .output import JsonOption, claim_json, console, latency_table, write_json


def bench(
    preset: Annotated[
        str | None, typer.Option(help="Random weights of this size: base (default), small or nano.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Trained weights instead.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds over all paths; more rounds, steadier tails.")] = 20,
    json_path: JsonOption = None,
) -> None:
    """Measure what one prediction costs on every path, in one run."""
    claim_json(json_path)
    if preset is not None and checkpoint is not None:
        raise ConfigError("--preset and --checkpoint: give one of them")
    from nanoarb_jax.bench import bench_checkpoint, bench_preset

    with console.status("measuring") as status:

        def note(text: str) -> None:
            status.update(f"measuring: {text}")

        if checkpoint is not None:
            result = bench_checkpoint(checkpoint, rounds, note)
        else:
            result = bench_preset(preset or "base", rounds, note)
    console.print(latency_table(result))
    console.print(ratios(result))
    write_json(json_path, result)


def ratios(result: dict[str, object]) -> str:
    """How much cheaper the step is than a window, from the medians."""
    p50 = {row["path"]: row["p50_us"] for row in result["rows"]}  # type: ignore[attr-defined]
    step = p50["jax_step"]
    return (
        f"jax_step is {p50['jax_window'] / step:.1f}× below jax_window "
        f"and {p50['onnx_window'] / step:.1f}× below onnx_window; "
        f"reading the weights once takes {result['weight_read_us']:.1f} µs"
    )
