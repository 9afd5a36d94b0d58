"""What a direction forecast is worth: prior-corrected decisions, MCC, F1.

Plain numpy, so that training can validate where scikit-learn is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarb_jax.config import CLASS_NAMES
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.calibration import brier_score, expected_calibration_error, log_loss

CLASSES = len(CLASS_NAMES)
TAU_GRID = np.linspace(0.0, 1.5, 16)
# A class never seen in training has prior 0; its correction must stay finite. 1.5·log(1e-6) is -21, less than the -28
# of a probability of 1e-12: no correction can revive a class that a baseline rules out.
PRIOR_FLOOR = 1e-6
# what `mean_over_series` averages, where it is there
MEAN_KEYS = (
    "mcc",
    "macro_f1",
    "accuracy",
    "balanced_accuracy",
    "mcc_argmax",
    "ece",
    "ece_scaled",
    "ece_floor",
    "log_loss",
    "log_loss_scaled",
    "brier",
    "brier_scaled",
    "gross_per_trade_ticks",
    "profit_per_trade_ticks",
    "profit_per_trade_bp",
)


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
    return float(mcc_of_confusions(confusion))


def mcc_of_confusions(confusions: ArrayLike) -> NDArray[np.float64]:
    """`mcc_from_confusion` of many matrices at once: (…, c, c) counts give (…)."""
    counts = np.asarray(confusions, dtype=np.float64)
    total, truths, decisions = counts.sum(axis=(-2, -1)), counts.sum(axis=-1), counts.sum(axis=-2)
    covariance = np.trace(counts, axis1=-2, axis2=-1) * total - (truths * decisions).sum(axis=-1)
    spread = (total**2 - (truths**2).sum(axis=-1)) * (total**2 - (decisions**2).sum(axis=-1))
    return np.where(spread > 0, covariance / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)


def f1_of_confusions(confusions: ArrayLike) -> NDArray[np.float64]:
    """F1 of every class, of many count matrices at once: (…, c, c) counts give (…, c); 0 for a class never met."""
    counts = np.asarray(confusions, dtype=np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    return 2 * right / np.maximum(counts.sum(axis=-1) + counts.sum(axis=-2), 1)


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


def horizon_metrics(log_probs: ArrayLike, labels: ArrayLike, prior: ArrayLike, tau: float) -> dict[str, Any]:
    """Judge one horizon of one series.

    Accuracies, F1 (macro is always over all three classes), MCC and the confusion matrix are of the prior-corrected
    decisions; `mcc_argmax`, ECE, log loss and Brier score are of the probabilities as they come.

    Args:
        log_probs: (n, 3) log-probabilities of down, neutral, up.
        labels: (n,) defined labels; rows without one are the caller's to drop.
        prior: (3,) class frequencies in training.
        tau: of `choose_tau` on the validation part.

    Returns:
        plain JSON values: n, accuracy, balanced_accuracy (mean recall of the classes that occur), macro_f1, f1 by class
        name, mcc, mcc_argmax, ece, log_loss, brier, confusion (rows truth, columns decision), tau.

    Raises:
        DataError: no rows, or an undefined label.
    """
    _require_defined(labels)
    log_probs, labels = np.asarray(log_probs, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    confusion = confusion_counts(labels, decide(log_probs, prior, tau))
    right, truths, f1 = np.diag(confusion), confusion.sum(axis=1), f1_of_confusions(confusion)
    return {
        "n": len(labels),
        "accuracy": float(right.sum() / len(labels)),
        "balanced_accuracy": float((right[truths > 0] / truths[truths > 0]).mean()),
        "macro_f1": float(f1.mean()),
        "f1": dict(zip(CLASS_NAMES, f1.tolist(), strict=True)),
        "mcc": mcc_from_confusion(confusion),
        "mcc_argmax": mcc_from_confusion(confusion_counts(labels, log_probs.argmax(axis=-1))),
        "ece": expected_calibration_error(log_probs, labels),
        "log_loss": log_loss(log_probs, labels),
        "brier": brier_score(log_probs, labels),
        "confusion": confusion.tolist(),
        "tau": float(tau),
    }


def mean_over_series(
    results: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]],
    keys: Sequence[str] = MEAN_KEYS,
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Plain means over series: {series: {judge: {"h10": metrics}}} becomes {judge: {"h10": {mcc, macro_f1, …}}}.

    Every series must hold the same judges and horizons. Series whose value is None (no trades, say) do not count; None
    is the mean of none.
    """
    series = list(results.values())
    return {
        judge: {
            horizon: {
                key: _mean_of_known([one[judge][horizon][key] for one in series])
                for key in keys
                if key in series[0][judge][horizon]
            }
            for horizon in horizons
        }
        for judge, horizons in (series[0] if series else {}).items()
    }


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _require_defined(labels: ArrayLike) -> None:
    labels = np.asarray(labels)
    if labels.size == 0 or labels.min() < 0:
        raise DataError(f"labels of shape {labels.shape}: expected at least one row and no -1; drop undefined rows")
