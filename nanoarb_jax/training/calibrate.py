"""Calibration of the weights that are kept: their probabilities mean what they say.

Weighted losses tilt probabilities, and long training makes them too sure. A temperature and the bias of a direction
are fitted per horizon on the validation rows, and folded into the last layer of the heads, and into the linear term of
a model that has one: everything that serves the weights then gives calibrated probabilities and need not know of it.

A calibration is the plain JSON value {"h10": {"temperature": 1.1, "bias": [0.1, 0.0, 0.1]}, …}, in the order of the
horizons: logits become logits / temperature + bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import TrainConfig
from nanoarb_jax.data.labels import DOWN, NEUTRAL, UP
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.model.mamba import MambaLOB

Calibration = dict[str, dict[str, Any]]

# far enough for any trained model, and near enough that a horizon without one class keeps finite logits
LARGEST_TEMPERATURE, LARGEST_BIAS = 5.0, 3.0


def calibrates(config: TrainConfig) -> bool:
    """Whether a run calibrates: not where class weights or logit adjustment tilt the probabilities on purpose."""
    return config.calibrate and not config.class_weights and config.logit_adjustment == 0


def fit_calibration(
    streams: Sequence[Stream],
    log_probs: Sequence[NDArray[np.floating]],
    horizons: Sequence[int],
    *,
    symmetric: bool,
) -> Calibration:
    """The calibration of least log loss on the validation rows; each stream weighs the same, however long.

    That loss is convex in bias and 1 / temperature (Platt scaling). Two numbers per horizon are too few to fit noise.

    Args:
        streams: give the labels.
        log_probs: (rows, h, c) of the validation rows of each.
        horizons: their lengths in ticks.
        symmetric: down and up have one bias, so that mirrored markets have mirrored forecasts.
    """
    calibration = {}
    for i, horizon in enumerate(horizons):
        labels = [stream.labels[slice(*stream.validation), i] for stream in streams]
        known = [y >= 0 for y in labels]
        weights = np.concatenate([np.full(k.sum(), 1.0 / max(k.sum(), 1)) for k in known])
        rows = np.concatenate([log_p[k, i] for log_p, k in zip(log_probs, known, strict=True)]).astype(np.float64)
        hits = np.concatenate([y[k] for y, k in zip(labels, known, strict=True)]).astype(np.int64)
        inverse, down, up = _least_loss(rows, hits, weights / weights.sum(), symmetric)
        calibration[f"h{horizon}"] = {"temperature": 1.0 / inverse, "bias": [down, 0.0, up]}
    return calibration


def _least_loss(
    log_p: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64], symmetric: bool
) -> tuple[float, float, float]:
    """1 / temperature and the biases of down and up, for rows (n, c) of weights (n,)."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    # neutral has no bias, so logits are counted from it: two columns instead of three
    down, up = (np.ascontiguousarray(log_p[:, c] - log_p[:, NEUTRAL]) for c in (DOWN, UP))
    fell, rose = labels == DOWN, labels == UP

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        inverse, bias_down, bias_up = at[0], at[1], at[-1]
        low, high = inverse * down + bias_down, inverse * up + bias_up
        most = np.maximum(np.maximum(low, high), 0.0)
        p_down, p_up = np.exp(low - most), np.exp(high - most)
        total = p_down + p_up + np.exp(-most)
        value = np.sum(weights * (np.log(total) + most - low * fell - high * rose))
        wrong_down = weights * (p_down / total - fell)  # the gradient in the logits
        wrong_up = weights * (p_up / total - rose)
        slopes = [np.sum(wrong_down), np.sum(wrong_up)]
        of_inverse = np.sum(wrong_down * down) + np.sum(wrong_up * up)
        return float(value), np.array([of_inverse, sum(slopes)] if symmetric else [of_inverse, *slopes])

    biases = 1 if symmetric else 2
    bounds = [(1 / LARGEST_TEMPERATURE, LARGEST_TEMPERATURE), *[(-LARGEST_BIAS, LARGEST_BIAS)] * biases]
    start = np.array([1.0, *np.zeros(biases)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-7}).x
    return float(found[0]), float(found[1]), float(found[-1])


def calibrated(log_probs: NDArray[np.floating], calibration: Calibration) -> NDArray[np.float64]:
    """(rows, h, c) log-probabilities after calibration."""
    temperature, bias = _columns(calibration)
    scaled = log_probs / temperature[:, None] + bias
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True))


def fold_calibration(model: MambaLOB, calibration: Calibration) -> None:
    """Change what the logits are sums of, so that they are calibrated: last layer of the heads, and linear term."""
    temperature, bias = _columns(calibration)
    heads, term = model.heads, model.linear_term
    for kernel in (heads.kernel_out, *(() if term is None else (term.last_kernel, term.input_kernel))):
        kernel[...] = (np.asarray(kernel[...]) / temperature[:, None, None]).astype(np.float32)
    heads.bias_out[...] = (np.asarray(heads.bias_out[...]) / temperature[:, None] + bias).astype(np.float32)


def _columns(calibration: Calibration) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Temperatures (h,) and biases (h, c)."""
    each = list(calibration.values())
    return np.array([one["temperature"] for one in each]), np.array([one["bias"] for one in each])
