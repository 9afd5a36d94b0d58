"""Quantities of a book over time, as cells of a heat map: by price, and by level."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries

COLUMNS, _MOST_ROWS = 900, 240  # cells: time, price


class PriceMap(NamedTuple):
    """Quantity at prices over time.

    Attributes:
        cells: (price, COLUMNS) quantities; 0 where there is none.
        low, high: the lower edge of the first price cell, the upper edge of the last.
        ticks: price ticks in a cell, whose quantities are added up.
    """

    cells: NDArray[np.float64]
    low: float
    high: float
    ticks: int


def _rows_shown(books: BookSeries) -> NDArray[np.int64]:
    """(COLUMNS,) the last book in each time cell; where it has none the one before: a book stands until it changes."""
    span_ns = max(int(books.ts_ns[-1] - books.ts_ns[0]), 1)
    ends = books.ts_ns[0] + np.arange(1, COLUMNS + 1) * (span_ns / COLUMNS)
    return np.maximum(np.searchsorted(books.ts_ns, ends, side="right") - 1, 0)


def price_map(books: BookSeries) -> PriceMap:
    """Quantity at prices over time: of the last book in each time cell, summed over the ticks of a price cell.

    Args:
        books: n books.
    """
    lowest, highest = _tick_range(books)
    ticks = -(-(highest - lowest + 1) // _MOST_ROWS)
    rows = -(-(highest - lowest + 1) // ticks)
    at = _rows_shown(books)
    cells, columns = np.zeros((rows, COLUMNS)), np.arange(COLUMNS)
    for px, lots in books.sides:
        for level in range(px.shape[1]):
            row = (px[at, level] // books.tick - lowest) // ticks
            shown = (px[at, level] != EMPTY_PRICE) & (row >= 0) & (row < rows)
            np.add.at(cells, (row[shown], columns[shown]), lots[at, level][shown] / books.lots_per_unit)
    return PriceMap(
        cells, (lowest - 0.5) * books.tick_size, (lowest - 0.5 + rows * ticks) * books.tick_size, int(ticks)
    )


def level_map(books: BookSeries) -> NDArray[np.float64]:
    """Quantity at levels over time: (2 × levels, COLUMNS), the worst bid first, the worst ask last.

    Levels that no book shown has are left out; the best bid and the best ask are the two rows in the middle.

    Args:
        books: n books.
    """
    at = _rows_shown(books)
    quoted = [(px[at] != EMPTY_PRICE).any(axis=0).sum() for px in (books.bid_px, books.ask_px)]
    levels = max(1, *(int(count) for count in quoted))
    bids, asks = (lots[at, :levels].T / books.lots_per_unit for lots in (books.bid_lots, books.ask_lots))
    return np.concatenate([bids[::-1], asks])


def _tick_range(books: BookSeries) -> tuple[int, int]:
    """Ticks worth showing: all mids, and what is usually quoted around them."""
    reach = 2.0
    for px in (books.bid_px, books.ask_px):
        away = np.abs(px - px[:, :1]) * (px != EMPTY_PRICE)
        reach = max(reach, float(np.median(away.max(axis=1))) / books.tick)
    lowest, low, high, highest = np.quantile(books.mid / books.tick_size, [0, 0.005, 0.995, 1])
    if highest - lowest <= 3 * (high - low + reach):  # else a stub quote would flatten the rest
        low, high = lowest, highest
    return int(np.floor(low - reach)), int(np.ceil(high + reach))
