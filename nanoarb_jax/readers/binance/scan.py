"""A scanner for Binance websocket lines: bytes in, messages and events out, one compiled pass without Python objects.

It reads what these feeds hold – one line, one flat JSON object, level lists of string pairs, no escapes – whatever the
order of the keys, in the combined form (`{"stream": …, "data": {…}}`) or the plain one. Anything else on a line makes
the line malformed. A JSON library gives Python objects, which cost several times as much as the rest of the reading.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.event import BBO, BUY, DEPTH, DEPTH_SNAPSHOT, SELL, TRADE
from nanoarb_jax.readers.binance.tokens import (
    BEGIN,
    COLON,
    COMMA,
    END,
    NEWLINE,
    NINE,
    OPEN,
    QUOTE,
    SPACE,
    ZERO,
    key_code,
    read_decimal,
    read_integer,
    read_key,
    read_levels,
    string_end,
    symbol_hash,
)

MESSAGE = np.dtype(
    [
        ("kind", "i8"),
        ("local_ts", "i8"),  # ns
        ("exch_ts", "i8"),  # ns; 0: the message has none
        ("first_id", "i8"),  # U; update ids, -1: none
        ("last_id", "i8"),  # u, or lastUpdateId
        ("previous_id", "i8"),  # pu
        ("trade_id", "i8"),  # t
        ("symbol", "i8"),  # hash of s, or of a snapshot's symbol; 0: not said
        ("begin", "i8"),  # its events
        ("end", "i8"),
        ("line", "i8"),  # counted from the first of this scan, from 0
    ],
    align=True,
)
OTHER, DIFF, BOOK, DEAL, TICKER, OFF_BOOK = range(6)

# what has been read of the current line, apart from what MESSAGE holds; prices and quantities not yet read are ABSENT
LINE_STATE = np.dtype(
    [
        ("key", "i8"),  # that the next value belongs to
        ("depth", "i8"),  # of braces
        ("lists", "i8"),  # of levels
        ("snapshot", "i8"),  # 1: it has a snapshot's update id
        ("transaction", "i8"),  # 1: it has a transaction time, which goes before the event time
        ("seller", "i8"),  # 1: the seller took
        ("off_book", "i8"),  # 1: the trade is not of the market: insurance fund, liquidation transfer
        ("px", "f8"),  # p, of a trade
        ("qty", "f8"),  # q
        ("bid_px", "f8"),  # b, of a ticker
        ("bid_qty", "f8"),  # B
        ("ask_px", "f8"),  # a
        ("ask_qty", "f8"),  # A
    ],
    align=True,
)
ABSENT = -1.0

_E, _T, _U, _u, _PU, _TRADE_ID = (key_code(key) for key in ("E", "T", "U", "u", "pu", "t"))
_b, _a, _B, _A, _P, _Q = (key_code(key) for key in ("b", "a", "B", "A", "p", "q"))
_MAKER_BOUGHT, _TRADE_KIND, _SYMBOL, _LONG_SYMBOL = (key_code(key) for key in ("m", "X", "s", "symbol"))
_SNAPSHOT_ID, _BIDS, _ASKS = (key_code(key) for key in ("lastUpdateId", "bids", "asks"))
_MARKET = ord("M")  # the first letter of MARKET
_LOWER_T, _LOWER_R, _LOWER_F, _LOWER_A, _LOWER_N, _LOWER_U = (ord(letter) for letter in "trfanu")
_RETURN = ord("\r")
_MS = 1_000_000  # ns


@compiled
def _read_string(line, at, stop, state, message):  # type: ignore[no-untyped-def]
    """Take the key or the text that begins behind the quote at `at`; returns the index behind it, -1 if malformed."""
    begin, end = at + 1, string_end(line, at + 1, stop)
    if end < 0 or end + 1 >= stop:
        return -1
    if line[end + 1] == COLON:
        state.key = read_key(line, begin, end)
        return end + 2
    key = state.key
    if key == _P:
        state.px = read_decimal(line, begin, end)
    elif key == _Q:
        state.qty = read_decimal(line, begin, end)
    elif key == _b:
        state.bid_px = read_decimal(line, begin, end)
    elif key == _B:
        state.bid_qty = read_decimal(line, begin, end)
    elif key == _a:
        state.ask_px = read_decimal(line, begin, end)
    elif key == _A:
        state.ask_qty = read_decimal(line, begin, end)
    elif key == _TRADE_KIND:
        state.off_book = line[begin] != _MARKET
    elif key in (_SYMBOL, _LONG_SYMBOL):
        message.symbol = symbol_hash(line, begin, end)
    return end + 1


@compiled
def _read_number(line, at, stop, state, message):  # type: ignore[no-untyped-def]
    """Take the whole number at `at`; returns the index behind it, -1 if it is too large."""
    value, at = read_integer(line, at, stop)
    if value < 0:
        return -1
    key = state.key
    if key == _T or (key == _E and not state.transaction):
        message.exch_ts = value * _MS
        state.transaction = key == _T
    elif key == _U:
        message.first_id = value
    elif key == _u:
        message.last_id = value
    elif key == _SNAPSHOT_ID:
        message.last_id = value
        state.snapshot = 1
    elif key == _PU:
        message.previous_id = value
    elif key == _TRADE_ID:
        message.trade_id = value
    return at


@compiled
def _read_list(line, at, stop, state, events, filled):  # type: ignore[no-untyped-def]
    """Take the levels behind the bracket at `at`; returns the index behind them, -1 if malformed, and `filled`."""
    state.lists += 1
    if state.key in (_b, _BIDS):
        return read_levels(line, at + 1, stop, DEPTH | BUY, events, filled)
    if state.key in (_a, _ASKS):
        return read_levels(line, at + 1, stop, DEPTH | SELL, events, filled)
    return -1, filled


@compiled
def _read_literal(line, at, stop, state):  # type: ignore[no-untyped-def]
    """Take true, false or null at `at`; returns the index behind it, -1 if it is none of them."""
    first, second = line[at], line[at + 1]
    if first == _LOWER_T and second == _LOWER_R and at + 4 <= stop:  # true
        if state.key == _MAKER_BOUGHT:
            state.seller = 1
        return at + 4
    if first == _LOWER_F and second == _LOWER_A and at + 5 <= stop:  # false
        return at + 5
    return at + 4 if first == _LOWER_N and second == _LOWER_U and at + 4 <= stop else -1  # null


@compiled
def _read_line(line, at, stop, message, events, filled, state):  # type: ignore[no-untyped-def]
    """Read one line into `message` and `events`; returns the new `filled`, or -1 if the line is malformed."""
    message.local_ts, at = read_integer(line, at, stop)
    if message.local_ts < 0 or at >= stop or line[at] != SPACE:
        return -1
    message.exch_ts, message.symbol, message.trade_id = 0, 0, -1
    message.first_id, message.last_id, message.previous_id = -1, -1, -1
    state.key, state.depth, state.lists, state.snapshot = 0, 0, 0, 0
    state.transaction, state.seller, state.off_book = 0, 0, 0
    state.px, state.bid_px, state.ask_px = ABSENT, ABSENT, ABSENT
    state.qty, state.bid_qty, state.ask_qty = ABSENT, ABSENT, ABSENT
    at += 1
    while at < stop:
        c = line[at]
        if c == QUOTE:
            at = _read_string(line, at, stop, state, message)
        elif ZERO <= c <= NINE:
            at = _read_number(line, at, stop, state, message)
        elif c == OPEN:
            at, filled = _read_list(line, at, stop, state, events, filled)
        elif c in (COMMA, _RETURN):
            at += 1
        elif c in (BEGIN, END):
            state.depth += 1 if c == BEGIN else -1
            at += 1
        else:
            at = _read_literal(line, at, stop, state)
        if at < 0:
            return -1
    return _conclude(message, events, filled, state) if state.depth == 0 else -1


@compiled
def _conclude(message, events, filled, state):  # type: ignore[no-untyped-def]
    """Say what the message is by what it holds; returns as `_read_line`."""
    if state.lists == 2 and state.snapshot and message.last_id >= 0:
        message.kind = BOOK
    elif state.lists == 2 and message.first_id >= 0 and message.last_id >= message.first_id:
        message.kind = DIFF
    elif state.lists > 0:
        return -1
    elif message.trade_id >= 0 and state.px != ABSENT and state.qty != ABSENT:
        message.kind = OFF_BOOK if state.off_book else DEAL
        return _add(events, filled, TRADE | (SELL if state.seller else BUY), state.px, state.qty)
    elif (
        message.last_id >= 0
        and state.bid_px != ABSENT
        and state.bid_qty != ABSENT
        and state.ask_px != ABSENT
        and state.ask_qty != ABSENT
    ):
        message.kind = TICKER
        filled = _add(events, filled, BBO | BUY, state.bid_px, state.bid_qty)
        return _add(events, filled, BBO | SELL, state.ask_px, state.ask_qty) if filled >= 0 else -1
    else:
        message.kind = OTHER
    return filled


@compiled
def _add(events, filled, code, px, qty):  # type: ignore[no-untyped-def]
    """Add an event; returns the new `filled`, or -1 if price or quantity are no numbers."""
    events[filled].ev = code
    events[filled].px = px
    events[filled].qty = qty
    return filled + 1 if np.isfinite(px) and np.isfinite(qty) else -1


@compiled
def scan(data, stop, messages, events, scratch):  # type: ignore[no-untyped-def]
    """Read whole lines.

    Args:
        data: (n,) uint8; lines up to `stop`, which is behind a newline.
        stop: int.
        messages: (m,) MESSAGE, room for one a line; filled.
        events: (e,) EVENT, room for one per 10 bytes; filled. Level lists, trades (TRADE) and best prices (BBO).
        scratch: (1,) LINE_STATE, whatever is in it.

    Returns:
        (lines read, events filled, malformed): malformed is 1 if the line behind those read is.
    """
    at, count, filled = 0, 0, 0
    while at < stop:
        end = at
        while data[end] != NEWLINE:
            end += 1
        if end > at:
            message = messages[count]
            message.begin = filled
            now = _read_line(data, at, end, message, events, filled, scratch[0])
            if now < 0:
                return count, filled, 1
            for i in range(filled, now):
                event = events[i]
                event.local_ts = message.local_ts
                event.exch_ts = message.exch_ts if message.exch_ts > 0 else message.local_ts
                event.order_id = message.last_id if message.last_id > 0 else 0
                event.ival = 0
                event.fval = 0.0
                if message.kind == BOOK:
                    event.ev += DEPTH_SNAPSHOT - DEPTH
            filled = now
            message.end = filled
            message.line = count
            count += 1
        at = end + 1
    return count, filled, 0
