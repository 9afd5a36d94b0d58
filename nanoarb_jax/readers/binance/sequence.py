"""Binance's rules of sequence: which messages belong to the book, and where updates are missing.

The book comes from diffs where there are any, else from partial books (`@depthN`), each of which is whole. Trades come
from the trade stream where there is one, else from aggregated trades. `feed` says which a capture has, at first by what
its beginning holds; the first trade, or the first diff, that comes later decides anew, for good.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.compiled import compiled, internal
from nanoarb_jax.market.event import BUY, CLEAR, LAST, MAYBE_BAD_BOOK, SELL, SNAPSHOT
from nanoarb_jax.readers.binance import message as of
from nanoarb_jax.readers.binance.tokens import symbol_hash

REASONS = (
    "foreign message",
    "best-price ticker",
    "not a market trade",
    "diff before the first snapshot's update",
    "diff applied already",
    "snapshot older than the book",
    "trade reported already",
    "before the first snapshot",
    "another symbol",
    "truncated last line",
    "outage mended by a snapshot",
    "missing trades",
    "partial book beside diffs (@depthN)",
    "another book (@rpiDepth)",
    "aggregated trade beside trades (aggTrade)",
    "update ids begin anew",
    "snapshot that the diffs do not lead to",
)
(
    FOREIGN, UNUSED_TICKER, NO_MARKET_TRADE, STALE, REPEATED, OLD_BOOK, REPEATED_TRADE, EARLY, ALIEN, CUT, OUTAGE,
    LOST_TRADES, UNUSED_PARTIAL, OTHER_BOOK, UNUSED_AGGREGATE, RESTART, STRANGE_BOOK,
) = range(len(REASONS))  # fmt: skip
_ANEW_NS = 10**9  # a diff with a lower id that is sent so much later is of a new sequence, and no repetition
NONE = -1  # instead of an update id or a trade id

STATE = np.dtype(
    [
        ("last_id", "i8"),  # of the latest update in the book; NONE before the first snapshot
        ("trade_id", "i8"),  # of the latest trade
        ("aggregate_id", "i8"),  # of the latest aggregated trade
        ("diffs", "i8"),  # 1: the book comes from diffs, not from partial books
        ("trades", "i8"),  # 1: there is a trade stream
        ("partial", "i8"),  # 1: the book is a partial one
        ("fresh", "i8"),  # 1: no diff has been applied since the snapshot
        ("hole", "i8"),  # 1: updates are missing, and no event has said so yet
        ("missing_id", "i8"),  # of the latest update that is missing since a hole; NONE: the book is whole
        ("replaced_id", "i8"),  # of the latest update before a newer snapshot, until the next diff; else NONE
        ("exch_ts", "i8"),  # of the latest diff in the book, ns; 0: there was none, or it has no time
        ("futures", "i8"),  # diffs met with `pu`
        ("spot", "i8"),  # diffs met without
        ("symbol", "i8"),  # hash of the symbol wanted; 0: not known yet
        ("other_symbols", "i8"),  # 1: messages of other symbols were met
        ("unnamed_book", "i8"),  # 1: a snapshot that does not say its symbol was met
    ],
    align=True,
)


def initial_state(symbol: str | None) -> NDArray[np.void]:
    """(1,) STATE before the first message; of `symbol` alone, if one is given."""
    state = np.zeros(1, STATE)
    for field in ("last_id", "trade_id", "aggregate_id", "missing_id", "replaced_id"):
        state[field] = NONE
    if symbol:
        letters = np.frombuffer(symbol.encode(), np.uint8)
        state["symbol"] = symbol_hash(letters, 0, len(letters))
    return state


@compiled
def follow(messages, events, states, counts, tickers, out):  # type: ignore[no-untyped-def]
    """Copy the events of the messages that belong to the book or are trades.

    Args:
        messages: (m,) MESSAGE in order.
        events: (e,) EVENT, theirs.
        states: (1,) STATE; changed.
        counts: (len(REASONS),) int64, how many messages were left out, and why; added to.
        tickers: bool, whether to keep best prices.
        out: EVENT, room for all events and for two more a snapshot; filled.

    Returns:
        How many events were copied.
    """
    state = states[0]
    filled = 0
    for i in range(len(messages)):
        message = messages[i]
        if not _take(message, state, counts, tickers):
            continue
        first, flags = filled, LAST
        if message.kind in (of.BOOK, of.PARTIAL):
            flags = LAST | SNAPSHOT
            filled = _clear_both_sides(message, out, filled)
        for k in range(message.begin, message.end):
            out[filled] = events[k]
            out[filled].ival = flags & SNAPSHOT
            filled += 1
        if filled > first:  # an empty diff has no event
            out[filled - 1].ival = flags
            if state.hole:
                out[first].ival |= MAYBE_BAD_BOOK
                state.hole = 0
    return filled


@compiled
def _take(message, state, counts, tickers):  # type: ignore[no-untyped-def]
    """Whether the events of a message are to be copied; the state is then as after it, else it is counted."""
    kind = message.kind
    if kind == of.OTHER:
        counts[FOREIGN] += 1
        return False
    if state.symbol != 0 and message.symbol != 0 and message.symbol != state.symbol:
        counts[ALIEN] += 1
        return False
    if kind == of.DIFF:
        return _take_diff(message, state, counts)
    if kind == of.BOOK or (kind == of.PARTIAL and not state.diffs):
        return _take_book(message, state, counts)
    if kind == of.DEAL:
        return _take_trade(message, state, counts)
    if kind == of.AGGREGATE:
        return _take_aggregate(message, state, counts)
    if kind == of.TICKER:
        counts[UNUSED_TICKER] += not tickers
        return tickers
    if kind == of.OFF_BOOK:
        state.trades = 1
        counts[NO_MARKET_TRADE] += 1
    else:
        counts[UNUSED_PARTIAL if kind == of.PARTIAL else OTHER_BOOK] += 1
    return False


@internal
def _take_diff(message, state, counts):  # type: ignore[no-untyped-def]
    """Whether the book is to be updated by this diff; notes updates that are missing before it."""
    if state.replaced_id >= 0:
        # a snapshot may take the place of updates in flight; the next diff tells whether it did
        counts[OUTAGE] += message.last_id > state.replaced_id and not _follows(message, state.replaced_id)
        state.replaced_id = NONE
    if message.last_id < state.last_id or (message.last_id == state.last_id and not state.fresh):
        if not _begins_anew(message, state):
            counts[STALE if state.fresh else REPEATED] += 1
            return False
        counts[RESTART] += 1
    if _updates_missing_before(message, state):
        state.hole, state.missing_id = 1, message.first_id - 1
    state.last_id, state.fresh, state.exch_ts = message.last_id, 0, message.exch_ts
    return True


@internal
def _begins_anew(message, state):  # type: ignore[no-untyped-def]
    """Is this diff of a new sequence of ids, as after a restart of the exchange? Repetitions were not sent later."""
    later = state.exch_ts > 0 and message.exch_ts > state.exch_ts + _ANEW_NS
    return later and not state.fresh and message.last_id < state.last_id


@internal
def _follows(message, last_id):  # type: ignore[no-untyped-def]
    """Is this diff the next one after update `last_id`? Ids of futures have gaps, so there only `previous_id` tells."""
    return message.previous_id == last_id if message.previous_id >= 0 else message.first_id == last_id + 1


@internal
def _updates_missing_before(message, state):  # type: ignore[no-untyped-def]
    """Are updates missing between the last one known and this diff?

    The first diff after a snapshot may begin with updates that the snapshot holds already.
    """
    if not state.fresh:
        return not _follows(message, state.last_id)
    return message.previous_id > state.last_id if message.previous_id >= 0 else message.first_id > state.last_id + 1


@compiled
def begins_behind_a_hole(messages, states):  # type: ignore[no-untyped-def]
    """Are updates missing between the last one known and the first of these messages, a diff?"""
    message, state = messages[0], states[0]
    return message.last_id > state.last_id and _updates_missing_before(message, state)


@internal
def _take_book(message, state, counts):  # type: ignore[no-untyped-def]
    """Whether the book is to be replaced by this snapshot."""
    if message.last_id < state.last_id:
        counts[OLD_BOOK] += 1
        return False
    if message.last_id > state.last_id >= 0 and state.missing_id < 0:
        state.replaced_id = state.last_id
    state.last_id, state.fresh, state.hole, state.missing_id = message.last_id, 1, 0, NONE
    state.partial = message.kind == of.PARTIAL
    return True


@internal
def _clear_both_sides(message, out, filled):  # type: ignore[no-untyped-def]
    """Add the events that empty the book before a snapshot; returns the new `filled`."""
    for side in (BUY, SELL):
        event = out[filled]
        event.ev, event.px, event.ival, event.order_id = CLEAR | side, np.nan, SNAPSHOT, message.last_id
        event.local_ts = message.local_ts
        event.exch_ts = message.exch_ts if message.exch_ts > 0 else message.local_ts
        filled += 1
    return filled


@internal
def _take_trade(message, state, counts):  # type: ignore[no-untyped-def]
    """Whether the trade is new; counts those that are missing before it."""
    state.trades = 1
    if message.trade_id <= state.trade_id:
        counts[REPEATED_TRADE] += 1
        return False
    if state.trade_id >= 0:
        counts[LOST_TRADES] += message.trade_id - state.trade_id - 1
    state.trade_id = message.trade_id
    return True


@internal
def _take_aggregate(message, state, counts):  # type: ignore[no-untyped-def]
    """Whether the aggregated trade is new, and no trade stream tells the same; counts those that are missing."""
    if state.trades:
        counts[UNUSED_AGGREGATE] += 1
        return False
    if message.trade_id <= state.aggregate_id:
        counts[REPEATED_TRADE] += 1
        return False
    if state.aggregate_id >= 0:
        counts[LOST_TRADES] += message.trade_id - state.aggregate_id - 1
    state.aggregate_id = message.trade_id
    state.trade_id = max(state.trade_id, message.last_id)  # should the trade stream begin later
    return True
