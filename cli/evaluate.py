"""`nanoarb-jax evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import labelled_as_trained
from .output import JsonOption, claim_json, console, metrics_table, say, write_json


def evaluate(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, or the output folder of a run.")],
    data: Annotated[Path, typer.Option(help="Prepared dataset, or a folder or file of book-npz books.")],
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="Which part of each stream to judge.")
    ] = "test",
    json_path: JsonOption = None,
) -> None:
    """Judge a model beside two baselines on the same rows."""
    claim_json(json_path)
    from nanoarb_jax.checkpoint import load_checkpoint
    from nanoarb_jax.dataset import open_dataset
    from nanoarb_jax.evaluation.validation import evaluate as judge

    with console.status("reading"):
        model = load_checkpoint(checkpoint)
        dataset = open_dataset(data, labelled_as_trained(model, data), verify=True)
    with console.status(f"judging {len(dataset.streams)} series"):
        result = judge(model, dataset, split)
    console.print(metrics_table(result))
    if result["unseen"]:
        say(f"not trained on: {', '.join(result['unseen'])}")
    write_json(json_path, result)
