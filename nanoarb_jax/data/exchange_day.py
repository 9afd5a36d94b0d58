"""Events of a feed in the form that hftbacktest runs on: in the order of both clocks, the first book apart.

Prices of CLEARs are made explicit, since hftbacktest voids a side only up to a price. Behind lost messages the book is
empty until its next snapshot, as in ours, since hftbacktest knows no gaps. Everything is held in memory.
"""

from __future__ import annotations

import io
from collections import Counter
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line
from nanoarb_jax.market.event import (
    BBO,
    BOTH_SEE,
    BUY,
    CLEAR,
    DEPTH,
    DEPTH_SNAPSHOT,
    KIND_MASK,
    LAST,
    MAYBE_BAD_BOOK,
    SELL,
    SNAPSHOT,
    TRADE,
)
from nanoarb_jax.readers.converted.event_order import order_events

_UNKNOWN_BOOK = "behind lost messages, until the next snapshot"


class ExchangeDay(NamedTuple):
    """Events for hftbacktest.

    Attributes:
        events: (n,) EVENT, for `BacktestAsset.data`; an event that the two clocks order differently is there twice.
        snapshot: (levels,) EVENT, for `BacktestAsset.initial_snapshot`; empty: the feed does not begin with one.
        local_shift_ns: how much later local times are than in the feed, whose clock was behind the exchange's.
        dropped: events left out, by reason.
        notes: what was assumed or changed, for the user to read.
    """

    events: NDArray[np.void]
    snapshot: NDArray[np.void]
    local_shift_ns: int
    dropped: Counter[str]
    notes: list[str]


def exchange_day(events: NDArray[np.void], what: str) -> ExchangeDay:
    """Put a feed's events in the form that hftbacktest runs on.

    Args:
        events: (n,) EVENT, in the order in which they were received.
        what: the data, for errors, such as "data FILE".

    Raises:
        DataError: hftbacktest is not installed, no events behind the snapshot, or events that cannot be put in order.
    """
    library = _library(what)
    notes: list[str] = []
    dropped: Counter[str] = Counter()
    snapshot, day = _split_snapshot(events)
    if len(snapshot) == 0:
        notes.append("the feed does not begin with a snapshot of levels, so that no book is beside it")
    if len(day) == 0:
        raise DataError(f"{what}: no events behind the snapshot; expected some to convert")
    day = _with_explicit_clears(_without_unknown_books(day, dropped), snapshot)
    day, shift_ns = _in_both_orders(day, library, notes, what)
    for name in ("exch_ts", "local_ts"):  # trades may come before it
        snapshot[name] = np.minimum(snapshot[name], day[name].min())
    return ExchangeDay(day, snapshot, shift_ns, dropped, notes)


def _library(what: str) -> Any:
    try:
        import hftbacktest.data
    except ImportError as error:
        raise DataError(
            f"{what}: its events are put in order by hftbacktest; pip install 'nanoarb-jax[backtest]'"
        ) from error
    return hftbacktest.data


def _kinds(events: NDArray[np.void]) -> NDArray[np.uint64]:
    return events["ev"] & np.uint64(KIND_MASK)


def _sides(events: NDArray[np.void]) -> NDArray[np.uint64]:
    return events["ev"] & np.uint64(BUY | SELL)


