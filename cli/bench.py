"""`nanoarb-jax bench`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.reports.figure import claim_picture

from .options import parse_counts
from .output import JsonOption, claim_json, console, noting, say, write_json
from .tables import latency_table, sweep_table

if TYPE_CHECKING:
    from nanoarb_jax.bench import Extras


def bench(
    preset: Annotated[
        list[str] | None,
        typer.Option(help="Random weights of this size: base (default), small or nano; give it again to compare."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Trained weights instead: a checkpoint or the output folder of a run.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds over all paths; more rounds, steadier tails.")] = 20,
    precisions: Annotated[
        bool, typer.Option("--precisions", help="Also exported files that are smaller or optimised.")
    ] = False,
    rivals: Annotated[
        bool, typer.Option("--rivals", help="Also a Transformer and the PyTorch original of the same size.")
    ] = False,
    lengths: Annotated[
        str, typer.Option(metavar="TICKS,…", help="Also windows of these lengths, e.g. 25,50,100,200,400.")
    ] = "",
    batch: Annotated[
        str, typer.Option(metavar="COUNT,…", help="Also so many instruments at once, e.g. 1,8,64,256.")
    ] = "",
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the latencies (of the first preset): .png, .svg or .pdf.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Measure what one prediction costs on every path, in one run."""
    claim_json(json_path)
    if picture is not None:
        claim_picture(picture, "--picture")
    if preset and checkpoint is not None:
        raise ConfigError(f"--preset {preset[0]} and --checkpoint {checkpoint}: expected one of them; leave one out")
    from nanoarb_jax.bench import Extras

    extras = Extras(precisions, rivals, parse_counts("--lengths", lengths), parse_counts("--batch", batch))
    result = _measure(preset or ["base"], checkpoint, rounds, extras)
    for measured in (result, *result.get("presets", {}).values()):
        show(measured)
    write_json(json_path, result)
    _draw(result, picture)


def _measure(presets: list[str], checkpoint: Path | None, rounds: int, extras: Extras) -> dict[str, Any]:
    """Of the checkpoint, or else of the presets."""
    from nanoarb_jax.bench import bench_checkpoint, bench_presets

    with noting("measuring") as note:
        if checkpoint is not None:
            return bench_checkpoint(checkpoint, rounds, note, extras)
        return bench_presets(presets, rounds, note, extras)


def _draw(result: Mapping[str, Any], picture: Path | None) -> None:
    if picture is not None:
        from nanoarb_jax.reports.latency import latency_picture

        latency_picture(result, picture)


def show(result: Mapping[str, Any]) -> None:
    """The tables, and the ratios of medians that matter."""
    console.print(latency_table(result))
    for line in ratios(result):
        say(line)
    for name in ("lengths", "batches"):
        if name in result:
            console.print(sweep_table(name, result[name]))


def ratios(result: Mapping[str, Any]) -> list[str]:
    """Steps against windows and floors, from the medians."""
    p50 = {row["path"]: row["p50_us"] for row in result["rows"]}

    def times(path: str, other: str) -> str:
        return f"{p50[path] / p50[other]:,.3g}×"

    call_us = p50["native_step"] - p50["native_step_inloop"]
    lines = [
        f"p50: jax_window is {times('jax_window', 'native_step')} native_step and {times('jax_window', 'jax_step')} "
        "jax_step,",
        f"onnx_window {times('onnx_window', 'onnx_step')} onnx_step and {times('onnx_window', 'jax_window')} "
        "jax_window",
        f"reading the weights once takes {result['weight_read_us']:,.3g} µs: native_step_inloop is "
        f"{times('native_step_inloop', 'weight_read')},",
        f"jax_step {times('jax_step', 'weight_read')} and onnx_step {times('onnx_step', 'weight_read')} that",
        f"calling it from Python adds {max(call_us, 0):,.2f} µs to native_step_inloop",
    ]
    if "rivals" in result:
        lines += [
            f"transformer_window is {times('transformer_window', 'native_step')} native_step, transformer_step "
            f"{times('transformer_step', 'jax_step')} jax_step,",
            f"torch_window {times('torch_window', 'jax_window')} jax_window",
        ]
    return lines
