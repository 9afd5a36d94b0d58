"""Do probabilities mean what they say? Log loss, Brier score, calibration error, temperature scaling. Plain numpy.

>>> from nanoarb_jax.evaluation.calibration import expected_calibration_error
>>> log_probs = np.log([[0.9, 0.05, 0.05], [0.9, 0.05, 0.05]])
>>> round(expected_calibration_error(log_probs, [0, 1]), 3)  # says .9, is right half of the time
0.4
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

ECE_BINS = 15
# Far enough on either side: a one-hot forecast (log-probabilities 0 and -28) needs about 20.
TEMPERATURES = (0.05, 100.0)


def log_loss(log_probs: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log p of what came true, in nats."""
    log_probs, labels = np.asarray(log_probs, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    return float(-log_probs[np.arange(len(labels)), labels].mean())


def brier_score(log_probs: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared distance of the probabilities from the one-hot truth, summed over classes: 0 to 2 (Brier 1950)."""
    probabilities = np.exp(np.asarray(log_probs, dtype=np.float64))
    truth = np.eye(probabilities.shape[-1])[np.asarray(labels, dtype=np.int64)]
    return float(((probabilities - truth) ** 2).sum(axis=-1).mean())


def expected_calibration_error(log_probs: ArrayLike, labels: ArrayLike) -> float:
    """Mean |accuracy - confidence| of the argmax class over 15 equal-width bins, by bin size (Guo et al. 2017)."""
    return ece_of_bins(reliability_bins(log_probs, labels))


def reliability_bins(log_probs: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """What a reliability diagram is drawn from: sums per bin of the argmax class's probability.

    Args:
        log_probs: (n, c) log-probabilities.
        labels: (n,) defined labels.

    Returns:
        (3, ECE_BINS): rows, sum of confidences, and hits. Bins of several series add up; divided by the rows first,
        each series weighs the same.
    """
    log_probs = np.asarray(log_probs, dtype=np.float64)
    confidence = np.exp(log_probs.max(axis=-1))
    hit = log_probs.argmax(axis=-1) == np.asarray(labels)
    bins = _bins(confidence)
    return np.stack([np.bincount(bins, weights, ECE_BINS) for weights in (np.ones(len(bins)), confidence, hit)])


def ece_of_bins(bins: NDArray[np.float64]) -> float:
    """The calibration error of `reliability_bins`, or of a sum of them."""
    rows, confidence, hits = bins
    return float(np.abs(hits - confidence).sum() / rows.sum())


def reliability_lists(bins: NDArray[np.float64]) -> dict[str, list[float | None]]:
    """`reliability_bins` as JSON: n (rows, or weight), confidence and accuracy per bin; None where a bin is empty."""
    rows, *sums = bins

    def means(sums_of: NDArray[np.float64]) -> list[float | None]:
        return [round(float(s / n), 6) if n > 0 else None for s, n in zip(sums_of, rows, strict=True)]

    return {"n": [round(float(n), 6) for n in rows], "confidence": means(sums[0]), "accuracy": means(sums[1])}


def scatter(log_probs: ArrayLike, labels: ArrayLike, block: int) -> NDArray[np.float64]:
    """(ECE_BINS,) variance that chance alone gives to each bin's part of the calibration error.

    Of the sums of hits less confidences in whole blocks of rows, each bin's mean taken off: rows that follow each other
    are right or wrong together, and count for less than as many independent ones.

    Args:
        log_probs: (n, c) log-probabilities.
        labels: (n,) defined labels.
        block: rows that may depend on each other; at most a quarter of n is taken.
    """
    log_probs = np.asarray(log_probs, dtype=np.float64)
    rows, (counts, confidence, hits) = len(log_probs), reliability_bins(log_probs, labels)
    bins = _bins(np.exp(log_probs.max(axis=-1)))
    gap = (log_probs.argmax(axis=-1) == np.asarray(labels)) - np.exp(log_probs.max(axis=-1))
    gap = gap - ((hits - confidence) / np.maximum(counts, 1))[bins]
    blocks = np.arange(rows) // min(block, -(-rows // 4))
    number = blocks[-1] + 1
    sums = np.bincount(blocks * ECE_BINS + bins, gap, number * ECE_BINS).reshape(number, ECE_BINS)
    return (sums**2).sum(axis=0) * (number / max(number - 1, 1)) / rows**2


def ece_floor(variance: NDArray[np.float64]) -> float:
    """Calibration error that a perfectly calibrated forecaster is expected to show, from the `scatter` of its bins.

    Never zero: about 1/√n where rows are independent, several times as much where labels overlap. By the normal
    approximation.
    """
    return float(np.sqrt(2 / np.pi * variance).sum())


def fit_temperature(log_probs: ArrayLike, labels: ArrayLike) -> float:
    """The T whose softmax(log p / T) has the least log loss on these (validation) rows (Guo et al. 2017).

    One number per series and horizon: above 1 for an overconfident forecaster. It leaves the order of the classes, and
    so every argmax, alone.

    Args:
        log_probs: (n, c) log-probabilities.
        labels: (n,) defined labels.
    """
    from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

    def loss(log_temperature: float) -> float:
        return log_loss(scale(log_probs, np.exp(log_temperature)), labels)

    # convex in 1/T, so what the search finds is the best there is
    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def scale(log_probs: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """(n, c) log-probabilities of softmax(log p / temperature)."""
    scaled = np.asarray(log_probs, dtype=np.float64) / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True))


def scaled_metrics(log_probs: ArrayLike, labels: ArrayLike, temperature: float, block: int) -> dict[str, Any]:
    """Calibration of one series and horizon after temperature scaling, as plain JSON values; `block`: see `scatter`."""
    scaled = scale(log_probs, temperature)
    bins = reliability_bins(scaled, labels)
    return {
        "temperature": float(temperature),
        "ece_scaled": ece_of_bins(bins),
        "ece_floor": ece_floor(scatter(scaled, labels, block)),
        "log_loss_scaled": log_loss(scaled, labels),
        "brier_scaled": brier_score(scaled, labels),
        "reliability": reliability_lists(bins),
    }


def _bins(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """(low, high] bins, as in the paper."""
    return np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
