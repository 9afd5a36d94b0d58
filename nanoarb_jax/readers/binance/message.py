"""What a Binance line holds, and what kind of message that makes it: by its stream's name, its event type, its fields.

A stream's name, which lines of combined streams bear, decides between a diff (`@depth`), the whole best N levels
(`@depthN`, a partial book) and the book that includes retail price improvement (`@rpiDepth`, another book). Without a
name, what a message holds decides. Two layouts are then told by more than their fields:

* A partial book of futures has the fields of a diff, also the chain of `pu`. It is told by its shape: 5, 10 or 20
  levels on both sides, none of quantity 0, bids from the best down. Diffs of futures list bids from the lowest up.
* A partial book of spot looks like a REST snapshot with the limit 5, 10 or 20; see `snapshots`.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.market.compiled import compiled, internal
from nanoarb_jax.market.event import BBO, BUY, SELL, TRADE
from nanoarb_jax.readers.binance.tokens import AT, key_code, read_key, symbol_hash

MESSAGE = np.dtype(
    [
        ("kind", "i8"),
        ("local_ts", "i8"),  # ns
        ("exch_ts", "i8"),  # ns; 0: the message has none
        ("first_id", "i8"),  # U, or f of an aggregated trade; -1: none, as for the other numbers
        ("last_id", "i8"),  # u, lastUpdateId, or l of an aggregated trade
        ("previous_id", "i8"),  # pu
        ("trade_id", "i8"),  # t, or a of an aggregated trade
        ("symbol", "i8"),  # hash of the stream's symbol, of s, or of a snapshot's symbol; 0: not said
        ("bids", "i8"),  # how many levels
        ("asks", "i8"),
        ("begin", "i8"),  # its events
        ("end", "i8"),
    ],
    align=True,
)
KINDS = range(9)
OTHER, DIFF, BOOK, DEAL, TICKER, OFF_BOOK, PARTIAL, RPI, AGGREGATE = KINDS

# what has been read of the current line, apart from what MESSAGE holds; prices and quantities not yet read are ABSENT
LINE_STATE = np.dtype(
    [
        ("key", "i8"),  # that the next value belongs to
        ("depth", "i8"),  # of braces
        ("lists", "i8"),  # of levels
        ("stream", "i8"),  # what the stream's name says, one of the constants below
        ("event", "i8"),  # key_code of the event type; 0: none
        ("snapshot", "i8"),  # 1: it has a snapshot's update id
        ("transaction", "i8"),  # 1: it has a transaction time, which goes before the event time
        ("seller", "i8"),  # 1: the seller took
        ("off_book", "i8"),  # 1: the trade is not of the market: insurance fund, liquidation transfer
        ("aggregate_id", "i8"),  # a, where it is a number
        ("first_trade", "i8"),  # f
        ("last_trade", "i8"),  # l
        ("px", "f8"),  # p, of a trade
        ("qty", "f8"),  # q
        ("bid_px", "f8"),  # b, of a ticker
        ("bid_qty", "f8"),  # B
        ("ask_px", "f8"),  # a
        ("ask_qty", "f8"),  # A
        ("local_units", "i8"),  # bits of the units of local times met so far, in all lines; see `units`
        ("exchange_units", "i8"),
    ],
    align=True,
)
ABSENT = -1.0
UNNAMED, DIFFS, PARTIAL_BOOKS, RPI_BOOK, OTHER_STREAM = range(5)  # what a stream's name says
PARTIAL_LEVELS = (5, 10, 20)

_DEPTH, _RPI, _TRADE, _AGGREGATE, _TICKER = (
    key_code(name) for name in ("depth", "rpiDepth", "trade", "aggTrade", "bookTicker")
)
_DEPTH_5, _DEPTH_20, _DEPTH_100 = (key_code(name) for name in ("depth5", "depth20", "depth100"))
_DEPTH_UPDATE = key_code("depthUpdate")
_EXCLAMATION = ord("!")


@internal
def read_stream(line, begin, end, state, message):  # type: ignore[no-untyped-def]
    """Take a stream's name such as btcusdt@depth5@100ms: its symbol, and what it says of its messages."""
    at = begin
    while at < end and line[at] != AT:
        at += 1
    if at == end or line[begin] == _EXCLAMATION:  # no name of one symbol's stream
        return
    message.symbol = symbol_hash(line, begin, at)
    stop = at + 1
    while stop < end and line[stop] != AT:
        stop += 1
    kind = read_key(line, at + 1, stop)
    if kind == _DEPTH:
        state.stream = DIFFS
    elif kind in (_DEPTH_5, _DEPTH_20, _DEPTH_100):  # codes of a length are equal: 10 and 20, 100 and 500
        state.stream = PARTIAL_BOOKS
    elif kind == _RPI:
        state.stream = RPI_BOOK
    elif kind in (_TRADE, _AGGREGATE, _TICKER):
        state.stream = UNNAMED  # what it holds says as much
    else:
        state.stream = OTHER_STREAM


