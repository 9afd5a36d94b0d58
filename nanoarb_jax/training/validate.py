"""Validation after an epoch: scores of the averaged weights, which epoch is the better one, and when to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.evaluation.scoring import Score, score_streams
from nanoarb_jax.evaluation.validation import validation_loss, validation_mcc
from nanoarb_jax.model.mamba import MambaLOB


def validation_log_probs(score: Score, weights: Any, model: MambaLOB, streams: Sequence[Stream]) -> list[np.ndarray]:
    """Log-probabilities (rows, h, c) of each stream's validation part, state carried as `evaluate` carries it.

    The state is that of all earlier rows of the session in which the validation part begins.

    Args:
        score: from `make_score`.
        weights: to score with, on any device.
        model: gives the initial state.
        streams: to score.
    """
    rows = [(_session_start(stream), stream.validation[1]) for stream in streams]
    weights = jax.device_get(weights)  # so that one device scores: with weights on several, each would do all the work
    scored = score_streams(score, weights, model, streams, rows)
    return [
        log_p[stream.validation[0] - start :] for log_p, stream, (start, _) in zip(scored, streams, rows, strict=True)
    ]


def _session_start(stream: Stream) -> int:
    """First row of the session that holds the first validation row."""
    return stream.sessions(0, stream.validation[0] + 1)[-1][0]


def validation_figures(
    streams: Sequence[Stream], log_probs: Sequence[np.ndarray], horizons: Sequence[int]
) -> dict[str, dict[str, float]]:
    """{"validation_loss" | "validation_mcc": {"mean" | "h10" and so on: figure}}, means over the streams."""
    return {
        "validation_loss": validation_loss(streams, log_probs, horizons),
        "validation_mcc": validation_mcc(streams, log_probs, horizons),
    }


def selection_score(record: Mapping[str, Any], keep: str) -> float:
    """The figure by which epochs are compared; the epoch with the highest one is kept.

    Args:
        record: of an epoch.
        keep: see `TrainConfig`.
    """
    if keep == "last":
        return record["epoch"]
    return record["validation_mcc"]["mean"] if keep == "mcc" else -record["validation_loss"]["mean"]


def out_of_patience(epochs: int, best: Mapping[str, Any] | None, patience: int) -> bool:
    """Whether the last `patience` epochs brought nothing better.

    Args:
        epochs: finished so far.
        best: record of the best of them, if any.
        patience: see `TrainConfig`; 0 never runs out.
    """
    return patience > 0 and best is not None and epochs - 1 - best["epoch"] >= patience
