"""A series of ten-level order books of one instrument and session: the container, its units, its checks."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError

LEVELS = 10
EMPTY_PRICE = int(np.iinfo(np.int64).max)

SIDE_COLUMNS = ("bid_px", "bid_lots", "ask_px", "ask_lots")  # (n, 10) each
COLUMNS = ("ts_ns", *SIDE_COLUMNS, "bought", "sold")


class BookSeries(NamedTuple):
    """Order books in time order; row i is one tick, level 0 is the best, prices and lots are integers.

    An empty level has the price EMPTY_PRICE and 0 lots.

    Attributes:
        ts_ns: (n,) int64, when the book was known (receive time; exchange time where a feed has no other), ns since
            1970 UTC, never going backwards.
        bid_px, bid_lots, ask_px, ask_lots: (n, 10) int64, price units and whole lots.
        px_scale: price units per 1 of price: price = px / px_scale.
        lots_per_unit: lots per 1 of quantity: quantity = lots / lots_per_unit.
        tick: price units per price tick.
        name: of the series, e.g. the file's stem.
        bought, sold: (n,) int64 lots that takers bought and sold since the previous row; None: trades not known.
        unsided: (n,) int64 lots traded since the previous row by takers whose side is not told; None: there are none.
        gap: (n,) bool, rows of which the feed says that messages before them were lost; None: it says so of none.
            Both are a feed's alone: ticks have neither.
        timed: False where `ts_ns` only puts the rows in order: files without times, or with artificial ones.
    """

    ts_ns: NDArray[np.int64]
    bid_px: NDArray[np.int64]
    bid_lots: NDArray[np.int64]
    ask_px: NDArray[np.int64]
    ask_lots: NDArray[np.int64]
    px_scale: float
    lots_per_unit: float
    tick: int
    name: str
    bought: NDArray[np.int64] | None = None
    sold: NDArray[np.int64] | None = None
    unsided: NDArray[np.int64] | None = None
    gap: NDArray[np.bool_] | None = None
    timed: bool = True

    @property
    def rows(self) -> int:
        return len(self.ts_ns)

    @property
    def tick_size(self) -> float:
        """Price of one tick."""
        return self.tick / self.px_scale

    @property
    def sides(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Prices and lots of the bids, and of the asks."""
        return (self.bid_px, self.bid_lots), (self.ask_px, self.ask_lots)

    @property
    def mid(self) -> NDArray[np.float64]:
        """(n,) midpoint of the best prices, in price."""
        return (self.bid_px[:, 0] + self.ask_px[:, 0]) / (2.0 * self.px_scale)

    @property
    def microprice(self) -> NDArray[np.float64]:
        """(n,) best prices weighted by the opposite quantity, in price."""
        bid, ask = self.bid_px[:, 0].astype(np.float64), self.ask_px[:, 0].astype(np.float64)
        bid_lots, ask_lots = self.bid_lots[:, 0].astype(np.float64), self.ask_lots[:, 0].astype(np.float64)
        return (bid * ask_lots + ask * bid_lots) / (bid_lots + ask_lots) / self.px_scale

    @property
    def spread_ticks(self) -> NDArray[np.float64]:
        """(n,) best ask minus best bid, in ticks."""
        return (self.ask_px[:, 0] - self.bid_px[:, 0]) / self.tick

    def part(self, start: int, stop: int) -> BookSeries:
        """Rows start … stop, views of the same arrays."""
        columns: dict[str, Any] = {name: getattr(self, name) for name in (*COLUMNS, "unsided", "gap")}
        cut: dict[str, Any] = {name: None if c is None else c[start:stop] for name, c in columns.items()}
        return self._replace(**cut)

    def mirrored(self) -> BookSeries:
        """The mirrored market: bid and ask swapped, prices reflected about the first bid (so they stay integers)."""
        pivot = 2 * self.bid_px[0, 0]

        def reflect(px: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.where(px == EMPTY_PRICE, px, pivot - px)

        return self._replace(
            bid_px=reflect(self.ask_px),
            bid_lots=self.ask_lots,
            ask_px=reflect(self.bid_px),
            ask_lots=self.bid_lots,
            bought=self.sold,
            sold=self.bought,
        )


class BookFaults(NamedTuple):
    """Which rows of a series break which rule, (n,) bool each; a row can break several.

    Attributes:
        one_sided: a side is empty at its best level.
        crossed: both sides are quoted and the best bid is above the best ask.
        negative_lots: a level has a negative quantity.
        negative_trades: a traded quantity is negative.
        lots_without_price: an empty level has a quantity.
        unordered: prices do not worsen strictly from level to level, or a level follows an empty one.
    """

    one_sided: NDArray[np.bool_]
    crossed: NDArray[np.bool_]
    negative_lots: NDArray[np.bool_]
    negative_trades: NDArray[np.bool_]
    lots_without_price: NDArray[np.bool_]
    unordered: NDArray[np.bool_]


def find_faults(books: BookSeries) -> BookFaults:
    """Check every row by itself: all rules of a valid book but the order in time."""
    bid, ask = books.bid_px, books.ask_px
    one_sided, negative_lots, lots_without_price, negative_trades = (np.zeros(books.rows, bool) for _ in range(4))
    for px, lots in books.sides:
        one_sided |= (px[:, 0] == EMPTY_PRICE) | (lots[:, 0] == 0)
        negative_lots |= (lots < 0).any(axis=1)
        lots_without_price |= ((px == EMPTY_PRICE) & (lots != 0)).any(axis=1)
    for traded in (books.bought, books.sold, books.unsided):
        if traded is not None:
            negative_trades |= traded < 0
    lower_bid = (bid[:, 1:] == EMPTY_PRICE) | ((bid[:, :-1] != EMPTY_PRICE) & (bid[:, 1:] < bid[:, :-1]))
    higher_ask = (ask[:, 1:] == EMPTY_PRICE) | (ask[:, 1:] > ask[:, :-1])
    return BookFaults(
        one_sided=one_sided,
        crossed=~one_sided & (bid[:, 0] > ask[:, 0]),
        negative_lots=negative_lots,
        negative_trades=negative_trades,
        lots_without_price=lots_without_price,
        unordered=~(lower_bid & higher_ask).all(axis=1),
    )


def validate_books(books: BookSeries) -> None:
    """Check a series at the boundary, so that everything inside can trust it.

    Raises:
        DataError: wrong shape, dtype or scale, no rows, or a first bad row: time going backwards, an empty or
            crossed best level (locked is fine), a negative quantity, levels out of order.
    """
    _validate_layout(books)
    backwards = np.zeros(books.rows, bool)
    backwards[1:] = np.diff(books.ts_ns) < 0
    faults = find_faults(books)
    checks = (
        (backwards, "time goes backwards", "rows in time order"),
        (faults.one_sided, "a side is empty at its best level", "both sides quoted; drop such rows"),
        (faults.crossed, "the book is crossed", "best bid <= best ask; drop such rows"),
        (faults.negative_lots, "a quantity is negative", "quantities of 0 or more"),
        (faults.negative_trades, "a traded quantity is negative", "quantities of 0 or more"),
        (
            faults.lots_without_price,
            f"a quantity without a price (price {EMPTY_PRICE} marks an empty level)",
            "quantity 0 at empty levels",
        ),
        (faults.unordered, "levels are out of order", "level 0 best, prices strictly worsening"),
    )
    for bad, what, expected in checks:
        if bad.any():
            row = int(np.argmax(bad))
            bid, ask = (f"{px[row, 0]} x {lots[row, 0]}" for px, lots in books.sides)
            raise DataError(f"books {books.name!r}, row {row}: {what} (bid {bid}, ask {ask}); expected {expected}")


def _validate_layout(books: BookSeries) -> None:
    rows = len(books.ts_ns)
    for field in ("ts_ns", *SIDE_COLUMNS):
        array = getattr(books, field)
        shape = (rows,) if field == "ts_ns" else (rows, LEVELS)
        if array.shape != shape or array.dtype != np.int64:
            met = f"{array.dtype} {array.shape}"
            raise DataError(f"books {books.name!r}: {field} is {met}; expected int64 {shape}, {LEVELS} levels a side")
    for field in ("bought", "sold"):
        array = getattr(books, field)
        if array is not None and (array.shape != (rows,) or array.dtype != np.int64):
            met = f"{array.dtype} {array.shape}"
            raise DataError(f"books {books.name!r}: {field} is {met}; expected int64 {(rows,)} or None")
    if rows == 0:
        raise DataError(f"books {books.name!r}: no rows; expected at least one book")
    for field in ("px_scale", "lots_per_unit", "tick"):
        value = getattr(books, field)
        if not (math.isfinite(value) and value > 0):
            raise DataError(f"books {books.name!r}: {field}={value}; expected a finite value above 0")


def finer_step(value: float) -> str:
    """The coarsest power of ten, 1 or less, that a finite value is a multiple of: the tick or lot size to advise.

    >>> from nanoarb_jax.market.series import finer_step
    >>> finer_step(100.25), finer_step(1e-9), finer_step(300.0)
    ('0.01', '1e-09', '1')
    """
    decimals = -int(Decimal(repr(float(value))).normalize().as_tuple().exponent)
    return f"{10.0 ** -max(decimals, 0):g}"
