"""Leave-one-instrument-out: each instrument is forecast by a model that was trained on all the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanoarb_jax.config import Config
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.data.declaration import instrument_of
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.own_past import ModelForecasts
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.studies.forecasts import (
    Forecasts,
    learnt_rows,
    models_elsewhere,
    refuse_learnt,
    train_and_forecast,
)
from nanoarb_jax.units.workers import Workers


def leave_one_out(
    config: Config,
    dataset: Dataset,
    work_dir: str | Path,
    *,
    adapted: bool = False,
    workers: Workers = Workers("serial"),  # noqa: B008
    note: Note = silent,
) -> Forecasts:
    """Forecast each instrument by a model trained on all the others.

    Weights, input statistics and the epoch kept come from the other instruments' training and validation parts alone.
    Of the one left out a judge needs, as for any stream, its tick size, and from the rows before those judged: quantity
    scale, label threshold and class frequencies (training part), τ and temperature (validation part). And the `flow`
    features count how moves of this instrument ended, up to the very row that is forecast.

    Args:
        config: settings of every run; its data table is replaced by the dataset's.
        dataset: streams of at least two instruments, with the parts that they are split in.
        work_dir: a run's folder for each instrument, named after it.
        adapted: also forecast after adaptation to each stream's training and validation rows.
        workers: at work on different models; see docs/clusters.md for what they share.
        note: told which instrument's turn it is.

    Raises:
        DataError: fewer than two instruments, or series whose instrument was not declared.
        ConfigError: weights to begin from, or a teacher, that learnt from an instrument of the dataset.
        others: see `train`.
    """
    _refuse_undeclared(dataset)
    streams, instruments = dataset.streams, list(dict.fromkeys(stream.instrument for stream in dataset.streams))
    if len(instruments) < 2:
        raise DataError(f"leave-one-out: only {instruments} in the data; expected at least two instruments")
    refuse_learnt(config, lambda learnt: _learnt_instrument(streams, learnt) or learnt_rows(streams, learnt))
    folders = [Path(work_dir) / instrument for instrument in instruments]
    elsewhere: list[tuple[str, ModelForecasts]] = []
    if not workers.only_here(len(instruments)):
        models = [(folder, (config, dataset, of, adapted)) for folder, of in zip(folders, instruments, strict=True)]
        elsewhere = models_elsewhere(_without, models, workers, note)
    names: list[str] = []
    forecasts: ModelForecasts = ModelForecasts([], [], []) if adapted else ModelForecasts([])
    origins: dict[str, dict[str, Any]] = {}
    for number, instrument in enumerate(instruments):
        note(f"{number + 1}/{len(instruments)}: without {instrument}")
        version, said = (
            elsewhere[number] if elsewhere else _without(folders[number], config, dataset, instrument, adapted)
        )
        forecasts = forecasts.join(said)
        left_out_names = [stream.name for stream in streams if stream.instrument == instrument]
        names += left_out_names
        origins |= {name: {"version": version, "without": {"streams": left_out_names}} for name in left_out_names}
    in_order = forecasts.select([names.index(stream.name) for stream in streams])
    return Forecasts(streams, in_order, [origins[stream.name] for stream in streams], zero_shot=True)


def _without(
    folder: Path, config: Config, dataset: Dataset, instrument: str, adapted: bool
) -> tuple[str, ModelForecasts]:
    """Train a model without an instrument, and let it forecast that."""
    left_out = [stream for stream in dataset.streams if stream.instrument == instrument]
    others = tuple(stream for stream in dataset.streams if stream.instrument != instrument)
    return train_and_forecast(config, dataclasses.replace(dataset, streams=others), folder, left_out, adapted)


def _refuse_undeclared(dataset: Dataset) -> None:
    """Two days of one instrument under two names would leak, so names are not guessed from here."""
    guessed = [stream for stream in dataset.streams if not stream.instrument_declared]
    if guessed:
        first = guessed[0]
        raise DataError(
            f"leave-one-out: nobody declared the instrument of {len(guessed)} series, such as {first.name!r} (by its "
            f"name {first.instrument!r}); say which series are of one instrument with --instruments FILE, here or in "
            "data prepare"
        )


def _learnt_instrument(streams: Sequence[Stream], learnt: Sequence[Mapping[str, Any]]) -> str | None:
    """The first instrument of these streams that weights learnt from, at any time."""
    known = {entry.get("instrument") or instrument_of(entry["name"]).instrument for entry in learnt}
    return next((repr(stream.instrument) for stream in streams if stream.instrument in known), None)
