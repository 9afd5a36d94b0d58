"""A scanner for Binance websocket lines: bytes in, messages and events out, one compiled pass without Python objects.

It reads what these feeds hold – one line, one flat JSON object, level lists of string pairs, no escapes – whatever the
order of the keys, in the combined form (`{"stream": …, "data": {…}}`) or the plain one. Anything else on a line makes
the line malformed. A JSON library gives Python objects, which cost several times as much as the rest of the reading.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.event import BBO, BUY, DEPTH, DEPTH_SNAPSHOT, SELL, TRADE

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

_TEXT, _NUMBER, _LIST, _TRUE, _FALSE = range(5)
_POWERS = 10.0 ** np.arange(19)
_MOST_DIGITS = 2**53


def _code(key: str) -> int:
    return int.from_bytes(key.encode()[:4], "big") + (len(key) << 40)


_E, _T, _U, _u, _PU = _code("E"), _code("T"), _code("U"), _code("u"), _code("pu")
_b, _a, _B, _A = _code("b"), _code("a"), _code("B"), _code("A")
_P, _Q, _M, _TRADE_ID, _X, _SYMBOL = _code("p"), _code("q"), _code("m"), _code("t"), _code("X"), _code("s")
_SNAPSHOT_ID, _BIDS, _ASKS, _LONG_SYMBOL = _code("lastUpdateId"), _code("bids"), _code("asks"), _code("symbol")
_QUOTE, _COLON, _SPACE, _MINUS, _DOT, _ZERO = (ord(c) for c in '": -.0')
_OPEN, _CLOSE, _COMMA, _BEGIN, _END, _NEWLINE, _BACKSLASH = (ord(c) for c in "[],{}\n\\")


@compiled
def _string_end(line, at, stop):  # type: ignore[no-untyped-def]
    """Index of the closing quote of the string that begins at `at`; -1 if there is none, or an escape."""
    while at < stop and line[at] != _QUOTE:
        if line[at] == _BACKSLASH:
            return -1
        at += 1
    return at if at < stop else -1


@compiled
def _decimal(line, begin, end):  # type: ignore[no-untyped-def]
    """Exactly rounded value of a plain decimal such as 63943.90; NaN if it is none or has too many digits."""
    mantissa, decimals, dot, digits = np.int64(0), 0, False, 0
    while end > begin + 1 and line[end - 1] == _ZERO and line[end - 2] != _DOT:
        k = begin  # zeros are trimmed only behind a decimal point
        while k < end and line[k] != _DOT:
            k += 1
        if k == end:
            break
        end -= 1
    for i in range(begin, end):
        digit = np.int64(line[i]) - _ZERO
        if 0 <= digit <= 9:
            mantissa = mantissa * 10 + digit
            decimals += 1 if dot else 0
            digits += 1
            if mantissa > _MOST_DIGITS:
                return np.nan
        elif line[i] == _DOT and not dot:
            dot = True
        else:
            return np.nan
    return mantissa / _POWERS[decimals] if digits > 0 and decimals < 19 else np.nan


@compiled
def _integer(line, at, stop):  # type: ignore[no-untyped-def]
    """A whole number that begins at `at` and the index behind it; (-1, at) if there is none below 2**62."""
    value, begin = np.int64(0), at
    while at < stop and 48 <= line[at] <= 57:
        if value > 2**58:
            return -1, begin
        value = value * 10 + np.int64(line[at]) - _ZERO
        at += 1
    return (value, at) if at > begin else (-1, begin)


@compiled
def _levels(line, at, stop, code, events, filled):  # type: ignore[no-untyped-def]
    """Read `["px","qty"],…]` behind an opening bracket; returns the index behind the closing one (-1) and `filled`."""
    first = True
    while at < stop and line[at] != _CLOSE:
        if not first:
            if line[at] != _COMMA:
                return -1, filled
            at += 1
        first = False
        # with their commas, levels take at least ten bytes each, for which `events` has room
        if at + 1 >= stop or filled >= len(events) or line[at] != _OPEN or line[at + 1] != _QUOTE:
            return -1, filled
        comma = _string_end(line, at + 2, stop)
        if comma < 0 or comma + 2 >= stop or line[comma + 1] != _COMMA or line[comma + 2] != _QUOTE:
            return -1, filled
        close = _string_end(line, comma + 3, stop)
        if close < 0 or close + 1 >= stop or line[close + 1] != _CLOSE:
            return -1, filled
        event = events[filled]
        event.ev = code
        event.px = _decimal(line, at + 2, comma)
        event.qty = _decimal(line, comma + 3, close)
        if not (np.isfinite(event.px) and np.isfinite(event.qty)):
            return -1, filled
        filled += 1
        at = close + 2
    return (at + 1, filled) if at < stop else (-1, filled)


@compiled
def _key(line, begin, end):  # type: ignore[no-untyped-def]
    code = np.int64(0)
    for i in range(begin, min(end, begin + 4)):
        code = (code << 8) | np.int64(line[i])
    return code + (np.int64(end - begin) << 40)


@compiled
def symbol_hash(text, begin, end):  # type: ignore[no-untyped-def]
    """A number above 0 for a symbol's letters, whatever their case (FNV-1a)."""
    value = np.uint64(0xCBF29CE484222325)
    for i in range(begin, end):
        letter = text[i] - 32 if 97 <= text[i] <= 122 else text[i]
        value = (value ^ np.uint64(letter)) * np.uint64(0x100000001B3)
    return np.int64(value >> np.uint64(2)) + 1


