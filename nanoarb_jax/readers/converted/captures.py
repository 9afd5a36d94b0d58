"""Captures of one more exchange each in the collector's line form, as hftbacktest's converters read them.

The converter gets a copy with one instrument's messages, in its own line form: gzip, local times of 19 digits. Sequence
numbers are not checked by it.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.binance.files import consecutive_files, series_key
from nanoarb_jax.readers.captures.lines import Clock, Line, first_messages, number, read_lines
from nanoarb_jax.readers.converted.conversion import backward_note, converter, feed_of, run
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.format import Format, Head
from nanoarb_jax.readers.names import series_name

FOREIGN, OTHER = "foreign message", "another symbol"
_UNPROVED = "sequence numbers are not checked"
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class Told(NamedTuple):
    """What a message is about.

    Attributes:
        symbol: of the instrument.
        depth: levels of the book that it tells changes of; 0: a trade.
        prices, quantities: of its levels or trades, as text.
    """

    symbol: str
    depth: int
    prices: list[str]
    quantities: list[str]


@dataclass
class Copied:
    """What is known of the messages that were copied.

    Args:
        path: of the copy.
        symbol: of the instrument.
        depth: of the book.
        events: at most so many come of it.
        backward: messages whose local time is before an earlier message's.
        prices, quantities: that occur.
    """

    path: Path
    symbol: str | None
    depth: int = 0
    events: int = 16
    backward: int = 0
    prices: set[float] = field(default_factory=set)
    quantities: set[float] = field(default_factory=set)


class Exchange(NamedTuple):
    """What differs from exchange to exchange.

    Attributes:
        name: of the format.
        module: of hftbacktest's converter.
        read: what a message tells; None: nothing of a book and no trade. May raise what a malformed message does.
        convert: calls the converter's functions.
        whole_snapshots: whether snapshots are the whole book.
        several_books: whether a capture may hold books of several depths, of which the converter reads the deepest.
        notes: what the converter does that must be known.
    """

    name: str
    module: str
    read: Callable[[dict[str, Any]], Told | None]
    convert: Callable[[Any, Copied, ReadOptions], NDArray[np.void]]
    whole_snapshots: bool = False
    several_books: bool = False
    notes: tuple[str, ...] = ()


def capture_format(exchange: Exchange) -> Format:
    """The format of an exchange's captures, recognised by any of their first messages."""

    def sniff(head: Head) -> bool:
        return any(_told(exchange, message) is not None for message in first_messages(head))

    return Format(
        name=exchange.name,
        sniff=sniff,
        open=lambda files, options: open_capture(exchange, files, options),
        options=("tick_size", "lot_size", "symbol"),
        group_key=series_key,
        group=consecutive_files,
    )


def _told(exchange: Exchange, message: dict[str, Any]) -> Told | None:
    try:
        return exchange.read(message)
    except _UNREADABLE:
        return None


def open_capture(exchange: Exchange, files: Sequence[Path], options: ReadOptions = ReadOptions()) -> EventFeed:  # noqa: B008
    """One instrument's feed from consecutive files.

    Raises:
        DataError: hftbacktest is not installed, a malformed line or message, several instruments, or no book.
    """
    what = f"{exchange.name} {files[0]}"
    module = converter(exchange.module, what)
    dropped: Counter[str] = Counter()
    clock = Clock("local", "ns")
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="nanoarb-") as folder:
        copied = _copy(exchange, _messages(exchange, files, clock, options, dropped), Path(folder), dropped, what)
        events = run(lambda: exchange.convert(module, copied, options), what, notes)
    if copied.backward:
        notes.append(backward_note(copied.backward))
    notes += [_UNPROVED, *exchange.notes, *clock.notes]
    name = series_name(files[-1])
    return feed_of(events, name, exchange.name, options, dropped, notes, whole_snapshots=exchange.whole_snapshots)


class _Message(NamedTuple):
    local_ns: int
    text: bytes
    told: Told


def _messages(
    exchange: Exchange, files: Sequence[Path], clock: Clock, options: ReadOptions, dropped: Counter[str]
) -> Iterator[_Message]:
    """The messages of the instrument that is wanted."""
    symbol = options.symbol
    for line in read_lines(files, exchange.name, clock, dropped):
        plain = json.loads(line.text)
        for message, text in zip(line.messages, plain if isinstance(plain, list) else [plain], strict=True):
            try:
                told = exchange.read(message)
                for numeral in (*told.prices, *told.quantities) if told else ():
                    number(numeral)
            except _UNREADABLE as error:
                raise _unreadable(line, error) from error
            if told is None:
                dropped[FOREIGN] += 1
            elif told.symbol.upper() == (symbol or told.symbol).upper():
                symbol = symbol or told.symbol
                yield _Message(line.local_ns, json.dumps(text).encode(), told)
            elif options.symbol is None:
                raise DataError(
                    f"{line.where}: messages of {symbol} and of {told.symbol}; choose one with symbol, on the command "
                    "line --symbol"
                )
            else:
                dropped[OTHER] += 1


def _unreadable(line: Line, error: Exception) -> DataError:
    met = f"no field {error}" if isinstance(error, KeyError) else str(error)[:200]
    return DataError(
        f"{line.where}: a message that is not as the exchange documents it ({met}); fetch or write it again"
    )


def _copy(exchange: Exchange, messages: Iterator[_Message], folder: Path, dropped: Counter[str], what: str) -> Copied:
    """Write the messages of the deepest book and the trades, as the converter wants them."""
    copied = Copied(folder / "capture.gz", None)
    depths: Counter[int] = Counter()
    latest = 0
    with gzip.open(copied.path, "wb", compresslevel=1) as file:
        for local_ns, text, told in messages:
            file.write(b"%d %s\n" % (local_ns, text))
            copied.symbol = told.symbol
            copied.backward += local_ns < latest
            latest = max(latest, local_ns)
            depths[told.depth] += 1
            copied.events += 2 * len(told.prices) + 4
            copied.prices.update(map(number, told.prices))
            copied.quantities.update(map(number, told.quantities))
    copied.depth = max(depths, default=0)
    if copied.depth == 0:
        raise DataError(f"{what}: no message of an order book; expected some, give the right --symbol")
    for depth, count in depths.items():
        if exchange.several_books and 0 < depth < copied.depth:
            dropped[f"shallower book ({depth} levels)"] += count
    return copied
