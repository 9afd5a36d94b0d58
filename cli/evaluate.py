"""`nanoarb-jax evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import typer

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.reports.figure import claim_picture
from nanoarb_jax.units.workers import Workers

from .evaluation_tables import evaluation_tables
from .options import InstrumentsOption, labelled_as_trained, parse_instruments
from .output import JsonOption, claim_json, console, noting, say, write_json
from .tables import metrics_table
from .workers_options import workers_options

if TYPE_CHECKING:
    from nanoarb_jax.artifacts.checkpoint import Checkpoint
    from nanoarb_jax.data.dataset import Dataset


@workers_options("different models, of leave-one-out and walk-forward, which share the cores", default=1)
def evaluate(
    *,
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, or the output folder of a run.")],
    data: Annotated[Path, typer.Option(help="Prepared dataset, or a folder or file of market data.")],
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="Which part of each stream to judge.")
    ] = "test",
    protocol: Annotated[
        Literal["split", "leave-one-out", "walk-forward"],
        typer.Option(help="The checkpoint itself; or models trained as it was, each without what it is judged on."),
    ] = "split",
    folds: Annotated[int, typer.Option(min=1, help="Test blocks of each stream, of walk-forward.")] = 4,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where models' runs and fitted baselines are kept; finished ones are used again.  "
            "[default: runs/PROTOCOL_VERSION, of the checkpoint's version; of split: nowhere]"
        ),
    ] = None,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Also judge the model adapted to each series' own rows before those judged.")
    ] = False,
    learn: Annotated[
        float | None,
        typer.Option(
            metavar="FORGETTING",
            help="Also judge model and fitted baselines recalibrated as labels become known, forgetting by this factor "
            "a tick, such as 0.9999.",
        ),
    ] = None,
    window_mode: Annotated[
        bool, typer.Option("--window-mode", help="Also judge windows with a fresh state, at a hundred times the cost.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the reliability diagram: PNG, SVG or PDF.")
    ] = None,
    instruments: InstrumentsOption = None,
    workers: Workers,
    json_path: JsonOption = None,
) -> None:
    """Judge a model beside baselines on the same rows.

    First a verdict in two sentences, then tables.
    """
    _check_protocol(protocol, split, window_mode, workers)
    if adapt and split == "train":
        raise ConfigError("--adapt: learns from the rows of --split train; judge another part, or leave it out")
    claim_json(json_path)
    if picture is not None:
        claim_picture(picture, "--picture")
    model, dataset = _read(checkpoint, data, instruments)
    own_past: OwnPast = {"adapt": adapt, "forgetting": learn}
    if protocol == "split":
        result = _as_it_is(model, dataset, split, window_mode, own_past, output)
    else:
        runs = output or Path(f"runs/{protocol}_{model.version}")
        result = _by_protocol(protocol, model, dataset, own_past, runs, folds, workers)
    _show(result, picture)
    write_json(json_path, result)


def _read(checkpoint: Path, data: Path, instruments: Path | None) -> tuple[Checkpoint, Dataset]:
    from nanoarb_jax.artifacts.checkpoint import load_checkpoint
    from nanoarb_jax.data.dataset import open_dataset

    with console.status("reading"):
        model = load_checkpoint(checkpoint)
        settings, declared = labelled_as_trained(model, data), parse_instruments(None, instruments)
        return model, open_dataset(data, settings, verify=True, instruments=declared)


def _check_protocol(protocol: str, split: str, window_mode: bool, workers: Workers) -> None:
    if protocol == "split" and workers != Workers(jobs=1):
        raise ConfigError(
            "--executor, --jobs, --address: --protocol split trains nothing; give leave-one-out or walk-forward, or "
            "leave them out"
        )
    if protocol != "split" and (split != "test" or window_mode):
        met = f"--split {split}" if split != "test" else "--window-mode"
        raise ConfigError(f"{met}: --protocol {protocol} judges its own test parts, state carried; leave it out")


def _show(result: Mapping[str, Any], picture: Path | None) -> None:
    """Print the verdict and the tables, and draw the reliability diagram where it is asked for."""
    console.print(f"{result['verdict']}\n", markup=False, highlight=False)
    console.print(metrics_table(result))
    console.print(evaluation_tables(result))
    for why in result.get("left_out", {}).values():
        say(f"not judged in a fold: {why}")
    for name, why in result.get("learnt", {}).items():
        say(f"the model learnt from {name}, or a part of it ({why})")
    if result.get("unseen"):
        say(f"not recognised as learnt from: {', '.join(result['unseen'])}")
    if picture is not None:
        from nanoarb_jax.reports.reliability import reliability_picture

        reliability_picture(result, picture)
        say(f"picture: {picture}")


class OwnPast(TypedDict):
    """What is learnt of each series' own past."""

    adapt: bool
    forgetting: float | None


def _as_it_is(
    model: Checkpoint, dataset: Dataset, split: str, window_mode: bool, own_past: OwnPast, output: Path | None
) -> dict[str, Any]:
    """Judge the checkpoint itself."""
    from nanoarb_jax.evaluation.validation import evaluate as judge

    with noting(f"judging {len(dataset.streams)} series") as note:
        return judge(model, dataset, split, window_mode=window_mode, **own_past, keep=_baselines(output), note=note)


def _baselines(output: Path | None) -> Path | None:
    return None if output is None else output / "baselines"


def _by_protocol(
    protocol: str,
    model: Checkpoint,
    dataset: Dataset,
    own_past: OwnPast,
    output: Path,
    folds: int,
    workers: Workers,
) -> dict[str, Any]:
    """Train models as the checkpoint was trained, let them forecast what they have not seen, and judge that."""
    from nanoarb_jax.adaptation.online import check_forgetting
    from nanoarb_jax.studies.forecasts import judge_forecasts, training_settings_of
    from nanoarb_jax.studies.leave_one_out import leave_one_out
    from nanoarb_jax.studies.walk_forward import walk_forward

    settings, adapted, forgetting = training_settings_of(model), own_past["adapt"], own_past["forgetting"]
    if forgetting is not None:
        check_forgetting(forgetting)
    with noting(f"training, {protocol}") as note:
        if protocol == "leave-one-out":
            forecasts = leave_one_out(settings, dataset, output, adapted=adapted, workers=workers, note=note)
        else:
            forecasts = walk_forward(settings, dataset, output, folds, adapted=adapted, workers=workers, note=note)
    say(f"{protocol}: {len({origin['version'] for origin in forecasts.origins})} models, kept in {output}")
    with noting(f"judging {len(forecasts.streams)} series") as note:
        judged = judge_forecasts(forecasts, dataset.horizons, forgetting=forgetting, keep=_baselines(output), note=note)
    return {"protocol": protocol, "settings_of": model.version, **judged}
