"""Rows of a table as books."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries
from nanoarb_jax.readers.columns import Batch, floats
from nanoarb_jax.readers.grid import on_grid, per_one, price_scale
from nanoarb_jax.readers.table.layout import Table
from nanoarb_jax.readers.table.rows import Clocks, exchange_times, received_times
from nanoarb_jax.readers.table.steps import Steps

_SIDES = ("bid", "ask")


def read_books(
    table: Table, rows: Iterator[Batch], clocks: Clocks, steps: Steps, exchange_time: bool
) -> Iterator[BookSeries]:
    """The table's books, in chunks.

    Args:
        rows: of `read_rows`.
        exchange_time: date the books by the exchange's times, where the table has them.

    Raises:
        DataError: a cell that is not what its column holds, a price between the ticks, a size between given lots.
    """
    px_scale, tick = price_scale(steps.tick_size, str(table.path))
    lots_per_unit = per_one(steps.lot_size)
    times = exchange_times if exchange_time else received_times
    for batch in rows:
        ts_ns = times(table, clocks, batch)
        bid_px, bid_lots = _side(table, batch, "bid", steps, tick)
        ask_px, ask_lots = _side(table, batch, "ask", steps, tick)
        books = BookSeries(ts_ns, bid_px, bid_lots, ask_px, ask_lots, px_scale, lots_per_unit, tick, table.name)
        if "bought" in batch:
            bought, sold = (_traded(table, batch, column, steps) for column in ("bought", "sold"))
            books = books._replace(bought=bought, sold=sold)
        yield books


def refuse_worst_first(table: Table, batch: Batch) -> None:
    """Refuse books whose levels are listed from the worst to the best.

    Raises:
        DataError: in most rows the second level of both sides is better than the first.
    """
    if len(table.levels["bid_px"]) < 2:
        return
    first, second = (
        [floats(batch[name], f"{table.path}, {name}", may_miss=True) for name in names]
        for names in zip(table.levels["bid_px"][:2], table.levels["ask_px"][:2], strict=True)
    )
    told = np.isfinite([*first, *second]).all(axis=0)
    for column in (table.levels[f"{side}_sz"][level] for side in _SIDES for level in (0, 1)):
        told &= floats(batch[column], f"{table.path}, {column}", may_miss=True) > 0
    worse = (first[0] < second[0]) & (first[1] > second[1])
    if told.any() and worse[told].mean() > 0.5:
        columns = f"{table.levels['bid_px'][0]} and {table.levels['ask_px'][0]}"
        raise DataError(f"{table.path}: levels are listed from the worst to the best; {columns} must be the best ones")


def _side(
    table: Table, batch: Batch, side: str, steps: Steps, tick: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Prices and lots (n, LEVELS) of one side; a level without a price or a size is empty."""
    what = f"{table.path}, {side}"
    prices, sizes = (
        np.stack([floats(batch[c], f"{table.path}, {c}", may_miss=True) for c in table.levels[column]], axis=1)
        for column in (f"{side}_px", f"{side}_sz")
    )
    rows, levels = prices.shape
    filled = np.zeros((rows, LEVELS), bool)
    filled[:, :levels] = real = np.isfinite(prices) & np.isfinite(sizes) & (sizes != 0)
    px, lots = np.full((rows, LEVELS), EMPTY_PRICE, np.int64), np.zeros((rows, LEVELS), np.int64)
    px[filled] = on_grid(prices[real], steps.tick_size, f"{what} price", "tick_size", tick)
    lots[filled] = on_grid(sizes[real], steps.lot_size, f"{what} size", steps.lot_option)
    return px, lots


def _traded(table: Table, batch: Batch, column: str, steps: Steps) -> NDArray[np.int64]:
    """(n,) lots that takers traded; nothing where the cell is missing."""
    what = f"{table.path}, {column}"
    qty = np.nan_to_num(floats(batch[column], what, may_miss=True))
    return on_grid(qty, steps.lot_size, what, steps.lot_option)
