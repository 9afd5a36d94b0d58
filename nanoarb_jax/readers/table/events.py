"""Rows of a table as events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import EVENT, mark_chunks
from nanoarb_jax.readers.columns import Array, Batch, distinct_words, floats, integers, times
from nanoarb_jax.readers.grid import on_grid
from nanoarb_jax.readers.table.file import read_batches
from nanoarb_jax.readers.table.layout import Steps, Table, read_times

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


def read_events(table: Table, steps: Steps) -> Iterator[NDArray[np.void]]:
    """The table's events, in chunks; messages end where the flags say so, or, without flags, where the times change.

    Raises:
        DataError: a cell that is not what its column holds, or a row that is no event.
    """
    batches = read_batches(table.path, table.header, table.columns)
    return mark_chunks(_events(table, batch, steps) for batch in batches)


def _events(table: Table, batch: Batch, steps: Steps) -> NDArray[np.void]:
    path = table.path
    ts_ns = read_times(table, batch)
    events = np.zeros(len(ts_ns), EVENT)
    kind: NDArray[np.int64] = np.full(len(ts_ns), event.DEPTH, np.int64)
    if "kind" in batch:
        kind = _codes(batch["kind"], _KIND_CODES, f"{path}, kind")
    side = _codes(batch["side"], _SIDE_CODES, f"{path}, side")
    px = floats(batch["price"], f"{path}, price", may_miss=True)
    qty = floats(batch["size"], f"{path}, size", may_miss=True)
    # a clear of the whole book has no side and needs no price
    whole = (kind == event.CLEAR) & (side == 0)
    px, qty = np.where(whole & np.isnan(px), 0.0, px), np.where((kind == event.CLEAR) & np.isnan(qty), 0.0, qty)
    events["ev"] = kind | side | event.BOTH_SEE
    events["local_ts"], events["px"], events["qty"] = ts_ns, px, qty
    _check(table, events, "order_id" in batch)
    on_grid(px, steps.tick_size, f"{path}, price", "tick_size")
    events["exch_ts"] = times(batch["exch_ts"], f"{path}, exch_ts") if "exch_ts" in batch else ts_ns
    if "order_id" in batch:
        events["order_id"] = integers(batch["order_id"], f"{path}, order_id", "uint64", missing=0)
    if "flags" in batch:
        events["ival"] = integers(batch["flags"], f"{path}, flags", missing=0)
    else:
        events["ival"][kind == event.DEPTH_SNAPSHOT] = event.SNAPSHOT
    return events


def _check(table: Table, events: NDArray[np.void], ids: bool) -> None:
    """Refuse rows that are no event."""
    kind, px, qty = events["ev"] & event.KIND_MASK, events["px"], events["qty"]
    sideless = events["ev"] & (event.BUY | event.SELL) == 0
    needs_side = (kind != event.TRADE) & (kind != event.CLEAR)
    of_order = np.isin(kind, _ORDER_KINDS)
    checks = (
        (np.isnan(px), "no price", "a price"),
        (np.isnan(qty) | (qty < 0), "no size, or a negative one", "a size of 0 or more"),
        (sideless & needs_side & ~of_order, "no side", "buy or sell"),
        (of_order & (not ids), "an order without an id", "a column order_id"),
    )
    for bad, met, expected in checks:
        if bad.any():
            row = int(np.argmax(bad))
            where = f"{table.path}, time {events['local_ts'][row]}"
            raise DataError(f"{where}: {met} (price {px[row]}, size {qty[row]}); expected {expected}")


def _codes(column: Array, codes: Mapping[str, int], what: str) -> NDArray[np.int64]:
    """(n,) the codes of a column of words."""
    indices, found = distinct_words(column, what)
    words = [word.strip().lower() for word in found]
    unknown = [word for word in words if word not in codes]
    if unknown:
        raise DataError(f"{what}: {unknown[0]!r}; expected one of {', '.join(word for word in codes if word)}")
    return np.array([codes[word] for word in words], np.int64)[indices]
