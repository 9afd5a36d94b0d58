"""Logistic regression and boosted trees, their settings chosen on the validation rows of a series, for one horizon.

There are usual settings, and others are chosen only where the validation rows clearly favour them: by more than the
standard error of the gain in log loss. Short series have few independent rows to choose by, and the best of many
settings there is the luckiest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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
        most_rounds: of boosting; it ends after `patience` rounds that bring the validation rows nothing.
        patience: rounds without a gain after which boosting stops.
        choosing_rows: C and leaves are chosen with every k-th training and every j-th validation row, k and j the least
            that leave no more rows than this of each.
        most_rows: of training that boosting learns from, every k-th of more. Ticks that follow each other say much the
            same, and the time it takes is that of the rows.
        mirrored_rows: up to so many training rows, boosting learns from these and from them mirrored.
        least_of_class: where the rows to choose with or by show fewer of some class of training, nothing is chosen: log
            loss only says how rare the class is there.
        usual_strength, usual_leaves, usual_rounds: settings where none are clearly better.
        standard_errors: of the mean gain that make it clear.
    """

    strengths: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    leaves: tuple[int, ...] = (4, 8, 16)
    most_rounds: int = 300
    patience: int = 10
    choosing_rows: int = 5_000
    most_rows: int = 50_000
    mirrored_rows: int = 10_000
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


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let what is fitted in this thread use no others.

    On so few rows they only wait for each other, on a busy machine sixty times as long as they work.
    """
    import sklearn.ensemble  # noqa: F401  a limit holds for the OpenMP and BLAS that are loaded by then
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


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
    strength, choosing = tuning.usual_strength, _choosing(problem, None, tuning)
    if choosing is not None:

        def losses(c: float) -> NDArray[np.float64]:
            # a row stands for `step` rows, so that the penalty weighs what it does in the fit to all of them
            model = _logistic(c * choosing.step).fit(*choosing.train)
            return _losses(model.predict_proba(choosing.validation.x), choosing.validation.y, seen)

        tried = {c: losses(c) for c in {*tuning.strengths, strength}}
        best = min(tried, key=lambda c: float(tried[c].mean()))
        if _clearly_less(tried[best], tried[strength], tuning):
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
    train = _joined(problem.train.every(-(-len(problem.train.y) // tuning.most_rows)), twin)
    seen = np.unique(train.y)
    if len(seen) == 1:
        return _only(seen, len(inputs)), {}
    leaves, choosing = tuning.usual_leaves, _choosing(problem, twin, tuning)
    better = None if choosing is None else _better_leaves(choosing, tuning)
    if choosing is None or better is None:
        model = _boosted(train, None, leaves, 1, tuning)
    else:
        leaves, model = better, _boosted(train, choosing.validation, better, 1, tuning)
    return _spread(model.predict_proba(inputs), seen), {"leaves": leaves, "rounds": model.n_iter_}


class _Choosing(NamedTuple):
    """Every `step`-th training row, some with their mirror images, and the validation rows to choose by."""

    train: Rows
    validation: Rows
    step: int


def _choosing(problem: Problem, twin: Rows | None, tuning: Tuning) -> _Choosing | None:
    """What settings are chosen with; None where some class of training has too few rows for that."""
    step, validation_step = (-(-len(rows.y) // tuning.choosing_rows) for rows in (problem.train, problem.validation))
    few, seen = problem.train.every(step), np.unique(problem.train.y)
    if not len(problem.validation.y):
        return None
    validation = problem.validation.every(validation_step).of_classes(seen)
    counts = [np.bincount(rows.y, minlength=CLASSES)[seen] for rows in (few, validation)]
    if np.min(counts) < tuning.least_of_class:
        return None
    return _Choosing(_joined(few, twin and twin.every(step)), validation, step)


def _better_leaves(choosing: _Choosing, tuning: Tuning) -> int | None:
    """Leaves per tree with which boosting, its rounds chosen, is clearly better than the usual one; None: none."""
    few, validation, step = choosing
    seen = np.unique(few.y)

    def losses(model: Any) -> NDArray[np.float64]:
        return _losses(model.predict_proba(validation.x), validation.y, seen)

    models = {leaves: _boosted(few, validation, leaves, step, tuning) for leaves in tuning.leaves}
    tried = {leaves: losses(model) for leaves, model in models.items()}
    best = min(tried, key=lambda leaves: float(tried[leaves].mean()))
    usual = losses(_boosted(few, None, tuning.usual_leaves, step, tuning))
    return best if _clearly_less(tried[best], usual, tuning) else None


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
    return rows if more is None else Rows(np.concatenate([rows.x, more.x]), np.concatenate([rows.y, more.y]))


def _only(seen: NDArray[np.int8], rows: int) -> NDArray[np.float64]:
    """Learning needs two classes; a stream that showed one promises that one."""
    return _spread(np.ones((rows, 1)), seen)


def _spread(probabilities: NDArray[np.float64], seen: NDArray[np.int8]) -> NDArray[np.float64]:
    """Probabilities of all classes from those of the classes seen."""
    out = np.zeros((len(probabilities), CLASSES))
    out[:, seen] = probabilities
    return out
