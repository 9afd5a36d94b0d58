"""A model beside its baselines, on every stream of a dataset; and the figures that training is steered by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.adaptation.online import check_forgetting
from nanoarb_jax.data.dataset import Dataset, check_fit, check_input
from nanoarb_jax.data.provenance import how_learnt
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.baselines import baseline_forecasts
from nanoarb_jax.evaluation.calibration import log_loss
from nanoarb_jax.evaluation.judging import judge_streams, rows_of, train_priors
from nanoarb_jax.evaluation.metrics import choose_tau, confusion_counts, decide, mcc_from_confusion
from nanoarb_jax.evaluation.own_past import ModelForecasts, forecast_streams, with_recalibrated
from nanoarb_jax.evaluation.prior import with_own_priors
from nanoarb_jax.progress import Note, silent

if TYPE_CHECKING:
    from nanoarb_jax.artifacts.checkpoint import Checkpoint


def validation_mcc(
    streams: Sequence[Stream], log_probs: Sequence[np.ndarray], horizons: Sequence[int]
) -> dict[str, float]:
    """Mean MCC over series on the validation rows, per horizon and over all (`mean`).

    Args:
        streams: the series.
        log_probs: (rows, h, c) of the validation rows of each.
        horizons: their lengths in ticks.

    tau is chosen on the same rows, for every weight alike: good for comparing epochs, a little too kind as a figure.
    """

    def score(log_p: np.ndarray, labels: np.ndarray, prior: np.ndarray) -> float:
        decisions = decide(log_p, prior, choose_tau(log_p, labels, prior))
        return mcc_from_confusion(confusion_counts(labels, decisions))

    return _over_series(score, streams, log_probs, horizons)


def validation_loss(
    streams: Sequence[Stream], log_probs: Sequence[np.ndarray], horizons: Sequence[int]
) -> dict[str, float]:
    """Log loss on the validation rows, mean over series, each weighing the same; as `validation_mcc` otherwise."""
    return _over_series(lambda log_p, labels, _: log_loss(log_p, labels), streams, log_probs, horizons)


def _over_series(
    score: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
    streams: Sequence[Stream],
    log_probs: Sequence[np.ndarray],
    horizons: Sequence[int],
) -> dict[str, float]:
    """Means of `score(log-probabilities (n, c), labels (n,), training prior (c,))` of the rows with a known label."""
    scores: dict[str, list[float]] = {f"h{horizon}": [] for horizon in horizons}
    for stream, log_p in zip(streams, log_probs, strict=True):
        labels = stream.labels[slice(*stream.validation)]
        for i, (horizon, prior) in enumerate(zip(horizons, train_priors(stream), strict=True)):
            known = labels[:, i] >= 0
            scores[f"h{horizon}"].append(score(log_p[known, i], labels[known, i], prior))
    means = {key: float(np.mean(values)) for key, values in scores.items()}
    return {"mean": float(np.mean(list(means.values()))), **means}


def evaluate(
    checkpoint: Checkpoint,
    dataset: Dataset,
    split: str = "test",
    *,
    window_mode: bool = False,
    adapt: bool = False,
    forgetting: float | None = None,
    keep: Path | None = None,
    note: Note = silent,
) -> dict[str, Any]:
    """Judge a model beside the baselines, on the same rows by the same rule.

    The model reads every stream from its first row, state carried, as it would in production; as "model_own_prior" it
    forecasts with the class frequencies of each stream's training part, see `prior`.

    Args:
        checkpoint: the model.
        dataset: series to judge it on; its label horizons must be the model's.
        split: "train", "validation" or "test".
        window_mode: also judge it with a fresh state and the last `config.window` ticks at every row
            ("model_window"), which costs that many times as much.
        adapt: also judge it adapted to each stream's own training and validation rows ("adapted", the first judge).
        forgetting: also judge the first judge and all fitted baselines recalibrated as labels become known, by this
            factor of forgetting ("adapted_online" and so on).
        keep: folder where fitted baselines are kept and found again; None: nowhere.
        note: told which baseline's turn it is.

    Returns:
        the `evaluate` JSON of DESIGN, see `judge_streams`, with the protocol and split, the checkpoint's version, and
        which series its weights learnt from, {name: why that is known}, and of which nothing says so ("unseen").

    Raises:
        DataError: horizons, feature count or input differ, the split is unknown, or a stream has too few rows to judge;
            or the training rows are to be judged after adaptation to them.
        ConfigError: a forgetting factor out of range.
    """
    if forgetting is not None:
        check_forgetting(forgetting)
    if split == "train" and adapt:
        raise DataError("split 'train': adaptation learns from these rows; judge validation or test")
    check_fit(dataset, checkpoint.config)
    if checkpoint.input is not None:
        check_input(dataset, checkpoint.input)
    streams, horizons = dataset.streams, checkpoint.config.horizons
    judged = [[rows_of(stream, part) for part in ("validation", split)] for stream in streams]
    note("the model")
    forecasts = forecast_streams(checkpoint, streams, adapt)
    judges = _model_judges(forecasts, streams, split)
    if window_mode:
        from nanoarb_jax.evaluation.scoring import score_windows

        judges["model_window"] = score_windows(checkpoint.model, streams, judged)
    baselines = baseline_forecasts(streams, horizons, keep=keep, note=note)
    judged_online = with_recalibrated(judges | baselines.log_probs, streams, horizons, forgetting)
    result = judge_streams(judged_online, streams, horizons, split)
    learnt = {stream.name: how_learnt(stream, checkpoint.learnt) for stream in streams}
    return {
        "protocol": "split",
        "split": split,
        "version": checkpoint.version,
        "learnt": {name: why for name, why in learnt.items() if why},
        "unseen": sorted(name for name, why in learnt.items() if not why),
        "baseline_settings": baselines.choices,
        **adaptation_entries(streams, forecasts.reports, forgetting),
        **result,
    }


def _model_judges(
    forecasts: ModelForecasts, streams: Sequence[Stream], split: str
) -> dict[str, Sequence[NDArray[np.floating]]]:
    """The forecasts of the model by name: adapted ones first, as it is, and with the own class frequencies."""
    judges: dict[str, Sequence[NDArray[np.floating]]] = {}
    if forecasts.adapted is not None:
        judges["adapted"] = forecasts.adapted
    judges["model"] = forecasts.log_probs
    if split != "train":  # the frequencies are those of the training rows
        judges["model_own_prior"] = with_own_priors(forecasts.log_probs, streams)
    return judges


def adaptation_entries(
    streams: Sequence[Stream], reports: Sequence[dict[str, Any]] | None, forgetting: float | None
) -> dict[str, Any]:
    """What a result says of adaptation: "adaptation", {series: how it was adapted}, and "forgetting", if asked for."""
    entries: dict[str, Any] = {} if forgetting is None else {"forgetting": forgetting}
    if reports is not None:
        entries["adaptation"] = {stream.name: report for stream, report in zip(streams, reports, strict=True)}
    return entries
