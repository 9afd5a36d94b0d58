"""Tables of market data for tests: written as CSV or Parquet, and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions
from nanoarb_jax.readers.table.feed import open_table

Side = list[tuple[float, float]]


def write_table(folder: Path, content: str | bytes | dict[str, Any], name: str | None = None) -> Path:
    """Text or bytes as CSV, columns as Parquet."""
    path = folder / (name or ("es.parquet" if isinstance(content, dict) else "es.csv"))
    if isinstance(content, dict):
        import pyarrow as pa
        import pyarrow.parquet

        pyarrow.parquet.write_table(pa.table(content), path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def books_of(path: Path, **options: Any) -> BookSeries:
    """The books of a table that are one chunk."""
    feed = open_table(path, ReadOptions(**options))
    assert isinstance(feed, BookFeed)
    (books,) = feed.chunks
    return books


def events_of(path: Path, **options: Any) -> tuple[np.ndarray, EventFeed]:
    """The events of a table, and its feed, whose notes are complete."""
    feed = open_table(path, ReadOptions(**options))
    assert isinstance(feed, EventFeed)
    return np.concatenate(list(feed.chunks)), feed


def ticks_of(path: Path, **options: Any) -> list[tuple[int, Side, Side]]:
    """Time, bids and asks, each as (price, size), of the valid book after every message."""
    events, feed = events_of(path, **options)
    book = OrderBook(feed.tick_size, feed.lot_size)
    ticks = []
    for event in events:
        if book.apply(event):
            top = book.top(10)
            levels: list[Side] = [
                [
                    (round(p * feed.tick_size, 9), round(q * feed.lot_size, 9))
                    for p, q in zip(px.tolist(), lots.tolist(), strict=True)
                    if p != EMPTY_PRICE
                ]
                for px, lots in ((top.bid_px, top.bid_lots), (top.ask_px, top.ask_lots))
            ]
            ticks.append((int(event["local_ts"]), levels[0], levels[1]))
    return ticks
