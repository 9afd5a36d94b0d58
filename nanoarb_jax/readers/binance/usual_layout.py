"""Lines that the scanner cannot read, by a whole JSON parser, written anew in the layout that it can.

Blanks anywhere, numbers instead of strings and strings instead of numbers, levels of more than two elements, escapes,
the answer of a WebSocket API request: what they say is the same. A message that is valid JSON and neither a book nor a
trade nor a ticker (another stream, an array, an answer to a subscription, an error of the API) becomes an empty one.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import orjson

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.times import NS_PER_UNIT, unit_of_time

_LINE = re.compile(rb"\s*(\d+(?:\.\d*)?)\s+(.*)", re.DOTALL)
_PLAIN = re.compile(r"[0-9]+(\.[0-9]*)?")
_EVENTS = ("depthUpdate", "depth", "trade", "aggTrade", "bookTicker")
# a message without an event type is of those that are read if it has all keys of one of these
_LAYOUTS = (("lastUpdateId", "bids", "asks"), ("U", "u", "b", "a"), ("u", "b", "B", "a", "A"), ("t", "p", "q"))
_TEXTS, _IDS = ("e", "s", "symbol", "X"), ("U", "u", "pu", "t", "f", "l", "lastUpdateId")
_SIDES, _SIZES = ("b", "a", "bids", "asks"), ("p", "q", "b", "B", "a", "A")


def usual_layout(line: bytes, what: str) -> bytes | None:
    """A line that says the same and that `scan` reads; a foreign message has no keys then, a blank line is empty.

    Args:
        line: a local time, blanks and JSON.
        what: the file and the line's number, for the error.

    Returns:
        None: the line is not that, or a book or trade in it cannot be read.

    Raises:
        DataError: a time that is plausible in no unit.

    >>> from nanoarb_jax.readers.binance.usual_layout import usual_layout
    >>> usual_layout(b'1735700000000 {"lastUpdateId": "5", "bids": [[1.50, 2, 0]], "asks": []}', "example")
    b'1735700000000 {"lastUpdateId":5,"bids":[["1.5","2.0"]],"asks":[]}'
    >>> usual_layout(b'1735700000000 {"code":-1121,"msg":"Invalid symbol."}', "example")
    b'1735700000000 {}'
    """
    match = _LINE.fullmatch(line)
    if match is None:
        return None if line.strip() else b""
    try:
        stream, message = _unwrapped(orjson.loads(match[2]))
    except orjson.JSONDecodeError:
        return None
    unit_of_time(float(match[1]), f"{what}: local time")
    if not _is_read(message):
        return match[1] + b" {}"
    try:
        usual = _usual_values(message)
        if "T" in usual:
            usual["T"] = _whole_time(usual["T"], what)
        return match[1] + b" " + orjson.dumps(usual if stream is None else {"stream": stream, "data": usual})
    except DataError:  # which is a ValueError, too
        raise
    except (TypeError, ValueError, OverflowError):  # JSON, but values of other kinds than their keys say
        return None


def _unwrapped(whole: Any) -> tuple[str | None, Any]:
    """The stream's name, if there is one, and the message, which may be an answer of the WebSocket API."""
    if not isinstance(whole, dict):
        return None, whole
    stream = whole.get("stream")
    inner = whole.get("data", whole.get("result"))
    return stream if isinstance(stream, str) else None, inner if isinstance(inner, dict) else whole


def _is_read(message: Any) -> bool:
    """Does the message say that it is of a kind that is read?"""
    if not isinstance(message, dict):
        return False
    return message["e"] in _EVENTS if "e" in message else any(message.keys() >= {*keys} for keys in _LAYOUTS)


def _whole_time(time: float, what: str) -> int:
    """A time of the exchange in its own unit; one with decimals in ns."""
    unit = unit_of_time(time, f"{what}: time of the exchange")
    return int(time) if time == int(time) else round(time * NS_PER_UNIT[unit])


def _usual_values(message: dict[str, Any]) -> dict[str, Any]:
    """The keys that are read, with values of the usual kinds; the one time that counts is T.

    Raises:
        TypeError, ValueError, OverflowError: a value is of another kind than its key says.
    """
    usual: dict[str, Any] = {}
    for key, value in message.items():
        if key in _TEXTS:
            usual[key] = str(value)
        elif key in _IDS or (key == "a" and message.get("e") == "aggTrade"):
            usual[key] = int(value)
        elif key in _SIDES and isinstance(value, list):
            usual[key] = [[_decimal(px), _decimal(qty)] for px, qty, *_ in value]
        elif key in _SIZES:
            usual[key] = _decimal(value)
        elif key == "m":
            usual[key] = bool(value)
    if time := message.get("T") or message.get("E"):
        usual["T"] = orjson.loads(time) if isinstance(time, str) else time
    return usual


def _decimal(value: Any) -> str:
    """A decimal without an exponent."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    if isinstance(value, bool) or not math.isfinite(number := float(value)):
        raise ValueError
    shortest = repr(number)
    return np.format_float_positional(number, trim="-") if "e" in shortest else shortest
