"""What the baselines look at: stationary inputs made by hand of books, the same at every price level and in every unit.

Moves are in spread scales, quantities in quantity scales. Row t uses rows up to t of its own session.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.features.feature_set import feature_set_of
from nanoarb_jax.features.flow import ASK_GAP, BID_GAP
from nanoarb_jax.features.lob44 import ASK_SIZES, BID_SIZES, FEATURE_NAMES, IMBALANCE
from nanoarb_jax.features.order_flow import best_order_flow

LEVELS = ASK_SIZES - BID_SIZES
PAST_TICKS = (1, 5, 20)
FLOW_TICKS = (1, 5, 20, 100)
MOVE_UNIT = 0.25  # of a spread scale: moves below it enter almost as they are, larger ones as logarithms


def baseline_inputs(stream: Stream) -> NDArray[np.float32]:
    """54 inputs of the whole book and its last 20 ticks.

    Imbalance per level and of the running sums, quantities, spread, where microprice and weighted mid stand, what both
    did in the last 1, 5 and 20 ticks, and what imbalance and level-1 order flow did.

    Args:
        stream: n ticks of any feature set whose first features are `lob44`. Where it has the gaps between levels, the
            weighted mid is computed from them; else it is the raw price, which float32 keeps to 7 digits.

    Returns:
        (n, 54) float32.
    """
    raw = np.asarray(stream.features[:, : len(FEATURE_NAMES)], dtype=np.float64)
    sizes = np.split(raw[:, BID_SIZES:], range(LEVELS, 4 * LEVELS, LEVELS), axis=1)
    bid, ask, bid_cumulative, ask_cumulative = sizes
    first, imbalance, spread = stream.session_starts, raw[:, IMBALANCE], stream.spread.astype(np.float64)
    mid = _price_ticks(stream)
    micro_offset, weighted_offset = imbalance * spread / 2, _weighted_mid_offset(stream)
    flow = np.cumsum(order_flow_imbalance(stream))

    def moved(ticks: NDArray[np.float64]) -> NDArray[np.float64]:
        return _compress(ticks / (stream.spread_scale * MOVE_UNIT))

    columns = [
        _imbalance(bid, ask),
        _imbalance(bid_cumulative[:, 1:], ask_cumulative[:, 1:]),
        np.log1p(bid),
        np.log1p(ask),
        moved(spread),
        moved(micro_offset),
        moved(weighted_offset - micro_offset),
    ]
    for ticks in PAST_TICKS:
        at = rows_before(first, ticks)
        columns += [
            moved((mid - mid[at]) + (micro_offset - micro_offset[at])),
            moved((mid - mid[at]) + (weighted_offset - weighted_offset[at])),
            imbalance - imbalance[at],
            _compress(flow - flow[at]),
        ]
    return np.column_stack(columns).astype(np.float32)


def order_flow_inputs(stream: Stream) -> NDArray[np.float32]:
    """Level-1 order flow imbalance, summed over the last 1, 5, 20 and 100 ticks, in quantity scales: (n, 4)."""
    flow, first = np.cumsum(order_flow_imbalance(stream)), stream.session_starts
    return np.column_stack([flow - flow[rows_before(first, ticks)] for ticks in FLOW_TICKS]).astype(np.float32)


def order_flow_imbalance(stream: Stream) -> NDArray[np.float64]:
    """(n,) what each tick added to demand less supply at the best prices, in quantity scales; first row 0."""
    bid_qty, ask_qty = (stream.features[:, column].astype(np.float64) for column in (BID_SIZES, ASK_SIZES))
    # best prices in ticks; rounded, as the mid of an odd spread lies between ticks and a float is never quite there
    middle, half = stream.mid / stream.tick_size, stream.spread.astype(np.float64) / 2
    # and counted from the first one: a mirrored market's prices may all lie just between two ticks
    first = middle[0] - half[0]
    return best_order_flow(np.rint(middle - half - first), bid_qty, np.rint(middle + half - first), ask_qty)


def rows_before(first: NDArray[np.int64], ticks: int) -> NDArray[np.int64]:
    """(n,) the row so many ticks before each, no earlier than the first of its session."""
    return np.maximum(np.arange(len(first)) - ticks, first)


def _price_ticks(stream: Stream) -> NDArray[np.float64]:
    """(n,) mid in ticks; rounded, so that the same move is the same number at every price level."""
    return np.round(stream.mid / stream.tick_size, 6)


def _weighted_mid_offset(stream: Stream) -> NDArray[np.float64]:
    """(n,) depth-weighted mid of `lob44` less the mid, in ticks."""
    found = feature_set_of(stream.features.shape[1])
    if found is None or found.name != "flow":
        return stream.features[:, 1].astype(np.float64) / stream.tick_size - _price_ticks(stream)
    raw, half = stream.features.astype(np.float64), stream.spread.astype(np.float64)[:, None] / 2
    weight = 1.0 / np.arange(1, LEVELS + 1)
    moment, mass = np.zeros(stream.rows), np.zeros(stream.rows)
    for sign, sizes, gaps in ((-1, BID_SIZES, BID_GAP), (1, ASK_SIZES, ASK_GAP)):
        beyond = np.cumsum(raw[:, gaps : gaps + LEVELS - 1], axis=1)
        distance = sign * np.hstack([half, half + beyond])
        weighted = weight * raw[:, sizes : sizes + LEVELS]
        moment, mass = moment + (weighted * distance).sum(axis=1), mass + weighted.sum(axis=1)
    return moment / mass


def _imbalance(bid: NDArray[np.float64], ask: NDArray[np.float64]) -> NDArray[np.float64]:
    """(bid - ask) / (bid + ask), 0 where both are empty."""
    total = bid + ask
    return (bid - ask) / np.where(total > 0, total, 1.0)


def _compress(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sign(values) * np.log1p(np.abs(values))
