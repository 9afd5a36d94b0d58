"""`nanoarb-jax export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nanoarb_jax.errors import ConfigError

from .options import labelled_as_trained
from .output import JsonOption, claim_json, console, say, write_json

if TYPE_CHECKING:
    from nanoarb_jax.exporters import ExportResult


def export(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, or the output folder of a run.")],
    output: Annotated[Path, typer.Option(help="File to write.")],
    kind: Annotated[
        Literal["window", "step", "native"],
        typer.Option(
            help="ONNX window: the last ticks in, one prediction out; ONNX step: one tick and a state in and out; "
            "native: the compiled step's weights."
        ),
    ] = "window",
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"],
        typer.Option(help="Of the weight matrices; fp16 for ONNX alone, bf16 for native alone."),
    ] = "fp32",
    opset: Annotated[int | None, typer.Option(help="ONNX operator set, 17 (the default) to 23.")] = None,
    optimize: Annotated[
        bool, typer.Option("--optimize", help="Write what onnxruntime makes of the graph; a step then has one stream.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Labelled data to compare with JAX on, test parts; else a simulated market.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Write a model as one file, checked against JAX."""
    claim_json(json_path)
    opset = _check_opset(kind, opset, optimize)
    from nanoarb_jax.artifacts.checkpoint import load_checkpoint
    from nanoarb_jax.data.dataset import open_dataset
    from nanoarb_jax.exporters import claim_output

    claim_output(output, opset, "--output")
    with console.status(f"exporting the {kind} model"):
        model = load_checkpoint(checkpoint)
        dataset = None if data is None else open_dataset(data, labelled_as_trained(model, data))
        options = {} if kind == "native" else {"opset": opset, "optimized": optimize}
        result = _exporter(kind)(model, output, precision=precision, data=dataset, **options)
    _show(result, f"{kind}, {precision}", opset, model.version)
    asked = {"kind": kind, "precision": precision, "opset": opset, "optimized": optimize}
    write_json(json_path, {"path": str(result.path), **asked, **_figures(result), "version": model.version})


def _check_opset(kind: str, opset: int | None, optimize: bool) -> int | None:
    """The operator set to write: 17 where none is asked for, None for a native file."""
    if kind != "native":
        return 17 if opset is None else opset
    if opset is not None or optimize:
        option = "--optimize" if optimize else f"--opset {opset}"
        raise ConfigError(f"{option}: --kind native is no ONNX file; leave it out")
    return None


def _figures(result: ExportResult) -> dict[str, Any]:
    return {"bytes": result.bytes, "nodes": result.nodes, **asdict(result.accuracy)}


def _exporter(kind: str) -> Any:
    """The function that writes files of a kind; it refuses precisions that the kind does not have."""
    from nanoarb_jax.exporters import export_native, export_step, export_window

    return {"native": export_native, "step": export_step, "window": export_window}[kind]


def _show(result: ExportResult, what: str, opset: int | None, version: str) -> None:
    """What was written, and how far it is from the model in JAX."""
    accuracy = result.accuracy
    graph = f", {result.nodes} nodes, opset {opset}" if opset is not None else ""
    logits = f"{accuracy.max_logit_difference:.1e} (logits), " if accuracy.max_logit_difference is not None else ""
    say(f"{result.path}: {what}, {result.bytes / 1e6:.2f} MB{graph}, weights {version}")
    say(f"differs from JAX by {logits}{accuracy.max_probability_difference:.1e} (probabilities)")
    say(
        f"and in {accuracy.changed_directions:.2%} of directions, on {accuracy.ticks:,} ticks of {accuracy.measured_on}"
    )
    if accuracy.mcc is not None:
        say(f"MCC there {accuracy.mcc:.4f} in JAX, {accuracy.mcc_change:+.4f} in the file")
