"""Ticks chosen among the rows of a file of books: a slow twin, chunk borders, the same ticks as from events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.anomaly import policies
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.book.state import empty_state
from nanoarb_jax.market.clocks import from_books as rows_module
from nanoarb_jax.market.clocks.clock import TickClock
from nanoarb_jax.market.clocks.from_books import choose_rows
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.event import BUY, DEPTH, EVENT, LAST, SELL, TRADE
from nanoarb_jax.market.series import COLUMNS, EMPTY_PRICE, LEVELS, BookSeries, validate_books
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import find_sources
from nanoarb_jax.simulation.market import synthetic_books

DAY_NS = 86_400 * 10**9
CLOCKS = [
    TickClock("book"),
    TickClock("book", levels=3),
    TickClock("book", levels=1),
    TickClock("trade"),
    TickClock("time", interval_ns=10),
    TickClock("time", interval_ns=DAY_NS // 2),
]
FAULTS = (
    "crossed",
    "locked",
    "no bid",
    "no ask size",
    "negative",
    "ghost",
    "order",
    "repeat",
    "bought",
    "back",
    "days",
    "hours",
)


def spoil(books: BookSeries, row: int, fault: str) -> None:
    """Make one row wrong, or odd, in place."""
    assert books.bought is not None
    if fault == "crossed":
        books.ask_px[row] = np.arange(LEVELS) + books.bid_px[row, 0] - 1
    elif fault == "locked":
        books.ask_px[row] = np.arange(LEVELS) + books.bid_px[row, 0]
    elif fault == "no bid":
        books.bid_px[row], books.bid_lots[row] = EMPTY_PRICE, 0
    elif fault == "no ask size":
        books.ask_lots[row, 0] = 0
    elif fault == "negative":
        books.bid_lots[row, 3] = -1
    elif fault == "ghost":
        books.ask_px[row, 8:] = EMPTY_PRICE
    elif fault == "order":
        books.bid_px[row, 5] = books.bid_px[row, 4]
    elif fault == "repeat" and row:
        for side in (books.bid_px, books.bid_lots, books.ask_px, books.ask_lots):
            side[row] = side[row - 1]
    elif fault == "bought":
        books.bought[row] = -5
    elif fault == "back":
        books.ts_ns[row] -= 25
    elif fault == "days":
        books.ts_ns[row:] += 3 * DAY_NS
    elif fault == "hours":
        books.ts_ns[row:] += DAY_NS // 2 + 1


def series(seed: int, faults: list[tuple[int, str]], n: int = 30) -> BookSeries:
    rng = np.random.default_rng(seed)
    steps = np.arange(LEVELS)
    bid = 100 + rng.integers(0, 2, (n, 1)) - steps
    ask = 102 + rng.integers(0, 2, (n, 1)) + steps
    bid_lots, ask_lots = np.ones((n, LEVELS), np.int64), np.ones((n, LEVELS), np.int64)
    bid_lots[np.arange(n), rng.integers(0, LEVELS, n)] += rng.integers(0, 2, n)
    bid[:, 9:], bid_lots[:, 9:] = EMPTY_PRICE, 0
    ts_ns = 1_000_000_000 + np.cumsum(rng.integers(0, 25, n))
    bought, sold = (rng.integers(0, 9, n) * (rng.random(n) < 0.3) for _ in range(2))
    books = BookSeries(ts_ns, bid, bid_lots, ask, ask_lots, 4.0, 1.0, 1, "odd", bought, sold)
    for row, fault in faults:
        spoil(books, row % n, fault)
    return books


class Row(NamedTuple):
    ts_ns: int
    sides: tuple[tuple[tuple[int, int], ...], ...]  # bid and ask: price and size of the levels
    bought: int
    sold: int


def rows_of(books: BookSeries) -> list[Row]:
    assert books.bought is not None and books.sold is not None
    sides = [(books.bid_px, books.bid_lots), (books.ask_px, books.ask_lots)]
    return [
        Row(
            int(books.ts_ns[i]),
            tuple(tuple(zip(px[i].tolist(), lots[i].tolist(), strict=True)) for px, lots in sides),
            int(books.bought[i]),
            int(books.sold[i]),
        )
        for i in range(books.rows)
    ]


def judged(row: Row, anomalies: Counter[str]) -> bool:
    """Is it a book? Counts what is wrong with it."""
    (bid, *_), (ask, *_) = row.sides
    levels = [level for side in row.sides for level in side]
    quoted = all(px != EMPTY_PRICE and lots != 0 for px, lots in (bid, ask))
    sound = (
        all(lots >= 0 and (px != EMPTY_PRICE or lots == 0) for px, lots in levels) and min(row.bought, row.sold) >= 0
    )
    for side, sign in zip(row.sides, (-1, 1), strict=True):
        prices = [sign * px for px, _ in side if px != EMPTY_PRICE]
        full = [px != EMPTY_PRICE for px, _ in side]
        sound &= prices == sorted(set(prices)) and full == sorted(full, reverse=True)
    anomalies["one_sided"] += not quoted
    anomalies["invalid"] += quoted and not sound
    anomalies["locked"] += quoted and bid[0] == ask[0]
    crossed = quoted and sound and bid[0] > ask[0]
    anomalies["crossed"] += crossed
    return quoted and sound and not crossed


def twin(rows: list[Row], clock: TickClock, every_row: bool, anomalies: Counter[str]) -> list[Row]:
    """Row by row."""
    ticks: list[Row] = []
    before, latest, bought, sold = None, -(2**63), 0, 0
    last: tuple[Row, bool] | None = None
    for row in rows:
        anomalies["backwards"] += row.ts_ns < latest
        latest = max(latest, row.ts_ns)
        row = row._replace(ts_ns=latest)
        if clock.kind == "time" and last is not None and last[1]:
            at = -(-last[0].ts_ns // clock.interval_ns) * clock.interval_ns
            silent = latest - at > DAY_NS
            while at < latest and not silent:
                ticks.append(Row(at, last[0].sides, bought, sold))
                at, bought, sold = at + clock.interval_ns, 0, 0
        valid = judged(row, anomalies)
        bought, sold = bought + max(row.bought, 0), sold + max(row.sold, 0)
        last = (row, valid)
        if clock.kind == "time" or not valid:
            continue
        seen = tuple(side[: clock.levels] for side in row.sides)
        every = every_row and clock.levels == LEVELS
        if bought + sold > 0 if clock.kind == "trade" else every or seen != before:
            ticks.append(Row(latest, row.sides, bought, sold))
            bought = sold = 0
        before = seen
    return ticks


def cut(books: BookSeries, borders: list[int]) -> Iterator[BookSeries]:
    edges = [0, *sorted(border % (books.rows + 1) for border in borders), books.rows]
    yield from (books.part(start, stop) for start, stop in pairwise(edges))


spoilt = st.lists(st.tuples(st.integers(0, 29), st.sampled_from(FAULTS)), max_size=8)


@pytest.mark.parametrize("clock", CLOCKS, ids=str)
@given(seed=st.integers(0, 2**32), faults=spoilt, borders=st.lists(st.integers(0, 30), max_size=4), every=st.booleans())
def test_slow_twin(clock: TickClock, seed: int, faults: list[tuple[int, str]], borders: list[int], every: bool) -> None:
    # half a day in steps of 10 ns is a long grid
    books = series(seed, [(row, fault) for row, fault in faults if fault != "hours" or clock.interval_ns > 10])
    expected: Counter[str] = Counter()
    ticks = twin(rows_of(books), clock, every, expected)
    met: Counter[str] = Counter()
    chosen = list(choose_rows(cut(books, borders), clock, every, met))
    assert [row for chunk in chosen for row in rows_of(chunk)] == ticks
    assert +met == +expected
    for chunk in chosen:
        validate_books(chunk)
        assert (chunk.px_scale, chunk.lots_per_unit, chunk.tick, chunk.name) == (4.0, 1.0, 1, "odd")


def test_without_trades() -> None:
    books = series(1, [])._replace(bought=None, sold=None)
    for clock in CLOCKS:
        if clock.kind == "trade":
            with pytest.raises(DataError, match="odd: no trades in these books"):
                list(choose_rows([books], clock, False, Counter()))
        else:
            chosen = list(choose_rows(cut(books, [9]), clock, False, Counter()))
            assert all(chunk.bought is None and chunk.sold is None for chunk in chosen)


def test_a_long_grid_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fine it is; and a damaged time makes no grid."""
    books = series(2, [])
    clock = TickClock("time", interval_ns=1)
    (whole,) = choose_rows([books], clock, False, Counter())
    monkeypatch.setattr(rows_module, "CHUNK_ROWS", 7)
    pieces = list(choose_rows([books], clock, False, Counter()))
    assert len(pieces) > 20 and {piece.rows for piece in pieces[:-1]} == {7}
    assert [row for piece in pieces for row in rows_of(piece)] == rows_of(whole)
    books.ts_ns[20] = 2**63 - 1
    early = list(choose_rows([books], TickClock("time", interval_ns=10), False, Counter()))
    assert early[-1].ts_ns[-1] < books.ts_ns[19]


