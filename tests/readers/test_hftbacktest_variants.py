"""Event arrays that others write: units of time, widths of integers, snapshots that void nothing, missing times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.events import read_events
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import (
    BOTH_SEE,
    BUY,
    CLEAR,
    DEPTH,
    DEPTH_SNAPSHOT,
    EVENT,
    EXCH_EVENT,
    KIND_MASK,
    LAST,
    LOCAL_EVENT,
    SELL,
)
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.hftbacktest import feed as hftbacktest
from nanoarb_jax.readers.hftbacktest.feed import open_hftbacktest
from nanoarb_jax.readers.hftbacktest.snapshots import NOTE, with_clears
from nanoarb_jax.readers.sources import find_sources, open_source
from support.examples import examples

T0 = 1_735_700_000_000_000_000
SIZES = ReadOptions(0.1, 0.001)


def event(code: int, ms: int, px: float = 0.0, qty: float = 0.0) -> NDArray[np.void]:
    return np.array([(code | BOTH_SEE, T0 + ms * 10**6, T0 + (ms + 5) * 10**6, px, qty, 0, 0, 0.0)], EVENT)


def levels(ms: int, bids: dict[float, float], asks: dict[float, float], kind: int = DEPTH_SNAPSHOT) -> NDArray[np.void]:
    sides = ((BUY, bids), (SELL, asks))
    return np.concatenate([event(kind | side, ms, px, qty) for side, book in sides for px, qty in book.items()])


def a_day() -> NDArray[np.void]:
    return np.concatenate(
        [
            event(CLEAR, 0),
            levels(0, {100.0: 1, 99.9: 2}, {100.1: 1, 100.2: 2}),
            levels(1000, {100.0: 3}, {}, DEPTH),
            levels(2000, {}, {100.1: 0}, DEPTH),
        ]
    )


def saved(path: Path, array: NDArray) -> Path:
    np.savez(path, data=array)
    return path


def read(path: Path) -> NDArray[np.void]:
    return np.concatenate(list(open_hftbacktest(path, SIZES).chunks))


@pytest.mark.parametrize(("unit", "factor"), [("ns", 1), ("µs", 10**3), ("ms", 10**6), ("s", 10**9)])
def test_the_unit_of_times_is_recognised_and_told(tmp_path: Path, unit: str, factor: int) -> None:
    events = a_day()
    for name in ("exch_ts", "local_ts"):
        events[name] //= factor
    feed = open_hftbacktest(saved(tmp_path / "day.npz", events), SIZES)
    found = np.concatenate(list(feed.chunks))
    for name in ("exch_ts", "local_ts"):
        assert (found[name] == a_day()[name] // factor * factor).all()
    assert (
        feed.notes
        == {
            "ns": [],
            "µs": ["times are in µs"],
            "ms": ["times are in ms"],
            "s": ["times are in s", "events of one second are one message"],
        }[unit]
    )


def test_each_time_may_have_a_unit_of_its_own(tmp_path: Path) -> None:
    events = a_day()
    events["exch_ts"] //= 10**6
    feed = open_hftbacktest(saved(tmp_path / "day.npz", events), SIZES)
    assert np.concatenate(list(feed.chunks))["exch_ts"].tolist() == a_day()["exch_ts"].tolist()
    assert feed.notes == ["exch_ts is in ms"]


@pytest.mark.parametrize("time", [1, 10**16, -(10**18), 2**63 - 1, 5_000_000_000])
def test_implausible_times_are_refused(tmp_path: Path, time: int) -> None:
    for at, text in ((0, "in no unit"), (4, "does not lie between 1980 and 2100 in ns")):
        events = a_day()
        events["local_ts"][at] = time
        with pytest.raises(DataError, match=text):
            read(saved(tmp_path / f"{at}.npz", events))


@pytest.mark.parametrize("ev", ["i8", "u4", "i4", ">u8"])
@pytest.mark.parametrize("order_id", ["i8", "u4", "i2"])
def test_integers_of_other_widths(tmp_path: Path, ev: str, order_id: str) -> None:
    names = ["ival", "ev", "exch_ts", "local_ts", "px", "qty", "order_id", "fval"]
    wanted = {"ev": ev, "order_id": order_id, "ival": "i4", "px": "f8", "qty": "f8", "fval": "f8"}
    events = a_day()
    other = np.zeros(len(events), [(name, wanted.get(name, "i8")) for name in names])
    for name in names:
        other[name] = events[name].astype("i8") if wanted.get(name, "i8")[-2] in "iu" else events[name]
    found = read(saved(tmp_path / "day.npz", other))
    expected = read(saved(tmp_path / "same.npz", events))
    assert found.dtype == EVENT and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ([(name, EVENT[name]) for name in EVENT.names if name != "ival"], "the field 'ival' is missing"),
        ([*((name, EVENT[name]) for name in EVENT.names), ("more", "f8")], "the field 'more' is unknown"),
        ([(name, "f4" if name == "px" else EVENT[name]) for name in EVENT.names], "the field 'px' is float32"),
        ([(name, "f8" if name == "ev" else EVENT[name]) for name in EVENT.names], "the field 'ev' is float64"),
        ([(name, "u2" if name == "ev" else EVENT[name]) for name in EVENT.names], "the field 'ev' is uint16"),
        ([(name, "O" if name == "fval" else EVENT[name]) for name in EVENT.names], "the field 'fval' is object"),
    ],
)
def test_other_layouts_are_refused_by_name(tmp_path: Path, dtype: list, text: str) -> None:
    with pytest.raises(DataError, match=text):
        read(saved(tmp_path / "day.npz", np.zeros(3, dtype)))


def test_hftbacktest_1(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="migration2"):
        read(saved(tmp_path / "day.npz", np.zeros((9, 6))))


def test_missing_times(tmp_path: Path) -> None:
    """One time stands for the other; a start book before all times gets the first; alone it is refused."""
    events = a_day()
    events["local_ts"] = 0
    feed = open_hftbacktest(saved(tmp_path / "exchange.npz", events), SIZES)
    assert np.concatenate(list(feed.chunks))["local_ts"].tolist() == events["exch_ts"].tolist()
    assert feed.notes == ["local_ts is missing, exch_ts stands for it"]
    events = a_day()
    events["ev"][6:] &= ~np.uint64(LOCAL_EVENT)  # valid at the exchange only: it needs no other time
    events["local_ts"][6:] = 0
    feed = open_hftbacktest(saved(tmp_path / "split.npz", events), SIZES)
    assert np.concatenate(list(feed.chunks))["local_ts"].tolist() == events["local_ts"].tolist()
    assert feed.notes == []
    events = a_day()
    events["local_ts"][:5] = events["exch_ts"][:5] = 0
    assert read(saved(tmp_path / "begun.npz", events))["local_ts"].tolist()[:5] == [T0 + 1_005_000_000] * 5
    start = saved(tmp_path / "start.npz", events[:5])
    with pytest.raises(DataError, match="--snapshot"):
        read(start)
    untimed = open_hftbacktest(start, SIZES._replace(zero_times=True))
    assert (np.concatenate(list(untimed.chunks))["local_ts"] == 0).all()
    events["local_ts"][-1] = events["exch_ts"][-1] = 0
    with pytest.raises(DataError, match="events without times"):
        read(saved(tmp_path / "hole.npz", events))


def test_the_book_of_a_day_s_start_is_a_snapshot(tmp_path: Path) -> None:
    """As hftbacktest writes it, with times of 0, and named by --snapshot."""
    events = a_day()
    begun = saved(tmp_path / "whole.npz", events)
    start = events[:5].copy()
    start["local_ts"] = start["exch_ts"] = 0
    after = saved(tmp_path / "after.npz", events[5:])
    options = SIZES._replace(snapshot=saved(tmp_path / "start.npz", start))
    feed = open_source(find_sources([after])[0], options)
    assert isinstance(feed, EventFeed)
    rows = np.concatenate(list(feed.chunks))
    assert "begins with the snapshot" in feed.notes[-1] and feed.notes[-1].endswith("which has no time")
    books = [OrderBook(tick_size=0.1, lot_size=0.001) for _ in range(2)]
    for book, told in zip(books, (rows, read(begun)), strict=True):
        book.apply_all(told)
    assert books[0].depth == books[1].depth
    assert [a.tolist() for a in books[0].top(5)] == [a.tolist() for a in books[1].top(5)]


def test_the_key_of_the_events(tmp_path: Path) -> None:
    events, path = a_day(), tmp_path / "day.npz"
    np.savez(path, events)
    assert len(read(path)) == len(read(saved(tmp_path / "data.npz", events)))
    np.savez(path, events=events, sizes=np.ones(3))
    assert len(read(path)) == len(events)
    np.savez(path, morning=events, evening=events)
    with pytest.raises(DataError, match=r"the keys 'morning', 'evening'; expected .* under the key 'data'"):
        read(path)
    np.savez(path, sizes=np.ones(3))
    with pytest.raises(DataError, match=r"array of float64 \(3,\); expected a one-dimensional array of events"):
        read(path)


@pytest.mark.parametrize("qty", [1e20, 1e300, 1e308])
def test_quantities_that_no_lot_size_holds(tmp_path: Path, qty: float) -> None:
    events = a_day()
    events["qty"][:5] = qty
    with pytest.raises(DataError, match="invalid"):
        read_books(find_sources([saved(tmp_path / "day.npz", events)])[0], DataConfig())


def test_snapshots_alone_are_the_whole_book(tmp_path: Path) -> None:
    books = [({100.0 + i / 10: 1, 99.9 - i / 10: 2}, {101.0 + i / 10: 1}) for i in range(9)]
    events = np.concatenate([levels(1000 * i, *book) for i, book in enumerate(books)])
    notes: list[str] = []
    cleared = np.concatenate(list(with_clears(iter([events]), notes, "x")))
    assert notes == [NOTE]
    clears = cleared[cleared["ev"] & np.uint64(KIND_MASK) == CLEAR]
    assert len(clears) == 16 and np.isnan(clears["px"]).all()  # the first has nothing to replace
    source = find_sources([saved(tmp_path / "day.npz", events)])[0]
    series, _ = read_books(source, DataConfig())
    for row, (bids, asks) in enumerate(books):
        for px, lots, book in ((series.bid_px, series.bid_lots, bids), (series.ask_px, series.ask_lots, asks)):
            told = {
                round(float(p)) / 10: q / series.lots_per_unit for p, q in zip(px[row], lots[row], strict=True) if q
            }
            assert told == {round(px, 1): qty for px, qty in book.items()}


def test_behind_updates_a_snapshot_replaces_up_to_its_worst_price() -> None:
    """As hftbacktest's own converters have it: what is beyond may be kept by the updates."""
    events = np.concatenate(
        [
            levels(0, {100.0: 1, 99.9: 1, 99.8: 1}, {100.1: 1}),
            levels(1000, {99.0: 1}, {}, DEPTH),
            levels(2000, {99.7: 1, 99.9: 2}, {100.2: 1}),
        ]
    )
    cleared = np.concatenate(list(with_clears(iter([events]), [], "x")))
    clears = cleared[cleared["ev"] & np.uint64(KIND_MASK) == CLEAR]
    assert [(int(c["ev"]), float(c["px"])) for c in clears] == [
        (CLEAR | BUY | BOTH_SEE, 99.7),
        (CLEAR | SELL | BOTH_SEE, 100.2),
    ]


