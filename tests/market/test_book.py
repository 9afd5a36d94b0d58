"""The compiled order book against the slow one of `book_twin`; every anomaly under every policy."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event as ev
from nanoarb_jax.market.anomaly import Anomaly, policies
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import BUY, EVENT, EXCH_EVENT, LAST, LOCAL_EVENT, MAYBE_BAD_BOOK, SELL
from nanoarb_jax.market.series import EMPTY_PRICE
from support.book_twin import LOT, TICK, Raised, SlowBook, random_events
from support.examples import examples

seeds = st.integers(0, 2**32 - 1)
some = settings(deadline=None, database=None, max_examples=examples(40))
LENIENT = {"invalid": "skip"}
names = [kind.name.lower() for kind in Anomaly]


def small_book(policy: dict[str, str] | str | None = None, clock: str = "local") -> OrderBook:
    return OrderBook(TICK, LOT, policy=policy, clock=clock, levels=2, orders=4)


def assert_same(fast: OrderBook, slow: SlowBook) -> None:
    assert fast.depth == (len(slow.levels[0]), len(slow.levels[1]))
    top = fast.top(max(*fast.depth, 1))
    for side, px, lots in ((0, top.bid_px, top.bid_lots), (1, top.ask_px, top.ask_lots)):
        levels = [(int(p), int(s)) for p, s in zip(px, lots, strict=True) if p != EMPTY_PRICE]
        assert levels == slow.top(side, len(px))
    assert fast.anomalies == {kind.name.lower(): slow.anomalies[kind] for kind in Anomaly}
    meta = fast.state.meta[0]
    assert [meta["bought"], meta["sold"], meta["trades"]] == [*slow.traded[:2], slow.trades]
    assert (meta["synced"], meta["quoted"], meta["live_orders"]) == (slow.synced, slow.quoted, len(slow.orders))
    assert fast.time_ns == slow.time
    for key, (side, price, lots) in slow.orders.items():
        assert fast.order(key) == ("bid" if side == 0 else "ask", price * TICK, lots * LOT)


def feed_both(events: NDArray, fast: OrderBook, slow: SlowBook, every: int = 1) -> None:
    for i, event in enumerate(events):
        try:
            tick, raised = slow.apply(event), None
        except Raised as error:
            raised = error.args[0]
        if raised is None:
            assert fast.apply(event) == tick, i
        else:
            with pytest.raises(DataError, match=f"event {fast.state.meta[0]['events'] + 1}: {raised.name.lower()}"):
                fast.apply(event)
        if i % every == 0:
            assert_same(fast, slow)
    assert_same(fast, slow)


def is_allowed(name: str, policy: str) -> bool:
    try:
        policies({name: policy})  # type: ignore[dict-item]
    except DataError:
        return False
    return True


@some
@given(seeds, st.dictionaries(st.sampled_from(names), st.sampled_from(["keep", "skip", "resync", "raise", "heal"])))
def test_equals_the_slow_book(seed: int, chosen: dict[str, str]) -> None:
    chosen = LENIENT | {n: p for n, p in chosen.items() if is_allowed(n, p)}
    feed_both(random_events(seed), small_book(chosen), SlowBook(chosen))


@some
@given(seeds, st.sampled_from(["local", "exchange"]))
def test_equals_the_slow_book_by_either_clock(seed: int, clock: str) -> None:
    feed_both(random_events(seed, 150, dirt=0.3), small_book("skip", clock), SlowBook("skip", clock=clock))


@settings(some, max_examples=examples(8))
@given(seeds)
def test_equals_the_slow_book_while_both_tables_grow(seed: int) -> None:
    fast, slow = small_book(LENIENT), SlowBook(LENIENT)
    events = random_events(seed, 1500, prices=600, keys=1000, dirt=0.001)
    kind = events["ev"] & 255
    events["ev"][(kind == ev.BBO) | (kind == ev.CLEAR) | (kind == ev.CANCEL)] &= ~np.uint64(255)  # too few would stay
    events["ev"][kind == ev.CANCEL] |= np.uint64(ev.ADD)
    feed_both(events, fast, slow, every=100)
    assert len(fast.state.orders) > 8 and fast.state.levels.fill.shape[1] > 2


@some
@given(seeds)
def test_one_compiled_loop_equals_one_by_one(seed: int) -> None:
    events = random_events(seed, 200, prices=300, keys=100)
    single, whole = small_book(LENIENT), small_book(LENIENT)
    for event in events:
        single.apply(event)
    whole.apply_all(events)
    np.testing.assert_array_equal(single.state.meta, whole.state.meta)
    np.testing.assert_array_equal(single.state.orders, whole.state.orders)
    np.testing.assert_array_equal(single.state.anomalies, whole.state.anomalies)
    for a, b in zip(single.top(200), whole.top(200), strict=True):
        np.testing.assert_array_equal(a, b)


def event(
    kind: int, px: float = 100.0, qty: float = 1.0, side: int = BUY, *, order: int = 0, at: int = 10, flags: int = LAST
) -> np.void:
    record = np.zeros(1, EVENT)
    record[0] = (kind | side, at, at, px, qty, order, flags, 0.0)
    return record[0]


def quoted_book(policy: dict[str, str] | str | None = None) -> OrderBook:
    """bid 100 x 1 · ask 101 x 1, one order each, ids 1 and 2, at time 10."""
    book = small_book(policy)
    book.apply(event(ev.ADD, 100.0, order=1, flags=0))
    assert book.apply(event(ev.ADD, 101.0, side=SELL, order=2))
    return book


# what shows each anomaly, and the best prices with sizes where the event is taken as it is
DEFECTS: dict[Anomaly, tuple[Callable[[], np.void], tuple[float, float]]] = {
    Anomaly.CROSSED: (lambda: event(ev.DEPTH, 102.0), (102, 101)),
    Anomaly.LOCKED: (lambda: event(ev.DEPTH, 101.0), (101, 101)),
    Anomaly.ONE_SIDED: (lambda: event(ev.DEPTH, 100.0, 0.0), (np.nan, 101)),
    Anomaly.UNKNOWN_ORDER: (lambda: event(ev.MODIFY, 100.25, order=3), (100.25, 101)),
    Anomaly.DUPLICATE_ORDER: (lambda: event(ev.ADD, 100.5, order=1), (100.5, 101)),
    Anomaly.GAP: (lambda: event(ev.DEPTH, 100.5, flags=LAST | MAYBE_BAD_BOOK), (100.5, 101)),
    Anomaly.BACKWARDS: (lambda: event(ev.DEPTH, 100.5, at=9), (100.5, 101)),
    Anomaly.INVALID: (lambda: event(ev.DEPTH, 100.1), (100, 101)),
}


@pytest.mark.parametrize("policy", ["keep", "skip", "resync", "raise"])
@pytest.mark.parametrize("kind", DEFECTS, ids=lambda kind: kind.name.lower())
def test_every_anomaly_under_every_policy(kind: Anomaly, policy: str) -> None:
    name, (defect, taken) = kind.name.lower(), DEFECTS[kind]
    message_level = kind in (Anomaly.CROSSED, Anomaly.LOCKED, Anomaly.ONE_SIDED)
    try:
        policies({name: policy})
    except DataError:
        assert (name, policy) in {("crossed", "keep"), ("one_sided", "keep"), ("one_sided", "resync")}
        return
    book = quoted_book({name: policy})
    if policy == "raise":
        with pytest.raises(DataError, match=f"event 3: {name} .kind .* choose another policy for {name!r}"):
            book.apply(defect())
    else:
        tick = book.apply(defect())
        assert tick == (policy == "keep" or (policy == "skip" and not message_level))
    assert book.anomalies[name] == 1
    if policy == "resync":
        # what came with the gap or the late message is not taken either: it waits for the next snapshot
        assert book.depth == (0, 0) and np.isnan(book.mid)
        assert book.anomalies["unsynced"] == (kind in (Anomaly.GAP, Anomaly.BACKWARDS))
        assert book.anomalies["one_sided"] == 0
    else:
        expected = taken if message_level or policy == "keep" else (100, 101)
        np.testing.assert_equal((book.best_bid, book.best_ask), expected)


@pytest.mark.parametrize("policy", ["keep", "skip", "resync", "raise"])
@pytest.mark.parametrize("kind", [ev.CANCEL, ev.FILL])
def test_more_cancelled_than_there_is(kind: int, policy: str) -> None:
    book = quoted_book({"over_cancel": policy})
    if policy == "raise":
        with pytest.raises(DataError, match=r"event 3: over_cancel .*order_id 1"):
            book.apply(event(kind, 100.0, 3.0, order=1))
    else:
        book.apply(event(kind, 100.0, 3.0, order=1))
    left = {"keep": kind == ev.FILL, "skip": True, "resync": False, "raise": True}[policy]
    assert (book.order(1) is not None) == left and book.anomalies["over_cancel"] == 1


def test_a_gap_waits_for_the_next_snapshot() -> None:
    book = quoted_book()
    assert not book.apply(event(ev.DEPTH, 100.5, flags=LAST | MAYBE_BAD_BOOK))
    assert not book.apply(event(ev.DEPTH, 100.5)) and not book.apply(event(ev.ADD, 102, side=SELL, order=9))
    book.apply(event(ev.TRADE, 101.0, 2.0))  # trades count all the same
    assert book.depth == (0, 0) and book.traded == (2.0, 0.0)
    assert book.anomalies == dict.fromkeys(names, 0) | {"gap": 1, "unsynced": 3, "incomplete": 1}
    assert not book.apply(event(ev.DEPTH_SNAPSHOT, 99.0, flags=0))
    assert book.apply(event(ev.DEPTH_SNAPSHOT, 99.5, side=SELL))
    assert (book.best_bid, book.best_ask, book.mid) == (99.0, 99.5, 99.25)


def test_a_late_snapshot_left_out_does_not_synchronise() -> None:
    book = quoted_book({"backwards": "skip"})
    book.apply(event(ev.DEPTH, flags=LAST | MAYBE_BAD_BOOK))
    book.apply(event(ev.CLEAR, at=3))
    book.apply(event(ev.DEPTH, 99.0, flags=0))
    assert not book.apply(event(ev.DEPTH, 99.5, side=SELL)) and book.depth == (0, 0)


@pytest.mark.parametrize(
    ("px", "qty", "met"),
    [
        (100.1, 1.0, "px 100.1"),
        (np.nan, 1.0, "px nan"),
        (np.inf, 1.0, "px inf"),
        (-1e300, 1.0, "px -1e"),
        (100.0, -1.0, "qty -1.0"),
        (100.0, np.nan, "qty nan"),
        (100.0, np.inf, "qty inf"),
        (100.0, 1e300, "qty 1e"),
        (100.0, 2.0**53, "qty 90071992547"),
    ],
)
@pytest.mark.parametrize("kind", [ev.DEPTH, ev.DEPTH_SNAPSHOT, ev.BBO, ev.ADD, ev.MODIFY])
def test_invalid_numbers_are_named(kind: int, px: float, qty: float, met: str) -> None:
    book = quoted_book()
    with pytest.raises(DataError, match=f"event 3: invalid .*{re.escape(met)}.*tick size 0.25, lot size 0.5"):
        book.apply(event(kind, px, qty, order=1))
    assert (book.best_bid, book.best_ask) == (100, 101)


@pytest.mark.parametrize(("code", "side"), [(0, BUY), (77, BUY), (99, SELL), (6, BUY), (ev.DEPTH, 0), (ev.ADD, 0)])
def test_unknown_kinds_and_sides_are_invalid(code: int, side: int) -> None:
    with pytest.raises(DataError, match=f"invalid .kind {code},"):
        quoted_book().apply(event(code, side=side))


def test_quantities_of_a_billion_and_the_largest() -> None:
    book = OrderBook(1e-8, 1.0)
    book.apply(event(ev.DEPTH, 1.234e-5, 4.2e14, flags=0))
    assert book.apply(event(ev.DEPTH, 1.235e-5, 2.0**53, side=SELL))
    assert book.top(1).bid_lots[0] == 420_000_000_000_000 and book.top(1).ask_lots[0] == 2**53
    assert book.best_bid == pytest.approx(1.234e-5, rel=1e-12)
    for key in range(513):  # orders at one level: their sum stays within int64, then further ones are invalid
        book.apply(event(ev.ADD, 1.233e-5, 2.0**53, order=key))
    with pytest.raises(DataError, match="invalid"):
        book.apply(event(ev.ADD, 1.233e-5, 2.0**53, order=513))
    assert 2**62 < book.top(2).bid_lots[1] < 2**63 - 1


@pytest.mark.parametrize(
    ("px", "side", "left"),
    [
        (np.nan, 0, ([], [])),
        (np.nan, BUY, ([], [101, 102, 103])),
        (np.nan, SELL, ([100, 99, 98], [])),
        (99.0, BUY, ([98], [101, 102, 103])),
        (98.5, BUY, ([98], [101, 102, 103])),
        (102.0, SELL, ([100, 99, 98], [103])),
        (1e300, BUY, ([100, 99, 98], [101, 102, 103])),
        (-1e300, BUY, ([], [101, 102, 103])),
        (1e300, SELL, ([100, 99, 98], [])),
        (-1e300, SELL, ([100, 99, 98], [101, 102, 103])),
    ],
)
def test_clear(px: float, side: int, left: tuple[list[float], list[float]]) -> None:
    book = small_book()
    for i in range(3):
        book.apply(event(ev.ADD, 100.0 - i, order=i, flags=0))
        book.apply(event(ev.ADD, 101.0 + i, order=10 + i, side=SELL, flags=0))
    book.apply(event(ev.CLEAR, px, side=side))
    top = book.top()
    for prices, ids, ticks in ((left[0], range(3), top.bid_px), (left[1], range(10, 13), top.ask_px)):
        assert [p * TICK for p in ticks.tolist() if p != EMPTY_PRICE] == prices
        assert {o.price for i in ids if (o := book.order(i))} == set(prices)


def test_levels_and_orders_may_meddle_with_each_other() -> None:
    # never a level without lots: a diff shrinks a level of orders, a partial cancel would leave less than nothing
    book = quoted_book()
    book.apply(event(ev.MODIFY, 100.0, 10.0, order=1))
    book.apply(event(ev.DEPTH, 100.0, 2.0))
    assert not book.apply(event(ev.CANCEL, 100.0, 5.0, order=1))
    assert book.depth == (0, 1)


def test_each_clock_sees_its_own_events() -> None:
    for clock, other in (("local", EXCH_EVENT), ("exchange", LOCAL_EVENT)):
        book = small_book(clock=clock)
        book.apply(event(ev.DEPTH, 100.0, flags=0))
        assert book.apply(event(ev.DEPTH, 101.0, side=SELL | EXCH_EVENT | LOCAL_EVENT))
        assert not book.apply(event(ev.DEPTH, 100.5, side=BUY | other, at=99))  # not even the end of a message
        assert (book.best_bid, book.time_ns) == (100.0, 10)
    late = event(ev.DEPTH)
    late["exch_ts"], late["local_ts"] = 5, 20
    for clock, time in (("local", 20), ("exchange", 10)):
        book = small_book(clock=clock)
        book.apply(event(ev.DEPTH))
        book.apply(late)
        assert (book.time_ns, book.anomalies["backwards"]) == (time, clock == "exchange")


def test_what_is_no_event_and_no_setting() -> None:
    book = small_book()
    with pytest.raises(DataError, match=r"event of type tuple; expected one record of event\.EVENT"):
        book.apply((1, 2))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one-dimensional array"):
        book.apply_all(np.zeros((2, 2), EVENT))
    assert book.order(5) is None and np.isnan(book.best_bid)
    for kwargs, met in (
        ({"tick_size": 0.0}, "tick_size=0.0"),
        ({"tick_size": np.nan}, "tick_size=nan"),
        ({"tick_size": 1.0, "lot_size": -1}, "lot_size=-1"),
        ({"tick_size": 1.0, "clock": "wall"}, "clock='wall'"),
        ({"tick_size": 1.0, "levels": 1}, "levels=1"),
        ({"tick_size": 1.0, "policy": {"gab": "skip"}}, "policy gab=skip: no such anomaly"),
        ({"tick_size": 1.0, "policy": {"gap": "ignore"}}, "policy gap=ignore: expected one of keep, skip"),
        ({"tick_size": 1.0, "policy": "ignore"}, "=ignore: expected one of keep, skip"),
    ):
        with pytest.raises(DataError, match=re.escape(met)):
            OrderBook(**kwargs)
