"""Parquet and CSV with named columns: books or events of anyone who can write a table.

Times are `ts_ns` (ns since 1970 UTC) or `timestamp` (ISO 8601, a Parquet timestamp, or ns; UTC where no zone is given);
prices and sizes are in price and in quantity, whole or decimal. Column order and letter case do not matter, further
columns are ignored, CSV may be compressed.

Books: `bid_px_0 bid_sz_0 ask_px_0 ask_sz_0`, `…_1` and on (or `_00`, `_01`), 0 the best; up to ten levels are read. A
level whose price or size is missing, or whose size is 0, is empty. `bought` and `sold`, if there: what takers bought
and sold since the row before.

Events: `side` (buy, bid, b; sell, ask, a, s; of a trade, who took), `price`, `size`. If there: `kind` (depth, which is
the default: the level's size is now `size`, 0 deletes it; trade, clear, snapshot, add, cancel, modify, fill),
`order_id` (needed by add, cancel, modify and fill), `exch_ts` (default: the row's time), `flags` (record flags, as in
`market.event`). Where no flag ends a message, a message is the events that share their times.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import EVENT, mark_messages
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries
from nanoarb_jax.readers.feed import (
    BookFeed,
    EventFeed,
    Feed,
    ReadOptions,
    infer_lot_size,
    infer_tick_size,
)
from nanoarb_jax.readers.grid import on_grid, per_one, price_scale
from nanoarb_jax.readers.table.columns import (
    Header,
    floats,
    integers,
    read_batches,
    read_header,
    times,
    words,
)

_SIDES = ("bid_px", "bid_sz", "ask_px", "ask_sz")
_EVENTS = ("side", "price", "size")
_SIDE_CODES = (
    {"": 0} | dict.fromkeys(("buy", "bid", "b"), event.BUY) | dict.fromkeys(("sell", "ask", "a", "s"), event.SELL)
)
_ORDER_KINDS = (event.ADD, event.CANCEL, event.MODIFY, event.FILL)
_KIND_CODES = {
    "": event.DEPTH,
    "depth": event.DEPTH,
    "trade": event.TRADE,
    "clear": event.CLEAR,
    "snapshot": event.DEPTH_SNAPSHOT,
    "add": event.ADD,
    "cancel": event.CANCEL,
    "modify": event.MODIFY,
    "fill": event.FILL,
}
_YEAR_1973_NS = 10**17

Batch = dict[str, Any]  # of pyarrow arrays


class _Table(NamedTuple):
    """A recognised file.

    `levels`: for books, the column of each side's level: {"bid_px": ["bid_px_0", ...], ...}.
    """

    path: Path
    header: Header
    time: str
    columns: list[str]
    levels: dict[str, list[str]]

    @property
    def name(self) -> str:
        return self.path.name.split(".")[0]


class _Grid(NamedTuple):
    tick_size: float
    lot_size: float
    lot_option: str | None  # to advise where a size is between lots; None: round, the lot is a guess of ours


def open_table(path: Path, options: ReadOptions) -> Feed:
    """Open books or events, whichever the columns tell; see the module's head for the columns.

    Args:
        path: a Parquet file, or CSV, plain or compressed.
        options: `tick_size` and `lot_size` are heeded.

    Raises:
        DataError: a missing, damaged or empty file, missing columns, a cell that is not what its column holds, a price
            between the ticks, a size between the lots that were given; from here, or while the chunks are read.
    """
    table = _recognise(Path(path))
    with closing(read_batches(table.path, table.header, table.columns)) as batches:  # type: ignore[type-var]
        first = next(batches, None)
    if first is None:
        raise DataError(f"{path}: no rows below its header; expected at least one")
    if table.levels:
        grid = _grid(table, [first[c] for c in _flat(table, "px")], [first[c] for c in _flat(table, "sz")], options)
        return BookFeed(table.name, "table-books", _book_chunks(table, grid))
    grid = _grid(table, [first["price"]], [first["size"]], options)
    marked = "flags" in first and bool((integers(first["flags"], f"{path}, flags") & event.LAST).any())
    return EventFeed(table.name, "table-events", grid.tick_size, grid.lot_size, _event_chunks(table, grid, marked))


def _recognise(path: Path) -> _Table:
    header = read_header(path)
    there = header.columns
    has = f"has {', '.join(list(there)[:50])}"
    time = next((name for name in ("ts_ns", "timestamp") if name in there), None)
    if time is None:
        raise DataError(f"{path}: no column ts_ns or timestamp ({has}); name the column of times so")
    levels: dict[str, list[str]] = {side: [] for side in _SIDES}
    for side, level in ((side, level) for side in _SIDES for level in range(LEVELS)):
        spelt = next((name for name in (f"{side}_{level}", f"{side}_{level:02d}") if name in there), None)
        if spelt is not None and len(levels[side]) == level:
            levels[side].append(spelt)
    depth = max(len(columns) for columns in levels.values())
    if depth:
        short = next((side for side in _SIDES if len(levels[side]) < depth), None)
        if short is not None:
            missing = f"{short}_{len(levels[short])}"
            raise DataError(f"{path}: no column {missing} ({has}); expected {', '.join(_SIDES)} of every level")
        traded = [name for name in ("bought", "sold") if name in there]
        if len(traded) == 1:
            raise DataError(f"{path}: {traded[0]} alone ({has}); expected both bought and sold, or neither")
        return _Table(path, header, time, [time, *chain(*levels.values()), *traded], levels)
    missing_events = [name for name in _EVENTS if name not in there]
    if missing_events:
        raise DataError(
            f"{path}: neither books nor events ({has}); expected bid_px_0, bid_sz_0, ask_px_0, ask_sz_0 and on, "
            f"or side, price, size (without {', '.join(missing_events)} here)"
        )
    more = [name for name in ("kind", "order_id", "flags", "exch_ts") if name in there]
    return _Table(path, header, time, [time, *_EVENTS, *more], {})


def _flat(table: _Table, what: str) -> list[str]:
    return [*table.levels[f"bid_{what}"], *table.levels[f"ask_{what}"]]


def _grid(table: _Table, prices: list[Any], sizes: list[Any], options: ReadOptions) -> _Grid:
    what = str(table.path)
    px = np.stack([floats(column, f"{what}, prices") for column in prices])
    qty = np.stack([floats(column, f"{what}, sizes") for column in sizes])
    tick_size, lot_size = options.tick_size, options.lot_size
    if tick_size is None:
        # a level without a size has no price either: often 0, or a mark such as 1e300
        tick_size = infer_tick_size(px[(qty > 0) if table.levels else np.isfinite(px)], what)
    if lot_size is None:
        return _Grid(tick_size, infer_lot_size(qty, what), None)
    if not 1e-12 <= lot_size < np.inf:
        raise DataError(f"{what}: lot size {lot_size}; expected a positive number, 1e-12 or more")
    return _Grid(tick_size, lot_size, "--lot-size")


def _times(table: _Table, batch: Batch) -> NDArray[np.int64]:
    what = f"{table.path}, {table.time}"
    ts_ns = times(batch[table.time], what)
    least = 0 if table.time == "timestamp" else 10**8  # a `ts_ns` may count from anywhere, but not in s, ms or µs
    if least <= ts_ns[0] < _YEAR_1973_NS or (table.time == "timestamp" and ts_ns[0] < 0):
        raise DataError(f"{what}: {ts_ns[0]} ns is before 1973; expected ns since 1970, not s, ms or µs; convert them")
    return ts_ns


def _book_chunks(table: _Table, grid: _Grid) -> Iterator[BookSeries]:
    px_scale, tick = price_scale(grid.tick_size, str(table.path))
    lots_per_unit = per_one(grid.lot_size)
    for batch in read_batches(table.path, table.header, table.columns):
        ts_ns = _times(table, batch)
        bid_px, bid_lots = _side(table, batch, "bid", grid, tick)
        ask_px, ask_lots = _side(table, batch, "ask", grid, tick)
        books = BookSeries(ts_ns, bid_px, bid_lots, ask_px, ask_lots, px_scale, lots_per_unit, tick, table.name)
        if "bought" in batch:
            books = books._replace(
                bought=_traded(table, batch, "bought", grid), sold=_traded(table, batch, "sold", grid)
            )
        yield books


def _side(
    table: _Table, batch: Batch, side: str, grid: _Grid, tick: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    what = f"{table.path}, {side}"
    prices = np.stack([floats(batch[c], f"{table.path}, {c}") for c in table.levels[f"{side}_px"]], axis=1)
    sizes = np.stack([floats(batch[c], f"{table.path}, {c}") for c in table.levels[f"{side}_sz"]], axis=1)
    rows, levels = prices.shape
    filled = np.zeros((rows, LEVELS), bool)
    filled[:, :levels] = real = np.isfinite(prices) & np.isfinite(sizes) & (sizes != 0)
    px, lots = np.full((rows, LEVELS), EMPTY_PRICE, np.int64), np.zeros((rows, LEVELS), np.int64)
    px[filled] = on_grid(prices[real], grid.tick_size, f"{what} price", "--tick-size", tick)
    lots[filled] = on_grid(sizes[real], grid.lot_size, f"{what} size", grid.lot_option)
    return px, lots


def _traded(table: _Table, batch: Batch, column: str, grid: _Grid) -> NDArray[np.int64]:
    what = f"{table.path}, {column}"
    return on_grid(np.nan_to_num(floats(batch[column], what)), grid.lot_size, what, grid.lot_option)


def _event_chunks(table: _Table, grid: _Grid, marked: bool) -> Iterator[NDArray[np.void]]:
    """Events; where the file marks no message's end, the last of a batch waits for what the next batch begins with."""
    held: NDArray[np.void] = np.empty(0, EVENT)
    for batch in read_batches(table.path, table.header, table.columns):
        events = _events(table, batch, grid)
        if not marked:
            events["ival"] &= ~event.LAST
            waiting, held = np.concatenate([held, events]), events[-1:]
            events = waiting.copy()
            mark_messages(events)
            events = events[:-1]
        if len(events):
            yield events
    if len(held):
        held = held.copy()
        mark_messages(held)
        yield held