@internal
def conclude(message, events, filled, state):  # type: ignore[no-untyped-def]
    """Say what the message is; returns the new `filled`, or -1 if it is a book or trade that cannot be read."""
    if _is_foreign(state):
        message.kind = OTHER
        return message.begin  # its lists, if it has any, are no levels
    if state.lists > 0:
        message.kind = _kind_of_book(message, events, filled, state)
        return filled if message.kind != OTHER else -1
    if state.event == _AGGREGATE:
        message.trade_id, message.first_id, message.last_id = state.aggregate_id, state.first_trade, state.last_trade
    if message.trade_id >= 0 and state.px != ABSENT and state.qty != ABSENT:
        message.kind = AGGREGATE if state.event == _AGGREGATE else OFF_BOOK if state.off_book else DEAL
        return _add(events, filled, TRADE | (SELL if state.seller else BUY), state.px, state.qty)
    if (
        message.last_id >= 0
        and state.bid_px != ABSENT
        and state.bid_qty != ABSENT
        and state.ask_px != ABSENT
        and state.ask_qty != ABSENT
    ):
        message.kind = TICKER
        filled = _add(events, filled, BBO | BUY, state.bid_px, state.bid_qty)
        return _add(events, filled, BBO | SELL, state.ask_px, state.ask_qty) if filled >= 0 else -1
    message.kind = OTHER
    return filled if state.event == 0 else -1


@internal
def _is_foreign(state):  # type: ignore[no-untyped-def]
    """Is the message neither of a book nor a trade nor a ticker, as its event type or its stream's name says?

    Snapshots may bear a name that their collector gave them.
    """
    if state.event not in (0, _DEPTH_UPDATE, _DEPTH, _TRADE, _AGGREGATE, _TICKER):
        return True
    return state.stream == OTHER_STREAM and not state.snapshot


@internal
def _kind_of_book(message, events, filled, state):  # type: ignore[no-untyped-def]
    """The kind of a message with lists of levels; OTHER if something is missing."""
    if state.lists != 2 or message.last_id < 0:
        return OTHER
    if state.stream == RPI_BOOK:
        return RPI
    if state.stream == PARTIAL_BOOKS:
        return PARTIAL
    if state.snapshot:
        return BOOK
    if message.first_id < 0 or message.last_id < message.first_id:
        return OTHER
    unnamed_future = state.stream == UNNAMED and message.previous_id >= 0
    return PARTIAL if unnamed_future and _has_partial_shape(message, events, filled) else DIFF


@internal
def _has_partial_shape(message, events, filled):  # type: ignore[no-untyped-def]
    """Are these the whole best 5, 10 or 20 levels, the best first?"""
    if message.bids != message.asks or message.bids not in PARTIAL_LEVELS:
        return False
    for i in range(message.begin, filled):
        if events[i].qty == 0:
            return False
        if i > message.begin and events[i].ev == events[i - 1].ev:
            worse = events[i].px < events[i - 1].px if events[i].ev & BUY else events[i].px > events[i - 1].px
            if not worse:
                return False
    return True


@compiled
def _add(events, filled, code, px, qty):  # type: ignore[no-untyped-def]
    """Add an event; returns the new `filled`, or -1 if price or quantity are no numbers."""
    events[filled].ev = code
    events[filled].px = px
    events[filled].qty = qty
    return filled + 1 if np.isfinite(px) and np.isfinite(qty) else -1
