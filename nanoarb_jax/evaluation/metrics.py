"""What a direction forecast is worth: prior-corrected decisions, MCC, macro-F1, calibration.

Everything but `horizon_metrics` is plain numpy, so that training can validate where scikit-learn is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarb_jax.errors import DataError

CLASSES = 3  # down, neutral, up
ECE_BINS = 15
TAU_GRID = np.linspace(0.0, 1.5, 16)
# A class never seen in training has prior 0; its correction must stay finite. 1.5·log(1e-6) is -21, less than the -28
# of a probability of 1e-12: no correction can revive a class that a baseline rules out.
PRIOR_FLOOR = 1e-6
MEAN_KEYS = ("mcc", "macro_f1", "accuracy", "ece", "mcc_argmax")


def class_prior(labels: ArrayLike) -> NDArray[np.float64]:
    """Frequencies (3,) of down, neutral and up; undefined labels (-1) do not count, and none at all gives thirds."""
    labels = np.asarray(labels)
    counts = np.bincount(labels[labels >= 0].astype(np.int64), minlength=CLASSES)
    return counts / counts.sum() if counts.any() else np.full(CLASSES, 1 / CLASSES)


def decide(log_probs: ArrayLike, prior: ArrayLike, tau: float) -> NDArray[np.int64]:
    """Class (n,) with the largest log p - tau·log prior (logit adjustment, Menon et al. 2021).

    Under class imbalance a plain argmax (tau 0) says "neutral" nearly always; tau 1 treats the classes as equally
    frequent.

    Args:
        log_probs: (n, c) log-probabilities.
        prior: (c,) class frequencies in training.
        tau: strength of the correction, chosen by `choose_tau`.
    """
    correction = tau * np.log(np.maximum(np.asarray(prior, dtype=np.float64), PRIOR_FLOOR))
    return np.argmax(np.asarray(log_probs) - correction[None, :], axis=-1)


def confusion_counts(labels: ArrayLike, decisions: ArrayLike) -> NDArray[np.int64]:
    """(3, 3) counts, rows truth, columns decision.

    As scikit-learn's `confusion_matrix`, less the checks that take it a millisecond: `choose_tau` calls this for every
    tau, horizon, series and epoch.
    """
    pairs = CLASSES * np.asarray(labels, dtype=np.int64) + np.asarray(decisions, dtype=np.int64)
    return np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def mcc_from_confusion(confusion: ArrayLike) -> float:
    """Multi-class Matthews correlation coefficient (Gorodkin 2004) of a (c, c) count matrix.

    0 where it is undefined, when all truths or all decisions are one class (there scikit-learn's
    `matthews_corrcoef`, otherwise the same, warns).
    """
    counts = np.asarray(confusion, dtype=np.float64)
    total, truths, decisions = counts.sum(), counts.sum(axis=1), counts.sum(axis=0)
    covariance = np.trace(counts) * total - truths @ decisions
    spread = (total**2 - truths @ truths) * (total**2 - decisions @ decisions)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def choose_tau(log_probs: ArrayLike, labels: ArrayLike, prior: ArrayLike) -> float:
    """The tau of `TAU_GRID` with the best MCC on these (validation) rows; the smallest one on a tie.

    Args:
        log_probs: (n, c) log-probabilities.
        labels: (n,) defined labels.
        prior: (c,) class frequencies in training.
    """
    _require_defined(labels)
    scores = [mcc_from_confusion(confusion_counts(labels, decide(log_probs, prior, tau))) for tau in TAU_GRID]
    # rounded: the same decisions must tie whatever the order of the sums
    return float(TAU_GRID[np.argmax(np.round(scores, 12))])


def expected_calibration_error(log_probs: ArrayLike, labels: ArrayLike) -> float:
    """Mean |accuracy - confidence| of the argmax class over 15 equal-width bins, by bin size (Guo et al. 2017)."""
    log_probs = np.asarray(log_probs, dtype=np.float64)
    confidence = np.exp(log_probs.max(axis=-1))
    hit = log_probs.argmax(axis=-1) == np.asarray(labels)
    # (low, high] bins, as in the paper
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(bins, weights=hit - confidence, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(bins))


def horizon_metrics(log_probs: ArrayLike, labels: ArrayLike, prior: ArrayLike, tau: float) -> dict[str, Any]:
    """Judge one horizon of one series.

    Accuracy, macro-F1 (always over all three classes), MCC and the confusion matrix are of the prior-corrected
    decisions; `mcc_argmax`, ECE and log loss are of the probabilities as they come.

    Args:
        log_probs: (n, 3) log-probabilities of down, neutral, up.
        labels: (n,) defined labels; rows without one are the caller's to drop.
        prior: (3,) class frequencies in training.
        tau: of `choose_tau` on the validation part.

    Returns:
        plain JSON values: n, accuracy, macro_f1, mcc, mcc_argmax, ece, log_loss, confusion (rows truth, columns
        decision), tau.

    Raises:
        DataError: no rows, or an undefined label.
    """
    from sklearn.metrics import accuracy_score, f1_score

    _require_defined(labels)
    log_probs, labels = np.asarray(log_probs, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    decisions = decide(log_probs, prior, tau)
    confusion = confusion_counts(labels, decisions)
    return {
        "n": len(labels),
        "accuracy": float(accuracy_score(labels, decisions)),
        "macro_f1": float(f1_score(labels, decisions, labels=range(CLASSES), average="macro", zero_division=0)),
        "mcc": mcc_from_confusion(confusion),
        "mcc_argmax": mcc_from_confusion(confusion_counts(labels, log_probs.argmax(axis=-1))),
        "ece": expected_calibration_error(log_probs, labels),
        "log_loss": float(-log_probs[np.arange(len(labels)), labels].mean()),
        "confusion": confusion.tolist(),
        "tau": float(tau),
    }


def mean_over_series(
    results: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Plain means over series: {series: {judge: {"h10": metrics}}} becomes {judge: {"h10": {mcc, macro_f1, …}}}.

    Every series must hold the same judges and horizons.
    """
    series = list(results.values())
    return {
        judge: {
            horizon: {key: float(np.mean([one[judge][horizon][key] for one in series])) for key in MEAN_KEYS}
            for horizon in horizons
        }
        for judge, horizons in (series[0] if series else {}).items()
    }


def _require_defined(labels: ArrayLike) -> None:
    labels = np.asarray(labels)
    if labels.size == 0 or labels.min() < 0:
        raise DataError(f"labels of shape {labels.shape}: expected at least one row and no -1; drop undefined rows")
