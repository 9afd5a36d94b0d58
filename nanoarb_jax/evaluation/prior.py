"""A model's forecasts with the class frequencies of the instrument that it forecasts.

A model trained on other instruments expects "up" and "down" as often as it met them there. How often they happen on
this one is known from its own past, and three numbers per horizon are enough to say it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.streams import Stream

# Rows that are counted beside those of the stream, with the classes that the model itself expects. Labels that overlap
# say much the same, so that a few hundred rows say little of frequencies; and a class that never occurred stays
# possible.
ADDED_ROWS = 100
TOLERANCE = 1e-7  # of the mean probabilities


def with_own_prior(log_probs: NDArray[np.floating], stream: Stream) -> NDArray[np.float32]:
    """Forecasts whose mean probabilities are the class frequencies of the stream's training rows.

    A bias per class is added to the log-probabilities of each horizon, fitted by `fit_class_bias` to the training rows,
    which come before validation and test rows. In other words: the model's evidence with the instrument's own prior
    (Saerens, Latinne, Decaestecker 2002, here with known frequencies).

    Args:
        log_probs: (n, h, c) of all rows of the stream.
        stream: its labels of the training part are read.

    Returns:
        (n, h, c), normalised. A horizon without a label in the training part stays as it is.
    """
    train = slice(*stream.train)
    adjusted = np.array(log_probs, np.float32)
    for column, labels in enumerate(stream.labels[train].T):
        known = labels >= 0
        if known.any():
            bias = fit_class_bias(log_probs[train, column][known], labels[known])
            adjusted[:, column] = _normalised(adjusted[:, column] + bias.astype(np.float32))
    return adjusted


def with_own_priors(log_probs: Sequence[NDArray[np.floating]], streams: Sequence[Stream]) -> list[NDArray[np.floating]]:
    """`with_own_prior` of every stream."""
    return [with_own_prior(log_p, stream) for log_p, stream in zip(log_probs, streams, strict=True)]


def fit_class_bias(log_probs: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """The bias per class (c,) that makes labels most likely under softmax(log p + bias); its mean is 0.

    Maximum likelihood, which is convex in the bias; at its maximum the mean probabilities are the class frequencies,
    `ADDED_ROWS` included, so that the bias is finite when a class is missing.

    Args:
        log_probs: (n, c), n at least 1.
        labels: (n,) defined labels.

    Example:
        >>> from nanoarb_jax.evaluation.prior import fit_class_bias
        >>> even, labels = np.log(np.full((1_000, 3), 1 / 3)), np.repeat([0, 1, 2], [50, 900, 50])
        >>> np.round(np.exp(np.diff(fit_class_bias(even, labels))), 1).tolist()
        [11.2, 0.1]
    """
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    log_probs = np.asarray(log_probs, np.float64)
    expected = np.exp(log_probs).mean(axis=0)
    counts = np.bincount(labels.astype(np.int64), minlength=len(expected))
    frequencies = (counts + ADDED_ROWS * expected) / (len(labels) + ADDED_ROWS)

    def loss(bias: NDArray[np.float64]) -> float:
        return float(np.logaddexp.reduce(log_probs + bias, axis=1).mean() - frequencies @ bias)

    def gradient(bias: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(_normalised(log_probs + bias)).mean(axis=0) - frequencies

    def curvature(bias: NDArray[np.float64]) -> NDArray[np.float64]:
        probabilities = np.exp(_normalised(log_probs + bias))
        return np.diag(probabilities.mean(axis=0)) - probabilities.T @ probabilities / len(probabilities)

    start = np.log(frequencies) - np.log(expected)
    found = minimize(
        loss, start, jac=gradient, hess=curvature, method="trust-exact", options={"gtol": TOLERANCE, "maxiter": 200}
    )
    return found.x - found.x.mean()


def _normalised(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
