"""The protocol: every judge decides on the same rows, corrected alike, with τ and temperature from the validation part.

A judge is one (n, h, c) array of log-probabilities per stream, from a model, a baseline or anything else: no JAX here.

    judges = {"model": scores, **baseline_forecasts(streams, horizons).log_probs}
    result = judge_streams(judges, streams, horizons)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.stored import SPLITS
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation import summaries
from nanoarb_jax.evaluation.bootstrap import block_length
from nanoarb_jax.evaluation.calibration import fit_temperature, reliability_bins, scale, scaled_metrics, scatter
from nanoarb_jax.evaluation.metrics import CLASSES, choose_tau, class_prior, decide, horizon_metrics, mean_over_series
from nanoarb_jax.evaluation.summaries import Judgement
from nanoarb_jax.evaluation.trading import Decisions, trades, transactions
from nanoarb_jax.evaluation.uncertainty import uncertainty
from nanoarb_jax.evaluation.verdict import verdict

# Rows of its stream that must come before a judged row, so that a judge that carries a state has one by then.
LEAST_HISTORY = 500


def judge_streams(
    judges: Mapping[str, Sequence[NDArray[np.floating]]],
    streams: Sequence[Stream],
    horizons: Sequence[int],
    split: str = "test",
) -> dict[str, Any]:
    """Judge forecasts on the same rows of every stream.

    Args:
        judges: {name: one (n, h, c) array of log-probabilities per stream}; only validation and judged rows are read.
            The first judge is the one that the others are compared with.
        streams: the series, names unlike.
        horizons: h horizons in ticks, of the streams' labels.
        split: rows to judge, "train", "validation" or "test"; the first `LEAST_HISTORY` rows of a stream are not.

    Returns:
        Plain JSON values. A horizon's key is "h10" and so on.
        "verdict": two sentences, see `verdict`.
        "series": {name: {judge: {horizon: metrics}}}, see `judge`.
        "instruments": {series: its instrument}.
        "mean": {judge: {horizon: means over series}}.
        "pooled": {judge: {horizon: calibration and p_t of all series together}}.
        "intervals", "paired", "best_baseline": of mean MCC, macro-F1 and log loss, see `uncertainty`.
        "regimes", "hours": see `summaries`.

    Raises:
        DataError: no such split, no row to judge, arrays of another shape, or two streams of one name.
    """
    _check(judges, streams, horizons)
    judgements = {
        stream.name: {name: judge_stream(stream, log_probs[i], split, horizons) for name, log_probs in judges.items()}
        for i, stream in enumerate(streams)
    }
    series = {
        name: {judge: {key: judgement.metrics for key, judgement in by.items()} for judge, by in each.items()}
        for name, each in judgements.items()
    }
    result = {
        "series": series,
        "instruments": {stream.name: stream.instrument for stream in streams},
        "mean": mean_over_series(series),
        "pooled": summaries.pooled(judgements),
        **uncertainty(streams, judgements),
        "regimes": summaries.regimes(streams, series),
        "hours": summaries.hours(streams, judgements),
    }
    return {"verdict": verdict(result), **result}


class _Rows(NamedTuple):
    """Rows of a stream with a known label at one horizon, and these labels."""

    at: NDArray[np.int64]
    labels: NDArray[np.int64]


def judge_stream(
    stream: Stream, log_probs: NDArray[np.floating], split: str, horizons: Sequence[int]
) -> dict[str, Judgement]:
    """One judge on one series: a judgement per horizon.

    τ and temperature come from the validation rows; decisions are corrected by τ, confidences are temperature-scaled.

    Args:
        stream: the series.
        log_probs: (n, h, c), of all rows of the stream.
        split: rows to judge.
        horizons: their lengths in ticks.
    """
    judgements = {}
    for i, (horizon, prior) in enumerate(zip(horizons, train_priors(stream), strict=True)):
        fit, rows = (_known_rows(stream, part, i, horizon) for part in ("validation", split))
        tau = choose_tau(log_probs[fit.at, i], fit.labels, prior)
        temperature = fit_temperature(log_probs[fit.at, i], fit.labels)
        raw = log_probs[rows.at, i]
        scaled, decided = scale(raw, temperature), decide(raw, prior, tau)
        confidence = np.exp(scaled[np.arange(len(decided)), decided])
        block = block_length(horizon)
        decisions = Decisions(rows.at, rows.labels, decided, confidence)
        metrics = {
            **horizon_metrics(raw, rows.labels, prior, tau),
            **scaled_metrics(raw, rows.labels, temperature, block),
            **trades(stream, decisions, horizon),
            "p_t": transactions(decisions),
        }
        bins = np.stack([reliability_bins(of, rows.labels) for of in (raw, scaled)])
        losses = -raw[np.arange(len(decided)), rows.labels].astype(np.float64)
        judgements[f"h{horizon}"] = Judgement(
            horizon, metrics, decisions, losses, bins, scatter(scaled, rows.labels, block)
        )
    return judgements


def judge(
    stream: Stream, log_probs: NDArray[np.floating], split: str, horizons: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """The metrics of `judge_stream`, per horizon: `horizon_metrics`, `scaled_metrics`, `trades` and "p_t"."""
    return {key: judgement.metrics for key, judgement in judge_stream(stream, log_probs, split, horizons).items()}


def rows_of(stream: Stream, split: str) -> tuple[int, int]:
    """First row and the row past the last that are judged of a split.

    Raises:
        DataError: the split has no such name, or no row with `LEAST_HISTORY` rows before it.
    """
    if split not in SPLITS:
        raise DataError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    start, stop = getattr(stream, split)
    if max(start, LEAST_HISTORY) >= stop:
        raise DataError(
            f"stream {stream.name!r}: its {split} part, rows {start} to {stop}, has no row after {LEAST_HISTORY} rows "
            "of warm-up; give a longer stream"
        )
    return max(start, LEAST_HISTORY), stop


def train_priors(stream: Stream) -> list[NDArray[np.float64]]:
    """Class frequencies of the training part, one (c,) per horizon."""
    labels = stream.labels[slice(*stream.train)]
    return [class_prior(labels[:, i]) for i in range(labels.shape[1])]


def _known_rows(stream: Stream, split: str, column: int, horizon: int) -> _Rows:
    start, stop = rows_of(stream, split)
    at = start + np.flatnonzero(stream.labels[start:stop, column] >= 0)
    if not len(at):
        raise DataError(
            f"stream {stream.name!r}: no label {horizon} ticks ahead in rows {start} to {stop} of its {split} part; "
            "give a longer stream"
        )
    return _Rows(at, stream.labels[at, column].astype(np.int64))


def _check(
    judges: Mapping[str, Sequence[NDArray[np.floating]]], streams: Sequence[Stream], horizons: Sequence[int]
) -> None:
    names = [stream.name for stream in streams]
    if not streams or not judges or len(set(names)) < len(names):
        raise DataError(f"judges {list(judges)} of streams {names}: expected at least one of both, and no name twice")
    shapes = [(stream.rows, len(horizons), CLASSES) for stream in streams]
    for judge_name, log_probs in judges.items():
        met = [array.shape for array in log_probs]
        if met != shapes:
            raise DataError(f"judge {judge_name!r}: log-probabilities of shapes {met}; expected {shapes}")