@compiled
def _line(line, at, stop, message, events, filled, texts):  # type: ignore[no-untyped-def]
    """Read one line into `message` and `events`; returns the new `filled`, or -1 if the line is malformed.

    texts: (6, 2) int64 scratch, where the string values of b, a, B, A, p, q lie.
    """
    message.local_ts, at = _integer(line, at, stop)
    if message.local_ts < 0 or at >= stop or line[at] != _SPACE:
        return -1
    message.exch_ts, message.symbol, message.trade_id = 0, 0, -1
    message.first_id, message.last_id, message.previous_id = -1, -1, -1
    texts[:] = 0
    lists, key, depth, transacted, sell, market, book = 0, np.int64(0), 0, False, False, True, False
    at += 1
    while at < stop:
        c = line[at]
        if c == _QUOTE:
            end = _string_end(line, at + 1, stop)
            if end < 0 or end + 1 >= stop:
                return -1
            if line[end + 1] == _COLON:
                key = _key(line, at + 1, end)
                at = end + 2
                continue
            slot = 6
            for i, name in enumerate((_b, _a, _B, _A, _P, _Q)):
                if key == name:
                    slot = i
            if slot < 6:
                texts[slot, 0], texts[slot, 1] = at + 1, end
            elif key == _X:
                market = line[at + 1] == 77  # M of MARKET: insurance fund and liquidation transfers are not
            elif key in (_SYMBOL, _LONG_SYMBOL):
                message.symbol = symbol_hash(line, at + 1, end)
            at = end + 1
        elif 48 <= c <= 57:
            value, at = _integer(line, at, stop)
            if value < 0:
                return -1
            if key == _T or (key == _E and not transacted):
                message.exch_ts = value * 1_000_000
                transacted = key == _T
            elif key == _U:
                message.first_id = value
            elif key in (_u, _SNAPSHOT_ID):
                message.last_id = value
                book = book or key == _SNAPSHOT_ID
            elif key == _PU:
                message.previous_id = value
            elif key == _TRADE_ID:
                message.trade_id = value
        elif c == _OPEN:
            if key in (_b, _BIDS):
                at, filled = _levels(line, at + 1, stop, DEPTH | BUY, events, filled)
            elif key in (_a, _ASKS):
                at, filled = _levels(line, at + 1, stop, DEPTH | SELL, events, filled)
            else:
                return -1
            lists += 1
            if at < 0:
                return -1
        elif c == 116 and at + 4 <= stop and line[at + 1] == 114:  # true
            sell = sell or key == _M
            at += 4
        elif c == 102 and at + 5 <= stop and line[at + 1] == 97:  # false
            at += 5
        elif c == 110 and at + 4 <= stop and line[at + 1] == 117:  # null
            at += 4
        elif c in (_BEGIN, _END):
            depth += 1 if c == _BEGIN else -1
            at += 1
        elif c == _COMMA or c == 13:
            at += 1
        else:
            return -1
    if depth != 0:
        return -1
    return _conclude(line, message, events, filled, texts, lists, sell, market, book)


@compiled
def _conclude(line, message, events, filled, texts, lists, sell, market, book):  # type: ignore[no-untyped-def]
    """Say what the message is by what it holds."""
    if lists == 2 and book and message.last_id >= 0:
        message.kind = BOOK
    elif lists == 2 and message.first_id >= 0 and message.last_id >= message.first_id:
        message.kind = DIFF
    elif lists > 0:
        return -1
    elif message.trade_id >= 0 and texts[4, 1] > 0 and texts[5, 1] > 0:
        message.kind = DEAL if market else OFF_BOOK
        events[filled].ev = TRADE | (SELL if sell else BUY)
        events[filled].px = _decimal(line, texts[4, 0], texts[4, 1])
        events[filled].qty = _decimal(line, texts[5, 0], texts[5, 1])
        if not (np.isfinite(events[filled].px) and np.isfinite(events[filled].qty)):
            return -1
        filled += 1
    elif message.last_id >= 0 and min(texts[0, 1], texts[1, 1], texts[2, 1], texts[3, 1]) > 0:
        message.kind = TICKER
        for side in range(2):
            events[filled].ev = BBO | (BUY if side == 0 else SELL)
            events[filled].px = _decimal(line, texts[side, 0], texts[side, 1])
            events[filled].qty = _decimal(line, texts[2 + side, 0], texts[2 + side, 1])
            if not (np.isfinite(events[filled].px) and np.isfinite(events[filled].qty)):
                return -1
            filled += 1
    else:
        message.kind = OTHER
    return filled


@compiled
def scan(data, stop, messages, events, texts):  # type: ignore[no-untyped-def]
    """Read whole lines.

    Args:
        data: (n,) uint8; lines up to `stop`, which is behind a newline.
        stop: int.
        messages: (m,) MESSAGE, room for one a line; filled.
        events: (e,) EVENT, room for one per 10 bytes; filled. Level lists, trades (TRADE) and best prices (BBO).
        texts: (6, 2) int64 scratch.

    Returns:
        (lines read, events filled, malformed): malformed is 1 if the line behind those read is.
    """
    at, count, filled = 0, 0, 0
    while at < stop:
        end = at
        while data[end] != _NEWLINE:
            end += 1
        if end > at:
            message = messages[count]
            message.begin = filled
            now = _line(data, at, end, message, events, filled, texts)
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
