"""`nanoarb-jax export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from nanoarb_jax.config import config_from_dict

from .output import JsonOption, claim_json, console, say, write_json


def export(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, or the output folder of a run.")],
    output: Annotated[Path, typer.Option(help="ONNX file to write.")],
    kind: Annotated[
        Literal["window", "step"],
        typer.Option(help="window: the last ticks in, one prediction out; step: one tick and a state in and out."),
    ] = "window",
    precision: Annotated[Literal["fp32", "fp16", "int8"], typer.Option(help="Of the weight matrices.")] = "fp32",
    opset: Annotated[int, typer.Option(help="ONNX operator set, 17 to 23.")] = 17,
    optimize: Annotated[
        bool, typer.Option("--optimize", help="Write what onnxruntime makes of the graph; a step then has one stream.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled data to compare file and model on: its test parts. A simulated market if left out."
        ),
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Write a model as one ONNX file, checked against JAX."""
    claim_json(json_path)
    from nanoarb_jax.checkpoint import load_checkpoint
    from nanoarb_jax.dataset import MANIFEST, open_dataset
    from nanoarb_jax.export import claim_output, export_step, export_window

    claim_output(output, opset)
    with console.status(f"exporting the {kind} model"):
        model = load_checkpoint(checkpoint)
        dataset = None
        if data is not None:
            # books are labelled as those the model learnt from; a prepared dataset is labelled already
            settings = None
            if "config" in model.data and not (data / MANIFEST).is_file():
                tables = {"model": {"horizons": model.config.horizons}, "data": model.data["config"]}
                settings = config_from_dict(tables, f"checkpoint {checkpoint}").data
            dataset = open_dataset(data, settings)
        write = export_step if kind == "step" else export_window
        result = write(model, output, precision=precision, opset=opset, optimized=optimize, data=dataset)
    accuracy = result.accuracy
    said = [
        f"{result.path}: {kind}, {precision}, {result.bytes / 1e6:.2f} MB, {result.nodes} nodes, opset {opset}, "
        f"weights {model.version}",
        f"differs from JAX by {accuracy.max_logit_difference:.1e} (logits), "
        f"{accuracy.max_probability_difference:.1e} (probabilities)",
        f"and in {accuracy.changed_directions:.2%} of directions, "
        f"on {accuracy.ticks:,} ticks of {accuracy.measured_on}",
    ]
    if accuracy.mcc is not None:
        said.append(f"MCC there {accuracy.mcc:.4f} in JAX, {accuracy.mcc_change:+.4f} in the file")
    say("\n".join(said))
    write_json(
        json_path,
        {
            "path": str(result.path), "kind": kind, "precision": precision, "opset": opset, "optimized": optimize,
            "bytes": result.bytes, "nodes": result.nodes, **asdict(accuracy), "version": model.version,
        },
    )  # fmt: skip
