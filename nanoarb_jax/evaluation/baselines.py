"""What a model must beat on the same rows: from the last move repeated to gradient boosting.

Each sees one stream, learns from its training range alone, and gives log-probabilities (n, h, c) for all of its rows:
`BASELINES` has them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.streams import Stream, mirror_stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.baseline_inputs import baseline_inputs, order_flow_inputs
from nanoarb_jax.evaluation.metrics import CLASSES, class_prior
from nanoarb_jax.features.lob44 import FEATURE_NAMES, IMBALANCE
from nanoarb_jax.progress import Note, silent

LogProbs: TypeAlias = NDArray[np.float32]
Baseline: TypeAlias = Callable[[Stream, Sequence[int]], LogProbs]

# Probability of a class that is ruled out: log loss stays finite, and no prior correction lifts it (PRIOR_FLOOR).
PROBABILITY_FLOOR = 1e-12
# Inverse L2 strength, one for all. Of 1e-4 … 3e-2 the validation parts of ../shared/data/derived_top10 like 1e-4 to
# 1e-3 alike (mean MCC .24, .24, .23) and larger ones less (1e-2: .21); 1e-3 of these, which short streams can bear.
LOGISTIC_C = 1e-3
CLIP = 5.0  # standard deviations beyond which an input counts no more
# Chosen by mean MCC and log loss on those validation parts. Tried: 4, 7 and 15 leaves, 200 and 500 rows a leaf,
# learning rates .02 and .05, L2 1 and 10, 15 to 150 rounds, with and without mirrored rows. Longer and larger only
# overfit: 15 leaves, 150 rounds give MCC .20 and log loss 1.01; 4 leaves, 35 rounds .231 and .864, mirrored .235 and
# .844.
BOOSTING: dict[str, Any] = {
    "learning_rate": 0.05,
    "max_iter": 35,
    "max_leaf_nodes": 4,
    "min_samples_leaf": 200,
    "l2_regularization": 10.0,
    "early_stopping": False,
    "random_state": 0,
}
NEUTRAL = 1


def persistence(stream: Stream, horizons: Sequence[int]) -> LogProbs:
    """The last realised move over the same horizon repeats.

    At tick t that is the label anchored at t - horizon, just known; neutral before there is one. The answer is
    one-hot, so prior correction leaves its decisions alone.
    """
    repeated = np.full(stream.labels.shape, NEUTRAL, np.int64)
    for column, horizon in enumerate(horizons):
        repeated[horizon:, column] = stream.labels[:-horizon, column]
    repeated[repeated < 0] = NEUTRAL
    return _log(np.eye(CLASSES)[repeated])


def majority(stream: Stream, horizons: Sequence[int]) -> LogProbs:
    """The class frequencies of the training rows, at every row."""
    labels = stream.labels[slice(*stream.train)]
    priors = np.stack([class_prior(labels[:, column]) for column in range(len(horizons))])
    return _log(np.broadcast_to(priors, (stream.rows, *priors.shape)))


def queue_imbalance(stream: Stream, horizons: Sequence[int]) -> LogProbs:
    """Logistic regression on the level-1 queue imbalance alone (Gould and Bonart 2016)."""
    return _learn(stream, stream.features[:, IMBALANCE : IMBALANCE + 1], _logistic)


def ofi_logistic(stream: Stream, horizons: Sequence[int]) -> LogProbs:
    """Logistic regression on level-1 order flow imbalance (Cont, Kukanov, Stoikov 2014) of the last 1 to 100 ticks."""
    return _learn(stream, order_flow_inputs(stream), _logistic)


def logistic(stream: Stream, horizons: Sequence[int]) -> LogProbs:
    """Multinomial logistic regression on `baseline_inputs`."""
    return _learn(stream, baseline_inputs(stream.features), _logistic)


def gradient_boosting(stream: Stream, horizons: Sequence[int]) -> LogProbs:
    """Boosted trees on `baseline_inputs` (scikit-learn's histogram gradient boosting).

    They learn from the training rows and from these mirrored, bid and ask swapped, as the model does: half as many
    accidents to learn by heart.
    """
    book = stream._replace(features=stream.features[:, : len(FEATURE_NAMES)])
    mirrored = mirror_stream(book)
    return _learn(stream, baseline_inputs(book.features), _boosting, (baseline_inputs(mirrored.features), mirrored))


BASELINES: dict[str, Baseline] = {
    "persistence": persistence,
    "majority": majority,
    "queue_imbalance": queue_imbalance,
    "ofi_logistic": ofi_logistic,
    "logistic": logistic,
    "gradient_boosting": gradient_boosting,
}


def baseline_log_probs(
    streams: Sequence[Stream], horizons: Sequence[int], *, keep: Path | None = None, note: Note = silent
) -> dict[str, list[LogProbs]]:
    """Every baseline over every stream, ready for `judge_streams`.

    Args:
        streams: the series; their `train` ranges are what is learnt from.
        horizons: h horizons in ticks, one per column of the streams' labels.

    Returns:
        {name: one (n, h, c) array of log-probabilities per stream}; a class that training never shows (or, to
        boosting, its mirror image) gets PROBABILITY_FLOOR.

    Raises:
        DataError: a training range holds no defined label.
    """
    return {name: [baseline(stream, horizons) for stream in streams] for name, baseline in BASELINES.items()}


def _learn(
    stream: Stream,
    inputs: NDArray[np.float32],
    classifier: Callable[[], Any],
    also: tuple[NDArray[np.float32], Stream] | None = None,
) -> LogProbs:
    """One classifier per horizon, of inputs (n, k); `also`: inputs and labels of a twin stream to learn from beside."""
    sources = [(inputs, stream), *([] if also is None else [also])]
    train = slice(*stream.train)
    x = np.concatenate([rows[train] for rows, _ in sources]).astype(np.float64)
    y = np.concatenate([source.labels[train] for _, source in sources])
    if not (y >= 0).any(axis=0).all():
        raise DataError(
            f"stream {stream.name!r}: training rows {train.start} to {train.stop} have a horizon without a defined "
            "label; give a longer stream"
        )
    probabilities = [_fit(x[known], column[known], inputs, classifier()) for column in y.T for known in [column >= 0]]
    return _log(np.stack(probabilities, axis=1))


def _fit(
    x: NDArray[np.float64], y: NDArray[np.int8], inputs: NDArray[np.float32], classifier: Any
) -> NDArray[np.float64]:
    """Probabilities (n, c) of one horizon."""
    from threadpoolctl import threadpool_limits

    seen = np.unique(y)
    probabilities = np.zeros((len(inputs), CLASSES))
    # on so few rows threads only wait for each other, on a busy machine sixty times as long as they work
    with threadpool_limits(1):
        # learning needs two classes; a stream that showed one promises that one
        probabilities[:, seen] = classifier.fit(x, y).predict_proba(inputs) if len(seen) > 1 else 1.0
    return probabilities


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    clip = FunctionTransformer(np.clip, kw_args={"a_min": -CLIP, "a_max": CLIP})
    return make_pipeline(StandardScaler(), clip, LogisticRegression(C=LOGISTIC_C, max_iter=1000))


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(**BOOSTING)


def _log(probabilities: NDArray[np.float64]) -> LogProbs:
    return np.log(np.maximum(probabilities, PROBABILITY_FLOOR)).astype(np.float32)
