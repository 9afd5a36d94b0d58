"""Protocols that train more than one model: each stream is forecast by one that saw nothing of what it is judged on.

    forecasts = leave_one_out(settings_of(checkpoint), dataset, "runs/leave_one_out")
    result = judge_forecasts(forecasts, dataset.horizons)

Every model is a run of its own in the working folder, so that what was interrupted goes on and what was finished is
not trained again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint
from nanoarb_jax.config import Config, DataConfig, TrainConfig, config_from_dict
from nanoarb_jax.data import splits
from nanoarb_jax.data.dataset import Dataset, Stream
from nanoarb_jax.data.labelling import LEAST_PART_ROWS
from nanoarb_jax.data.labels import UNDEFINED, label_moves, label_threshold, quantile_thresholds
from nanoarb_jax.data.streams import instrument_of
from nanoarb_jax.errors import CheckpointError, ConfigError, DataError
from nanoarb_jax.evaluation.baselines import baseline_log_probs
from nanoarb_jax.evaluation.judging import judge_streams
from nanoarb_jax.evaluation.validation import carried_log_probs
from nanoarb_jax.training.loop import train

Note = Callable[[str], None]


class Forecasts(NamedTuple):
    """What models said of streams that they had not seen.

    Attributes:
        streams: as they are to be judged, their split ranges those of the protocol.
        log_probs: one (n, h, c) array of log-probabilities per stream, state carried from its first row.
        origins: of each stream's, plain JSON values: "version" of the model, and "without", what it was trained
            without: all rows of the "streams", or of every stream those from "row" on.
    """

    streams: tuple[Stream, ...]
    log_probs: list[NDArray[np.float32]]
    origins: list[dict[str, Any]]


def settings_of(checkpoint: Checkpoint) -> Config:
    """The settings that a checkpoint was trained with, to train others alike; on whatever device there is.

    Raises:
        CheckpointError: it does not say how it was trained.
        ConfigError: it says what this version does not know.
    """
    names = {field.name for field in dataclasses.fields(TrainConfig)} - {"device", "devices"}  # it says which were met
    settings = {name: value for name, value in checkpoint.training.items() if name in names}
    if not settings or "config" not in checkpoint.data:
        raise CheckpointError(f"checkpoint {checkpoint.path}: does not say how it was trained; give a run's best")
    tables = {"model": dataclasses.asdict(checkpoint.config), "data": checkpoint.data["config"], "train": settings}
    return config_from_dict(tables, f"checkpoint {checkpoint.path}")


def leave_one_out(
    config: Config, dataset: Dataset, work_dir: str | Path, *, note: Note = lambda text: None
) -> Forecasts:
    """Forecast each instrument by a model trained on all the others.

    Weights, input statistics and the epoch kept come from the other instruments' training and validation parts alone.
    Of the one left out a judge needs, as for any series, its tick size, and from the rows before those judged: quantity
    scale and label threshold (training part), τ and temperature (validation part).

    Args:
        config: settings of every run; its data table is replaced by the dataset's.
        dataset: streams of at least two instruments, with the parts that they are split in.
        work_dir: a run's folder for each instrument, named after it.
        note: told which instrument's turn it is.

    Raises:
        DataError: fewer than two instruments.
        ConfigError: weights to begin from, or a teacher, that learnt from an instrument of the dataset.
        others: see `train`.
    """
    streams, instruments = dataset.streams, list(dict.fromkeys(stream.instrument for stream in dataset.streams))
    if len(instruments) < 2:
        raise DataError(f"leave-one-out: only {instruments} in the data; expected at least two instruments")
    _refuse_seen(config, set(instruments), instrument_of)
    found: dict[str, tuple[NDArray[np.float32], dict[str, Any]]] = {}
    for number, instrument in enumerate(instruments):
        note(f"{number + 1}/{len(instruments)}: without {instrument}")
        left_out = [stream for stream in streams if stream.instrument == instrument]
        others = tuple(stream for stream in streams if stream.instrument != instrument)
        model = _trained(config, dataclasses.replace(dataset, streams=others), Path(work_dir) / instrument)
        origin = {"version": model.version, "without": {"streams": [stream.name for stream in left_out]}}
        scores = carried_log_probs(model, left_out)
        found |= {stream.name: (log_p, origin) for stream, log_p in zip(left_out, scores, strict=True)}
    log_probs, origins = zip(*(found[stream.name] for stream in streams), strict=True)
    return Forecasts(streams, list(log_probs), list(origins))


def walk_forward(
    config: Config,
    dataset: Dataset,
    work_dir: str | Path,
    folds: int,
    *,
    expanding: bool = True,
    note: Note = lambda text: None,
) -> Forecasts:
    """Forecast one block of every stream after the other, each fold by a model trained on the rows before it.

    See `splits.walk_forward`; the last rows before a test block validate, in the proportion of the data's own split.
    The label threshold is learnt again from each fold's training rows. (The quantity scale stays that of the dataset:
    the model's inputs are ratios, in which it cancels.) Past and future are each stream's own: where streams are of
    different days, one may be learnt from that was recorded after another is judged.

    Args:
        config: settings of every run; its data table is replaced by the dataset's.
        dataset: the streams; how they are split is not heeded.
        work_dir: a run's folder for each fold, "fold_1_of_4" and so on.
        folds: test blocks per stream.
        expanding: learn from all rows before the test; False: from as many as the first block has, the latest.
        note: told which fold's turn it is.

    Returns:
        Forecasts of every fold's streams, named "NAME fold 1" and so on.

    Raises:
        DataError: a stream too short for so many folds.
        ConfigError: weights to begin from, or a teacher, that learnt from a stream of the dataset.
        others: see `train`.
    """
    _refuse_seen(config, {stream.name for stream in dataset.streams}, str)
    parts = [splits.walk_forward(s.rows, folds, dataset.config.purge, expanding=expanding) for s in dataset.streams]
    streams: list[Stream] = []
    log_probs: list[NDArray[np.float32]] = []
    origins: list[dict[str, Any]] = []
    for number, fold in enumerate(zip(*parts, strict=True), 1):
        note(f"fold {number}/{folds}")
        each = tuple(_refold(s, part, dataset.config) for s, part in zip(dataset.streams, fold, strict=True))
        place = Path(work_dir) / f"fold_{number}_of_{folds}"
        model = _trained(config, dataclasses.replace(dataset, streams=each), place)
        log_probs += carried_log_probs(model, each)
        origins += [{"version": model.version, "without": {"row": stream.test[0]}} for stream in each]
        streams += [stream._replace(name=f"{stream.name} fold {number}") for stream in each]
    return Forecasts(tuple(streams), log_probs, origins)


def judge_forecasts(forecasts: Forecasts, horizons: Sequence[int]) -> dict[str, Any]:
    """Judge them beside the baselines, on the same rows by the same rule.

    Args:
        forecasts: of a protocol.
        horizons: of the streams' labels, in ticks.

    Returns:
        What `judge_streams` gives, with "split", "test", and "origins", {series: its origin}.

    Raises:
        DataError: a stream has too few rows to judge.
    """
    streams = forecasts.streams
    judges = {"model": forecasts.log_probs, **baseline_log_probs(streams, horizons)}
    origins = {stream.name: origin for stream, origin in zip(streams, forecasts.origins, strict=True)}
    return {"split": "test", "origins": origins, **judge_streams(judges, streams, horizons)}


def _trained(config: Config, learnt: Dataset, folder: Path) -> Checkpoint:
    """The best of a run, which is begun, gone on with, or already there."""
    settings = dataclasses.replace(config, data=learnt.config)
    return load_checkpoint(train(settings, learnt, folder, resume=(folder / "config.toml").is_file()).best)


def _refuse_seen(config: Config, judged: set[str], of: Callable[[str], str]) -> None:
    """See that what every run learns from knows none of what is judged; `of` a stream's name."""
    for setting in ("init", "teacher"):
        place = getattr(config.train, setting)
        known = set() if place is None else judged & {of(name) for name in load_checkpoint(place).streams_seen}
        if known:
            raise ConfigError(
                f"train.{setting}={place!r}: learnt from {min(known)!r}, which is to be judged unseen; expected "
                "weights that know none of the data"
            )


