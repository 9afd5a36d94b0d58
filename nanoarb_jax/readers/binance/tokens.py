"""The tokens of a Binance line, from bytes to values: strings, numbers, level lists; compiled."""

from __future__ import annotations

import numpy as np

from nanoarb_jax.market.compiled import compiled, internal

QUOTE, COLON, SPACE, DOT, ZERO, NINE, AT = (ord(c) for c in '": .09@')
OPEN, CLOSE, COMMA, BEGIN, END, NEWLINE, BACKSLASH = (ord(c) for c in "[],{}\n\\")
_LOWER_A, _LOWER_Z, _TO_UPPER = ord("a"), ord("z"), ord("a") - ord("A")
_POWERS = 10.0 ** np.arange(19)
_MOST_DIGITS = 2**53


def key_code(key: str) -> int:
    """The number that `read_key` gives for a key: its length and first four letters."""
    return int.from_bytes(key.encode()[:4], "big") + (len(key) << 40)


@internal
def string_end(line, at, stop):  # type: ignore[no-untyped-def]
    """Index of the closing quote of the string that begins at `at`; -1 if there is none, or an escape."""
    while at < stop and line[at] != QUOTE:
        if line[at] == BACKSLASH:
            return -1
        at += 1
    return at if at < stop else -1


@internal
def behind_blanks(line, at, stop):  # type: ignore[no-untyped-def]
    """Index of the first byte from `at` on that is no space; at most `stop`."""
    while at < stop and line[at] == SPACE:
        at += 1
    return at


@internal
def read_decimal(line, begin, end):  # type: ignore[no-untyped-def]
    """Exactly rounded value of a plain decimal such as 63943.90; NaN if it is none or has too many digits."""
    mantissa, decimals, dot, digits = np.int64(0), 0, False, 0
    while end > begin + 1 and line[end - 1] == ZERO and line[end - 2] != DOT:
        k = begin  # zeros are trimmed only behind a decimal point
        while k < end and line[k] != DOT:
            k += 1
        if k == end:
            break
        end -= 1
    for i in range(begin, end):
        digit = np.int64(line[i]) - ZERO
        if 0 <= digit <= 9:
            mantissa = mantissa * 10 + digit
            decimals += 1 if dot else 0
            digits += 1
            if mantissa > _MOST_DIGITS:
                return np.nan
        elif line[i] == DOT and not dot:
            dot = True
        else:
            return np.nan
    return mantissa / _POWERS[decimals] if digits > 0 and decimals < 19 else np.nan


@internal
def read_integer(line, at, stop):  # type: ignore[no-untyped-def]
    """A whole number that begins at `at` and the index behind it; (-1, at) if there is none below 2**62."""
    value, begin = np.int64(0), at
    while at < stop and ZERO <= line[at] <= NINE:
        if value > 2**58:
            return -1, begin
        value = value * 10 + np.int64(line[at]) - ZERO
        at += 1
    return (value, at) if at > begin else (-1, begin)


@internal
def read_key(line, begin, end):  # type: ignore[no-untyped-def]
    """A number for a key, see `key_code`."""
    code = np.int64(0)
    for i in range(begin, min(end, begin + 4)):
        code = (code << 8) | np.int64(line[i])
    return code + (np.int64(end - begin) << 40)


@compiled
def symbol_hash(text, begin, end):  # type: ignore[no-untyped-def]
    """A number above 0 for a symbol's letters, whatever their case (FNV-1a)."""
    value = np.uint64(0xCBF29CE484222325)
    for i in range(begin, end):
        letter = text[i] - _TO_UPPER if _LOWER_A <= text[i] <= _LOWER_Z else text[i]
        value = (value ^ np.uint64(letter)) * np.uint64(0x100000001B3)
    return np.int64(value >> np.uint64(2)) + 1


@internal
def read_levels(line, at, stop, code, events, filled):  # type: ignore[no-untyped-def]
    """Read `["px","qty"],…]` behind an opening bracket; returns the index behind the closing one (-1) and `filled`.

    Blanks are read over where `json.dumps` puts them: behind commas.
    """
    first = True
    while at < stop and line[at] != CLOSE:
        if not first:
            if line[at] != COMMA:
                return -1, filled
            at = behind_blanks(line, at + 1, stop)
        first = False
        if at + 1 >= stop or filled >= len(events) or line[at] != OPEN or line[at + 1] != QUOTE:
            return -1, filled
        comma = string_end(line, at + 2, stop)
        if comma < 0 or comma + 1 >= stop or line[comma + 1] != COMMA:
            return -1, filled
        quote = behind_blanks(line, comma + 2, stop)
        if quote >= stop or line[quote] != QUOTE:
            return -1, filled
        close = string_end(line, quote + 1, stop)
        if close < 0 or close + 1 >= stop or line[close + 1] != CLOSE:
            return -1, filled
        event = events[filled]
        event.ev = code
        event.px = read_decimal(line, at + 2, comma)
        event.qty = read_decimal(line, quote + 1, close)
        if not (np.isfinite(event.px) and np.isfinite(event.qty)):
            return -1, filled
        filled += 1
        at = close + 2
    return (at + 1, filled) if at < stop else (-1, filled)
