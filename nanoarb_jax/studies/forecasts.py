"""Forecasts of streams by models that never saw the rows they are judged on, and how they are judged.

    forecasts = leave_one_out(training_settings_of(checkpoint), dataset, "runs/leave_one_out")
    result = judge_forecasts(forecasts, dataset.horizons)

`leave_one_out.py` and `walk_forward.py` say what each model learns from. Every model is a run of its own in the working
folder, so that an interrupted run is continued and a finished one is not trained again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint
from nanoarb_jax.config import Config, TrainConfig, config_from_dict
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.data.provenance import how_learnt
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import CheckpointError, ConfigError
from nanoarb_jax.evaluation.baselines import baseline_forecasts
from nanoarb_jax.evaluation.judging import judge_streams
from nanoarb_jax.evaluation.own_past import ModelForecasts, forecast_streams, with_recalibrated
from nanoarb_jax.evaluation.prior import with_own_priors
from nanoarb_jax.evaluation.validation import adaptation_entries
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.training.loop import train
from nanoarb_jax.units.pools import run_tasks
from nanoarb_jax.units.tasks import Task
from nanoarb_jax.units.workers import Workers


class Forecasts(NamedTuple):
    """Predictions of streams by models that had not seen the rows to be judged.

    Attributes:
        streams: as they are to be judged, their split ranges those of the study.
        models: what the models say of each stream.
        origins: of each stream's predictions, plain JSON values: "version" of the model, and "without", what it was
            trained without: all rows of the "streams", or of every stream those from "row" on.
        zero_shot: the models saw nothing of the instruments that they forecast.
        left_out: {name: why} of streams that are too short to be judged.
    """

    streams: tuple[Stream, ...]
    models: ModelForecasts
    origins: list[dict[str, Any]]
    zero_shot: bool = False
    left_out: Mapping[str, str] = MappingProxyType({})


def training_settings_of(checkpoint: Checkpoint) -> Config:
    """The settings that a checkpoint was trained with, to train others alike; on whatever device there is.

    A linear term, which is not trained, is left out.

    Raises:
        CheckpointError: it does not say how it was trained.
        ConfigError: it holds settings that this version does not know.
    """
    # the checkpoint names the devices of the machine it was trained on, which this machine may not have
    names = {field.name for field in dataclasses.fields(TrainConfig)} - {"device", "devices"}
    settings = {name: value for name, value in checkpoint.training.items() if name in names}
    if not settings or "config" not in checkpoint.data:
        raise CheckpointError(f"checkpoint {checkpoint.path}: does not say how it was trained; give a run's best")
    shape = dataclasses.asdict(dataclasses.replace(checkpoint.config, linear_term=False))
    tables = {"model": shape, "data": checkpoint.data["config"], "train": settings}
    return config_from_dict(tables, f"checkpoint {checkpoint.path}")


def judge_forecasts(
    forecasts: Forecasts,
    horizons: Sequence[int],
    *,
    forgetting: float | None = None,
    keep: Path | None = None,
    note: Note = silent,
) -> dict[str, Any]:
    """Judge forecasts beside the baselines, on the same rows by the same rule.

    Each stream's own class frequencies in its training part, which comes before what is judged, give the judge
    "model_own_prior", see `prior`. It is the first judge where forecasts are zero-shot: the models have learnt of other
    instruments how often prices move, and of this one nothing. Forecasts after adaptation, where there are any, come
    before both ("adapted").

    Args:
        forecasts: of `leave_one_out` or `walk_forward`.
        horizons: of the streams' labels, in ticks.
        forgetting: also judge the first judge and the fitted baselines recalibrated online, see `validation.evaluate`.
        keep: folder where fitted baselines are kept and found again; None: nowhere.
        note: told which baseline's turn it is.

    Returns:
        What `judge_streams` gives, with "split", "test", "origins", {series: its origin}, and "left_out".

    Raises:
        DataError: a stream has too few rows to judge.
    """
    streams, said = forecasts.streams, forecasts.models
    models = {"model": said.log_probs, "model_own_prior": with_own_priors(said.log_probs, streams)}
    if forecasts.zero_shot:
        models = dict(reversed(models.items()))
    if said.adapted is not None:
        models = {"adapted": said.adapted, **models}
    baselines = baseline_forecasts(streams, horizons, keep=keep, note=note)
    origins = {stream.name: origin for stream, origin in zip(streams, forecasts.origins, strict=True)}
    judges = with_recalibrated(models | baselines.log_probs, streams, horizons, forgetting)
    judged = judge_streams(judges, streams, horizons)
    study = {"split": "test", "origins": origins, "left_out": dict(forecasts.left_out)}
    adaptation = adaptation_entries(streams, said.reports, forgetting)
    return {**study, "baseline_settings": baselines.choices, **adaptation, **judged}


def train_and_forecast(
    config: Config, train_data: Dataset, folder: Path, streams: Sequence[Stream], adapted: bool
) -> tuple[str, ModelForecasts]:
    """Train one model, or continue or reuse the run in its folder, and let its best weights forecast streams.

    Args:
        config: settings of the run; its data table is replaced by the dataset's.
        train_data: streams to learn from.
        folder: of the run.
        streams: to forecast.
        adapted: also after adaptation to each stream.

    Returns:
        the model's version, and what it says of each stream.

    Raises:
        others: see `train`.
    """
    settings = dataclasses.replace(config, data=train_data.config)
    run = train(settings, train_data, folder, resume=(folder / "config.toml").is_file())
    model = load_checkpoint(run.best)
    return model.version, forecast_streams(model, streams, adapted)


def models_elsewhere(
    work: Callable[..., tuple[str, ModelForecasts]],
    models: Sequence[tuple[Path, tuple[Any, ...]]],
    workers: Workers,
    note: Note,
) -> list[tuple[str, ModelForecasts]]:
    """What `train_and_forecast` gives for several models, trained at the same time in other processes.

    Each is a run in its folder, as ever: the worker that takes over from one that died continues it.

    Args:
        work: trains one of them, called with its folder and its arguments.
        models: folder and arguments of each.
        workers: at work on them.
        note: told how many are done.
    """
    claims = [folder.with_name(f".{folder.name}.lock") for folder, _ in models]
    tasks = [
        Task(folder.name, work, (folder, *arguments), claim)
        for (folder, arguments), claim in zip(models, claims, strict=True)
    ]
    note(f"{len(tasks)} models to train")
    made = run_tasks(tasks, workers, lambda done, total, name: note(f"{done}/{total} models, {name}"))
    for claim in claims:
        claim.unlink(missing_ok=True)
    return made


def refuse_learnt(config: Config, why: Callable[[Sequence[Mapping[str, Any]]], str | None]) -> None:
    """Check that weights to begin from, and a teacher, learnt from nothing that is to be judged.

    Args:
        config: settings of the runs.
        why: says what is to be judged and was learnt from, given the streams that weights learnt from
            (`Checkpoint.learnt`), or None.

    Raises:
        ConfigError: they learnt from something that is to be judged.
    """
    for setting in ("init", "teacher"):
        place = getattr(config.train, setting)
        met = None if place is None else why(load_checkpoint(place).learnt)
        if met is not None:
            raise ConfigError(
                f"train.{setting}={place!r}: learnt from {met}, which is to be judged unseen; expected weights that "
                "know none of the data"
            )


def learnt_rows(streams: Sequence[Stream], learnt: Sequence[Mapping[str, Any]]) -> str | None:
    """The first of these streams that weights learnt from, and why that is known; None: of no stream it is."""
    for stream in streams:
        reason = how_learnt(stream, learnt)
        if reason is not None:
            return f"{stream.name!r} ({reason})"
    return None
