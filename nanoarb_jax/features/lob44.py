"""The 44 raw features of one book (`lob44`): one definition, used by files and live books alike.

Raw features are the contract of every serving path; the model's first stage makes them stationary and scale-free.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import InputSpec
from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries

SESSION_GAP_NS = InputSpec().session_gap_ns  # unless settings say otherwise (CME pauses for an hour)

FEATURE_NAMES: tuple[str, ...] = (
    "microprice",
    "weighted_mid",
    "spread_ticks",
    "imbalance",
    *(f"bid_quantity_{level}" for level in range(LEVELS)),
    *(f"ask_quantity_{level}" for level in range(LEVELS)),
    *(f"bid_cumulative_{level}" for level in range(LEVELS)),
    *(f"ask_cumulative_{level}" for level in range(LEVELS)),
)
SPREAD, IMBALANCE = 2, 3
BID_SIZES, ASK_SIZES, BID_SUMS, ASK_SUMS = (4 + LEVELS * block for block in range(4))  # first of ten each


class FeatureScale(NamedTuple):
    """Units of a book's integers.

    Attributes:
        px_scale: price units per 1 of price.
        lots_per_unit: whole lots per 1 of quantity.
        tick: price units per tick.
        quantity_scale: quantity that counts as 1 in the features.
        spread_scale: of the instrument, in ticks; told to the model among the `flow` features.
        session_gap_ns: a longer time without a tick begins another session, and the `flow` features anew.
        timed: False where the times of ticks only put them in order: no time passes between two ticks.
    """

    px_scale: float
    lots_per_unit: float
    tick: int
    quantity_scale: float
    spread_scale: float = 1.0
    session_gap_ns: int = SESSION_GAP_NS
    timed: bool = True

    @classmethod
    def of(
        cls,
        books: BookSeries,
        quantity_scale: float,
        spread_scale: float = 1.0,
        session_gap_ns: int = SESSION_GAP_NS,
    ) -> FeatureScale:
        """Those of a series."""
        units = float(books.px_scale), float(books.lots_per_unit), int(books.tick)
        return cls(*units, float(quantity_scale), float(spread_scale), session_gap_ns, bool(books.timed))


@compiled
def lob44_row(bid_px, bid_lots, ask_px, ask_lots, scale, out):  # type: ignore[no-untyped-def]
    """Write the 44 features of one book into `out`, computed in float64.

    Args:
        bid_px, bid_lots, ask_px, ask_lots: (10,) int64, as in `BookSeries`; both best levels quoted.
        scale: `FeatureScale`.
        out: (44,) float32 or float64, overwritten.
    """
    bid, ask = float(bid_px[0]), float(ask_px[0])
    bid_best, ask_best = float(bid_lots[0]), float(ask_lots[0])
    out[0] = (bid * ask_best + ask * bid_best) / (bid_best + ask_best) / scale.px_scale
    out[2] = (ask - bid) / scale.tick
    out[3] = (bid_best - ask_best) / (bid_best + ask_best)
    unit = 1.0 / (scale.lots_per_unit * scale.quantity_scale)
    moment, mass, bid_sum, ask_sum = 0.0, 0.0, 0.0, 0.0
    for level in range(LEVELS):
        weight = 1.0 / (level + 1)
        # distances from the best bid stay small: no digits are lost to the price level
        if bid_px[level] != EMPTY_PRICE:
            moment += weight * bid_lots[level] * (bid_px[level] - bid_px[0])
            mass += weight * bid_lots[level]
        if ask_px[level] != EMPTY_PRICE:
            moment += weight * ask_lots[level] * (ask_px[level] - bid_px[0])
            mass += weight * ask_lots[level]
        bid_sum += bid_lots[level]
        ask_sum += ask_lots[level]
        out[BID_SIZES + level] = bid_lots[level] * unit
        out[ASK_SIZES + level] = ask_lots[level] * unit
        out[BID_SUMS + level] = bid_sum * unit
        out[ASK_SUMS + level] = ask_sum * unit
    out[1] = (bid + moment / mass) / scale.px_scale


@compiled
def _lob44_rows(bid_px, bid_lots, ask_px, ask_lots, scale, out):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        lob44_row(bid_px[i], bid_lots[i], ask_px[i], ask_lots[i], scale, out[i])


def lob44(books: BookSeries, quantity_scale: float) -> NDArray[np.float32]:
    """The raw features of every book, each row from its own book alone.

    0 microprice and 1 weighted mid (weight 1/(level+1) times quantity) in price, 2 spread in ticks, 3 level-1
    imbalance, 4-13 bid and 14-23 ask quantity per level, 24-33 and 34-43 their running sums, in quantity scales.

    Args:
        books: validated series of n books.
        quantity_scale: quantity that counts as 1, above 0.

    Returns:
        (n, 44) float32 in the order of FEATURE_NAMES.
    """
    out = np.empty((books.rows, len(FEATURE_NAMES)), np.float32)
    bid_px, bid_lots = np.ascontiguousarray(books.bid_px), np.ascontiguousarray(books.bid_lots)
    ask_px, ask_lots = np.ascontiguousarray(books.ask_px), np.ascontiguousarray(books.ask_lots)
    _lob44_rows(bid_px, bid_lots, ask_px, ask_lots, FeatureScale.of(books, quantity_scale), out)
    return out
