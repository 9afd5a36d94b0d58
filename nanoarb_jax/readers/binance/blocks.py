"""The messages of a Binance file, block by block: by the scanner, and what it cannot read by a whole JSON parser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import EVENT
from nanoarb_jax.readers.binance.message import MESSAGE, OTHER
from nanoarb_jax.readers.binance.scan import scan
from nanoarb_jax.readers.binance.usual_layout import usual_layout
from nanoarb_jax.readers.compression import open_bytes

_BLOCK = 1 << 20  # bytes read at a time
_LEAST_BYTES = 6  # of an event, which is a level [1,2] and its comma
BOM = b"\xef\xbb\xbf"  # that some editors put before the first line


class Block(NamedTuple):
    """Whole lines of a file.

    Attributes:
        file: it is of.
        messages: (m,) MESSAGE.
        events: (e,) EVENT, theirs.
        lines: how many, with blank ones.
        cut: 1 if the file ends within a line behind these, else 0.
        foreign: the first foreign message among them; empty: there is none, or an earlier block had one.
    """

    file: Path
    messages: NDArray[np.void]
    events: NDArray[np.void]
    lines: int
    cut: int
    foreign: bytes = b""


def read_blocks(file: Path, scratch: NDArray[np.void]) -> Iterator[Block]:
    """The messages of a file.

    Args:
        file: plain or compressed.
        scratch: (1,) LINE_STATE, see `scan`.

    Raises:
        DataError: a line that is no local time with a JSON message, or whose book or trade cannot be read.
    """
    rest, line, ended, seen = b"", 1, False, False
    with open_bytes(file) as stream:
        while not ended:
            block = stream.read(_BLOCK)
            ended = not block
            data = rest + block + (b"\n" if ended else b"")
            if line == 1:
                data = data.removeprefix(BOM)
            stop = data.rfind(b"\n") + 1
            rest = data[stop:]
            read = _read_lines(file, data, stop, line, scratch, last=ended)
            places = np.flatnonzero(read.messages["kind"] == OTHER)[:1]
            if len(places) and not seen:
                seen = True
                texts = [text for text in data[:stop].split(b"\n") if text.strip()]
                read = read._replace(foreign=texts[places[0]].split(None, 1)[-1])
            yield read
            line += read.lines


def read_text(file: Path, text: bytes, scratch: NDArray[np.void]) -> Block:
    """The messages of whole lines that were read from a file already.

    Raises:
        DataError: as `read_blocks`.
    """
    return _read_lines(file, text, len(text), 1, scratch, last=False)


def _read_lines(file: Path, data: bytes, stop: int, line: int, scratch: NDArray[np.void], *, last: bool) -> Block:
    """The messages of whole lines, of which the first is number `line`; the `last` one of a file may be cut."""
    lines = data.count(b"\n", 0, stop)
    messages, events = np.zeros(lines, MESSAGE), np.empty(stop // _LEAST_BYTES + 2, EVENT)
    text, counted = np.frombuffer(data, np.uint8), 0
    at, count, filled, malformed = scan(text, 0, stop, messages, 0, events, 0, scratch)
    while malformed:
        line, counted = line + data.count(b"\n", counted, at), at
        end = data.index(b"\n", at)
        usual = usual_layout(data[at:end], f"binance {file}, line {line}")
        if usual is not None:
            again = np.frombuffer(usual + b"\n", np.uint8)
            _, count, filled, malformed = scan(again, 0, len(again), messages, count, events, filled, scratch)
        if malformed and last:
            return Block(file, messages[:count], events[:filled], lines, 1)
        if malformed:
            raise DataError(
                f"binance {file}, line {line}: {data[at : min(end, at + 60)].decode(errors='replace')!r} ... is "
                "malformed; expected a local time, a space and a JSON message of a Binance depth or trade stream"
            )
        at, count, filled, malformed = scan(text, end + 1, stop, messages, count, events, filled, scratch)
    return Block(file, messages[:count], events[:filled], lines, 0)
