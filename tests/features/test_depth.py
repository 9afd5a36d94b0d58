"""hftbacktest as an oracle: its depth is our book, its converter our reader, and its strategies see our features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

from nanoarb_jax.features.depth import copy_depth, traded_lots
from nanoarb_jax.features.flow import flow, flow_memory, flow_row
from nanoarb_jax.features.lob44 import FeatureScale
from nanoarb_jax.market import event as ev
from nanoarb_jax.market.book.apply import apply_event
from nanoarb_jax.market.book.ladder import copy_top
from nanoarb_jax.market.book.state import APPLIED, empty_state
from nanoarb_jax.market.clocks.clock import TickClock
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.event import EVENT, EXCH_EVENT, LAST, LOCAL_EVENT
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS
from nanoarb_jax.readers.binance.feed import open_binance
from support.examples import examples
from support.series import joined
from support.strategies import APART, LOT, REACH, REAL, SCALE, TICK, backtest, one_by_one, synthetic_events

hft = pytest.importorskip("hftbacktest", reason="needs the package hftbacktest")
pytestmark = pytest.mark.filterwarnings("default")  # what it warns of when it is compiled is not ours to judge


@njit
def compare(hbt, state, events, ours, counts):  # type: ignore[no-untyped-def]
    """Step through; counts: events, other quantities at our top, other best prices, crossed books, of these the ones
    where hftbacktest does not keep one side's best price and hide the other's, and those at the end of a message.
    """
    hbt.elapse(0)  # only now does its time begin, at the first event
    was_crossed = False  # in this message: what it hid then stays hidden until the message removes it
    for i in range(len(events)):
        if hbt.elapse(APART * (i + 1) + APART // 2 - hbt.current_timestamp) != 0:
            return False
        if apply_event(state, events[i]) != APPLIED:
            return False
        depth = hbt.depth(0)
        copy_top(state.levels, 0, ours[0], ours[1], EMPTY_PRICE)
        copy_top(state.levels, 1, ours[2], ours[3], EMPTY_PRICE)
        counts[0] += 1
        for k in range(ours.shape[1]):
            bid = np.int64(np.rint(depth.bid_qty_at_tick(ours[0, k]) / LOT)) if ours[1, k] else 0
            ask = np.int64(np.rint(depth.ask_qty_at_tick(ours[2, k]) / LOT)) if ours[3, k] else 0
            counts[1] += bid != ours[1, k] or ask != ours[3, k]
        if ours[1, 0] == 0 or ours[3, 0] == 0:
            continue
        if i > 0 and events[i - 1].ival & LAST:
            was_crossed = False
        if ours[0, 0] < ours[2, 0]:
            if was_crossed and not events[i].ival & LAST:
                continue
            counts[2] += depth.best_bid_tick != ours[0, 0] or depth.best_ask_tick != ours[2, 0]
            continue
        # crossed, in the middle of a message: hftbacktest hides the side that was not told last
        counts[3] += 1
        was_crossed = True
        if events[i].ival & LAST:
            counts[5] += 1
        if depth.best_bid_tick >= depth.best_ask_tick:
            counts[4] += 1
        if depth.best_bid_tick != ours[0, 0] and depth.best_ask_tick != ours[2, 0]:
            counts[4] += 1
    return True


@njit
def features_inside(hbt, ends, reach, scale, memory, top, before, out):  # type: ignore[no-untyped-def]
    """A strategy that wakes at the end of every message and makes the features of every tick; returns how many."""
    ticks, bought, sold = 0, 0, 0
    hbt.elapse(0)  # only now does its time begin, at the first event
    for end in ends:
        if hbt.elapse(end + APART // 2 - hbt.current_timestamp) != 0:
            break
        lots = traded_lots(hbt.last_trades(0), LOT)
        bought, sold = bought + lots[0], sold + lots[1]
        hbt.clear_last_trades(0)
        if not copy_depth(hbt.depth(0), LOT, reach, top) or (top == before).all():
            continue
        before[:] = top
        now = hbt.current_timestamp - APART // 2
        flow_row(now, top[0], top[1], top[2], top[3], bought, sold, scale, memory, out[ticks])
        ticks, bought, sold = ticks + 1, 0, 0
    return ticks


def compared(events: NDArray, tick_size: float) -> list[int]:
    state, counts = empty_state(tick_size, LOT, levels=20_000), np.zeros(6, np.int64)
    stepped = one_by_one(events)  # it must stay alive: hftbacktest keeps no reference
    hbt = backtest(stepped, tick_size)
    assert compare(hbt, state, events, np.zeros((4, LEVELS), np.int64), counts)
    hbt.close()
    return counts.tolist()


def features_both_ways(events: NDArray, tick_size: float) -> tuple[NDArray, NDArray]:
    """(strategy, offline) features of all ticks."""
    events = one_by_one(events)
    books = joined(list(tick_chunks([events], empty_state(tick_size, LOT, levels=20_000), TickClock(), "x")))
    assert books is not None
    ends = events["local_ts"][(events["ival"] & LAST) > 0]
    out, top, before = np.empty((len(ends), 101), np.float32), *np.zeros((2, 4, LEVELS), np.int64)
    hbt = backtest(events, tick_size)
    ticks = features_inside(hbt, ends, REACH, FeatureScale.of(books, SCALE), flow_memory(), top, before, out)
    hbt.close()
    return out[:ticks], flow(books, SCALE)


def test_the_layout_is_the_same() -> None:
    assert hft.types.event_dtype == EVENT
    for name in ("DEPTH", "TRADE", "BUY", "SELL", "FILL"):
        assert getattr(hft.types, f"{name}_EVENT") == getattr(ev, name)
    for theirs, our in (("CLEAR", "CLEAR"), ("SNAPSHOT", "DEPTH_SNAPSHOT"), ("BBO", "BBO")):
        assert getattr(hft.types, f"DEPTH_{theirs}_EVENT") == getattr(ev, our)
    for name in ("ADD", "CANCEL", "MODIFY"):
        assert getattr(hft.types, f"{name}_ORDER_EVENT") == getattr(ev, name)
    assert (hft.types.EXCH_EVENT, hft.types.LOCAL_EVENT) == (EXCH_EVENT, LOCAL_EVENT)


@settings(deadline=None, database=None, max_examples=examples(5))
@given(st.integers(0, 2**32 - 1))
def test_synthetic_books_equal_its_depth(seed: int) -> None:
    events = synthetic_events(seed)
    count, quantities, prices, crossed, relation, at_end = compared(events, TICK)
    assert (count, quantities, prices, relation, at_end) == (len(events), 0, 0, 0, 0) and crossed > 100


@settings(deadline=None, database=None, max_examples=examples(5))
@given(st.integers(0, 2**32 - 1))
def test_synthetic_features_equal_those_of_a_strategy(seed: int) -> None:
    inside, offline = features_both_ways(synthetic_events(seed), TICK)
    assert len(offline) > 300
    np.testing.assert_array_equal(inside, offline)


@pytest.fixture(scope="module")
def usdm(shared: Path) -> tuple[NDArray, float]:
    """Events of the shortest real feed, and its tick size."""
    feed = open_binance([shared / REAL])
    return np.concatenate(list(feed.chunks)), feed.tick_size


FEEDS = {  # days: events, of these met while the book is crossed in the middle of a message
    ("btcusdt_20240718",): (78_489, 197),
    ("btcusdt_20240808",): (466_572, 4_248),
    ("ethusdt_20240808",): (444_488, 4_701),
    ("ethusdt_20240718", "ethusdt_20240719"): (370_600, 2_236),
}


@pytest.mark.parametrize("days", FEEDS, ids=" ".join)
def test_real_books_equal_its_depth(shared: Path, days: tuple[str, ...]) -> None:
    feed = open_binance([shared / REAL.with_name(f"{day}.gz") for day in days])
    events = np.concatenate(list(feed.chunks))
    count, quantities, prices, crossed, relation, at_end = compared(events, feed.tick_size)
    assert (count, crossed) == FEEDS[days] and count == len(events)
    assert (quantities, prices, relation, at_end) == (0, 0, 0, 0)


def test_real_features_equal_those_of_a_strategy(usdm: tuple[NDArray, float]) -> None:
    inside, offline = features_both_ways(*usdm)
    assert len(offline) > 1900
    np.testing.assert_array_equal(inside, offline)


def test_the_reader_gives_the_events_of_its_converter(
    shared: Path, usdm: tuple[NDArray, float], capsys: pytest.CaptureFixture[str]
) -> None:
    from hftbacktest.data.utils import binancefutures

    theirs = binancefutures.convert(str(shared / REAL), buffer_size=200_000)
    capsys.readouterr()  # it tells its progress
    theirs = theirs[theirs["ev"] & LOCAL_EVENT > 0]
    theirs["ev"] &= ~np.uint64(LOCAL_EVENT | EXCH_EVENT)
    ours = usdm[0]
    snapshot = (ours["ival"] & ev.SNAPSHOT) > 0
    told_later = ~snapshot & (ours["local_ts"] > ours["local_ts"][0])
    early = ours[~snapshot & ~told_later]  # diffs that arrived before the snapshot and are newer
    ours, first = ours[told_later], int(np.argmax((theirs["ev"] & 255) == ev.DEPTH_SNAPSHOT)) - 1
    before = theirs[:first]
    before = before[(before["ev"] & 255) == ev.DEPTH]
    theirs = theirs[-len(ours) :]
    # the converter moves all local times by the same, so that no latency is negative
    assert len(np.unique(theirs["local_ts"] - ours["local_ts"])) == 1 and len(early) > 50
    assert not np.isin(theirs["ev"] & 255, (ev.CLEAR, ev.DEPTH_SNAPSHOT)).any()
    for field in ("ev", "exch_ts", "px", "qty"):
        np.testing.assert_array_equal(ours[field], theirs[field], field)
        np.testing.assert_array_equal(early[field], before[-len(early) :][field], field)
