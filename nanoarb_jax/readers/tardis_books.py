"""`tardis-books`: `book_snapshot_5`, `_10` and `_25` of tardis.dev, CSV: a row is a book.

Columns `exchange, symbol, timestamp, local_timestamp, asks[0].price, asks[0].amount, bids[0].price, …`; times are in
µs. The ten best levels are read. Source: https://docs.tardis.dev/downloadable-csv-files
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries
from nanoarb_jax.readers.columns import column_of, csv_names, floats, text_batches
from nanoarb_jax.readers.converted.tardis import OneSymbol, times_ns
from nanoarb_jax.readers.feed import BookFeed, ReadOptions, infer_lot_size, infer_tick_size
from nanoarb_jax.readers.format import Format, Head, one_file
from nanoarb_jax.readers.grid import on_grid, per_one, price_scale
from nanoarb_jax.readers.names import series_name

_FIRST = ("exchange", "symbol", "timestamp", "local_timestamp")
_TOP = (*_FIRST, "asks[0].price", "asks[0].amount", "bids[0].price", "bids[0].amount")


def open_books(path: Path, options: ReadOptions = ReadOptions()) -> BookFeed:  # noqa: B008
    """The books of one file.

    Raises:
        DataError: several symbols, a cell that is not what its column holds, a price between the ticks; also while
            chunks are read.
    """
    names = csv_names(path, _TOP)
    fields = [f"{side}[{i}].{what}" for i in range(LEVELS) for side in ("bids", "asks") for what in ("price", "amount")]
    wanted = [*_FIRST, *(name for name in fields if name in names)]
    symbols = OneSymbol(options.symbol)
    tables = (symbols.only(batch, path) for batch in text_batches(path, names, wanted))
    tables = (table for table in tables if table.num_rows)
    first = next(tables, None)
    if first is None:
        raise DataError(
            f"tardis-books {path}: no rows{f' of {options.symbol}' if options.symbol else ''}; fetch it again"
        )
    what = f"tardis-books {path}"
    levels = {side: _columns(first, side, path) for side in ("bids", "asks")}
    tick_size = options.tick_size or infer_tick_size(np.concatenate([px.ravel() for px, _ in levels.values()]), what)
    lot_size = options.lot_size or infer_lot_size(np.concatenate([qty.ravel() for _, qty in levels.values()]), what)
    name = series_name(path)
    sizes = options._replace(tick_size=tick_size, lot_size=lot_size)
    books = _books(chain([first], tables), path, name, sizes, options.lot_size is not None)
    return BookFeed(name, "tardis-books", books)


def _columns(table: Any, side: str, path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Prices and amounts (n, levels) of one side; missing ones are NaN."""
    prices, amounts = (
        [name for i in range(LEVELS) if (name := f"{side}[{i}].{what}") in table.column_names]
        for what in ("price", "amount")
    )
    count = min(len(prices), len(amounts))

    def values(names: list[str]) -> NDArray[np.float64]:
        columns = [floats(table[name].combine_chunks(), column_of(path, name), may_miss=True) for name in names]
        return np.stack(columns[:count], axis=1)

    return values(prices), values(amounts)


def _books(tables: Iterator[Any], path: Path, name: str, sizes: ReadOptions, given_lots: bool) -> Iterator[BookSeries]:
    """Chunks of books; `sizes` has the tick and the lot size, and whether the exchange's times date them."""
    assert sizes.tick_size is not None and sizes.lot_size is not None
    px_scale, tick = price_scale(sizes.tick_size, str(path))
    for table in tables:
        sides = {}
        for side in ("bids", "asks"):
            prices, amounts = _columns(table, side, path)
            filled = np.zeros((len(prices), LEVELS), bool)
            filled[:, : prices.shape[1]] = real = np.isfinite(prices) & np.isfinite(amounts) & (amounts != 0)
            px, lots = np.full(filled.shape, EMPTY_PRICE, np.int64), np.zeros(filled.shape, np.int64)
            px[filled] = on_grid(prices[real], sizes.tick_size, f"{path}, {side} price", "tick_size", tick)
            option = "lot_size" if given_lots else None
            lots[filled] = on_grid(amounts[real], sizes.lot_size, f"{path}, {side} amount", option)
            sides[side] = px, lots
        ts_ns = times_ns(table, "timestamp" if sizes.exchange_time else "local_timestamp", path)
        lots_per_unit = per_one(sizes.lot_size)
        yield BookSeries(ts_ns, *sides["bids"], *sides["asks"], px_scale, lots_per_unit, tick, name)


def _sniff(head: Head) -> bool:
    names = set(head.line.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").split(","))
    return names >= set(_TOP)


FORMAT = Format(
    name="tardis-books", sniff=_sniff, open=one_file(open_books), options=("tick_size", "lot_size", "symbol")
)