def _events(table: _Table, batch: Batch, grid: _Grid) -> NDArray[np.void]:
    path = table.path
    ts_ns = _times(table, batch)
    events = np.zeros(len(ts_ns), EVENT)
    kind: NDArray[np.int64] = np.full(len(ts_ns), event.DEPTH, np.int64)
    if "kind" in batch:
        kind = words(batch["kind"], _KIND_CODES, f"{path}, kind")
    side = words(batch["side"], _SIDE_CODES, f"{path}, side")
    px, qty = floats(batch["price"], f"{path}, price"), floats(batch["size"], f"{path}, size")
    # a clear of the whole book has no side and needs no price
    whole = (kind == event.CLEAR) & (side == 0)
    px, qty = np.where(whole & np.isnan(px), 0.0, px), np.where((kind == event.CLEAR) & np.isnan(qty), 0.0, qty)
    sideless = (side == 0) & ~whole & (kind != event.TRADE)
    checks = (
        (np.isnan(px), "no price", "a price"),
        (np.isnan(qty) | (qty < 0), "no size, or a negative one", "a size of 0 or more"),
        (sideless & ~np.isin(kind, _ORDER_KINDS), "no side", "buy or sell"),
        (np.isin(kind, _ORDER_KINDS) & ("order_id" not in batch), "an order without an id", "a column order_id"),
    )
    for bad, met, expected in checks:
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(f"{path}, time {ts_ns[row]}: {met} (price {px[row]}, size {qty[row]}); expected {expected}")
    on_grid(px, grid.tick_size, f"{path}, price", "--tick-size")
    events["ev"] = kind | side | event.BOTH_SEE
    events["local_ts"] = ts_ns
    events["exch_ts"] = times(batch["exch_ts"], f"{path}, exch_ts") if "exch_ts" in batch else ts_ns
    events["px"], events["qty"] = px, qty
    if "order_id" in batch:
        events["order_id"] = integers(batch["order_id"], f"{path}, order_id", "uint64")
    if "flags" in batch:
        events["ival"] = integers(batch["flags"], f"{path}, flags")
    else:
        events["ival"][kind == event.DEPTH_SNAPSHOT] = event.SNAPSHOT
    return events
