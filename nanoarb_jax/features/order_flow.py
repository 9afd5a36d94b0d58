"""Order flow imbalance (Cont, Kukanov, Stoikov 2014): what joined and what left the queues of a book."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.compiled import compiled, internal
from nanoarb_jax.market.series import EMPTY_PRICE


@internal
def queue_change(px, lots, px_before, lots_before, better):  # type: ignore[no-untyped-def]
    """What a level's queue gained since the previous tick, negative where it lost.

    A price that improves brings its whole queue, one that falls back takes the old queue away; at the same price the
    change of the queue counts.

    Args:
        px, lots: of the level now, in lots or any other unit of quantity; EMPTY_PRICE and 0 where it is empty.
        px_before, lots_before: of the level at the previous tick.
        better: 1 for bids, which improve upwards; -1 for asks.
    """
    if px == px_before:
        return lots - lots_before
    if px == EMPTY_PRICE:
        return -lots_before
    if px_before == EMPTY_PRICE or (px > px_before) == (better > 0):
        return lots
    return -lots_before


@compiled
def _fill_best_order_flow(bid_px, bid_qty, ask_px, ask_qty, out):  # type: ignore[no-untyped-def]
    for i in range(1, len(out)):
        joined_bid = queue_change(bid_px[i], bid_qty[i], bid_px[i - 1], bid_qty[i - 1], 1)
        joined_ask = queue_change(ask_px[i], ask_qty[i], ask_px[i - 1], ask_qty[i - 1], -1)
        out[i] = joined_bid - joined_ask


def best_order_flow(
    bid_px: NDArray[np.float64],
    bid_qty: NDArray[np.float64],
    ask_px: NDArray[np.float64],
    ask_qty: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Order flow imbalance at the best prices: what each tick added to the bid less what it added to the ask.

    Args:
        bid_px, bid_qty, ask_px, ask_qty: (n,) float64, best prices in ticks and the quantities there.

    Returns:
        (n,) float64 in the unit of the quantities; the first row is 0.

    >>> from nanoarb_jax.features.order_flow import best_order_flow
    >>> px, ask = np.array([100.0, 100.0, 101.0]), np.full(3, 102.0)
    >>> best_order_flow(px, np.array([5.0, 8.0, 2.0]), ask, np.full(3, 7.0)).tolist()
    [0.0, 3.0, 2.0]
    """
    out = np.zeros(len(bid_px))
    _fill_best_order_flow(bid_px, bid_qty, ask_px, ask_qty, out)
    return out