def test_a_file_that_clears_is_left_alone() -> None:
    clearing = [
        np.concatenate([a_day(), event(CLEAR, 3000), levels(3000, {99.0: 1}, {99.1: 1})]),
        np.concatenate(
            [
                a_day(),
                event(CLEAR | BUY, 3000, 99.0),
                levels(3000, {99.0: 1}, {}),
                event(CLEAR | SELL, 3000, 99.1),
                levels(3000, {}, {99.1: 1}),
            ]
        ),
    ]
    for events in clearing:
        notes: list[str] = []
        assert np.concatenate(list(with_clears(iter([events]), notes, "x"))).tobytes() == events.tobytes()
        assert notes == []
    events = clearing[1].copy()
    events["px"][events["ev"] & np.uint64(KIND_MASK | SELL) == CLEAR | SELL] = 0.0  # up to 0: voids no ask
    assert len(np.concatenate(list(with_clears(iter([events]), [], "x")))) == len(events) + 1


@st.composite
def feeds(draw: st.DrawFn) -> NDArray[np.void]:
    """Snapshots, some cleared, and updates; some seen at one place only."""
    parts = []
    for i in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["snapshot", "cleared", "update"]))
        bids, asks = (
            {base + sign * step / 10: 1.0 for step in draw(st.sets(st.integers(0, 5), max_size=4))}
            for base, sign in ((100.0, -1), (100.1, 1))
        )
        part = [event(CLEAR, i)] if kind == "cleared" else []
        if bids or asks:
            part.append(levels(i, bids, asks, DEPTH if kind == "update" else DEPTH_SNAPSHOT))
        parts += part
    events = np.concatenate(parts) if parts else np.zeros(0, EVENT)
    seen = draw(
        st.lists(st.sampled_from([EXCH_EVENT, LOCAL_EVENT, BOTH_SEE]), min_size=len(events), max_size=len(events))
    )
    events["ev"] = events["ev"] & ~np.uint64(BOTH_SEE) | np.array(seen, np.uint64)
    if draw(st.booleans()):
        events["ival"] = np.where(np.append(np.diff(events["exch_ts"]) != 0, True), LAST, 0)
    return events


