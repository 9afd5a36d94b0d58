"""A scanner for Binance websocket lines: bytes in, messages and events out, one compiled pass without Python objects.

It reads what these feeds usually hold – one line, one flat JSON object, level lists of string pairs, no escapes –
whatever the order of the keys, in the combined form (`{"stream": …, "data": {…}}`) or the plain one, with or without
blanks behind commas and colons. Anything else on a line makes the line malformed; `usual_layout` rewrites such lines.
A JSON library gives Python objects, which cost several times as much as the rest of the reading.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.market.compiled import compiled, internal
from nanoarb_jax.market.event import BUY, DEPTH, DEPTH_SNAPSHOT, SELL
from nanoarb_jax.readers.binance.message import (
    ABSENT,
    AGGREGATE,
    BOOK,
    OTHER,
    PARTIAL,
    UNNAMED,
    conclude,
    read_stream,
)
from nanoarb_jax.readers.binance.tokens import (
    BEGIN,
    COLON,
    COMMA,
    DOT,
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
from nanoarb_jax.readers.binance.units import find_unit, ns_per

_E, _T, _U, _u, _PU, _TRADE_ID = (key_code(key) for key in ("E", "T", "U", "u", "pu", "t"))
_b, _a, _B, _A, _P, _Q = (key_code(key) for key in ("b", "a", "B", "A", "p", "q"))
_FIRST_TRADE, _LAST_TRADE, _EVENT, _STREAM = (key_code(key) for key in ("f", "l", "e", "stream"))
_MAKER_BOUGHT, _TRADE_KIND, _SYMBOL, _LONG_SYMBOL = (key_code(key) for key in ("m", "X", "s", "symbol"))
_SNAPSHOT_ID, _BIDS, _ASKS = (key_code(key) for key in ("lastUpdateId", "bids", "asks"))
_NUMBERS = (_E, _T, _U, _u, _PU, _TRADE_ID, _SNAPSHOT_ID)  # no strings, in the usual layout
_MARKET = ord("M")  # the first letter of MARKET
_LOWER_T, _LOWER_R, _LOWER_F, _LOWER_A, _LOWER_N, _LOWER_U = (ord(letter) for letter in "trfanu")
_RETURN = ord("\r")


@internal
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
    elif key == _EVENT:
        state.event = read_key(line, begin, end)
    elif key == _STREAM:
        read_stream(line, begin, end, state, message)
    elif key == _TRADE_KIND:
        state.off_book = line[begin] != _MARKET
    elif key in (_SYMBOL, _LONG_SYMBOL) and message.symbol == 0:
        message.symbol = symbol_hash(line, begin, end)
    elif key in _NUMBERS:
        return -1
    return end + 1


@internal
def _read_number(line, at, stop, state, message):  # type: ignore[no-untyped-def]
    """Take the whole number at `at`; returns the index behind it, -1 if it is too large."""
    value, at = read_integer(line, at, stop)
    if value < 0:
        return -1
    key = state.key
    if key == _T or (key == _E and not state.transaction):
        message.exch_ts = value  # in its own unit for now
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
    elif key == _a:
        state.aggregate_id = value
    elif key == _FIRST_TRADE:
        state.first_trade = value
    elif key == _LAST_TRADE:
        state.last_trade = value
    return at


@internal
def _read_list(line, at, stop, state, message, events, filled):  # type: ignore[no-untyped-def]
    """Take the levels behind the bracket at `at`; returns the index behind them, -1 if malformed, and `filled`."""
    state.lists += 1
    before = filled
    if state.key in (_b, _BIDS):
        at, filled = read_levels(line, at + 1, stop, DEPTH | BUY, events, filled)
        message.bids += filled - before
        return at, filled
    if state.key in (_a, _ASKS):
        at, filled = read_levels(line, at + 1, stop, DEPTH | SELL, events, filled)
        message.asks += filled - before
        return at, filled
    return -1, filled


@internal
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


@internal
def _begin(message, state, filled):  # type: ignore[no-untyped-def]
    """Forget the line before."""
    message.exch_ts, message.symbol, message.trade_id = 0, 0, -1
    message.first_id, message.last_id, message.previous_id = -1, -1, -1
    message.bids, message.asks, message.begin = 0, 0, filled
    state.key, state.depth, state.lists, state.snapshot = 0, 0, 0, 0
    state.stream, state.event, state.transaction, state.seller, state.off_book = UNNAMED, 0, 0, 0, 0
    state.aggregate_id, state.first_trade, state.last_trade = -1, -1, -1
    state.px, state.bid_px, state.ask_px = ABSENT, ABSENT, ABSENT
    state.qty, state.bid_qty, state.ask_qty = ABSENT, ABSENT, ABSENT


@internal
def _read_local_time(line, at, stop, message, state):  # type: ignore[no-untyped-def]
    """Take the line's time, whose whole part tells its unit; returns the index behind it, -1 if it is none."""
    whole, at = read_integer(line, at, stop)
    unit = find_unit(whole)
    if unit < 0:
        return -1
    scale = np.int64(ns_per(unit))
    message.local_ts = whole * scale
    state.local_units |= 1 << unit
    if at < stop and line[at] == DOT:
        at += 1
        while at < stop and ZERO <= line[at] <= NINE:  # what is finer than 1 ns is left out
            scale //= 10
            message.local_ts += scale * (np.int64(line[at]) - ZERO)
            at += 1
    return at


