"""`nanoarb-jax adapt`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import InstrumentOption, InstrumentsOption, labelled_as_trained, parse_instruments
from .output import JsonOption, claim_json, console, say, write_json
from .tables import figure_table, mcc

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoarb_jax.training.adapt import Adapted


def adapt(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, or the output folder of a run.")],
    data: Annotated[Path, typer.Option(help="The instrument's own past: a dataset, or a folder or file of a market.")],
    output: Annotated[Path, typer.Option(help="Folder of the adapted checkpoint.")],
    instrument: InstrumentOption = None,
    instruments: InstrumentsOption = None,
    json_path: JsonOption = None,
) -> None:
    """Fit a model to one instrument, in seconds.

    A linear term of what the model sees and knows is added to its logits. It learns from the training part of the
    data, its strength is chosen on the validation part, and the test part judges it. The result is a checkpoint as any
    other.
    """
    claim_json(json_path)
    began = time.perf_counter()
    from nanoarb_jax.artifacts.checkpoint import load_checkpoint
    from nanoarb_jax.data.dataset import open_dataset
    from nanoarb_jax.data.provenance import how_learnt
    from nanoarb_jax.training.adapt import adapt_checkpoint

    with console.status("adapting"):
        model = load_checkpoint(checkpoint)
        settings, declared = labelled_as_trained(model, data), parse_instruments(instrument, instruments)
        dataset = open_dataset(data, settings, verify=True, instruments=declared)
        adapted = adapt_checkpoint(model, dataset, output)
    seconds = time.perf_counter() - began
    for stream in dataset.streams:
        why = how_learnt(stream, model.learnt)
        if why:
            say(f"the model learnt from {stream.name}, or a part of it ({why}): judged too kindly here")
    for table in _tables(adapted):
        console.print(table)
    say(f"adapted {model.version} to {dataset.streams[0].instrument}: {adapted.path}, in {seconds:.1f} s")
    figures = {"path": str(adapted.path), "version": adapted.version, "of": model.version, "seconds": seconds}
    write_json(json_path, figures | {"adaptation": adapted.report, "test": adapted.test})


def _tables(adapted: Adapted) -> list[RenderableType]:
    """How each horizon was fitted, and what the test part says of it."""
    fitted = [
        [
            f"{key.removeprefix('h')} ticks",
            f"{of['rows']:,}",
            "as it was" if of["strength"] is None else f"{of['strength']:g}",
            *(f"{of[name]:.4f}" if name in of else "" for name in ("model_validation_loss", "validation_loss")),
        ]
        for key, of in adapted.report.items()
    ]
    tables: list[RenderableType] = [
        figure_table(["horizon", "rows learnt from", "strength", "validation log loss", "adapted"], fitted)
    ]
    if adapted.test is None:
        return [*tables, "the test part is too short to judge on"]
    judged = [
        [name, *(f"{of['log_loss']:.4f}" for of in by.values()), *(mcc(of["mcc"], 3) for of in by.values())]
        for name, by in adapted.test.items()
    ]
    horizons = [key.removeprefix("h") for key in adapted.report]
    heads = [f"{figure} {horizon}" for figure in ("log loss", "MCC") for horizon in horizons]
    return [*tables, figure_table(["test part", *heads], judged)]
