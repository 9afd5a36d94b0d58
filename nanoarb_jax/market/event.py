"""Market-data events: one 64-byte record per message part, in hftbacktest's layout, so its data is ours and ours its.

An event's kind is in the low byte of `ev`, its side and validity in the high bits. `ival` carries Databento's record
flags: LAST ends a message, and only there is the book a tick; SNAPSHOT marks a replayed book; MAYBE_BAD_BOOK says that
messages were lost before this one. `order_id` is the order's id (L3) or the feed's update id (L2).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
KINDS = (DEPTH, TRADE, CLEAR, DEPTH_SNAPSHOT, BBO, ADD, CANCEL, MODIFY, FILL)

EXCH_EVENT, LOCAL_EVENT = 1 << 31, 1 << 30  # valid at the exchange; valid at the receiver; neither: valid at both
BOTH_SEE = EXCH_EVENT | LOCAL_EVENT
BUY, SELL = 1 << 29, 1 << 28  # a bid, or a trade whose taker bought; an ask, or a trade whose taker sold
KIND_MASK = 0xFF

LAST, SNAPSHOT, MAYBE_BAD_BOOK = 128, 32, 4


def mark_messages(events: NDArray[np.void]) -> None:
    """Set LAST, in place, where a file has no record flags: events of one message share both times.

    Args:
        events: (n,) EVENT in the order of the feed; left alone if any has a flag already.
    """
    if len(events) and not (events["ival"] & LAST).any():
        ends = np.ones(len(events), bool)
        ends[:-1] = (np.diff(events["exch_ts"]) != 0) | (np.diff(events["local_ts"]) != 0)
        events["ival"] |= np.where(ends, LAST, 0)