def naive(events: NDArray[np.void], place: int) -> list[tuple[int, int, float, float]]:
    """What one place is to see: (kind, side, price, quantity), with a CLEAR before each first level that lacks it."""
    told: list[tuple[int, int, float, float]] = []
    seen = [e for e in events if int(e["ev"]) & place]
    begun = updated = False
    while seen:
        block = [seen.pop(0)]
        kinds = (CLEAR, DEPTH_SNAPSHOT)
        while (
            seen
            and int(block[-1]["ev"]) & KIND_MASK in kinds
            and int(seen[0]["ev"]) & KIND_MASK in kinds
            and seen[0]["exch_ts"] == block[-1]["exch_ts"]
            and not block[-1]["ival"] & LAST
        ):
            block.append(seen.pop(0))
        cleared: set[int] = set()
        for e in block:
            kind, side = int(e["ev"]) & KIND_MASK, int(e["ev"]) & (BUY | SELL)
            if kind == CLEAR:
                cleared |= {BUY, SELL} if side == 0 else {side}
            elif kind == DEPTH_SNAPSHOT and side not in cleared:
                cleared.add(side)
                prices = [float(o["px"]) for o in block if int(o["ev"]) & (side | KIND_MASK) == side | DEPTH_SNAPSHOT]
                if begun:
                    told.append((CLEAR, side, (min if side == BUY else max)(prices) if updated else np.nan, 0.0))
            updated = updated or kind == DEPTH
            told.append((kind, side, float(e["px"]), float(e["qty"])))
        begun = True
    return told


