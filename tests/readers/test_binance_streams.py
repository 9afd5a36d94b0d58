"""Captures that mix streams: one book of one symbol, from the streams that are it, and the others counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import DEPTH_SNAPSHOT, KIND_MASK, LAST, MAYBE_BAD_BOOK, TRADE
from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.binance import feed as binance
from support.binance_lines import Levels, aggregate, diff, line, named, partial, read, snapshot, trade, write

UNUSED = "partial book beside diffs (@depthN)"


def ladder(best: float, step: float, count: int = 5) -> Levels:
    return [(best + step * k, k + 1) for k in range(count)]


def books_of(events: NDArray[np.void]) -> list[tuple[list[float], list[float]]]:
    """Bid and ask prices of the whole book after every message of a book, where it is valid."""
    book, books = OrderBook(0.5, 0.001), []
    for event in events:
        valid = book.apply(event)
        if event["ival"] & LAST and event["ev"] & KIND_MASK != TRADE and valid:
            top = book.top(40)
            books.append(tuple((side[side != EMPTY_PRICE] * 0.5).tolist() for side in (top.bid_px, top.ask_px)))
    return books


BIDS, ASKS = ladder(100, -0.5), ladder(100.5, 0.5)


@pytest.mark.parametrize("futures", [True, False])
@pytest.mark.parametrize("stream", ["abc@depth5@100ms", None])
def test_partial_books_alone_are_the_book(tmp_path: Path, futures: bool, stream: str | None) -> None:
    """Whole at every line: a level that is absent is gone, also behind a REST snapshot of more levels."""
    made = [(ladder(100 - k % 3, -0.5 - k % 2 / 2), ladder(100.5 + k % 2, 0.5 + k % 3 / 2)) for k in range(20)]
    lines = [partial(k + 1, 20 + k, *sides, futures=futures, stream=stream) for k, sides in enumerate(made)]
    deep = snapshot(0, 10, ladder(100, -0.5, 30), ladder(100.5, 0.5, 30))
    for before in ([], [deep]):
        events, feed = read(write(tmp_path, *before, *lines))
        books = books_of(events)[len(before) :]
        assert books == [tuple([px for px, _ in side] for side in sides) for sides in made]
        timed = "" if futures else "; no exchange times, local ones stand for them"
        assert feed.notes == [f"books of 5 levels, whole at every message{timed}"] and not feed.dropped


@pytest.mark.parametrize("futures", [True, False])
@pytest.mark.parametrize("stream", ["abc@depth5@100ms", None])
def test_partial_books_beside_diffs(tmp_path: Path, futures: bool, stream: str | None) -> None:
    """They replace nothing and break no chain; without a stream's name they are told by shape and chain."""
    lines = [snapshot(0, 10, ladder(100, -0.5, 30), ladder(100.5, 0.5, 30))]
    lines += [diff(k, k + 10, k + 10, [(100, k)], [], k + 9 if futures else None) for k in range(1, 20)]
    clean, _ = read(write(tmp_path, *lines))
    mixed = [
        text
        for k, text in enumerate(lines)
        for text in (text, partial(k, k + 10, BIDS, ASKS, futures=futures, stream=stream))
    ]
    events, feed = read(write(tmp_path, *mixed))
    assert events.tobytes() == clean.tobytes() and feed.dropped == {UNUSED: 20} and not feed.notes
    # the book also comes from the diffs where partial books are first and the snapshot comes late
    events, feed = read(write(tmp_path, *mixed[1:30:2], *lines[1:8], lines[0], *mixed[16:]))
    assert (events["ev"] & KIND_MASK == DEPTH_SNAPSHOT).sum() == (60 if stream or futures else 10)
    assert books_of(events)[-1] == books_of(clean)[-1] or stream is None


def test_a_small_snapshot_without_a_name_mends_a_broken_chain(tmp_path: Path) -> None:
    """REST snapshots of 5 levels look like partial books: one is needed where updates are missing behind it."""
    lines = [snapshot(0, 10, BIDS, ASKS), diff(1, 11, 11, [(100, 7)], []), snapshot(5000, 90, ladder(90, -1), ASKS)]
    events, feed = read(write(tmp_path, *lines, trade(5001, 4), diff(5002, 91, 91, [(89.5, 1)], [])))
    assert feed.notes == ["the book begins with 5 levels a side; diffs tell of deeper ones"]
    assert feed.dropped == {"outage mended by a snapshot": 1}
    assert books_of(events)[-1][0] == [90, 89.5, 89, 88, 87, 86]
    assert not (events["ival"] & MAYBE_BAD_BOOK).any() and (np.diff(events["local_ts"]) >= 0).all()
    _, feed = read(write(tmp_path, *lines))
    assert feed.dropped == {UNUSED: 1}


