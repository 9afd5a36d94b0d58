"""A linear term of the logits, fitted to an instrument's own past: logistic regression that starts from what
the model says, and is drawn back to it.

For each horizon:

    logits = model's logits + [constant, own logits, last features, inputs] @ weights

It is convex, so that there is one best fit, found in seconds. What a logistic regression on the inputs knows is
contained in it, and so are a temperature and the class frequencies of the instrument. The weights are drawn towards 0
(L2), that is towards the model as it is, by a strength that is chosen on the validation rows.

A label of 100 ticks ahead overlaps with its neighbours, which say much the same: each label counts as 1 / horizon of
one. So a strength means alike at every horizon and for any number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# How freely each group of weights moves: standard deviations of the prior, in units of 1 / √strength. All inputs are
# about 1 in size.
CONSTANT, OWN, LAST, INPUT = 0.5, 0.3, 0.1, 0.2
# Labels, each counted as 1 / horizon, that weigh as much as the prior: the strengths to choose from.
STRENGTHS = (300.0, 100.0, 30.0, 10.0, 3.0)
USUAL = 30.0  # kept unless the validation rows of the instrument clearly speak for another
MOST_ROWS = 60_000  # the latest of them are learnt from; more make no difference but take longer
BLOCK_HORIZONS = 2  # length of the blocks that the error of a loss is estimated from, in horizons
LEAST_BLOCKS = 16  # fewer say nothing of an error: the strength is then the usual one
ERRORS = 2.0  # standard errors that another strength must be better by
CLASSES = 3


class Evidence(NamedTuple):
    """What is known at n ticks before the linear term is added.

    Attributes:
        logits: (n, h, 3) of the model.
        last: (n, f) its last features, see `model.mamba.Readout`.
        inputs: (n, g) its standardised inputs.
    """

    logits: NDArray[np.float32]
    last: NDArray[np.float32]
    inputs: NDArray[np.float32]


class Past(NamedTuple):
    """One stream of an instrument to learn from.

    Attributes:
        evidence: of its n ticks.
        labels: (n, h), -1 where there is none.
        train, validation: (start, stop) ranges of rows.
    """

    evidence: Evidence
    labels: NDArray[np.int8]
    train: tuple[int, int]
    validation: tuple[int, int]


class Term(NamedTuple):
    """What is added to the logits of one horizon. float64.

    Attributes:
        bias: (3,).
        own: (3, 3) of the model's logits, less their mean.
        last: (f, 3).
        inputs: (g, 3).
    """

    bias: NDArray[np.float64]
    own: NDArray[np.float64]
    last: NDArray[np.float64]
    inputs: NDArray[np.float64]


class Adaptation(NamedTuple):
    """The terms of all horizons, and how they were found.

    Attributes:
        terms: one per horizon.
        report: {"h10": {"rows", "strength", "validation_loss", "model_validation_loss"}}, plain JSON values; strength
            None: the model stays as it is.
    """

    terms: tuple[Term, ...]
    report: dict[str, dict[str, Any]]


def adapt(pasts: Sequence[Past], horizons: Sequence[int]) -> Adaptation:
    """Fit the terms of all horizons to streams of one instrument.

    The training rows are learnt from, the validation rows choose the strength: the usual one, unless another one, or
    the model as it is, has a lower loss by two standard errors. What is best by chance on a few independent labels
    was worse later on, on series that the universal model never saw.

    Args:
        pasts: streams, in the order of time; of all rows the latest `MOST_ROWS` that have a label are learnt from.
        horizons: h horizons, in ticks.

    Returns:
        Terms that change nothing for a horizon without a label in the training or validation rows.
    """
    with ThreadPoolExecutor(len(horizons)) as pool:
        found = list(pool.map(partial(_fit_horizon, pasts), range(len(horizons)), horizons))
    return Adaptation(
        tuple(term for term, _ in found),
        {f"h{horizon}": report for horizon, (_, report) in zip(horizons, found, strict=True)},
    )


def adapted_log_probs(evidence: Evidence, terms: Sequence[Term]) -> NDArray[np.float32]:
    """(n, h, 3) log-probabilities with the terms added."""
    logits = np.array(evidence.logits, np.float64)
    for column, term in enumerate(terms):
        own = evidence.logits[:, column] - evidence.logits[:, column].mean(axis=-1, keepdims=True)
        logits[:, column] += own @ term.own + evidence.last @ term.last + evidence.inputs @ term.inputs + term.bias
    return _log_softmax(logits).astype(np.float32)


class _Rows(NamedTuple):
    """Rows with a known label at one horizon."""

    x: NDArray[np.float32]  # (n, d) what the weights multiply, scaled by how freely each moves
    logits: NDArray[np.float32]  # (n, 3) of the model
    labels: NDArray[np.int64]  # (n,)


def _fit_horizon(pasts: Sequence[Past], column: int, horizon: int) -> tuple[Term, dict[str, Any]]:
    learn, judge = (_rows(pasts, column, part) for part in ("train", "validation"))
    last, inputs = pasts[0].evidence.last.shape[1], pasts[0].evidence.inputs.shape[1]
    zero = np.zeros((1 + CLASSES + last + inputs, CLASSES))
    if not len(learn.labels) or not len(judge.labels):
        return _term(zero, last), {"rows": len(learn.labels), "strength": None}
    learn = _Rows(learn.x[-MOST_ROWS:], learn.logits[-MOST_ROWS:], learn.labels[-MOST_ROWS:])
    problem = _Problem(learn)
    candidates: list[tuple[float | None, NDArray[np.float64]]] = [(None, zero)]
    for candidate in STRENGTHS:
        candidates.append((candidate, problem.solve(candidate * horizon / len(learn.labels))))
    losses = np.stack([_losses(judge, weights) for _, weights in candidates])
    chosen = _choose(losses, 1 + STRENGTHS.index(USUAL), BLOCK_HORIZONS * horizon)
    strength, weights = candidates[chosen]
    report = {
        "rows": len(learn.labels),
        "strength": strength,
        "validation_loss": float(losses[chosen].mean()),
        "model_validation_loss": float(losses[0].mean()),
    }
    return _term(weights, last), report


def _rows(pasts: Sequence[Past], column: int, part: str) -> _Rows:
    found = []
    for past in pasts:
        start, stop = getattr(past, part)
        at = start + np.flatnonzero(past.labels[start:stop, column] >= 0)
        found.append(
            _Rows(_design(past.evidence, column, at), past.evidence.logits[at, column], past.labels[at, column])
        )
    x, logits, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _Rows(x, logits, labels.astype(np.int64))


def _design(evidence: Evidence, column: int, at: NDArray[np.int64]) -> NDArray[np.float32]:
    """(rows, d): constant, own logits, last features and inputs, each as large as its weights move freely."""
    logits = evidence.logits[at, column]
    own = logits - logits.mean(axis=1, keepdims=True)
    parts = [np.full((len(at), 1), CONSTANT), OWN * own, LAST * evidence.last[at], INPUT * evidence.inputs[at]]
    return np.hstack(parts).astype(np.float32)


def _term(weights: NDArray[np.float64], last: int) -> Term:
    """The term of weights of the scaled design."""
    bias, own, of_last, inputs = np.split(weights, [1, 1 + CLASSES, 1 + CLASSES + last])
    return Term(CONSTANT * bias[0], OWN * own, LAST * of_last, INPUT * inputs)


class _Problem:
    """The fit of one horizon for any strength.

    The rows are turned and scaled so that the loss bends alike in all directions at its start: a descent then needs
    ten steps instead of hundreds.
    """

    def __init__(self, rows: _Rows):
        self._rows = rows
        self._truth = np.eye(CLASSES, dtype=np.float32)[rows.labels]
        self._gram = (rows.x.T @ rows.x).astype(np.float64) / len(rows.labels)
        self._start = np.zeros((rows.x.shape[1], CLASSES))

    def solve(self, penalty: float) -> NDArray[np.float64]:
        """(d, 3) weights of the least mean loss + penalty / 2 · |weights|²."""
        from scipy.optimize import minimize  # type: ignore[import-untyped]

        inputs = len(self._gram)
        # a third: about how much the loss of three classes bends in one logit
        factor = np.linalg.cholesky(self._gram / CLASSES + (penalty + 1e-9) * np.eye(inputs)).T
        turn = np.linalg.inv(factor)
        x, shrink = self._rows.x @ turn.astype(np.float32), turn.T @ turn

        def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            weights = flat.reshape(inputs, CLASSES)
            log_p = _log_softmax(self._rows.logits + x @ weights.astype(np.float32))
            pull = shrink @ weights
            value = -np.mean(np.sum(log_p * self._truth, axis=1), dtype=np.float64)
            slope = x.T @ ((np.exp(log_p) - self._truth) / np.float32(len(x)))
            return value + penalty / 2 * np.sum(weights * pull), (slope + penalty * pull).ravel()

        options = {"maxiter": 100, "ftol": 1e-9, "gtol": 1e-5}
        found = minimize(loss, (factor @ self._start).ravel(), jac=True, method="L-BFGS-B", options=options)
        self._start = turn @ found.x.reshape(inputs, CLASSES)
        return self._start


def _losses(rows: _Rows, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) -log p of what came true."""
    log_p = _log_softmax(rows.logits + rows.x @ weights.astype(np.float32))
    return -log_p[np.arange(len(rows.labels)), rows.labels].astype(np.float64)


def _choose(losses: NDArray[np.float64], usual: int, block: int) -> int:
    """The candidate with the least mean loss of those that are better than the usual one by `ERRORS` standard errors,
    those of the means of blocks of rows; the usual one where there is none, or where there are too few blocks."""
    blocks = losses.shape[1] // block
    if blocks < LEAST_BLOCKS:
        return usual
    excess = np.stack([part.mean(axis=1) for part in np.array_split(losses - losses[usual], blocks, axis=1)])
    mean, error = excess.mean(axis=0), excess.std(axis=0, ddof=1) / np.sqrt(blocks)
    better = np.flatnonzero(mean < -ERRORS * error)
    return int(better[mean[better].argmin()]) if len(better) else usual


def _log_softmax(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