def feed_of(seed: int) -> NDArray[np.void]:
    """Messages of one to four events: levels near 100, now and then crossed or one-sided, and trades."""
    rng = np.random.default_rng(seed)
    events = np.zeros(400, EVENT)
    bid = rng.random(400) < 0.5
    events["ev"] = np.where(bid, BUY, SELL) | np.where(rng.random(400) < 0.15, TRADE, DEPTH)
    events["px"] = 100 + np.where(bid, -rng.integers(-1, 6, 400), rng.integers(0, 7, 400)) / 4
    events["qty"] = np.where(events["ev"] & 255 == TRADE, 1, rng.integers(0, 3, 400))
    ends = rng.random(400) < 0.4
    events["ival"] = np.where(ends, LAST, 0)
    message = np.r_[0, np.cumsum(ends)[:-1]]
    gaps = rng.integers(0, 30, 401)
    gaps[[100, 200]] = [DAY_NS // 10, DAY_NS // 5]  # of which only the first is no hole
    # never on the grid, where a time clock's first tick is told or not
    events["local_ts"] = (10**17 + np.cumsum(gaps)[message]) * 10 + 3
    events["exch_ts"] = events["local_ts"]
    return events


def every_message(events: NDArray[np.void]) -> BookSeries:
    """The book after every message, valid or not."""
    book = OrderBook(0.25, 1.0, policy={"crossed": "skip"})
    rows: list[tuple] = []
    traded = np.zeros(2, np.int64)
    for event in events:
        book.apply(event)
        if event["ival"] & LAST:
            now = np.array(book.traded).astype(np.int64)
            rows.append((book.time_ns, *book.top(), *(now - traded)))
            traded = now
    ts_ns, bid_px, bid_lots, ask_px, ask_lots, bought, sold = (np.array(column) for column in zip(*rows, strict=True))
    return BookSeries(ts_ns, bid_px, bid_lots, ask_px, ask_lots, 4.0, 1.0, 1, "feed", bought, sold)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "clock", [*CLOCKS[:4], TickClock("time", interval_ns=100), TickClock("time", interval_ns=DAY_NS // 9)], ids=str
)
def test_the_same_ticks_as_from_events(clock: TickClock, seed: int) -> None:
    events = feed_of(seed)
    if clock.interval_ns == 100:
        events = events[:60]
    events["ival"][-1] |= LAST  # rows do not tell of a message that never ended
    state = empty_state(0.25, 1.0, policy={"crossed": "skip"})  # rows of books are not healed
    from_events = [row for chunk in tick_chunks([events], state, clock, "feed") for row in rows_of(chunk)]
    rows = every_message(events)
    from_rows = [row for chunk in choose_rows(cut(rows, [50]), clock, False, Counter()) for row in rows_of(chunk)]
    # the book before the long gaps may be none
    assert from_rows == from_events and (from_rows or clock.interval_ns > 100)


def test_ticks_written_and_read_back(tmp_path: Path) -> None:
    """The ticks of a feed, as a file of books, are the same ticks again."""
    np.savez(tmp_path / "feed.npz", data=feed_of(3))
    options = ReadOptions(tick_size=0.25, lot_size=1.0)
    as_told = {"crossed": "skip", "incomplete": "keep"}
    books, account = read_books(find_sources([tmp_path / "feed.npz"])[0], DataConfig(), options, as_told)
    (tmp_path / "again").mkdir()
    write_book_npz(tmp_path / "again" / "feed.npz", books)
    again, of_books = read_books(find_sources([tmp_path / "again"])[0], DataConfig())
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(again, column), getattr(books, column))
    assert (again.px_scale, again.lots_per_unit, again.tick, again.name) == (4.0, 1.0, 1, "feed")
    assert (account.format, of_books.format) == ("hftbacktest", "book-npz")
    assert account.ticks == of_books.ticks == of_books.messages == books.rows
    assert of_books.anomalies["crossed"] == of_books.anomalies["one_sided"] == 0 < account.anomalies["crossed"]


def test_policies_hold_for_books_too() -> None:
    books = synthetic_books(50, 0)
    crossed = books.bid_px.copy()
    crossed[20] += 100
    dirty = books._replace(bid_px=crossed)
    counted: Counter[str] = Counter()
    kept = list(choose_rows([dirty], TickClock(), True, counted))
    assert sum(part.rows for part in kept) == 49 and counted["crossed"] == 1
    with pytest.raises(DataError, match="synthetic: crossed book"):
        list(choose_rows([dirty], TickClock(), True, Counter(), policies({"crossed": "raise"})))
    late = books.ts_ns.copy()
    late[10] = late[0]
    shuffled = books._replace(ts_ns=late)
    left = list(choose_rows([shuffled], TickClock(), True, Counter(), policies({"backwards": "skip"})))
    assert sum(part.rows for part in left) == 49


def test_rows_after_a_gap_are_counted_and_left_out() -> None:
    books = synthetic_books(50, 0)
    gap = np.zeros(50, bool)
    gap[[0, 7, 8, 49]] = True
    counted: Counter[str] = Counter()
    left = list(choose_rows(cut(books._replace(gap=gap), [8, 20]), TickClock(), True, counted))
    np.testing.assert_array_equal(np.concatenate([part.ts_ns for part in left]), books.ts_ns[~gap])
    assert counted["gap"] == 4 and all(part.gap is None for part in left)
    # what was traded meanwhile belongs to the next tick
    assert books.bought is not None
    bought = np.concatenate([part.bought for part in left if part.bought is not None])
    assert bought.sum() == books.bought[:49].sum()
    kept = list(choose_rows([books._replace(gap=gap)], TickClock(), True, counted, policies({"gap": "keep"})))
    assert sum(part.rows for part in kept) == 50 and counted["gap"] == 8
    with pytest.raises(DataError, match="synthetic: gap before the book"):
        list(choose_rows([books._replace(gap=gap)], TickClock(), True, Counter(), policies({"gap": "raise"})))


def test_a_trade_without_a_side_is_a_trade() -> None:
    books = synthetic_books(9, 0)
    none = np.zeros(9, np.int64)
    unsided = none.copy()
    unsided[[2, 6]] = 3
    traded = books._replace(bought=none, sold=none, unsided=unsided)
    for borders in ([], [2], [3, 6]):
        ticks = list(choose_rows(cut(traded, borders), TickClock("trade"), False, Counter()))
        np.testing.assert_array_equal(np.concatenate([part.ts_ns for part in ticks]), books.ts_ns[[2, 6]])
        assert all(part.unsided is None for part in ticks)