def _refold(stream: Stream, fold: splits.Fold, config: DataConfig) -> Stream:
    """The stream split as a fold is, its labels by the threshold of the fold's training rows."""
    ((start, stop),) = fold.train
    start = max(start, stream.train[0])  # before that nothing is labelled
    share = config.validation_fraction / (config.train_fraction + config.validation_fraction)
    validation = stop - int(share * (stop - start))
    train_rows = (start, validation - config.purge)
    least = min(train_rows[1] - start, stop - validation)
    if least < LEAST_PART_ROWS:
        raise DataError(
            f"stream {stream.name!r}: {least} rows to learn from or to validate with before row {fold.test[0]}; "
            f"expected at least {LEAST_PART_ROWS}; give a longer stream or fewer folds"
        )
    moves = np.where(stream.labels == UNDEFINED, np.nan, stream.moves.astype(np.float64))
    learnt = slice(*train_rows)
    floor = label_threshold(stream.spread[learnt], config.threshold_ticks, config.threshold_spreads)
    thresholds: tuple[float, ...] = (floor,) * len(config.horizons)
    if config.threshold_quantile is not None:
        thresholds = quantile_thresholds(moves[learnt], config.threshold_quantile, floor)
    changed: dict[str, Any] = {"threshold_ticks": thresholds, "labels": label_moves(moves, thresholds)[0]}
    return stream._replace(train=train_rows, validation=(validation, stop), test=fold.test, **changed)
