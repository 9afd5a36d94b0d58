"""Snapshots replace the book: where a file does not void the levels before a snapshot, this is done here.

hftbacktest's own rule is that a CLEAR of a side, up to the snapshot's worst price, stands before a side's levels of the
kind DEPTH_SNAPSHOT; its converters for Binance, Bybit and Tardis write it, that for MEXC and fused Bybit feeds do not.
A block is a run of such levels and CLEARs with the same times. A side that has levels in it and no effective CLEAR
before them gets one: of the whole side as long as the file has had snapshots only; behind the first update of a single
level, up to the block's worst price, since the levels beyond may be kept by updates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import (
    BBO,
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

NOTE = "snapshots without a CLEAR replace their side"
_MOST_KEPT = 1 << 20  # events of a block that is not over at the end of a chunk
_PLACES = (EXCH_EVENT, LOCAL_EVENT)


@dataclass
class _Place:
    """The exchange or the receiver: the events that are valid there are a feed of their own.

    Args:
        flag: of its events.
        begun: whether any were seen; the first snapshot has nothing to replace.
        updated: whether any of them was the update of a single level.
    """

    flag: int
    begun: bool = False
    updated: bool = False

    def look_at(self, codes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Take note of events that were seen here, by their `ev`; returns which of them are updates."""
        kinds = codes & np.uint64(KIND_MASK)
        updates = np.flatnonzero((kinds == DEPTH) | (kinds == BBO))
        self.begun = self.begun or len(codes) > 0
        self.updated = self.updated or len(updates) > 0
        return updates


def with_clears(chunks: Iterator[NDArray[np.void]], notes: list[str], what: str) -> Iterator[NDArray[np.void]]:
    """The chunks with a CLEAR before each side's levels in a snapshot that has none.

    Args:
        chunks: (n,) arrays of EVENT in the order of the feed.
        notes: gets NOTE where one was missing.
        what: the file, for the error.

    Raises:
        DataError: a snapshot that does not end.
    """
    places = [_Place(flag) for flag in _PLACES]
    kept: NDArray[np.void] = np.zeros(0, EVENT)
    for chunk in chunks:
        events = np.concatenate([kept, chunk]) if len(kept) else chunk
        any_snapshot = bool(_in_snapshot(events).any())
        whole = _whole_blocks(events) if any_snapshot else len(events)
        if len(events) - whole > _MOST_KEPT:
            raise DataError(f"{what}: a snapshot of more than {_MOST_KEPT:,} events with one time; check its times")
        kept = events[whole:].copy()
        if whole:
            yield _cleared(events[:whole], any_snapshot, places, notes)
    if len(kept):
        yield _cleared(kept, True, places, notes)


def _whole_blocks(events: NDArray[np.void]) -> int:
    """How many of the events, from the first on, are blocks that are over, wherever they are valid."""
    whole, before = len(events), -1
    ranges = [_snapshot_ranges(events, flag) for flag in _PLACES]
    while whole != before:  # a block of one place may lie across the end of the other's
        before = whole
        for starts, ends in ranges:
            across = starts[(starts < whole) & (ends >= whole)]
            whole = int(across[0]) if len(across) else whole
    return whole


def _snapshot_ranges(events: NDArray[np.void], place: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last row of each snapshot that one place sees; the last one may go on behind the events."""
    rows = _seen(events, place)
    firsts = np.flatnonzero(_block_starts(events[rows]))
    lasts = np.append(firsts[1:], len(rows)) - 1
    inside = _in_snapshot(events[rows[firsts]])
    starts, ends = rows[firsts[inside]], rows[lasts[inside]]
    if len(rows) and inside[-1]:
        ends[-1] = len(events)
    return starts, ends


def _seen(events: NDArray[np.void], place: int) -> NDArray[np.int64]:
    """The rows of events that are valid at one place, the exchange or the receiver."""
    flags = events["ev"] & np.uint64(BOTH_SEE)
    return np.flatnonzero((flags == 0) | (flags & np.uint64(place) != 0))


def _in_snapshot(events: NDArray[np.void]) -> NDArray[np.bool_]:
    kinds = events["ev"] & np.uint64(KIND_MASK)
    return (kinds == DEPTH_SNAPSHOT) | (kinds == CLEAR)


def _block_starts(events: NDArray[np.void]) -> NDArray[np.bool_]:
    """(n,) where a new block begins, of events that one place sees; other events are blocks of one."""
    starts = np.ones(len(events), bool)
    inside = _in_snapshot(events)
    same = (events["exch_ts"][1:] == events["exch_ts"][:-1]) & (events["local_ts"][1:] == events["local_ts"][:-1])
    starts[1:] = ~(inside[1:] & inside[:-1] & same & (events["ival"][:-1] & LAST == 0))
    return starts


def _cleared(
    events: NDArray[np.void], any_snapshot: bool, places: Sequence[_Place], notes: list[str]
) -> NDArray[np.void]:
    """The events with the missing CLEARs."""
    if not any_snapshot:
        for place in places:
            if not (place.begun and place.updated):
                place.look_at(events["ev"][_seen(events, place.flag)])
        return events
    missing: dict[tuple[int, int, float], int] = {}  # the places that lack a CLEAR, by its row, side and price
    for place in places:
        rows = _seen(events, place.flag)
        for row, side, px in _missing(events[rows], place):
            at = (int(rows[row]), side, px)
            missing[at] = missing.get(at, 0) | place.flag
    if not missing:
        return events
    if NOTE not in notes:
        notes.append(NOTE)
    wanted = sorted(missing, key=lambda at: at[:2])
    before = [row for row, _, _ in wanted]
    clears = events[before]  # a copy: times and record flags are those of the levels
    for i, (row, side, px) in enumerate(wanted):
        clears[i]["ev"] = CLEAR | side | missing[row, side, px] & int(events["ev"][row])
        clears[i]["px"] = px
    clears["qty"], clears["order_id"] = 0, 0
    clears["ival"] &= ~LAST
    return np.insert(events, before, clears)


def _missing(events: NDArray[np.void], place: _Place) -> list[tuple[int, int, float]]:
    """Row, side and price of each CLEAR that is missing, of events that one place sees; brings `place` up to date."""
    begun, updated = place.begun, place.updated
    updates = place.look_at(events["ev"])
    kinds, sides = events["ev"] & np.uint64(KIND_MASK), events["ev"] & np.uint64(BUY | SELL)
    first_update = -1 if updated else updates[0] if len(updates) else len(events)
    block = np.cumsum(_block_starts(events)) - 1
    missing = []
    for side, worst_of in ((BUY, np.minimum), (SELL, np.maximum)):
        levels = np.flatnonzero((kinds == DEPTH_SNAPSHOT) & (sides == side))
        if len(levels) == 0:
            continue
        voids = (kinds == CLEAR) & ((sides == side) | (sides == 0))
        voids &= (sides == 0) | (side == BUY) | ~(events["px"] <= 0)  # a CLEAR of asks up to 0 voids nothing
        cleared = np.full(int(block[-1]) + 1, len(events))
        np.minimum.at(cleared, block[voids], np.flatnonzero(voids))
        firsts = np.flatnonzero(np.diff(block[levels], prepend=-1))
        worst = worst_of.reduceat(events["px"][levels], firsts)
        for row, px in zip(levels[firsts].tolist(), worst.tolist(), strict=True):
            if cleared[block[row]] > row and (begun or block[row] > 0):
                missing.append((row, side, px if row > first_update else np.nan))
    return missing