@internal
def _read_line(line, at, stop, message, events, filled, state):  # type: ignore[no-untyped-def]
    """Read one line into `message` and `events`; returns the new `filled`, or -1 if the line is malformed."""
    _begin(message, state, filled)
    at = _read_local_time(line, at, stop, message, state)
    if at < 0 or at + 1 >= stop or line[at] != SPACE or line[at + 1] != BEGIN:
        return -1
    at += 1
    while at < stop:
        c = line[at]
        if c == QUOTE:
            at = _read_string(line, at, stop, state, message)
        elif ZERO <= c <= NINE:
            at = _read_number(line, at, stop, state, message)
        elif c == OPEN:
            at, filled = _read_list(line, at, stop, state, message, events, filled)
        elif c in (COMMA, SPACE):
            at += 1
        elif c == BEGIN:
            state.depth += 1
            at += 1
        elif c == END:
            state.depth -= 1
            at += 1
            if state.depth == 0:
                break
        else:
            at = _read_literal(line, at, stop, state)
        if at < 0:
            return -1
    while at < stop and line[at] in (SPACE, _RETURN):
        at += 1
    return _finish(message, events, filled, state) if at == stop and state.depth == 0 else -1


@internal
def _finish(message, events, filled, state):  # type: ignore[no-untyped-def]
    """Say what the message is, and when; returns the new `filled`, or -1 if it is malformed."""
    filled = conclude(message, events, filled, state)
    if message.kind == OTHER:
        message.exch_ts = 0
    elif message.exch_ts > 0:
        unit = find_unit(message.exch_ts)
        if unit < 0:
            return -1
        message.exch_ts *= ns_per(unit)
        state.exchange_units |= 1 << unit
    return filled


@compiled
def scan(data, at, stop, messages, count, events, filled, scratch):  # type: ignore[no-untyped-def]
    """Read whole lines.

    Args:
        data: (n,) uint8; lines from `at` up to `stop`, which is behind a newline.
        at, stop: int.
        messages: (m,) MESSAGE, room for one a line; filled from `count` on.
        count: int.
        events: (e,) EVENT, filled from `filled` on: level lists, trades (TRADE) and best prices (BBO).
        filled: int.
        scratch: (1,) LINE_STATE; keeps the units of time, begins with none.

    Returns:
        (at, count, filled, malformed): behind what was read; malformed is 1 if the line at `at` is.
    """
    while at < stop:
        end = at
        while data[end] != NEWLINE:
            end += 1
        if end > at:
            message = messages[count]
            now = _read_line(data, at, end, message, events, filled, scratch[0])
            if now < 0:
                return at, count, filled, 1
            code = DEPTH_SNAPSHOT - DEPTH if message.kind in (BOOK, PARTIAL) else 0
            for i in range(filled, now):
                event = events[i]
                event.local_ts = message.local_ts
                event.exch_ts = message.exch_ts if message.exch_ts > 0 else message.local_ts
                event.order_id = message.last_id if message.last_id > 0 and message.kind != AGGREGATE else 0
                event.ival = 0
                event.fval = 0.0
                event.ev += code
            filled = now
            message.end = filled
            count += 1
        at = end + 1
    return at, count, filled, 0