@pytest.mark.parametrize("block", [1, 1 << 20])
def test_diffs_that_come_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Partial books are the book until the first diff, which needs a snapshot; whatever the blocks are."""
    monkeypatch.setattr(binance, "_AHEAD", 3)
    monkeypatch.setattr("nanoarb_jax.readers.binance.blocks._BLOCK", block)
    lines = [partial(k, 10 + k, BIDS, ASKS) for k in range(5)]
    lines += [diff(6, 15, 15, [(99, 4)], []), trade(7, 1), partial(8, 17, BIDS, ASKS), diff(9, 17, 17, [(98, 4)], [])]
    lines += [snapshot(10, 16, [(90, 1)], [(101, 1)]), partial(11, 18, BIDS, ASKS), diff(12, 18, 18, [(91, 1)], [])]
    events, feed = read(write(tmp_path, *lines))
    assert books_of(events)[5:] == [([90], [101]), ([98, 90], [101]), ([98, 91, 90], [101])]
    stale = "diff before the first snapshot's update"
    assert feed.dropped == {UNUSED: 2, "before the first snapshot": 1, stale: 1}
    _, feed = read(write(tmp_path, *lines[:9]))
    assert feed.dropped == {UNUSED: 1, "before the first snapshot": 3}
    # a snapshot before the first diff is one, however late that is
    late = [snapshot(0, 10), *[trade(k, k) for k in range(1, 9)], diff(9, 11, 11, [(98, 4)], [])]
    assert len(books_of(read(write(tmp_path, *late))[0])) == 2


def test_another_book_is_left_out(tmp_path: Path) -> None:
    """@rpiDepth has a chain of its own; alone it is no book, and the error tells what was met."""
    rpi = [named("abc@rpiDepth@500ms", diff(k, 900 + k, 900 + k, [(100.5, 9)], [], 1)) for k in range(1, 4)]
    own = [snapshot(0, 10), diff(1, 11, 11, [(99, 1)], [], 10), diff(2, 12, 12, [(99, 2)], [], 11)]
    clean, _ = read(write(tmp_path, *own))
    events, feed = read(write(tmp_path, rpi[0], own[0], *rpi[1:], *own[1:]))
    assert events.tobytes() == clean.tobytes() and feed.dropped == {"another book (@rpiDepth)": 3}
    with pytest.raises(DataError, match=r"no depth snapshot .*; left out: another book \(@rpiDepth\): 3$"):
        read(write(tmp_path, *rpi))


@pytest.mark.parametrize("depth", [5, 20])
def test_two_symbols_of_partial_books(tmp_path: Path, depth: int) -> None:
    own = [
        partial(k, k, ladder(100, -0.5, depth), ladder(101, 0.5, depth), stream=f"abc@depth{depth}") for k in range(9)
    ]
    other = [partial(k, k, ladder(3, -0.5, 5), ladder(4, 0.5, 5), stream=f"xyz@depth{depth}") for k in range(9)]
    path = write(tmp_path, *[text for pair in zip(own, other, strict=True) for text in pair])
    with pytest.raises(DataError, match=r"several symbols \(ABC, XYZ\); choose one with symbol"):
        read(path)
    events, feed = read(path, symbol="ABC")
    assert events.tobytes() == read(write(tmp_path, *own, name="own"))[0].tobytes()
    assert feed.dropped == {"another symbol": 9}
    with pytest.raises(DataError, match=r"of the symbols in it \(ABC, XYZ\) NONE was read"):
        read(path, symbol="NONE")


def test_what_does_not_make_a_second_symbol(tmp_path: Path) -> None:
    """Tickers of all symbols, and other streams, beside the book of one."""
    others = [
        line(1, u=1, s="XYZ", b="1", B="1", a="2", A="1"),
        named("xyz@kline_1m", line(2, e="kline", s="XYZ", k={})),
    ]
    events, feed = read(write(tmp_path, snapshot(0, 10), diff(1, 11, 11, [(99, 1)], []), *others))
    assert len(events) == 6 and feed.dropped == {"another symbol": 1, "foreign message": 1}


def test_aggregated_trades(tmp_path: Path) -> None:
    """They are the trades of a capture without a trade stream; missing and repeated ones are counted."""
    lines = [aggregate(1, 5, 50, 52), aggregate(2, 5, 50, 52), aggregate(3, 8, 60, 60, q="2.5")]
    events, feed = read(write(tmp_path, snapshot(0, 10), *lines))
    trades = events[events["ev"] & KIND_MASK == TRADE]
    assert trades["qty"].tolist() == [0.5, 2.5] and not trades["order_id"].any()
    assert feed.dropped == {"trade reported already": 1, "missing trades": 2}
    assert feed.notes == ["trades are aggregated (aggTrade)"]
    # beside trades they are left out, in whatever order both come
    events, feed = read(write(tmp_path, snapshot(0, 10), *lines, trade(4, 60)))
    assert (events["ev"] & KIND_MASK == TRADE).sum() == 1 and not feed.notes
    assert feed.dropped == {"aggregated trade beside trades (aggTrade)": 3}


def test_a_trade_stream_that_begins_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trades that the aggregated ones told are not told again."""
    monkeypatch.setattr(binance, "_AHEAD", 2)
    lines = [
        diff(1, 11, 11, [(99, 1)], []),
        aggregate(2, 5, 50, 52),
        trade(3, 52),
        trade(4, 53),
        aggregate(5, 6, 53, 53),
    ]
    events, feed = read(write(tmp_path, snapshot(0, 10), *lines))
    assert (events["ev"] & KIND_MASK == TRADE).sum() == 2
    assert feed.dropped == {"trade reported already": 1, "aggregated trade beside trades (aggTrade)": 1}
