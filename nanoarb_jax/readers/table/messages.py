"""Rows of events as messages: where each ends, and a clear before every snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import BUY, EVENT, LAST, SELL, SNAPSHOT
from nanoarb_jax.readers.feed import CHUNK
from nanoarb_jax.readers.sorting import time_order
from nanoarb_jax.readers.table.events import Rows
from nanoarb_jax.readers.table.rounded import check_times
from nanoarb_jax.readers.table.snapshots import spread_snapshots

_MOST_ROWS = 1 << 20  # of one message
_FEWEST_TIMES, _MOST_TIMES = 20, 10  # different times that tell whether flags end messages, and of one message


def sort_rows(parts: Iterable[Rows], notes: list[str]) -> Iterator[Rows]:
    """The rows in order of the times they were received."""
    whole = _joined(list(parts))
    order = time_order(whole.events["local_ts"], notes)
    for start in range(0, len(order), CHUNK):
        at = order[start : start + CHUNK]
        yield Rows(whole.events[at], whole.restated[at])


def mark_messages(parts: Iterator[Rows], has_flags: bool, notes: list[str], what: str) -> Iterator[NDArray[np.void]]:
    """Events with the ends of messages marked, and a clear of the book before the levels of each snapshot.

    A message ends where the flags say so, or, if those of the first million rows do not, where the time received
    changes, but not within a snapshot (see `snapshots.py`); the exchange's time does not matter. The rows of a snapshot
    in one message are one snapshot: it replaces the sides that it tells of, unless a clear of both sides stands before
    it in its message.

    Args:
        parts: in order; none of them is empty.
        has_flags: whether the table has flags.
        notes: what speaks against the times is added, once the first chunk is read.
        what: the file, for the error.

    Raises:
        DataError: a message of more than a million rows, flags that end hardly any message, times that were rounded.
    """
    first: list[Rows] = []
    flagged = False
    while has_flags and not flagged and _rows(first) < _MOST_ROWS and (part := next(parts, None)) is not None:
        flagged = bool((part.events["ival"] & LAST).any())
        first.append(part)
    if flagged:
        _check_flags(first, what)
    elif (part := next(parts, None)) is not None:
        first.append(part)
        check_times(first[0], notes, what)
    for rows in _whole_messages(chain(first, parts), flagged, what):
        ends = rows.events["ival"] & LAST != 0 if flagged else np.append(_time_ends(rows), True)
        rows.events["ival"][ends] |= LAST
        yield _with_clears(rows, ends) if rows.restated.any() else rows.events


def _whole_messages(parts: Iterable[Rows], flagged: bool, what: str) -> Iterator[Rows]:
    """The rows in parts that each end with a message; what is left behind the last end comes last."""
    held: list[Rows] = []
    for part in parts:
        if not flagged and held:
            part, held = _joined([*held, part]), []  # whether a message ends may depend on all of its rows
        ends = np.flatnonzero(part.events["ival"] & LAST if flagged else _time_ends(part))
        if len(ends):
            cut = int(ends[-1]) + 1
            yield _joined([*held, part.part(None, cut)])
            held, part = [], part.part(cut, None)
        if len(part.events):
            held.append(part)
        if _rows(held) > _MOST_ROWS:
            time = held[0].events["local_ts"][0]
            raise DataError(
                f"{what}: more than {_MOST_ROWS:,} rows from time {time} on without the end of a message; expected "
                "times that tell messages apart, or flags that end them (128)"
            )
    if held:
        yield _joined(held)


def _time_ends(rows: Rows) -> NDArray[np.bool_]:
    """(n - 1,) whether a message ends behind each row but the last one, told by times and snapshots."""
    times = rows.events["local_ts"]
    ends: NDArray[np.bool_] = times[1:] != times[:-1]
    return ends & ~spread_snapshots(rows)[:-1] if rows.restated.any() else ends


def _check_flags(parts: list[Rows], what: str) -> None:
    """Refuse flags of which a few end a message by accident."""
    times, flags = (np.concatenate([part.events[field] for part in parts]) for field in ("local_ts", "ival"))
    ended, met = int((flags & LAST != 0).sum()), int((np.diff(times) != 0).sum()) + 1
    if met > _FEWEST_TIMES and met > _MOST_TIMES * ended:
        raise DataError(
            f"{what}: flags end {ended:,} messages (128) in rows of {met:,} times; expected 128 in the last row of "
            "every message, or no column flags"
        )


def _rows(parts: list[Rows]) -> int:
    return sum(len(part.events) for part in parts)


def _joined(parts: list[Rows]) -> Rows:
    none = Rows(np.zeros(0, EVENT), np.zeros(0, bool))
    return Rows(*(np.concatenate(arrays) for arrays in zip(*(parts or [none]), strict=True)))


def _with_clears(rows: Rows, ends: NDArray[np.bool_]) -> NDArray[np.void]:
    """The events with a clear before the snapshot of each message that has one."""
    events, at = rows.events, np.flatnonzero(rows.restated)
    message: NDArray[np.int64] = np.cumsum(ends) - ends  # the number of each row's message
    begins = np.flatnonzero(np.diff(message[at], prepend=-1))
    firsts = at[begins]
    bids, asks = (np.logical_or.reduceat(events["ev"][at] & side != 0, begins) for side in (BUY, SELL))
    clears = np.zeros(len(firsts), EVENT)
    for field in ("exch_ts", "local_ts"):
        clears[field] = events[field][firsts]
    sides = np.where(bids & asks, 0, np.where(bids, BUY, SELL))
    clears["ev"] = event.CLEAR | event.BOTH_SEE | sides
    clears["px"][sides != 0] = np.nan  # a clear to no price is of the whole side
    clears["ival"] = SNAPSHOT
    missing = ~_cleared_before(events, message, firsts)
    return np.insert(events, firsts[missing], clears[missing])


def _cleared_before(
    events: NDArray[np.void], message: NDArray[np.int64], firsts: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """(k,) whether the file itself clears the book in the message of each of these rows, before it."""
    own = (events["ev"] & event.KIND_MASK == event.CLEAR) & (events["ev"] & (BUY | SELL) == 0)
    count = np.cumsum(own)  # of clears up to each row
    starts = np.searchsorted(message, message[firsts])  # the first row of each of the messages
    return count[firsts] - count[starts] + own[starts] > 0
