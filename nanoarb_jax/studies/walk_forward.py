"""Walk-forward: one block of every stream after the other is forecast by a model trained on the rows before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nanoarb_jax.config import Config, DataConfig
from nanoarb_jax.data import splits
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.data.labelling import LEAST_PART_ROWS, Level1Medians
from nanoarb_jax.data.labels import UNDEFINED, count_magnitudes, label_moves, label_threshold, quantile_thresholds
from nanoarb_jax.data.splits import Fold, Parts
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError, ShortSeriesError
from nanoarb_jax.evaluation.judging import LEAST_HISTORY
from nanoarb_jax.evaluation.own_past import ModelForecasts
from nanoarb_jax.features.feature_set import feature_set_of
from nanoarb_jax.features.lob44 import ASK_SIZES, BID_SIZES
from nanoarb_jax.features.rescale import rescale
from nanoarb_jax.files import first_line
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.studies.forecasts import (
    Forecasts,
    learnt_rows,
    models_elsewhere,
    refuse_learnt,
    train_and_forecast,
)
from nanoarb_jax.training.run_plan import trained_sessions
from nanoarb_jax.units.workers import Workers


def walk_forward(
    config: Config,
    dataset: Dataset,
    work_dir: str | Path,
    folds: int,
    *,
    expanding: bool = True,
    adapted: bool = False,
    workers: Workers = Workers("serial"),  # noqa: B008
    note: Note = silent,
) -> Forecasts:
    """Forecast one block of every stream after the other, each fold by a model trained on the rows before it.

    See `splits.walk_forward`; the last rows before a test block validate, in the proportion of the data's own split.
    Quantity scale, spread scale and label threshold are learnt again from each fold's training rows, and the features
    are put into these scales. A fold in which a stream is too short yet to be learnt from and judged is played without
    it. Past and future are each stream's own: where streams are of different days, one may be
    learnt from that was recorded after another is judged.

    Args:
        config: settings of every run; its data table is replaced by the dataset's.
        dataset: the streams; their own splits are not used.
        work_dir: a run's folder for each fold, "fold_1_of_4" and so on.
        folds: test blocks per stream.
        expanding: learn from all rows before the test; False: from as many as the first block has, the latest.
        adapted: also forecast after adaptation to each stream's rows before its block.
        workers: at work on different folds; see docs/clusters.md for what they share.
        note: told which fold's turn it is, and which streams it is played without.

    Returns:
        Forecasts of every fold's streams, named "NAME fold 1" and so on.

    Raises:
        DataError: all streams too short for one of the folds.
        ConfigError: weights to begin from, or a teacher, that learnt from a stream of the dataset.
        others: see `train`.
    """
    refuse_learnt(config, lambda learnt: learnt_rows(dataset.streams, learnt))
    purge = dataset.config.purge
    each = [splits.walk_forward(stream.rows, folds, purge, expanding=expanding) for stream in dataset.streams]
    parts = list(zip(*each, strict=True))
    folders = [Path(work_dir) / f"fold_{number}_of_{folds}" for number in range(1, folds + 1)]
    elsewhere: list[tuple[str, ModelForecasts]] = []
    if not workers.only_here(folds):
        models = [(folder, (config, dataset, fold, adapted)) for folder, fold in zip(folders, parts, strict=True)]
        elsewhere = models_elsewhere(_forecast_fold, models, workers, note)
    empty: ModelForecasts = ModelForecasts([], [], []) if adapted else ModelForecasts([])
    forecasts = Forecasts((), empty, [])
    for number, (folder, fold) in enumerate(zip(folders, parts, strict=True), 1):
        note(f"fold {number}/{folds}")
        streams, left_out = _long_enough(config, dataset, fold)
        if left_out:
            note(f"fold {number}/{folds}, without {len(left_out)} streams that are too short for it yet")
        if elsewhere:
            version, said = elsewhere[number - 1]
        else:
            train_data = dataclasses.replace(dataset, streams=streams)
            version, said = train_and_forecast(config, train_data, folder, streams, adapted)
        forecasts = Forecasts(
            (*forecasts.streams, *(stream._replace(name=f"{stream.name} fold {number}") for stream in streams)),
            forecasts.models.join(said),
            forecasts.origins + [{"version": version, "without": {"row": stream.test[0]}} for stream in streams],
            left_out={**forecasts.left_out, **{f"{name} fold {number}": why for name, why in left_out.items()}},
        )
    return forecasts


def _forecast_fold(
    folder: Path, config: Config, dataset: Dataset, fold: Sequence[Fold], adapted: bool
) -> tuple[str, ModelForecasts]:
    """Train a fold's model, and let it forecast the fold's streams, which are cheaper to make again than to send."""
    streams, _ = _long_enough(config, dataset, fold)
    return train_and_forecast(config, dataclasses.replace(dataset, streams=streams), folder, streams, adapted)


def _long_enough(config: Config, dataset: Dataset, fold: Sequence[Fold]) -> tuple[tuple[Stream, ...], dict[str, str]]:
    """The streams with the parts of their fold; and those that are too short for it, with the reason."""
    streams, left_out = [], {}
    for stream, part in zip(dataset.streams, fold, strict=True):
        try:
            parts = _fold_parts(stream, part, dataset.config)
            trained_sessions(config, [stream._replace(train=parts.train)])
            streams.append(_split_anew(stream, parts, dataset.config))
        except ShortSeriesError as error:
            left_out[stream.name] = first_line(error)
    if not streams:
        raise DataError(next(iter(left_out.values())))
    return tuple(streams), left_out


def _split_anew(stream: Stream, parts: Parts, config: DataConfig) -> Stream:
    """The stream with the parts of a fold, in scales and with label thresholds learnt from its training rows."""
    moves = np.where(stream.labels == UNDEFINED, np.nan, stream.moves.astype(np.float64))
    learnt = slice(*parts.train)
    floor = label_threshold(stream.spread[learnt], config.threshold_ticks, config.threshold_spreads)
    thresholds: tuple[float, ...] = (floor,) * len(config.horizons)
    if config.threshold_quantile is not None:
        thresholds = quantile_thresholds(count_magnitudes(moves[learnt]), config.threshold_quantile, floor)
    labels = label_moves(moves, thresholds)[0]
    return _scale_anew(stream, learnt, config)._replace(**parts._asdict(), threshold_ticks=thresholds, labels=labels)


def _scale_anew(stream: Stream, learnt: slice, config: DataConfig) -> Stream:
    """The stream in the scales of the rows `learnt`, found as by `data.labelling.measure_stream`."""
    if feature_set_of(stream.features.shape[1]) is None:
        return stream  # numbers of a file, which have no scales of ours
    best = np.concatenate([stream.features[learnt, first] for first in (BID_SIZES, ASK_SIZES)])
    medians = Level1Medians(
        float(np.median(best.astype(np.float64))) * stream.quantity_scale, float(np.median(stream.spread[learnt]))
    )
    quantity_scale = config.quantity_scale or medians.qty
    spread_scale = config.spread_scale or medians.spread_scale
    features = rescale(
        stream.features, stream.ts_ns, stream.quantity_scale / quantity_scale, spread_scale, stream.session_gap_ns
    )
    return stream._replace(features=features, quantity_scale=quantity_scale, spread_scale=spread_scale)


def _fold_parts(stream: Stream, fold: Fold, config: DataConfig) -> Parts:
    """Training, validation and test rows of a fold; the last of the rows to learn from become the validation part."""
    ((start, stop),) = fold.train
    start = max(start, stream.train[0])  # before that nothing is labelled
    share = config.validation_fraction / (config.train_fraction + config.validation_fraction)
    validation = stop - int(share * (stop - start))
    train = (start, validation - config.purge)
    found = (train[1] - train[0], stop - max(validation, LEAST_HISTORY))
    if min(found) < LEAST_PART_ROWS:
        raise ShortSeriesError(
            f"stream {stream.name!r}: {found[0]} rows to learn from and {max(found[1], 0)} to validate with (after "
            f"{LEAST_HISTORY} of warm-up) before row {fold.test[0]}; expected at least {LEAST_PART_ROWS} of both; give "
            "a longer stream or fewer folds"
        )
    return Parts(train, (validation, stop), fold.test)