def _split_snapshot(events: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """The levels of the book that the feed begins with, best first, and the other events; none where it has no such."""
    kinds = _kinds(events)
    of_book = np.flatnonzero(kinds != TRADE)
    if len(of_book) == 0:
        return events[:0], events
    ends = np.flatnonzero(events["ival"] & LAST)
    start = int(np.append(ends[ends < of_book[0]], -1).max()) + 1
    stop = int(np.append(ends[ends >= of_book[0]], len(events) - 1).min()) + 1
    message = events[start:stop]
    seen_by_both = np.isin(message["ev"] & np.uint64(BOTH_SEE), (0, BOTH_SEE)).all()
    levels = message[_kinds(message) == DEPTH_SNAPSHOT]
    if not (seen_by_both and np.isin(_kinds(message), (CLEAR, DEPTH_SNAPSHOT)).all() and len(levels)):
        return levels[:0], events
    return _best_first(levels), np.concatenate([events[:start], events[stop:]])


def _best_first(levels: NDArray[np.void]) -> NDArray[np.void]:
    """Bids, then asks, each price once, with its last quantity."""
    levels = levels.copy()
    levels["ev"] |= np.uint64(BOTH_SEE)
    levels["ival"] = SNAPSHOT
    sides = []
    for side, sign in ((BUY, -1), (SELL, 1)):
        ours = levels[_sides(levels) == side][::-1]
        _, at = np.unique(sign * ours["px"], return_index=True)
        sides.append(ours[at])
    sorted_levels = np.concatenate(sides)
    sorted_levels["ival"][-1] |= LAST
    return sorted_levels[sorted_levels["qty"] > 0]


def _without_unknown_books(events: NDArray[np.void], dropped: Counter[str]) -> NDArray[np.void]:
    """Empty books where messages were lost; what changes them before the next snapshot is left out and counted."""
    gaps = np.flatnonzero(events["ival"] & MAYBE_BAD_BOOK)
    if len(gaps) == 0:
        return events
    kinds, sides = _kinds(events), _sides(events)
    whole = np.flatnonzero((kinds == DEPTH_SNAPSHOT) | ((kinds == CLEAR) & (sides == 0)))
    # a snapshot may begin with CLEARs of the sides
    kept = np.ones(len(events), bool)
    voids, free = [], 0
    for gap in gaps.tolist():
        if gap < free:
            continue
        later = whole[whole >= gap]
        free = int(later[0]) if len(later) else len(events)
        while free > gap and kinds[free - 1] == CLEAR:
            free -= 1
        unknown = np.arange(gap, free)[kinds[gap:free] != TRADE]
        kept[unknown] = False
        dropped[_UNKNOWN_BOOK] += len(unknown)
        voids.append(gap)
    clears = events[voids]
    clears["ev"] = clears["ev"] & np.uint64(BOTH_SEE) | np.uint64(CLEAR)
    clears["px"], clears["qty"], clears["order_id"], clears["ival"] = 0, 0, 0, LAST
    shift = np.cumsum(kept) - kept  # where each event lies among those that are kept
    events["ival"] &= ~MAYBE_BAD_BOOK
    return np.insert(events[kept], shift[voids], clears)


def _with_explicit_clears(day: NDArray[np.void], snapshot: NDArray[np.void]) -> NDArray[np.void]:
    """CLEARs of whole sides as hftbacktest reads them: of both sides in one, or up to the side's worst price so far."""
    kinds, sides = _kinds(day), _sides(day)
    bare = (kinds == CLEAR) & (sides != 0) & ~np.isfinite(day["px"])
    if not bare.any():
        return day
    day = day.copy()
    kept = np.ones(len(day), bool)
    pairs = np.flatnonzero(bare[:-1] & bare[1:] & (sides[:-1] != sides[1:]))
    pairs = pairs[np.diff(pairs, prepend=-2) > 1]
    day["ev"][pairs] &= ~np.uint64(BUY | SELL)
    day["px"][pairs] = 0
    day["ival"][pairs] |= day["ival"][pairs + 1]
    kept[pairs + 1] = bare[pairs] = bare[pairs + 1] = False
    level = np.isin(kinds, (DEPTH, DEPTH_SNAPSHOT, BBO)) & np.isfinite(day["px"])
    for side, worst_of in ((BUY, np.min), (SELL, np.max)):
        start, before = 0, snapshot["px"][_sides(snapshot) == side]
        for row in np.flatnonzero(bare & (sides == side)).tolist():
            told = np.concatenate([before, day["px"][start:row][(level & (sides == side))[start:row]]])
            if len(told):
                day["px"][row] = worst_of(told)
            else:
                kept[row] = bool(day["ival"][row] & LAST)
                day["px"][row] = 0
            start, before = row, before[:0]
    return day[kept]


def _in_both_orders(day: NDArray[np.void], library: Any, notes: list[str], what: str) -> tuple[NDArray[np.void], int]:
    """The events in the order of both clocks, by `order_events` and not by hftbacktest's own, which may crash; and how
    much later their local times are than before."""
    shift_ns = 0
    flags = day["ev"] & np.uint64(BOTH_SEE)
    day = day.copy()
    try:
        with redirect_stdout(io.StringIO()):
            if np.isin(flags, (0, BOTH_SEE)).all():
                late = int((day["exch_ts"] - day["local_ts"]).max(initial=0))
                if late > 0:
                    notes.append(f"local times are {late:,} ns later, where one lay before the exchange's")
                    first = int(day["local_ts"][0])
                    day = library.correct_local_timestamp(day, 0)
                    shift_ns = int(day["local_ts"][0]) - first
                day["ev"] &= ~np.uint64(BOTH_SEE)
                orders = [np.argsort(day[name], kind="stable") for name in ("exch_ts", "local_ts")]
                day = order_events(day, *orders)
            library.validate_event_order(day)
    except (ValueError, AssertionError) as error:
        raise DataError(
            f"{what}: the events cannot be put in the order of both clocks ({first_line(error)})"
        ) from error
    return day, shift_ns
