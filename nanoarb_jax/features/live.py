"""Features of a live book, by the very functions that made the training data."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.features.flow import FlowMemory, flow_memory, flow_row
from nanoarb_jax.features.lob44 import SPREAD, FeatureScale, lob44_row
from nanoarb_jax.market.book.ladder import ASK, BID, copy_top
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS


@compiled
def book_lob44(state, scale, top, out):  # type: ignore[no-untyped-def]
    """Write the 44 features of a book as it is, for use inside compiled code.

    Args:
        state: `BookState` with both sides quoted.
        scale: `FeatureScale` with px_scale 1 / tick size, lots_per_unit 1 / lot size and tick 1.
        top: (4, 10) int64 scratch.
        out: (44,), overwritten.
    """
    copy_top(state.levels, BID, top[0], top[1], EMPTY_PRICE)
    copy_top(state.levels, ASK, top[2], top[3], EMPTY_PRICE)
    lob44_row(top[0], top[1], top[2], top[3], scale, out)


@compiled
def book_flow(state, scale, traded, memory, top, out):  # type: ignore[no-untyped-def]
    """Write the 101 `flow` features of a book at a tick, for use inside compiled code; call it at every tick.

    Args:
        state, scale, top: as for `book_lob44`.
        traded: (2,) int64, what the book had seen bought and sold at the previous tick; changed.
        memory: `FlowMemory` after the previous tick; changed.
        out: (101,), overwritten.
    """
    copy_top(state.levels, BID, top[0], top[1], EMPTY_PRICE)
    copy_top(state.levels, ASK, top[2], top[3], EMPTY_PRICE)
    meta = state.meta[0]
    bought, sold = meta.bought - traded[0], meta.sold - traded[1]
    traded[0], traded[1] = meta.bought, meta.sold
    flow_row(meta.time, top[0], top[1], top[2], top[3], bought, sold, scale, memory, out)


class LobFeatureExtractor:
    """Features of an `OrderBook`, tick by tick.

    Args:
        tick_size: price of one tick, the book's.
        quantity_scale: quantity that counts as 1; a dataset's manifest says what it was made with.
        feature_set: "lob44", of the book alone; or "flow", which also remembers the ticks before, so that
            `to_array` is called exactly once per tick.
        spread_scale: half the instrument's median spread, in ticks, at least 1; it is one of the `flow` features. A
            dataset's manifest says what it was made with.

    >>> book = nj.OrderBook(tick_size=0.25)
    >>> nj.LobFeatureExtractor(tick_size=0.25, quantity_scale=100).to_array(book)
    Traceback (most recent call last):
        ...
    nanoarb_jax.errors.DataError: features: the book has 0 bid and 0 ask levels; expected both sides quoted
    """

    def __init__(
        self,
        tick_size: float,
        quantity_scale: float = 1.0,
        feature_set: Literal["lob44", "flow"] = "lob44",
        spread_scale: float = 1.0,
    ):
        scales = (("tick_size", tick_size), ("quantity_scale", quantity_scale), ("spread_scale", spread_scale))
        for name, value in scales:
            if not (math.isfinite(value) and value > 0):
                raise DataError(f"features: {name}={value!r}; expected a finite number above 0")
        if feature_set not in FEATURE_SETS:
            raise DataError(f"features: feature_set={feature_set!r}; expected one of {', '.join(FEATURE_SETS)}")
        self.tick_size, self.quantity_scale, self.feature_set = float(tick_size), float(quantity_scale), feature_set
        self.spread_scale, self.names = float(spread_scale), FEATURE_SETS[feature_set].names
        self._top = np.empty((4, LEVELS), np.int64)
        self.reset()

    def reset(self) -> None:
        """Forget all ticks: the next one is the first."""
        self._memory: FlowMemory = flow_memory()
        self._traded = np.zeros(2, np.int64)

    def to_array(self, book: OrderBook, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """The book's features at this tick.

        Args:
            book: with both sides quoted; its tick size is the extractor's.
            out: (44,) or (101,) float32 to write into; None: a new array.

        Returns:
            `out`, in the order of `names`.

        Raises:
            DataError: a side is empty, or the tick sizes differ.
        """
        if book.tick_size != self.tick_size:
            raise DataError(f"features: tick_size={self.tick_size:g}, but the book's is {book.tick_size:g}")
        bids, asks = book.depth
        if bids == 0 or asks == 0:
            raise DataError(f"features: the book has {bids} bid and {asks} ask levels; expected both sides quoted")
        if out is None:
            out = np.empty(len(self.names), np.float32)
        scale = FeatureScale(1.0 / book.tick_size, 1.0 / book.lot_size, 1, self.quantity_scale, self.spread_scale)
        if self.feature_set == "lob44":
            book_lob44(book.state, scale, self._top, out)
        else:
            book_flow(book.state, scale, self._traded, self._memory, self._top, out)
        if out[SPREAD] < 0:
            raise DataError(f"features: the book is crossed ({book.best_bid:g} > {book.best_ask:g}); expected a tick")
        return out
