"""Crossed books that never heal by themselves, and books that begin in the middle."""

from __future__ import annotations

import numpy as np

from nanoarb_jax.market import event as ev
from nanoarb_jax.market.anomaly import FEED_DEFAULTS
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import BUY, EVENT, LAST, SELL, SNAPSHOT

SECOND = 10**9
MARKET = [(100.0 - i / 4, 5.0, BUY) for i in range(12)] + [(100.25 + i / 4, 5.0, SELL) for i in range(12)]


def record(kind: int, px: float, qty: float, side: int, at: int = 0, order: int = 0, flags: int = LAST) -> np.void:
    out = np.zeros(1, EVENT)
    out[0] = (kind | side, at, at, px, qty, order, flags, 0.0)
    return out[0]


def book_of(kind: int, flags: int, **options: object) -> OrderBook:
    """Twelve levels a side about 100, one order each, ids 1 and on."""
    book = OrderBook(0.25, 1.0, **options)  # type: ignore[arg-type]
    for number, (px, qty, side) in enumerate(MARKET):
        book.apply(record(kind, px, qty, side, 0, number + 1, flags | LAST * (number == len(MARKET) - 1)))
    return book


def test_a_newer_level_removes_what_it_crosses() -> None:
    book = book_of(ev.DEPTH_SNAPSHOT, SNAPSHOT)
    assert book.apply(record(ev.DEPTH, 100.75, 2, BUY, 1))  # the asks at 100.25 and 100.50 were never told to be gone
    assert (book.best_bid, book.best_ask, book.depth) == (100.75, 101.0, (13, 9))
    assert book.apply(record(ev.DEPTH, 100.75, 3, SELL, 2)) and (book.best_bid, book.best_ask) == (100.0, 100.75)
    assert (book.anomalies["crossed"], book.anomalies["locked"], book.anomalies["stale"]) == (1, 1, 4)
    keeping = book_of(ev.DEPTH_SNAPSHOT, SNAPSHOT, policy={"locked": "keep"})
    assert keeping.apply(record(ev.DEPTH, 100.25, 2, BUY, 1)) and keeping.best_bid == keeping.best_ask == 100.25
    skipping = book_of(ev.DEPTH_SNAPSHOT, SNAPSHOT, policy={"crossed": "skip"})
    assert not skipping.apply(record(ev.DEPTH, 100.75, 2, BUY, 1)) and skipping.best_ask == 100.25


def test_of_two_levels_of_one_message_the_later_stays() -> None:
    book = book_of(ev.DEPTH_SNAPSHOT, SNAPSHOT)
    book.apply(record(ev.DEPTH, 100.5, 2, BUY, 1, flags=0))
    book.apply(record(ev.DEPTH, 100.25, 0, SELL, 1, flags=0))
    assert book.apply(record(ev.DEPTH, 100.25, 1, SELL, 1))
    assert (book.best_bid, book.best_ask) == (100.0, 100.25)


def test_an_order_that_trades_show_to_be_gone() -> None:
    book = book_of(ev.ADD, SNAPSHOT)
    ghost = record(ev.ADD, 102.0, 1, BUY, SECOND, order=99)
    assert not book.apply(ghost)
    for at in range(2, 6):  # a pre-open is crossed as well, and nothing trades in it
        assert not book.apply(record(ev.ADD, 95.0, 1, BUY, at * SECOND, order=100 + at))
    for trade in range(3):
        assert not book.apply(record(ev.TRADE, 100.25, 1, BUY, 6 * SECOND + trade))
    assert not book.apply(record(ev.ADD, 94.0, 1, BUY, 7 * SECOND - 1, order=110))  # not for a second yet
    assert book.apply(record(ev.ADD, 94.0, 1, BUY, 7 * SECOND, order=111))
    assert (book.best_bid, book.best_ask) == (100.0, 100.25)
    assert book.order(99) is None and book.order(1) is not None and book.anomalies["stale"] == 1


def test_a_ghost_among_the_asks_and_trades_between_the_ticks() -> None:
    book = book_of(ev.ADD, SNAPSHOT)
    book.apply(record(ev.ADD, 98.0, 1, SELL, 1, order=99))
    for trade in range(3):
        book.apply(record(ev.TRADE, 100.125, 1, 0, 2 + trade * SECOND))
    assert (book.best_bid, book.best_ask, book.anomalies["stale"]) == (100.0, 100.25, 1)


def test_a_locked_book_of_orders_is_valid() -> None:
    book = book_of(ev.ADD, SNAPSHOT)
    assert book.apply(record(ev.ADD, 100.25, 1, BUY, 1, order=99))
    assert (book.best_bid, book.best_ask, book.anomalies["locked"], book.anomalies["stale"]) == (100.25, 100.25, 1, 0)


def test_an_auction_may_cross_while_it_trades() -> None:
    """Orders that an auction fills are better than its price, and are told to be gone right after it."""
    book = book_of(ev.ADD, SNAPSHOT)
    book.apply(record(ev.ADD, 102.0, 3, BUY, 1, order=99))
    for trade in range(3):
        book.apply(record(ev.TRADE, 100.25, 1, 0, 2 + trade))
        book.apply(record(ev.CANCEL, 102.0, 1, BUY, 2 + trade, order=99))
    assert (book.best_bid, book.best_ask, book.anomalies["stale"]) == (100.0, 100.25, 0)


def ticks_of(events: list[np.void], **policy: str) -> list[bool]:
    book = OrderBook(0.25, 1.0, policy={**FEED_DEFAULTS, **policy})  # type: ignore[dict-item]
    return [book.apply(event) for event in events]


def test_a_book_that_begins_in_the_middle_is_no_tick_until_a_snapshot() -> None:
    diffs = [
        record(ev.DEPTH, 100.0, 1, BUY, 1),
        record(ev.DEPTH, 100.25, 1, SELL, 2),
        record(ev.DEPTH, 100.0, 2, BUY, 3),
    ]
    assert ticks_of(diffs) == [False] * 3
    assert ticks_of(diffs, incomplete="keep") == [False, True, True]
    for first in (record(ev.CLEAR, np.nan, 0, 0), record(ev.DEPTH_SNAPSHOT, 99.0, 1, BUY)):
        assert ticks_of([first, *diffs])[2:] == [True, True]
        assert ticks_of([*diffs, first, *diffs])[-2:] == [True, True]
    replayed = record(ev.ADD, 99.0, 1, BUY, 0, order=1, flags=SNAPSHOT | LAST)
    assert ticks_of([replayed, *diffs])[2:] == [True, True]
    trade = record(ev.TRADE, 100.0, 1, BUY)
    assert ticks_of([trade, *diffs]) == [False] * 4 and ticks_of([trade, replayed, *diffs])[3:] == [True, True]


def test_a_modify_brings_an_order_that_is_older_than_the_file() -> None:
    book = book_of(ev.ADD, SNAPSHOT)
    assert book.apply(record(ev.MODIFY, 100.0, 7, BUY, 1, order=500))
    assert book.top(1).bid_lots.tolist() == [12] and book.anomalies["unknown_order"] == 1
