"""`nanoarb-jax evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .evaluation_tables import evaluation_tables
from .options import labelled_as_trained
from .output import JsonOption, claim_json, console, metrics_table, say, write_json


def evaluate(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, or the output folder of a run.")],
    data: Annotated[Path, typer.Option(help="Prepared dataset, or a folder or file of book-npz books.")],
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="Which part of each stream to judge.")
    ] = "test",
    window_mode: Annotated[
        bool, typer.Option("--window-mode", help="Also judge windows with a fresh state, at a hundred times the cost.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the reliability diagram: PNG, SVG or PDF.")
    ] = None,
    json_path: JsonOption = None,
) -> None:
    """Judge a model beside the baselines on the same rows."""
    claim_json(json_path)
    from nanoarb_jax.checkpoint import load_checkpoint
    from nanoarb_jax.dataset import open_dataset
    from nanoarb_jax.evaluation.picture import reliability_picture
    from nanoarb_jax.evaluation.validation import evaluate as judge
    from nanoarb_jax.report import claim_picture

    if picture is not None:
        claim_picture(picture)
    with console.status("reading"):
        model = load_checkpoint(checkpoint)
        dataset = open_dataset(data, labelled_as_trained(model, data), verify=True)
    with console.status(f"judging {len(dataset.streams)} series"):
        result = judge(model, dataset, split, window_mode=window_mode)
    console.print(metrics_table(result))
    console.print(evaluation_tables(result))
    if result["unseen"]:
        say(f"not trained on: {', '.join(result['unseen'])}")
    if picture is not None:
        reliability_picture(result, picture)
        say(f"picture: {picture}")
    write_json(json_path, result)
