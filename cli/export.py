"""`nanoarb-jax export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .output import JsonOption, claim_json, console, say, write_json


def export(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, or the output folder of a run.")],
    output: Annotated[Path, typer.Option(help="ONNX file to write.")],
    kind: Annotated[Literal["window"], typer.Option(help="window: the last ticks in, one prediction out.")] = "window",
    opset: Annotated[int, typer.Option(help="ONNX operator set, 17 to 23.")] = 17,
    json_path: JsonOption = None,
) -> None:
    """Write a model as one ONNX file, checked against JAX."""
    claim_json(json_path)
    from nanoarb_jax.checkpoint import load_checkpoint
    from nanoarb_jax.export import claim_output, export_window

    claim_output(output, opset)
    with console.status(f"exporting the {kind} model"):
        model = load_checkpoint(checkpoint)
        result = export_window(model, output, opset=opset)
    say(
        f"{result.path}: {result.bytes / 1e6:.2f} MB, {result.nodes} nodes, opset {opset}, weights {model.version}\n"
        f"differs from JAX by {result.max_logit_difference:.1e} (logits), "
        f"{result.max_probability_difference:.1e} (probabilities)"
    )
    write_json(
        json_path,
        {
            "path": str(result.path), "kind": kind, "opset": opset, "bytes": result.bytes, "nodes": result.nodes,
            "max_logit_difference": result.max_logit_difference,
            "max_probability_difference": result.max_probability_difference, "version": model.version,
        },
    )  # fmt: skip
