"""What the baselines look at: stationary inputs made by hand of raw features; row t uses rows up to t."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.features.lob44 import ASK_SIZES, BID_SIZES, FEATURE_NAMES
from nanoarb_jax.features.order_flow import best_order_flow

PAST_TICKS = (1, 5, 20)
FLOW_TICKS = (1, 5, 20, 100)
LEVELS = 10


def baseline_inputs(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """54 inputs of the whole book and its last 20 ticks.

    Imbalance per level and of the running sums, quantities, spread, where microprice and weighted mid stand, and what
    microprice, weighted mid, imbalance and level-1 queues did in the last 1, 5 and 20 ticks.

    Args:
        features: (n, f) raw features of one stream, the first 44 of which are `lob44` (all feature sets).

    Returns:
        (n, 54) float32.
    """
    raw = np.asarray(features[:, : len(FEATURE_NAMES)], dtype=np.float64)
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
        _compress_millionths(_relative(weighted_mid, microprice)),
    ]
    for ticks in PAST_TICKS:
        columns += [
            _compress_millionths(_relative(microprice, _past(microprice, ticks))),
            _compress_millionths(_relative(weighted_mid, _past(weighted_mid, ticks))),
            imbalance - _past(imbalance, ticks),
            _compress(flow - _past(flow, ticks)),
        ]
    return np.column_stack(columns).astype(np.float32)


def order_flow_inputs(stream: Stream) -> NDArray[np.float32]:
    """Level-1 order flow imbalance, summed over the last 1, 5, 20 and 100 ticks, in quantity scales: (n, 4)."""
    flow = np.cumsum(order_flow_imbalance(stream))
    return np.column_stack([flow - _past(flow, ticks) for ticks in FLOW_TICKS]).astype(np.float32)


def order_flow_imbalance(stream: Stream) -> NDArray[np.float64]:
    """(n,) what each tick added to demand less supply at the best prices, in quantity scales; first row 0."""
    bid_qty, ask_qty = (stream.features[:, column].astype(np.float64) for column in (BID_SIZES, ASK_SIZES))
    # best prices in ticks; rounded, as the mid of an odd spread lies between ticks and a float is never quite there
    middle, half = stream.mid / stream.tick_size, stream.spread.astype(np.float64) / 2
    return best_order_flow(np.rint(middle - half), bid_qty, np.rint(middle + half), ask_qty)


def _past(series: NDArray[np.float64], ticks: int) -> NDArray[np.float64]:
    """(n,) values of some ticks ago; before the first row, the first."""
    return series[np.maximum(np.arange(len(series)) - ticks, 0)]


def _relative(price: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) how far a price lies above another, as a share of that one's size, which is at least a millionth.

    Spreads between contracts, and oil in April 2020, trade at 0 and below.
    """
    size = np.maximum(np.abs(reference), 1e-6)
    return np.where(reference > 1e-6, price / size - 1, (price - reference) / size)


def _imbalance(bid: NDArray[np.float64], ask: NDArray[np.float64]) -> NDArray[np.float64]:
    """(bid - ask) / (bid + ask), 0 where both are empty."""
    total = bid + ask
    return (bid - ask) / np.where(total > 0, total, 1.0)


def _compress(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(values) * np.log1p(np.abs(values))


def _compress_millionths(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    return _compress(relative * 1e6)
