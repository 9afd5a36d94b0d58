"""`nanoarb-jax adapt`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.evaluation.own_data import say_minutes
from nanoarb_jax.reports.figure import claim_picture

from .options import InstrumentOption, InstrumentsOption, labelled_as_trained, parse_instruments
from .output import JsonOption, claim_json, console, noting, say, write_json
from .own_data_tables import crossings, own_data_tables
from .tables import figure_table, mcc

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoarb_jax.artifacts.checkpoint import Checkpoint
    from nanoarb_jax.data.dataset import Dataset
    from nanoarb_jax.training.adapt import Adapted


def adapt(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, or the output folder of a run.")],
    data: Annotated[Path, typer.Option(help="The instrument's own past: a dataset, or a folder or file of a market.")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the adapted checkpoint; with --curve, where runs of fine-tuning and fitted baselines are "
            "kept and found again.  [required; with --curve: runs/own-data_VERSION, of the checkpoint's version]"
        ),
    ] = None,
    curve: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Adapt nothing; draw what 1, 5, 15 and 60 minutes and all of each series' past are worth to the model "
            "adapted, fine-tuned, and to baselines: PNG, SVG or PDF.",
        ),
    ] = None,
    instrument: InstrumentOption = None,
    instruments: InstrumentsOption = None,
    json_path: JsonOption = None,
) -> None:
    """Fit a model to one instrument, in seconds.

    A linear term of what the model sees and knows is added to its logits. It learns from the training part of the
    data, its strength is chosen on the validation part, and the test part judges it. The result is a checkpoint as any
    other. With --curve: how much own data that takes.
    """
    claim_json(json_path)
    if curve is not None:
        claim_picture(curve, "--curve")
    elif output is None:
        raise ConfigError("--output: missing; give a folder for the adapted checkpoint")
    began = time.perf_counter()
    from nanoarb_jax.artifacts.checkpoint import load_checkpoint
    from nanoarb_jax.data.dataset import open_dataset

    with console.status("reading"):
        model = load_checkpoint(checkpoint)
        settings, declared = labelled_as_trained(model, data), parse_instruments(instrument, instruments)
        dataset = open_dataset(data, settings, verify=True, instruments=declared)
    if curve is not None:
        figures = _draw_curve(model, dataset, curve, output or Path(f"runs/own-data_{model.version}"))
    else:
        assert output is not None
        figures = _adapt(model, dataset, output, began)
    write_json(json_path, figures)


def _adapt(model: Checkpoint, dataset: Dataset, output: Path, began: float) -> dict[str, Any]:
    """Make the adapted checkpoint, and say how good it is; `began`: when the command did, of `perf_counter`."""
    from nanoarb_jax.training.adapt import adapt_checkpoint

    with console.status("adapting"):
        adapted = adapt_checkpoint(model, dataset, output)
    seconds = time.perf_counter() - began
    _say_learnt(model, dataset)
    for table in _tables(adapted):
        console.print(table)
    say(f"adapted {model.version} to {dataset.streams[0].instrument}: {adapted.path}, in {seconds:.1f} s")
    figures = {"path": str(adapted.path), "version": adapted.version, "of": model.version, "seconds": seconds}
    return figures | {"adaptation": adapted.report, "test": adapted.test}


def _draw_curve(model: Checkpoint, dataset: Dataset, picture: Path, work_dir: Path) -> dict[str, Any]:
    """Judge what little and much own data are worth, say it and draw it."""
    from nanoarb_jax.reports.own_data import own_data_picture
    from nanoarb_jax.studies.own_data import own_data_curve

    with noting("own data") as note:
        result = own_data_curve(model, dataset, work_dir, note=note)
    _say_learnt(model, dataset)
    console.print(own_data_tables(result))
    for sentence in crossings(result):
        say(sentence)
    for duration in result["durations"]:
        for why in duration["left_out"].values():
            say(f"{say_minutes(duration['minutes'])}: without {why}")
    own_data_picture(result, picture)
    say(f"picture: {picture}; runs and baselines: {work_dir}")
    return {"of": model.version, **result}


def _say_learnt(model: Checkpoint, dataset: Dataset) -> None:
    """Name the series that the model knows from its training."""
    from nanoarb_jax.data.provenance import how_learnt

    for stream in dataset.streams:
        why = how_learnt(stream, model.learnt)
        if why:
            say(f"the model learnt from {stream.name}, or a part of it ({why}): judged too kindly here")


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
