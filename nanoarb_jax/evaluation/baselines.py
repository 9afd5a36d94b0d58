"""What a model must beat on the same rows: the last move again, and a logistic regression per horizon.

Both see one stream and give log-probabilities (n, h, c) for all of its rows; the regression learns from the training
range only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.metrics import CLASSES

# Probability of a class that is ruled out: log loss stays finite, and no prior correction lifts it (PRIOR_FLOOR).
PROBABILITY_FLOOR = 1e-12
# Inverse L2 strength, one for all. Of 1e-4 … 3e-2 the validation parts of ../shared/data/derived_top10 like 1e-4 to
# 1e-3 alike (mean MCC .24, .24, .23) and larger ones less (1e-2: .21); 1e-3 of these, which short streams can bear.
LOGISTIC_C = 1e-3
CLIP = 5.0  # standard deviations beyond which an input counts no more
PAST_TICKS = (1, 5, 20)
LEVELS = 10
NEUTRAL = 1


def persistence(labels: NDArray[np.int8], horizons: Sequence[int]) -> NDArray[np.float32]:
    """The last realised move over the same horizon repeats.

    At tick t that is the label anchored at t - horizon, just known; neutral before there is one. The answer is
    one-hot, so prior correction leaves its decisions alone.

    Args:
        labels: (n, h) in 0, 1, 2, or -1 where undefined.
        horizons: h horizons in ticks.

    Returns:
        (n, h, c) log-probabilities.
    """
    repeated = np.full(labels.shape, NEUTRAL, np.int64)
    for column, horizon in enumerate(horizons):
        repeated[horizon:, column] = labels[:-horizon, column]
    repeated[repeated < 0] = NEUTRAL
    return _log(np.eye(CLASSES)[repeated])


def logistic(
    features: NDArray[np.float32], labels: NDArray[np.int8], train_range: tuple[int, int]
) -> NDArray[np.float32]:
    """Multinomial logistic regression on `baseline_inputs`, one per horizon.

    Args:
        features: (n, 44) raw `lob44` features of one stream.
        labels: (n, h) in 0, 1, 2, or -1 where undefined.
        train_range: first row and the row past the last that it may learn from, the purge gap left out.

    Returns:
        (n, h, c) log-probabilities; a class that training never shows gets PROBABILITY_FLOOR.

    Raises:
        DataError: the training range holds no defined label.
    """
    inputs = baseline_inputs(features)
    probabilities = [_regress(inputs, labels[:, column], slice(*train_range)) for column in range(labels.shape[1])]
    return _log(np.stack(probabilities, axis=1))


def baseline_inputs(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """54 stationary inputs made by hand from raw features; row t uses rows up to t.

    Imbalance per level and of the running sums, quantities, spread, where microprice and weighted mid stand, and what
    microprice, weighted mid, imbalance and level-1 queues did in the last 1, 5 and 20 ticks.

    Args:
        features: (n, 44) raw `lob44` features of one stream.

    Returns:
        (n, 54) float32.
    """
    raw = np.asarray(features, dtype=np.float64)
    microprice, weighted_mid, spread, imbalance = raw[:, :4].T
    bid, ask, bid_cumulative, ask_cumulative = np.split(raw[:, 4:], range(LEVELS, 4 * LEVELS, LEVELS), axis=1)
    # what the two best queues gained: bids less asks, compressed so that one large order does not decide
    gained = _compress(bid[:, 0] - _past(bid[:, 0], 1)) - _compress(ask[:, 0] - _past(ask[:, 0], 1))
    flow = np.cumsum(gained)
    columns = [
        _imbalance(bid, ask),
        _imbalance(bid_cumulative[:, 1:], ask_cumulative[:, 1:]),
        np.log1p(bid),
        np.log1p(ask),
        np.log1p(spread),
        imbalance * spread / 2,  # microprice less mid, in ticks
        _compress_millionths(weighted_mid / microprice - 1),
    ]
    for ticks in PAST_TICKS:
        columns += [
            _compress_millionths(microprice / _past(microprice, ticks) - 1),
            _compress_millionths(weighted_mid / _past(weighted_mid, ticks) - 1),
            imbalance - _past(imbalance, ticks),
            _compress(flow - _past(flow, ticks)),
        ]
    return np.column_stack(columns).astype(np.float32)


def _regress(inputs: NDArray[np.float32], labels: NDArray[np.int8], train: slice) -> NDArray[np.float64]:
    """Probabilities (n, c) of one horizon."""
    from threadpoolctl import threadpool_limits

    known = labels[train] >= 0
    x, y = inputs[train][known].astype(np.float64), labels[train][known]
    seen = np.unique(y)
    if len(seen) == 0:
        raise DataError(f"training rows {train.start} to {train.stop}: no defined label; give a longer stream")
    probabilities = np.zeros((len(inputs), CLASSES))
    # on so few rows threads only wait for each other, on a busy machine sixty times as long as they work
    with threadpool_limits(1):
        # a regression needs two classes; a stream that showed one promises that one
        probabilities[:, seen] = _pipeline().fit(x, y).predict_proba(inputs) if len(seen) > 1 else 1.0
    return probabilities


def _pipeline() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    clip = FunctionTransformer(np.clip, kw_args={"a_min": -CLIP, "a_max": CLIP})
    return make_pipeline(StandardScaler(), clip, LogisticRegression(C=LOGISTIC_C, max_iter=1000))


def _log(probabilities: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.log(np.maximum(probabilities, PROBABILITY_FLOOR)).astype(np.float32)


def _past(series: NDArray[np.float64], ticks: int) -> NDArray[np.float64]:
    """(n,) values of some ticks ago; before the first row, the first."""
    return series[np.maximum(np.arange(len(series)) - ticks, 0)]


def _imbalance(bid: NDArray[np.float64], ask: NDArray[np.float64]) -> NDArray[np.float64]:
    """(bid - ask) / (bid + ask), 0 where both are empty."""
    total = bid + ask
    return (bid - ask) / np.where(total > 0, total, 1.0)


def _compress(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(values) * np.log1p(np.abs(values))


def _compress_millionths(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    return _compress(relative * 1e6)
