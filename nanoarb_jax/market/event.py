"""Market-data events: one 64-byte record per message part, in the layout of hftbacktest.

Files can therefore be exchanged with hftbacktest unchanged.

An event's kind is in the low byte of `ev`, its side and validity in the high bits. `ival` carries Databento's record
flags: LAST ends a message, and only there is the book a tick; SNAPSHOT marks a replayed book; MAYBE_BAD_BOOK says that
messages were lost before this one. `order_id` is the order's id (L3) or the feed's update id (L2).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError

EVENT = np.dtype(
    [
        ("ev", "u8"),
        ("exch_ts", "i8"),  # ns since 1970 UTC
        ("local_ts", "i8"),  # ns since 1970 UTC, when it was received
        ("px", "f8"),  # price
        ("qty", "f8"),  # quantity
        ("order_id", "u8"),
        ("ival", "i8"),  # record flags
        ("fval", "f8"),
    ],
    align=True,
)

# kinds; the numbers are hftbacktest's
DEPTH = 1  # a level's quantity is now qty; 0 deletes it
TRADE = 2  # side: who took
CLEAR = 3  # a side's levels are void up to and including px; without a side everything is
DEPTH_SNAPSHOT = 4  # a level of a replayed book
BBO = 5  # the best level of a side is now px, qty
ADD, CANCEL, MODIFY, FILL = 10, 11, 12, 13  # of one order; a fill changes no book, the cancel after it does

EXCH_EVENT, LOCAL_EVENT = 1 << 31, 1 << 30  # valid at the exchange; valid at the receiver; neither: valid at both
BOTH_SEE = EXCH_EVENT | LOCAL_EVENT
BUY, SELL = 1 << 29, 1 << 28  # a bid, or a trade whose taker bought; an ask, or a trade whose taker sold
KIND_MASK = 0xFF

LAST, SNAPSHOT, MAYBE_BAD_BOOK = 128, 32, 4


def mark_messages(events: NDArray[np.void]) -> NDArray[np.void]:
    """Events with the ends of messages marked: the flag LAST in `ival`, which says where the book may be a tick.

    Args:
        events: (n,) EVENT in the order of the feed, such as hftbacktest's converters make. The events of one message
            share both times.

    Returns:
        a copy; with the flags as they are, if one of them is LAST.

    Raises:
        DataError: not a one-dimensional array of EVENT.

    >>> events = np.zeros(3, nj.EVENT)
    >>> events["local_ts"] = [7, 7, 8]
    >>> nj.mark_messages(events)["ival"].tolist()
    [0, 128, 128]
    """
    if not isinstance(events, np.ndarray) or events.dtype != EVENT or events.ndim != 1:
        raise DataError("mark_messages: expected a one-dimensional array of nanoarb_jax.EVENT")
    marked = events.copy()
    if len(marked):
        for _ in mark_chunks(iter([marked])):
            pass
    return marked


def mark_chunks(chunks: Iterator[NDArray[np.void]]) -> Iterator[NDArray[np.void]]:
    """Set LAST, in place, where a feed has no record flags: the events of one message share both times.

    Events valid only at the exchange and events valid at the receiver are grouped into messages separately.

    Args:
        chunks: (n,) arrays of EVENT in the order of the feed, none of them empty; all are left alone if the first one
            has a flag LAST.
    """
    events = next(chunks, None)
    flagged = events is not None and bool((events["ival"] & LAST).any())
    while events is not None:
        following = next(chunks, None)
        if not flagged:
            _mark_last(events, following)
        yield events
        events = following


def _mark_last(events: NDArray[np.void], following: NDArray[np.void] | None) -> None:
    """Mark the ends of messages in a chunk; the chunk behind it tells whether its last message goes on."""
    both = events if following is None else np.concatenate([events, following])
    only_exchange = (both["ev"] & LOCAL_EVENT == 0) & (both["ev"] & EXCH_EVENT != 0)
    for rows in (np.flatnonzero(~only_exchange), np.flatnonzero(only_exchange)):
        times = both[["exch_ts", "local_ts"]][rows]
        ends = np.append(times[1:] != times[:-1], True)
        events["ival"][rows[ends & (rows < len(events))]] |= LAST
