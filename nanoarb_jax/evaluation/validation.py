"""The protocol: every judge decides on the same rows, prior-corrected alike, with tau from the validation part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoarb_jax.dataset import Dataset, Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation import baselines
from nanoarb_jax.evaluation.metrics import (
    choose_tau,
    class_prior,
    confusion_counts,
    decide,
    horizon_metrics,
    mcc_from_confusion,
    mean_over_series,
)

if TYPE_CHECKING:
    from nanoarb_jax.checkpoint import Checkpoint
    from nanoarb_jax.config import ModelConfig

SPLITS = ("train", "validation", "test")


def rows_of(stream: Stream, split: str) -> tuple[int, int]:
    """First row and the row past the last of a split.

    Raises:
        DataError: the split has no such name.
    """
    if split not in SPLITS:
        raise DataError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    return getattr(stream, split)


def train_priors(stream: Stream) -> list[np.ndarray]:
    """Class frequencies of the training part, one (c,) per horizon."""
    labels = stream.labels[slice(*stream.train)]
    return [class_prior(labels[:, i]) for i in range(labels.shape[1])]


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
    scores: dict[str, list[float]] = {f"h{horizon}": [] for horizon in horizons}
    for stream, log_p in zip(streams, log_probs, strict=True):
        labels = stream.labels[slice(*stream.validation)]
        for i, (horizon, prior) in enumerate(zip(horizons, train_priors(stream), strict=True)):
            known = labels[:, i] >= 0
            p, y = log_p[known, i], labels[known, i]
            decisions = decide(p, prior, choose_tau(p, y, prior))
            scores[f"h{horizon}"].append(mcc_from_confusion(confusion_counts(y, decisions)))
    means = {key: float(np.mean(values)) for key, values in scores.items()}
    return {"mean": float(np.mean(list(means.values()))), **means}


def judge(stream: Stream, log_probs: np.ndarray, split: str, horizons: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Metrics of one judge on one series, per horizon.

    Args:
        stream: the series.
        log_probs: (n, h, c), all rows of the stream.
        split: rows to judge; tau always comes from the validation rows.
        horizons: their lengths in ticks.
    """
    fitted, judged = slice(*stream.validation), slice(*rows_of(stream, split))
    result = {}
    for i, (horizon, prior) in enumerate(zip(horizons, train_priors(stream), strict=True)):
        tau = choose_tau(*_known(log_probs[fitted, i], stream.labels[fitted, i]), prior)
        result[f"h{horizon}"] = horizon_metrics(*_known(log_probs[judged, i], stream.labels[judged, i]), prior, tau)
    return result


def evaluate(checkpoint: Checkpoint, dataset: Dataset, split: str = "test") -> dict[str, Any]:
    """Judge a model beside persistence and logistic regression, series by series.

    The model reads every stream from its first row, state carried, as it would in production.

    Args:
        checkpoint: the model.
        dataset: series to judge it on; its label horizons must be the model's.
        split: "train", "validation" or "test".

    Returns:
        the `evaluate` JSON of DESIGN: {"series": {name: {judge: {"h10": metrics}}}, "mean": {judge: {"h10": …}}},
        with the split, the checkpoint's version, and which series the model was trained on.

    Raises:
        DataError: horizons or feature count differ, or the split is unknown.
    """
    from flax import nnx

    from nanoarb_jax.evaluation.scoring import make_score, score_streams

    check_fit(dataset, checkpoint.config)
    streams, model, horizons = dataset.streams, checkpoint.model, checkpoint.config.horizons
    rows_of(streams[0], split)
    log_probs = score_streams(
        make_score(model), nnx.state(model, nnx.Param), model, streams, [(0, len(s.features)) for s in streams]
    )
    series = {}
    for stream, log_p in zip(streams, log_probs, strict=True):
        judges = {
            "model": log_p,
            "persistence": baselines.persistence(stream.labels, horizons),
            "logistic": baselines.logistic(stream.features, stream.labels, stream.train),
        }
        series[stream.name] = {name: judge(stream, p, split, horizons) for name, p in judges.items()}
    trained_on = {s["name"] for s in checkpoint.data.get("streams", [])}
    return {
        "split": split,
        "version": checkpoint.version,
        "unseen": sorted(set(series) - trained_on),
        "series": series,
        "mean": mean_over_series(series),
    }


def check_fit(dataset: Dataset, model: ModelConfig) -> None:
    """See that the dataset has what the model reads and predicts.

    Raises:
        DataError: the dataset's horizons or feature count are not the model's.
    """
    if tuple(dataset.horizons) != model.horizons:
        raise DataError(
            f"labels at horizons {tuple(dataset.horizons)}, the model predicts {model.horizons}; "
            "prepare the data with the model's horizons"
        )
    for stream in dataset.streams:
        if stream.features.shape[1] != model.input_dim:
            raise DataError(
                f"stream {stream.name!r}: {stream.features.shape[1]} features per tick, "
                f"the model expects {model.input_dim}; prepare the data anew"
            )


def _known(log_probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = labels >= 0
    return log_probs[known], labels[known]
