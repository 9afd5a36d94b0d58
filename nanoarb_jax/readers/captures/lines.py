"""The lines of a capture: local times, messages, and numbers as the text that was sent."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.format import Head
from nanoarb_jax.readers.times import NS_PER_UNIT, unit_of_time

TRUNCATED = "truncated last line"
_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"\s*(\d{9,19}(?:\.\d{1,18})?)\s+([{\[].*)", re.DOTALL)
_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,3})?")
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,9})\d*)?(?:Z|\+00:00)")
_MANY_FOREIGN = 0.1  # share of the messages
_FEW = 20  # messages that say what a capture is


class Line(NamedTuple):
    """One line.

    Attributes:
        where: file and number, for errors.
        local_ns: when it was received, ns since 1970 UTC.
        messages: JSON objects; numbers are text, as they were sent. A line may hold an array of them.
        text: the JSON itself.
    """

    where: str
    local_ns: int
    messages: list[dict[str, Any]]
    text: bytes


class Clock:
    """Times that may be counted in any unit, told of every time by plausible years.

    Args:
        whose: for notes, "local" or "exchange".
        usual: the unit that is not worth a note.
    """

    def __init__(self, whose: str, usual: str) -> None:
        self._whose, self._usual, self._units = whose, usual, set[str]()

    def to_ns(self, time: str, where: str) -> int:
        """A time as ns since 1970 UTC.

        Raises:
            DataError: a time in no plausible year.
            ValueError: no number.
        """
        counted = Decimal(time) if "." in time else int(time)
        unit = unit_of_time(float(counted), f"{where}, {self._whose} time")
        self._units.add(unit)
        return int(counted * NS_PER_UNIT[unit])

    @property
    def notes(self) -> list[str]:
        """What to tell of units other than the usual one."""
        units = [unit for unit in NS_PER_UNIT if unit in self._units]
        return [] if units in ([], [self._usual]) else [f"{self._whose} times are in {' and '.join(units)}"]


def read_lines(files: Sequence[Path], what: str, clock: Clock, dropped: Counter[str]) -> Iterator[Line]:
    """The lines of files, in order.

    Args:
        files: plain or compressed.
        what: the format, for errors.
        clock: of the local times.
        dropped: a file's last line that was cut while it was written is counted here.

    Raises:
        DataError: a line without a local time or without JSON, or a damaged file.
    """
    for file in files:
        with open_bytes(file) as stream:
            for number, text in enumerate(stream, 1):
                if number == 1:
                    text = text.removeprefix(_BOM)
                if not text.strip():
                    continue
                where = f"{what} {file}, line {number}"
                try:
                    yield _parse(text, where, clock)
                except ValueError as error:  # DataError is one
                    if not text.endswith(b"\n"):
                        dropped[TRUNCATED] += 1
                    elif isinstance(error, DataError):
                        raise
                    else:
                        start = text[:60].decode(errors="replace").strip()
                        raise DataError(
                            f"{where}: {start!r} ... is malformed ({first_line(error)}); expected a local time, a "
                            "blank and a JSON message"
                        ) from error


def _parse(text: bytes, where: str, clock: Clock) -> Line:
    match = _LINE.match(text)
    if match is None:
        raise ValueError("no local time before a JSON object")
    message = parse_json(match[2])
    several = message if isinstance(message, list) else [message]
    local_ns = clock.to_ns(match[1].decode(), where)
    return Line(where, local_ns, [inner if isinstance(inner, dict) else {} for inner in several], match[2])


def parse_json(text: bytes) -> Any:
    """JSON with its numbers as text.

    Raises:
        ValueError: no JSON.

    >>> from nanoarb_jax.readers.captures.lines import parse_json
    >>> parse_json(b'{"qty": 0.00100000}')
    {'qty': '0.00100000'}
    """
    try:
        return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def foreign_note(foreign: int, messages: int, example: bytes) -> list[str]:
    """A note where more than 10 % of the messages are none of the exchange's that are read.

    >>> from nanoarb_jax.readers.captures.lines import foreign_note
    >>> foreign_note(32, 64, b'{"op":1}'), foreign_note(6, 64, b"{}")
    (['50 % of the messages are foreign, the first begins {"op":1}'], [])
    """
    if foreign <= _MANY_FOREIGN * messages:
        return []
    begins = example[:60].decode(errors="replace").strip()
    return [f"{100 * foreign / messages:.0f} % of the messages are foreign, the first begins {begins}"]


def first_messages(head: Head) -> list[dict[str, Any]]:
    """Messages of a capture's first lines; none of any other file."""
    found: list[dict[str, Any]] = []
    if head.is_parquet:
        return found
    for text in head.start.removeprefix(_BOM).split(b"\n", _FEW)[:_FEW]:
        match = _LINE.match(text)
        if match is None:
            if text.strip():
                break
            continue
        try:
            message = parse_json(match[2])
        except ValueError:  # cut by the end of what was read
            break
        found += [inner for inner in (message if isinstance(message, list) else [message]) if isinstance(inner, dict)]
    return found


def number(text: object) -> float:
    """A price or quantity.

    Raises:
        ValueError: no finite number.
    """
    if not (isinstance(text, str) and _NUMBER.fullmatch(text)):
        raise ValueError(f"{str(text)[:30]!r} is no number")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:30]!r} is too large")
    return value


def whole(text: object) -> int:
    """A whole number of at most 64 bits, such as a sequence number or a checksum.

    Raises:
        ValueError: none.
    """
    if not (isinstance(text, str) and re.fullmatch(r"-?\d{1,20}", text) and abs(int(text)) < 2**63):
        raise ValueError(f"{str(text)[:30]!r} is no whole number")
    return int(text)


def iso_ns(text: object) -> int:
    """A time of UTC such as 2025-01-01T02:53:20.123456789Z, as ns since 1970.

    Raises:
        ValueError: no such time.

    >>> from nanoarb_jax.readers.captures.lines import iso_ns
    >>> iso_ns("1970-01-01T00:00:01.5Z")
    1500000000
    """
    match = _ISO.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{str(text)[:40]!r} is no time like 2025-01-01T02:53:20.123Z")
    days = date.fromisoformat(match[1]).toordinal() - date(1970, 1, 1).toordinal()
    seconds = ((days * 24 + int(match[2])) * 60 + int(match[3])) * 60 + int(match[4])
    return seconds * 10**9 + int((match[5] or "").ljust(9, "0"))
