"""`bitstamp`: single orders of Bitstamp's live-orders channel, as the R package *obAnalytics* records them, in CSV.

Columns `id, timestamp, exchange.timestamp, price, volume, action, direction`: a row per order that was created, changed
or deleted, with the volume then left, in 1e-8. The channel neither starts with the orders that rest already nor tells
trades. It tells some deletions before the creation, by up to a second: left as they are, such orders would rest for
ever and cross the book for hours, so whatever is told of an order after its deletion is dropped. The book is still
crossed at moments, while two orders that meet are not both gone; those are no ticks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import EVENT, LAST
from nanoarb_jax.readers.csv_text import CsvText
from nanoarb_jax.readers.feed import EventFeed, ReadOptions

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("id", "timestamp", "exchange.timestamp", "price", "volume", "action", "direction")
_TICK_SIZE, _LOT_SIZE = 0.01, 1e-8
_KINDS = {"created": event.ADD, "changed": event.MODIFY, "deleted": event.CANCEL}
_SIDES = {"bid": event.BUY, "ask": event.SELL}
_MS = 1_000_000  # ns
_LATE = "told after the order's deletion"


def open_bitstamp(path: str | Path, options: ReadOptions = ReadOptions()) -> EventFeed:  # noqa: B008
    """Open one file, plain or compressed; every row is an event and a message of its own.

    A deletion takes the whole order out, whatever volume it tells. `exch_ts` is when the exchange created the order, to
    the second, and so goes back and forth: use the local clock.

    Raises:
        DataError: the file is missing or damaged, a column is missing, or, while the chunks are read, a field is none.
    """
    path = Path(path)
    text = CsvText(path, COLUMNS)
    name = path.name.split(".")[0]
    tick_size, lot_size = options.tick_size or _TICK_SIZE, options.lot_size or _LOT_SIZE
    dropped: Counter[str] = Counter()
    return EventFeed(name, "bitstamp", tick_size, lot_size, _in_order(_events(text), dropped), dropped)


def _in_order(chunks: Iterator[NDArray[np.void]], dropped: Counter[str]) -> Iterator[NDArray[np.void]]:
    """Without what is told of orders that are gone; an exchange's ids never come back."""
    live: set[int] = set()
    gone: set[int] = set()  # deleted before they were created
    for events in chunks:
        kept = np.ones(len(events), bool)
        kinds = (events["ev"] & event.KIND_MASK).tolist()
        for i, (kind, order_id) in enumerate(zip(kinds, events["order_id"].tolist(), strict=True)):
            if order_id in gone:
                kept[i] = False
            elif kind != event.CANCEL:
                live.add(order_id)
            elif order_id in live:
                live.remove(order_id)
            else:
                gone.add(order_id)
        if not kept.all():
            dropped[_LATE] += int((~kept).sum())
        if kept.any():
            yield events[kept]


def _coded(text: CsvText, column: pa.Array, name: str, codes: Mapping[str, int]) -> NDArray[np.int64]:
    indices, words = text.codes(column, name)
    unknown = [word for word in words if word not in codes]
    if unknown:
        raise DataError(f"{text.path}: {name} {unknown[0]!r}; expected one of {', '.join(map(repr, codes))}")
    return np.array([codes[word] for word in words], np.int64)[indices]


def _events(text: CsvText) -> Iterator[NDArray[np.void]]:
    for columns in text.batches():
        events = np.zeros(len(columns["id"]), EVENT)
        kind = _coded(text, columns["action"], "action", _KINDS)
        side = _coded(text, columns["direction"], "direction", _SIDES)
        events["ev"] = (kind | side | event.BOTH_SEE).astype(np.uint64)
        events["local_ts"] = text.integers(columns["timestamp"], "timestamp") * _MS
        events["exch_ts"] = text.integers(columns["exchange.timestamp"], "exchange.timestamp") * _MS
        events["px"] = text.floats(columns["price"], "price")
        events["qty"] = text.floats(columns["volume"], "volume") * _LOT_SIZE
        events["qty"][kind == event.CANCEL] = 0.0  # all of it
        events["order_id"] = text.integers(columns["id"], "id", "uint64")
        events["ival"] = LAST
        yield events