@settings(max_examples=examples(300), deadline=None)
@given(feeds(), st.integers(1, 9))
def test_equal_to_a_naive_definition_whatever_the_chunks(events: NDArray[np.void], size: int) -> None:
    chunks = [events[i : i + size].copy() for i in range(0, len(events), size)]
    out = list(with_clears(iter(chunks), [], "x"))
    assert all(len(chunk) for chunk in out)
    found = np.concatenate([np.zeros(0, EVENT), *out])
    for place in (EXCH_EVENT, LOCAL_EVENT):
        seen = found[found["ev"] & np.uint64(place) != 0]
        told = [(int(e["ev"]) & KIND_MASK, int(e["ev"]) & (BUY | SELL), float(e["px"]), float(e["qty"])) for e in seen]
        np.testing.assert_equal(told, naive(events, place))
        assert (np.diff(seen["exch_ts"]) >= 0).all()


def test_a_snapshot_without_an_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hftbacktest, "CHUNK", 1 << 10)
    monkeypatch.setattr("nanoarb_jax.readers.hftbacktest.snapshots._MOST_KEPT", 5000)
    events = np.tile(levels(0, {100.0: 1}, {100.1: 1}), 5000)
    with pytest.raises(DataError, match="a snapshot of more than 5,000 events"):
        read(saved(tmp_path / "day.npz", events))


def test_a_day_and_the_book_of_its_start(tmp_path: Path) -> None:
    """`create_last_snapshot` of hftbacktest writes no times."""
    events = a_day()
    start = events[1:5].copy()
    start["exch_ts"] = start["local_ts"] = 0
    day, book = saved(tmp_path / "day.npz", events[5:]), saved(tmp_path / "start.npz", start)
    found = read_events(day, tick_size=0.1, lot_size=0.001, snapshot=book)
    alone = read_events(saved(tmp_path / "whole.npz", events), tick_size=0.1, lot_size=0.001)
    books = [OrderBook(0.1, 0.001), OrderBook(0.1, 0.001)]
    for one, its in zip(books, (found, alone), strict=True):
        one.apply_all(its)
    assert books[0].depth == books[1].depth and books[0].best_bid == books[1].best_bid
    assert (found["local_ts"] >= T0).all()
