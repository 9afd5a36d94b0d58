"""Clocks against the slow one of `book_twin`; rows are valid, complete, and the same however the events are cut."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event as ev
from nanoarb_jax.market.anomaly import Anomaly
from nanoarb_jax.market.book.state import BookState, empty_state
from nanoarb_jax.market.clocks import from_events as ticks
from nanoarb_jax.market.clocks.clock import TickClock
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.event import BUY, EVENT, EXCH_EVENT, LAST, LOCAL_EVENT, MAYBE_BAD_BOOK, SELL
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries, validate_books
from support.book_twin import LOT, TICK, SlowBook, SlowClock, random_events
from support.examples import examples
from support.series import joined

seeds = st.integers(0, 2**32 - 1)
some = settings(deadline=None, database=None, max_examples=examples(30))
CLOCKS = [TickClock("book", 1), TickClock("book", 10), TickClock("trade"), TickClock("time", interval_ns=100)]
clocks = st.sampled_from(CLOCKS)
SECOND = 10**9


SKIP = {kind.name.lower(): "skip" for kind in Anomaly if kind not in (Anomaly.INCOMPLETE, Anomaly.STALE)}


def rows_of(
    events: NDArray | list[NDArray],
    ticker: TickClock,
    clock: str = "local",
    policy: dict[str, str] | None = SKIP,  # type: ignore[assignment]
) -> BookSeries | None:
    chunks = events if isinstance(events, list) else [events]
    state = empty_state(TICK, LOT, levels=2, orders=4, policy=policy, clock=clock)  # type: ignore[arg-type]
    series = joined(list(tick_chunks(chunks, state, ticker, "random")))
    if series is not None:
        validate_books(series)
    return series


def as_tuples(series: BookSeries | None) -> list[tuple]:
    if series is None:
        return []

    def levels(px: NDArray, lots: NDArray) -> list[tuple[int, int]]:
        return [(p, s) for p, s in zip(px.tolist(), lots.tolist(), strict=True) if p != EMPTY_PRICE]

    assert series.bought is not None and series.sold is not None
    bids, asks = ([levels(*row) for row in zip(px, lots, strict=True)] for px, lots in (series[1:3], series[3:5]))
    return list(zip(series.ts_ns.tolist(), bids, asks, series.bought.tolist(), series.sold.tolist(), strict=True))


@some
@given(seeds, clocks, st.sampled_from(["local", "exchange"]), st.sampled_from([0.0, 0.05, 0.3]))
def test_equals_the_slow_clock(seed: int, clock: TickClock, whose: str, dirt: float) -> None:
    events = random_events(seed, dirt=dirt)
    slow = SlowClock(SlowBook(SKIP, clock=whose), clock.kind, clock.levels, clock.interval_ns)
    for event in events:
        slow.apply(event)
    assert as_tuples(rows_of(events, clock, clock=whose)) == slow.rows


@some
@given(seeds, clocks, st.lists(st.integers(0, 200), max_size=12))
def test_cuts_between_chunks_do_not_matter(seed: int, clock: TickClock, cuts: list[int]) -> None:
    events = random_events(seed)
    bounds = [0, *sorted(cuts), len(events)]
    assert as_tuples(rows_of([events[a:b] for a, b in pairwise(bounds)], clock)) == as_tuples(rows_of(events, clock))


@settings(some, max_examples=examples(15))
@given(seeds, clocks)
def test_room_for_few_rows_does_not_matter(seed: int, clock: TickClock) -> None:
    events = random_events(seed)
    whole = as_tuples(rows_of(events, clock))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ticks, "CHUNK_ROWS", 3)
        assert as_tuples(rows_of(events, clock)) == whole


@some
@given(seeds, st.sampled_from(CLOCKS[:3]))
def test_no_trade_is_lost_or_told_twice(seed: int, clock: TickClock) -> None:
    events = random_events(seed, dirt=0.0)
    late = int(events["local_ts"][-1]) + 1  # a last row, whatever the book was before
    events = np.concatenate([events, clearing(late), trade(late), quote(late)])
    done: list[BookState] = []
    series = joined(list(tick_chunks([events], empty_state(TICK, LOT), clock, "x", done.append)))
    assert series is not None and series.bought is not None and series.sold is not None
    taken = events[(events["ev"] & 255) == ev.TRADE]
    lots = [int(np.rint(taken["qty"][taken["ev"] & side > 0] / LOT).sum()) for side in (BUY, SELL)]
    assert [series.bought.sum(), series.sold.sum()] == lots == [done[0].meta[0]["bought"], done[0].meta[0]["sold"]]


def record(kind: int, px: float, qty: float, side: int, at: int, flags: int = LAST) -> NDArray:
    out = np.zeros(1, EVENT)
    out[0] = (kind | side, at, at, px, qty, 0, flags, 0.0)
    return out


def clearing(at: int) -> NDArray:
    return record(ev.CLEAR, np.nan, 0, 0, at)


def trade(at: int, side: int = BUY, qty: float = 1.0) -> NDArray:
    return record(ev.TRADE, 100.0, qty, side, at)


def quote(at: int, *, bid: float = 100.0, ask: float = 101.0) -> NDArray:
    return np.concatenate([record(ev.DEPTH, bid, 1, BUY, at, 0), record(ev.DEPTH, ask, 1, SELL, at)])


def times(events: list[NDArray], clock: TickClock, policy: dict[str, str] | None = None) -> list[int]:
    series = rows_of(np.concatenate(events), clock, policy=policy)
    return [] if series is None else series.ts_ns.tolist()


GRID = TickClock("time", interval_ns=100)


def test_the_grid_of_time() -> None:
    # a row has all that happened up to its time, and nothing later; the last book is repeated
    events = [quote(150), record(ev.DEPTH, 100.25, 1, BUY, 200), record(ev.DEPTH, 100.5, 1, BUY, 201), trade(450)]
    series = rows_of(np.concatenate([*events, trade(501)]), GRID)
    assert series is not None
    assert series.ts_ns.tolist() == [200, 300, 400, 500]
    assert (series.bid_px[:, 0] * TICK).tolist() == [100.25, 100.5, 100.5, 100.5]
    assert series.bought is not None and series.bought.tolist() == [0, 0, 0, 2]
    # nothing before the first book, while a side is empty, or when the book is crossed
    gone = record(ev.DEPTH, 101.0, 0, SELL, 320)
    crossed = record(ev.DEPTH, 102.0, 1, BUY, 320)
    for bad, good in ((gone, quote(640)), (crossed, record(ev.DEPTH, 102.0, 0, BUY, 640))):
        events = [trade(50), quote(150), bad, good, trade(801)]
        assert times(events, GRID, {"crossed": "skip"}) == [200, 300, 700, 800]
    assert times([trade(50), quote(150), crossed, trade(801)], GRID) == [200, 300]  # healed: no ask is left


def test_the_grid_shows_no_book_in_the_middle_of_a_message() -> None:
    half = record(ev.DEPTH, 102.0, 1, BUY, 250, flags=0)
    assert times([quote(150), half, record(ev.DEPTH, 102.0, 0, BUY, 450)], GRID) == [200, 300, 400]
    series = rows_of(np.concatenate([quote(150), half, record(ev.DEPTH, 102.0, 0, BUY, 450)]), GRID)
    assert series is not None and (series.bid_px[:, 0] * TICK).tolist() == [100.0] * 3
    # a gap voids the book at once
    lost = record(ev.DEPTH, 100.25, 1, BUY, 250, flags=MAYBE_BAD_BOOK)
    state = empty_state(TICK, LOT)
    chunks = list(tick_chunks([np.concatenate([quote(150), lost, trade(990)])], state, GRID, "x"))
    assert [chunk.ts_ns.tolist() for chunk in chunks] == [[200]]


def test_the_grid_survives_times_that_make_no_sense() -> None:
    back = [quote(1000), trade(1250), record(ev.DEPTH, 101.0, 0, SELL, 1250), trade(300), quote(300), trade(1501)]
    assert times(back, GRID) == [1000, 1100, 1200, 1300, 1400, 1500]
    day = 86_400 * SECOND
    later = times([quote(150), trade(250), trade(2 * day), trade(2 * day + 110)], GRID)
    assert later[0] == 200 and len(later) < 5
    for jump in (401 * day, 2**61, 2**63 - 1):
        with pytest.raises(DataError, match="invalid"):
            times([quote(150), trade(250), trade(jump)], GRID)


def test_an_event_of_the_other_clock_ends_no_message() -> None:
    half = record(ev.DEPTH, 102.0, 1, BUY, 250, flags=0)  # crossed for the moment
    other = record(ev.DEPTH, 99.0, 1, BUY | EXCH_EVENT, 260)
    rest = record(ev.DEPTH, 101.0, 0, SELL | LOCAL_EVENT, 270, flags=0)
    end = record(ev.DEPTH, 103.0, 1, SELL | LOCAL_EVENT | EXCH_EVENT, 270)
    assert times([quote(150), half, other, rest, end], TickClock()) == [150, 270]
    assert times([quote(150), trade(160), half, trade(255), other, rest, end], TickClock("trade")) == [160, 270]


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 3, 10, 2, tzinfo=ZoneInfo("America/New_York")),  # the clocks go forward
        datetime(2024, 11, 3, 1, tzinfo=ZoneInfo("America/New_York")),  # and back
        datetime(2024, 2, 29, tzinfo=UTC),
        datetime(2024, 12, 31, tzinfo=UTC),
    ],
)
def test_no_night_is_special(moment: datetime) -> None:
    middle = int(moment.timestamp()) * SECOND
    clock = TickClock("time", interval_ns=60 * SECOND)
    quotes = [quote(middle + m * 60 * SECOND - 1, bid=90 + m % 2) for m in range(-90, 90)]
    expected = [middle + m * 60 * SECOND for m in range(-90, 89)]
    assert times(quotes, clock) == expected
    assert times([q for m, q in enumerate(quotes) if m in (0, 179)], clock) == expected  # hours of silence


def test_what_is_a_change() -> None:
    deep = [record(ev.DEPTH, 90.0 + k / 4, 1, BUY, 200 + k) for k in range(8)]
    events = [quote(150), *deep, record(ev.DEPTH, 100.0, 1, BUY, 300), record(ev.DEPTH, 100.0, 2, BUY, 310), trade(400)]
    assert times(events, TickClock(levels=10)) == [150, *range(200, 208), 310]
    assert times(events, TickClock(levels=1)) == [150, 310]
    assert times(events, TickClock("trade")) == [400]
    # the tenth level is seen, those beyond are not
    beyond = [record(ev.DEPTH, 80.0 - k, 1, BUY, 320 + k) for k in range(3)]
    assert times([*events[:-1], *beyond], TickClock()) == [150, *range(200, 208), 310, 320]


def test_an_anomaly_that_raises_comes_after_the_rows_before_it() -> None:
    bad = record(ev.DEPTH, 100.1, 1, BUY, 300)
    chunks = tick_chunks([np.concatenate([quote(150), bad])], empty_state(TICK, LOT), TickClock(), "feed")
    assert next(chunks).rows == 1
    with pytest.raises(DataError, match=r"^feed: order book, event 3: invalid .*px 100\.1"):
        next(chunks)


@pytest.mark.parametrize(
    ("settings", "met"),
    [
        ({"kind": "volume"}, "'volume'"),
        ({"levels": 0}, "levels=0"),
        ({"levels": 11}, "levels=11"),
        ({"interval_ns": 0}, "=0"),
    ],
)
def test_clocks_that_are_none(settings: dict, met: str) -> None:
    with pytest.raises(DataError, match=re.escape(met)):
        TickClock(**settings)
