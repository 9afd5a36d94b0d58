"""The book that events begin with, from another file: for feeds whose own beginning tells no snapshot."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError, DataWarning
from nanoarb_jax.market import event
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import EVENT, LAST, SNAPSHOT
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries
from nanoarb_jax.readers.feed import EventFeed, Feed

_OLD_NS = 60 * 10**9


def begin_with(feed: EventFeed, book: Feed, what: str) -> EventFeed:
    """The feed with the last book of another one before its first event.

    Args:
        feed: of events; used up.
        book: the feed whose last book is the snapshot, read with the sizes of `feed`.
        what: the snapshot's file, for errors.

    Raises:
        DataError: no book in the snapshot, one later than the first event, levels for a feed of orders, or a price
            between the ticks; from here, or while the chunks are read.
    """
    chunks = iter(feed.chunks)
    first = next(chunks, None)
    if first is None:
        raise DataError(f"data {feed.name}: no events behind the snapshot {what}; expected at least one")
    levels, last_ns = _last_book(feed, book)
    if not len(levels):
        raise DataError(f"snapshot {what}: no book in it; expected the levels or orders at the beginning of the events")
    if last_ns > first["local_ts"][0]:
        raise DataError(
            f"snapshot {what}: its time {last_ns} lies behind that of the first event, {first['local_ts'][0]}; "
            "expected the book before it"
        )
    of_orders = np.isin(first["ev"] & event.KIND_MASK, (event.ADD, event.CANCEL, event.MODIFY, event.FILL)).any()
    if of_orders and not (levels["order_id"] > 0).any():
        raise DataError(f"snapshot {what}: levels, but the events are of orders; expected a snapshot of orders")
    levels["local_ts"], levels["exch_ts"] = first["local_ts"][0], first["exch_ts"][0]
    feed.chunks = chain([levels, first], chunks)
    feed.notes.append(f"begins with the snapshot {what}{_age(int(first['local_ts'][0]) - last_ns, last_ns)}")
    return feed


def _age(older_ns: int, last_ns: int) -> str:
    """How much older a snapshot is than the first event, where it has a time; warned of where that is long."""
    if last_ns <= 0:
        return ", which has no time"
    text = f", {older_ns / 1e9:,.6g} s before the first event"
    if older_ns > _OLD_NS:
        warnings.warn(f"the snapshot lies {older_ns / 1e9:,.6g} s before the first event", DataWarning, stacklevel=3)
    return text


def _last_book(feed: EventFeed, book: Feed) -> tuple[NDArray[np.void], int]:
    """The events that make the last book of a feed, after a clear of the whole book; and its time."""
    if not isinstance(book, EventFeed):
        return _of_rows(book.chunks)
    state = OrderBook(feed.tick_size, feed.lot_size)
    for chunk in book.chunks:
        state.apply_all(chunk)
    orders = state.state.orders[state.state.orders["side"] >= 0]
    if len(orders):
        sign = np.where(orders["side"] == 0, 1, -1)
        px, sides = orders["rank"] * sign * feed.tick_size, orders["side"]
        return _events(event.ADD, sides, px, orders["lots"] * feed.lot_size, orders["id"]), state.time_ns
    top = state.top(max(*state.depth, 1))
    sides, px, lots = _joined((top.bid_px, top.bid_lots), (top.ask_px, top.ask_lots))
    return _events(event.DEPTH_SNAPSHOT, sides, px * feed.tick_size, lots * feed.lot_size), state.time_ns


def _of_rows(chunks: Iterator[BookSeries]) -> tuple[NDArray[np.void], int]:
    """The events that make the last row of books, and its time."""
    last = None
    for chunk in chunks:
        last = chunk.part(chunk.rows - 1, chunk.rows) if chunk.rows else last
    if last is None:
        return np.zeros(0, EVENT), 0
    sides, px, lots = _joined(*((px[0], lots[0]) for px, lots in last.sides))
    return _events(event.DEPTH_SNAPSHOT, sides, px / last.px_scale, lots / last.lots_per_unit), int(last.ts_ns[0])


def _joined(
    *both: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sides (0 bid, 1 ask), prices and lots of the levels of both sides that are there."""
    there = [px != EMPTY_PRICE for px, _ in both]
    sides = np.concatenate([np.full(int(kept.sum()), side) for side, kept in enumerate(there)])
    px = np.concatenate([px[kept] for (px, _), kept in zip(both, there, strict=True)])
    return sides, px, np.concatenate([lots[kept] for (_, lots), kept in zip(both, there, strict=True)])


def _events(
    kind: int,
    sides: NDArray[np.int64],
    px: NDArray[np.floating],
    qty: NDArray[np.floating],
    order_id: NDArray[np.uint64] | int = 0,
) -> NDArray[np.void]:
    """A clear of the whole book and one event for each level or order; empty where there is none."""
    if len(px) == 0:
        return np.zeros(0, EVENT)
    events = np.zeros(len(px) + 1, EVENT)
    events["ev"][0], events["px"][0] = event.CLEAR | event.BOTH_SEE, np.nan
    levels = events[1:]
    levels["ev"] = kind | np.where(sides == 0, event.BUY, event.SELL) | event.BOTH_SEE
    levels["px"], levels["qty"], levels["order_id"] = px, qty, order_id
    events["ival"] = SNAPSHOT
    events["ival"][-1] |= LAST
    return events
