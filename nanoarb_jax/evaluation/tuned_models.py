"""Logistic regression and boosted trees, their settings chosen on the validation rows of a series, for one horizon.

There are usual settings, and others are chosen only where the validation rows clearly favour them: by more than the
standard error of the gain in log loss. Short series have few independent rows to choose by, and the best of many
settings there is the luckiest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.evaluation.metrics import CLASSES

# Probability of a class that is ruled out: log loss stays finite, and no prior correction lifts it (PRIOR_FLOOR).
PROBABILITY_FLOOR = 1e-12
PARTS = 10  # of the validation rows, whose means tell how much a gain varies
CLIP = 5.0  # standard deviations beyond which an input of the logistic regression counts no more
Choice: TypeAlias = dict[str, float]


@dataclass(frozen=True)
class Tuning:
    """What settings are chosen from, and from how many rows.

    Args:
        strengths: inverse L2 strengths C of the logistic regression to try.
        leaves: per tree of the boosting to try.
        most_rounds: of boosting; fewer where `patience` rounds bring the validation rows nothing.
        patience: rounds without a gain after which boosting stops.
        choosing_rows: C and leaves are chosen with every k-th training and every k-th validation row, k the least that
            leaves no more rows than this of each. What was chosen is then fitted to every training row.
        mirrored_rows: up to so many training rows, boosting learns from these and from them mirrored.
        least_of_class: a validation part that shows fewer rows of some class that training showed chooses nothing: its
            log loss only says how rare the class is there.
        usual_strength, usual_leaves, usual_rounds: settings where none are clearly better.
        standard_errors: of the mean gain that make it clear.
    """

    strengths: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    leaves: tuple[int, ...] = (4, 8, 16)
    most_rounds: int = 500
    patience: int = 20
    choosing_rows: int = 10_000
    mirrored_rows: int = 30_000
    least_of_class: int = 20
    usual_strength: float = 1e-3
    usual_leaves: int = 4
    usual_rounds: int = 20
    standard_errors: float = 1.0


class Rows(NamedTuple):
    """Rows with a known label at one horizon: inputs x (n, k) and labels y (n,)."""

    x: NDArray[np.float32]
    y: NDArray[np.int8]

    def every(self, step: int) -> Rows:
        return Rows(self.x[::step], self.y[::step])

    def of_classes(self, classes: NDArray[np.int8]) -> Rows:
        kept = np.isin(self.y, classes)
        return Rows(self.x[kept], self.y[kept])


class Problem(NamedTuple):
    """What one horizon of one series gives to learn from and to choose by.

    Attributes:
        train: rows to learn from.
        mirrored: the same rows of the mirrored market.
        validation: rows to choose by, perhaps none.
    """

    train: Rows
    mirrored: Rows | None
    validation: Rows


Fit: TypeAlias = Callable[[Problem, NDArray[np.float32], Tuning], tuple[NDArray[np.float64], Choice]]


def fit_logistic(problem: Problem, inputs: NDArray[np.float32], tuning: Tuning) -> tuple[NDArray[np.float64], Choice]:
    """Multinomial logistic regression on standardised inputs, its C chosen by log loss on the validation rows.

    Args:
        problem: to learn from and to choose by; `mirrored` is not used.
        inputs: (n, k) to forecast.
        tuning: the grid of C.

    Returns:
        probabilities (n, 3), 0 for classes that training never shows; {"C": the chosen one}.
    """
    train = problem.train
    seen = np.unique(train.y)
    if len(seen) == 1:
        return _only(seen, len(inputs)), {}
    strength = tuning.usual_strength
    if _can_choose(problem, tuning):
        step, validation = _steps(problem, tuning)
        few = train.every(step)

        def losses(c: float) -> NDArray[np.float64]:
            # a row stands for `step` rows, so that the penalty weighs what it does in the fit to all of them
            return _losses(_logistic(c * step).fit(*few).predict_proba(validation.x), validation.y, seen)

        tried = {c: losses(c) for c in tuning.strengths}
        best = min(tried, key=lambda c: float(tried[c].mean()))
        if _clearly_less(tried[best], losses(strength), tuning):
            strength = best
    return _spread(_logistic(strength).fit(*train).predict_proba(inputs), seen), {"C": strength}


def fit_boosting(problem: Problem, inputs: NDArray[np.float32], tuning: Tuning) -> tuple[NDArray[np.float64], Choice]:
    """Histogram gradient boosting, its leaves and rounds chosen by log loss on the validation rows.

    Args:
        problem: to learn from and to choose by. Short series learn from the mirrored rows, too: half as many accidents
            to learn by heart.
        inputs: (n, k) to forecast.
        tuning: the grid of leaves, the most rounds.

    Returns:
        probabilities (n, 3), 0 for classes that neither training nor its mirror image shows; {"leaves", "rounds"}.
    """
    twin = problem.mirrored if len(problem.train.y) <= tuning.mirrored_rows else None
    train = _joined(problem.train, twin)
    seen = np.unique(train.y)
    if len(seen) == 1:
        return _only(seen, len(inputs)), {}
    leaves, validation = _choose_leaves(problem, twin, tuning) if _can_choose(problem, tuning) else (None, None)
    model = _boosted(train, validation, leaves or tuning.usual_leaves, 1, tuning)
    rounds = tuning.usual_rounds if validation is None else _best_round(model)
    probabilities = _after_rounds(model, rounds, inputs)
    return _spread(probabilities, seen), {"leaves": leaves or tuning.usual_leaves, "rounds": rounds}


def _choose_leaves(problem: Problem, twin: Rows | None, tuning: Tuning) -> tuple[int | None, Rows | None]:
    """Leaves per tree, and the validation rows to choose the rounds by; None and None: the usual settings do."""
    step, validation = _steps(problem, tuning)
    few = _joined(problem.train.every(step), twin and twin.every(step))
    seen = np.unique(few.y)

    def losses(model: Any, rounds: int) -> NDArray[np.float64]:
        return _losses(_after_rounds(model, rounds, validation.x), validation.y, seen)

    models = {leaves: _boosted(few, validation, leaves, step, tuning) for leaves in tuning.leaves}
    tried = {leaves: losses(model, _best_round(model)) for leaves, model in models.items()}
    best = min(tried, key=lambda leaves: float(tried[leaves].mean()))
    usual = _boosted(few, None, tuning.usual_leaves, step, tuning)
    clear = _clearly_less(tried[best], losses(usual, tuning.usual_rounds), tuning)
    return (best, validation) if clear else (None, None)


def _can_choose(problem: Problem, tuning: Tuning) -> bool:
    """Whether the validation rows show every class of training often enough."""
    counts = np.bincount(problem.validation.y, minlength=CLASSES)
    return bool((counts[np.unique(problem.train.y)] >= max(tuning.least_of_class, 1)).all())


def _steps(problem: Problem, tuning: Tuning) -> tuple[int, Rows]:
    """Every how manieth training row to choose with; and the validation rows to choose by."""
    step, validation_step = (-(-len(rows.y) // tuning.choosing_rows) for rows in (problem.train, problem.validation))
    return step, problem.validation.every(validation_step).of_classes(np.unique(problem.train.y))


def _logistic(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    clip = FunctionTransformer(np.clip, kw_args={"a_min": -CLIP, "a_max": CLIP})
    return make_pipeline(StandardScaler(), clip, LogisticRegression(C=strength, max_iter=1000))


def _boosted(train: Rows, validation: Rows | None, leaves: int, step: int, tuning: Tuning) -> Any:
    """Fitted to every `step`-th row: least rows of a leaf and L2 are a `step`-th, too."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    chosen = validation is not None
    model = HistGradientBoostingClassifier(
        learning_rate=0.1,
        max_bins=127,
        max_iter=tuning.most_rounds if chosen else tuning.usual_rounds,
        max_leaf_nodes=leaves,
        min_samples_leaf=max(200 // step, 20),
        l2_regularization=10.0 / step,
        early_stopping=chosen,
        n_iter_no_change=tuning.patience,
        scoring="loss",
        random_state=0,
    )
    return model.fit(*train) if validation is None else model.fit(*train, X_val=validation.x, y_val=validation.y)


def _best_round(model: Any) -> int:
    """The round, from 1 on, after which the log loss of the validation rows was least."""
    return int(np.argmax(model.validation_score_[1:])) + 1  # the first score is before any round


def _after_rounds(model: Any, rounds: int, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities that the first so many rounds give."""
    return next(itertools.islice(model.staged_predict_proba(inputs), rounds - 1, None))


def _losses(
    probabilities: NDArray[np.float64], labels: NDArray[np.int8], seen: NDArray[np.int8]
) -> NDArray[np.float64]:
    """(n,) -log p of what came true."""
    return -np.log(np.maximum(_spread(probabilities, seen)[np.arange(len(labels)), labels], PROBABILITY_FLOOR))


def _clearly_less(losses: NDArray[np.float64], usual: NDArray[np.float64], tuning: Tuning) -> bool:
    """Whether losses (n,) in the order of time are less than the usual ones by more than chance gives."""
    gain = usual - losses
    # rows that follow each other share most of what they foretell, so parts of the time are what varies freely
    parts = np.array([part.mean() for part in np.array_split(gain, PARTS)])
    return bool(gain.mean() > tuning.standard_errors * parts.std(ddof=1) / np.sqrt(PARTS))


def _joined(rows: Rows, more: Rows | None) -> Rows:
    return rows if more is None else Rows(*(np.concatenate(pair) for pair in zip(rows, more, strict=True)))


def _only(seen: NDArray[np.int8], rows: int) -> NDArray[np.float64]:
    """Learning needs two classes; a stream that showed one promises that one."""
    return _spread(np.ones((rows, 1)), seen)


def _spread(probabilities: NDArray[np.float64], seen: NDArray[np.int8]) -> NDArray[np.float64]:
    """Probabilities of all classes from those of the classes seen."""
    out = np.zeros((len(probabilities), CLASSES))
    out[:, seen] = probabilities
    return out
