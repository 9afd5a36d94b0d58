"""`bitstamp`: single orders of Bitstamp's live-orders channel, as the R package *obAnalytics* records them, in CSV.

Columns `id, timestamp, exchange.timestamp, price, volume, action, direction`: a row per order that was created, changed
or deleted, with the volume then left, in 1e-8. The channel neither starts with the orders that rest already nor tells
trades. It tells some deletions before the creation, by up to a second: left as they are, such orders would rest for
ever and cross the book for hours, so whatever is told of an order after its deletion is dropped. The book is still
crossed at moments, while two orders that meet are not both gone; those are no ticks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import EVENT, LAST
from nanoarb_jax.readers.columns import (
    Array,
    column_of,
    csv_names,
    distinct_words,
    floats,
    integers,
    require_all,
    text_batches,
)
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.format import Format, Head, one_file
from nanoarb_jax.readers.names import series_name
from nanoarb_jax.readers.sorting import sort_events
from nanoarb_jax.readers.time_columns import TimeForm, find_form, read_times

COLUMNS = ("id", "timestamp", "exchange.timestamp", "price", "volume", "action", "direction")
_TICK_SIZE, _LOT_SIZE = 0.01, 1e-8
_KINDS = {"created": event.ADD, "changed": event.MODIFY, "deleted": event.CANCEL}
_SIDES = {"bid": event.BUY, "ask": event.SELL}
_LATE = "told after the order's deletion"
_UNBORN = "change of an order that was never created"


def open_bitstamp(path: str | Path, options: ReadOptions = ReadOptions()) -> EventFeed:  # noqa: B008
    """Open one file, plain or compressed; every row is an event and a message of its own.

    A deletion takes the whole order out, whatever volume it tells. `exch_ts` is when the exchange created the order, to
    the second, and so goes back and forth: use the local clock.

    Raises:
        DataError: the file is missing or damaged, a column is missing, or, while the chunks are read, a field is none.
    """
    path = Path(path)
    names = csv_names(path, COLUMNS)
    tick_size, lot_size = options.tick_size or _TICK_SIZE, options.lot_size or _LOT_SIZE
    dropped: Counter[str] = Counter()
    notes: list[str] = []
    events = _events(path, names, notes)
    chunks = _until_deleted(sort_events(events, notes) if options.sort else events, dropped)
    notes.append("begins without a snapshot, as such logs do: orders from before are not known")
    return EventFeed(series_name(path), "bitstamp", tick_size, lot_size, _from_empty(chunks), dropped, notes)


def _from_empty(chunks: Iterator[NDArray[np.void]]) -> Iterator[NDArray[np.void]]:
    """The chunks after a clear of the whole book at the first event's time: no such log has a snapshot."""
    for number, events in enumerate(chunks):
        if number == 0:
            clear = events[:1].copy()
            clear["ev"], clear["px"], clear["qty"], clear["order_id"] = event.CLEAR | event.BOTH_SEE, 0.0, 0.0, 0
            clear["ival"] = event.SNAPSHOT
            yield clear
        yield events


def _until_deleted(chunks: Iterator[NDArray[np.void]], dropped: Counter[str]) -> Iterator[NDArray[np.void]]:
    """Drop what is told of an order after its deletion, since an exchange's ids never come back, and changes of orders
    that were never created: these are market orders, which do not rest, as often as ones from before the file."""
    live: set[int] = set()
    gone: set[int] = set()  # deleted before they were created
    for events in chunks:
        kept, unborn = np.ones(len(events), bool), 0
        kinds = (events["ev"] & event.KIND_MASK).tolist()
        for i, (kind, order_id) in enumerate(zip(kinds, events["order_id"].tolist(), strict=True)):
            if order_id in gone:
                kept[i] = False
            elif kind == event.MODIFY and order_id not in live:
                kept[i] = False
                unborn += 1
            elif kind != event.CANCEL:
                live.add(order_id)
            elif order_id in live:
                live.remove(order_id)
            else:
                gone.add(order_id)
        late = int((~kept).sum()) - unborn
        dropped.update({reason: n for reason, n in ((_LATE, late), (_UNBORN, unborn)) if n})
        if kept.any():
            yield events[kept]


def _events(path: Path, names: Sequence[str], notes: list[str]) -> Iterator[NDArray[np.void]]:
    forms: dict[str, TimeForm] = {}
    for columns in text_batches(path, names, COLUMNS):
        events = np.zeros(len(columns["id"]), EVENT)
        kind = _codes(path, columns["action"], "action", _KINDS)
        side = _codes(path, columns["direction"], "direction", _SIDES)
        events["ev"] = (kind | side | event.BOTH_SEE).astype(np.uint64)
        for field, column in (("local_ts", "timestamp"), ("exch_ts", "exchange.timestamp")):
            what = column_of(path, column)
            if column not in forms:
                forms[column] = find_form(columns[column], what)
                if forms[column].unit != "ms":
                    notes.append(f"{column}: times are in {forms[column].unit or 'ISO 8601'}")
            events[field] = read_times(columns[column], forms[column], what)
        events["px"] = floats(columns["price"], column_of(path, "price"))
        events["qty"] = _quantities(columns["volume"], column_of(path, "volume"))
        events["qty"][kind == event.CANCEL] = 0.0  # all of it
        events["order_id"] = integers(columns["id"], column_of(path, "id"), "uint64")
        events["ival"] = LAST
        yield events


def _quantities(column: Array, what: str) -> NDArray[np.float64]:
    """(n,) quantities of volumes in 1e-8."""
    volumes = floats(column, what)
    if (volumes % 1 != 0).any():
        raise DataError(f"{what} holds {volumes[volumes % 1 != 0][0]:g}; expected whole volumes, in 1e-8")
    return volumes * _LOT_SIZE


def _codes(path: Path, column: Array, name: str, codes: Mapping[str, int]) -> NDArray[np.int64]:
    """(n,) the codes of a column of words."""
    require_all(column, column_of(path, name))
    indices, words = distinct_words(column, column_of(path, name))
    unknown = [word for word in words if word not in codes]
    if unknown:
        raise DataError(f"{path}: {name} {unknown[0]!r}; expected one of {', '.join(map(repr, codes))}")
    return np.array([codes[word] for word in words], np.int64)[indices]


def _sniff(head: Head) -> bool:
    return head.line.startswith(b"id,timestamp,exchange.timestamp")


FORMAT = Format(name="bitstamp", sniff=_sniff, open=one_file(open_bitstamp), options=("tick_size", "lot_size", "sort"))
