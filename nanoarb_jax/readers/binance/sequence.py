"""Binance's rules of sequence: which messages belong to the book, and where updates are missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.event import BUY, CLEAR, LAST, MAYBE_BAD_BOOK, SELL, SNAPSHOT
from nanoarb_jax.readers.binance import scan

REASONS = (
    "other stream",
    "best-price ticker",
    "not a market trade",
    "diff before the first snapshot's update",
    "diff applied already",
    "snapshot older than the book",
    "trade told already",
    "before the first snapshot",
    "another symbol",
    "truncated last line",
    "outage mended by a snapshot",
    "missing trades",
)
OTHER, TICKER, OFF_BOOK, STALE, REPEATED, OLD_BOOK, REPEATED_TRADE, EARLY, ALIEN, CUT, OUTAGE, LOST_TRADES = range(
    len(REASONS)
)
# what the sequence has come to: last update id, last trade id, fresh snapshot, the symbol wanted, a hole not told yet,
# met: a snapshot that does not say its symbol, messages of other symbols; the last update missing since a hole, or -1;
# the last update before a snapshot that is newer, or -1
ID, TRADE_ID, FRESH, SYMBOL, HOLE, UNSAID, OTHERS, MISSING, BEFORE = range(9)


def beginning(symbol: str | None) -> NDArray[np.int64]:
    """The state before the first message; of `symbol` alone, if one is given."""
    state = np.array([-1, -1, 0, 0, 0, 0, 0, -1, -1], np.int64)
    if symbol:
        letters = np.frombuffer(symbol.encode(), np.uint8)
        state[SYMBOL] = scan.symbol_hash(letters, 0, len(letters))
    return state


@compiled
def follow(messages, events, state, counts, tickers, out):  # type: ignore[no-untyped-def]
    """Copy the events of the messages that belong to the book or are trades; returns how many."""
    filled = 0
    for i in range(len(messages)):
        message = messages[i]
        flags, first = LAST, filled
        if state[SYMBOL] != 0 and message.symbol != 0 and message.symbol != state[SYMBOL]:
            counts[ALIEN] += 1
            continue
        if message.kind == scan.DIFF:
            if state[BEFORE] >= 0:
                # a snapshot may take the place of updates in flight; the next diff tells whether it did
                counts[OUTAGE] += message.last_id > state[BEFORE] and not _follows(message, state[BEFORE])
                state[BEFORE] = -1
            if message.last_id < state[ID] or (message.last_id == state[ID] and not state[FRESH]):
                counts[STALE if state[FRESH] else REPEATED] += 1
                continue
            if _behind_a_hole(message, state):
                state[HOLE], state[MISSING] = 1, message.first_id - 1
            state[ID], state[FRESH] = message.last_id, 0
        elif message.kind == scan.BOOK:
            if message.last_id < state[ID]:
                counts[OLD_BOOK] += 1
                continue
            if message.last_id > state[ID] >= 0 and state[MISSING] < 0:
                state[BEFORE] = state[ID]
            state[ID], state[FRESH], state[HOLE], state[MISSING] = message.last_id, 1, 0, -1
            flags = LAST | SNAPSHOT
            for side in (BUY, SELL):
                event = out[filled]
                event.ev, event.px, event.ival, event.order_id = CLEAR | side, np.nan, SNAPSHOT, message.last_id
                event.local_ts = message.local_ts
                event.exch_ts = message.exch_ts if message.exch_ts > 0 else message.local_ts
                filled += 1
        elif message.kind == scan.DEAL:
            if message.trade_id <= state[TRADE_ID]:
                counts[REPEATED_TRADE] += 1
                continue
            if state[TRADE_ID] >= 0:
                counts[LOST_TRADES] += message.trade_id - state[TRADE_ID] - 1
            state[TRADE_ID] = message.trade_id
        elif message.kind != scan.TICKER or not tickers:
            counts[
                TICKER if message.kind == scan.TICKER else (OFF_BOOK if message.kind == scan.OFF_BOOK else OTHER)
            ] += 1
            continue
        for k in range(message.begin, message.end):
            out[filled] = events[k]
            out[filled].ival = flags & SNAPSHOT
            filled += 1
        if filled > first:  # an empty diff tells nothing
            out[filled - 1].ival = flags
            if state[HOLE]:
                out[first].ival |= MAYBE_BAD_BOOK
                state[HOLE] = 0
    return filled


@compiled
def _follows(message, last_id):  # type: ignore[no-untyped-def]
    """Is this diff the one behind an update? Ids of futures skip: only `pu` tells there."""
    return message.previous_id == last_id if message.previous_id >= 0 else message.first_id == last_id + 1


@compiled
def _behind_a_hole(message, state):  # type: ignore[no-untyped-def]
    """Are updates missing between the last one known and this diff? Ids of futures skip: only `pu` tells there."""
    if message.previous_id >= 0:
        return message.previous_id > state[ID] if state[FRESH] else message.previous_id != state[ID]
    return message.first_id > state[ID] + 1 if state[FRESH] else message.first_id != state[ID] + 1
