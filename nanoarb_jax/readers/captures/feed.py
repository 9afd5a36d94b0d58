"""What captures of different exchanges have in common: one instrument, its snapshots, gaps, checksums and events.

An exchange is a `Decoder`: it says what a message tells. A gap in the sequence makes its first update bear
MAYBE_BAD_BOOK, a checksum that does not fit the book the next one, so that the book's policy `gap` decides; from there
on checksums are not compared until a snapshot replaces the book.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line
from nanoarb_jax.market.event import (
    BOTH_SEE,
    BUY,
    CLEAR,
    DEPTH,
    DEPTH_SNAPSHOT,
    EVENT,
    KIND_MASK,
    LAST,
    MAYBE_BAD_BOOK,
    SELL,
    SNAPSHOT,
    TRADE,
)
from nanoarb_jax.readers.binance.files import consecutive_files, series_key
from nanoarb_jax.readers.captures.levels import CutBook, Level, TextBook
from nanoarb_jax.readers.captures.lines import Clock, Line, first_messages, foreign_note, number, read_lines
from nanoarb_jax.readers.feed import CHUNK, EventFeed, ReadOptions, infer_lot_size, infer_tick_size
from nanoarb_jax.readers.format import Format, Head
from nanoarb_jax.readers.names import series_name

FOREIGN = "foreign message"
EARLY = "before the first snapshot"
OTHER = "another symbol"
EARLIER_TRADE = "trade before the subscription"
_AHEAD = 2_000  # lines that say which channels a capture has
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError)


class Change(NamedTuple):
    """What a message tells of one instrument.

    Attributes:
        symbol: of the instrument.
        kind: DEPTH_SNAPSHOT for the whole book, DEPTH for levels that changed, TRADE.
        exch_ns: the exchange's time, ns since 1970 UTC; None: not told.
        rows: side, price and quantity, as text; of a trade, the side is the taker's, 0 if unknown.
        sequence: the message's number, 0 where it has none.
        lost: whether messages before it are missing.
        checksum: of the book after it, as sent.
    """

    symbol: str
    kind: int
    exch_ns: int | None
    rows: list[tuple[int, str, str]]
    sequence: int = 0
    lost: bool = False
    checksum: int | None = None


class Decoder:
    """An exchange's messages; a subclass for each."""

    name: ClassVar[str]
    checked_levels: ClassVar[int] = 0  # of a side, that a checksum covers; 0: there are none

    def __init__(self) -> None:
        self.clock = Clock("exchange", "ms")
        self.notes: list[str] = []

    def look_ahead(self, messages: Iterable[dict[str, Any]]) -> None:
        """See the first messages before they are decoded, to choose among channels that tell the same."""

    def decode(self, message: dict[str, Any], where: str) -> Iterable[Change | str]:
        """What a message tells; text is the reason why something in it is left out.

        Raises:
            KeyError, TypeError, ValueError, ...: a message that is not as the exchange documents it.
        """
        raise NotImplementedError

    def checksum(self, symbol: str, bids: list[Level], asks: list[Level]) -> int:
        """CRC32 of the best levels, unsigned."""
        raise NotImplementedError

    def depths(self, symbol: str) -> Sequence[int | None]:
        """How many levels of a side the exchange may keep, deleting deeper ones without a word, the likeliest first;
        None: all.
        """
        return (None,)


def capture_format(decoder: type[Decoder], is_ours: Callable[[dict[str, Any]], bool]) -> Format:
    """The format of an exchange's captures, recognised by any of their first messages."""

    def sniff(head: Head) -> bool:
        return any(is_ours(message) for message in first_messages(head))

    return Format(
        name=decoder.name,
        sniff=sniff,
        open=lambda files, options: open_capture(decoder(), files, options),
        options=("tick_size", "lot_size", "symbol"),
        group_key=series_key,
        group=consecutive_files,
    )


def open_capture(decoder: Decoder, files: Sequence[Path], options: ReadOptions = ReadOptions()) -> EventFeed:  # noqa: B008
    """One instrument's feed from consecutive files: the book goes on from one to the next.

    Returns:
        A feed whose events carry the message's sequence number in `order_id`.

    Raises:
        DataError: a malformed line or message, several instruments, or no snapshot; also while the chunks are read.
    """
    capture = _Capture(decoder, files, options)
    chunks = capture.chunks()
    first = next(chunks, None)
    what = f"{decoder.name} {files[0]}"
    if first is None:
        met = ", ".join(f"{n} × {why}" for why, n in capture.dropped.items())
        raise DataError(
            f"{what}: no snapshot of {capture.symbol or 'a book'}, without which no book can be built"
            f"{f' ({met})' if met else ''}; put the file that holds it before this one"
        )
    levels = first[np.isin(first["ev"] & KIND_MASK, (DEPTH, DEPTH_SNAPSHOT))]
    tick_size = options.tick_size or infer_tick_size(levels["px"], what)
    lot_size = options.lot_size or infer_lot_size(levels["qty"], what)
    name = series_name(Path(files[-1]))
    return EventFeed(name, decoder.name, tick_size, lot_size, chain([first], chunks), capture.dropped, capture.notes)


class _Capture:
    """What is known of a feed while its files are read, and what was left out of it."""

    def __init__(self, decoder: Decoder, files: Sequence[Path], options: ReadOptions) -> None:
        self.dropped: Counter[str] = Counter()
        self.notes: list[str] = []
        self.symbol = options.symbol
        self._decoder, self._files, self._chosen = decoder, files, options.symbol is not None
        self._book: CutBook | None = None  # as it was sent; None before the first snapshot
        self._whole = False  # whether nothing is known to be missing in it
        self._hole = False  # whether something is, and no event has said so yet
        self._exch_ns = 0  # of the latest message
        self._checksums: Counter[str] = Counter()
        self._messages, self._foreign = 0, b""  # how many, and the first foreign one

    def chunks(self) -> Iterator[NDArray[np.void]]:
        """Events from the first snapshot on."""
        clock = Clock("local", "ns")
        rows: list[tuple[Any, ...]] = []
        lines = read_lines(self._files, self._decoder.name, clock, self.dropped)
        ahead = list(islice(lines, _AHEAD))
        self._decoder.look_ahead(message for line in ahead for message in line.messages)
        for line in chain(ahead, lines):
            for change in self._changes(line):
                rows += self._events(change, line)
            if len(rows) >= CHUNK:
                yield np.array(rows, EVENT)
                rows = []
        foreign = foreign_note(self.dropped[FOREIGN], self._messages, self._foreign)
        self.notes += [*clock.notes, *self._decoder.clock.notes, *self._decoder.notes, *foreign, *self._proof()]
        if rows:
            yield np.array(rows, EVENT)

    def _changes(self, line: Line) -> Iterator[Change]:
        """What a line tells of the instrument that is wanted."""
        for message in line.messages:
            try:
                parts = list(self._decoder.decode(message, line.where))
            except DataError:
                raise
            except _UNREADABLE as error:
                raise _unreadable(line, error) from error
            self._messages += 1
            for part in parts:
                if isinstance(part, str):
                    self.dropped[part] += 1
                    self._foreign = self._foreign or (line.text if part == FOREIGN else b"")
                elif self._is_wanted(part.symbol, line.where):
                    yield part

    def _is_wanted(self, symbol: str, where: str) -> bool:
        if self.symbol is None:
            self.symbol = symbol
        if symbol.upper() == self.symbol.upper():
            return True
        if not self._chosen:
            raise DataError(
                f"{where}: messages of {self.symbol} and of {symbol}; choose one with symbol, on the command line "
                "--symbol"
            )
        self.dropped[OTHER] += 1
        return False

    def _events(self, change: Change, line: Line) -> list[tuple[Any, ...]]:
        """The events of a change, whose last one ends a message; the book is then as after it."""
        if self._book is None and change.kind != DEPTH_SNAPSHOT:
            self.dropped[EARLY] += 1
            return []
        try:
            rows = self._rows(change)
        except _UNREADABLE as error:
            raise _unreadable(line, error) from error
        flags = SNAPSHOT if change.kind == DEPTH_SNAPSHOT else 0
        if self._hole and change.kind == DEPTH and rows:
            flags, self._hole = MAYBE_BAD_BOOK, False
        rows += self._compare(change)
        if not rows:
            return []
        self._exch_ns = change.exch_ns or self._exch_ns or line.local_ns
        times, sequence = (self._exch_ns, line.local_ns), max(change.sequence, 0)
        events = [
            (code | BOTH_SEE, *times, px, qty, sequence, flags & (SNAPSHOT if i else -1), 0.0)
            for i, (code, px, qty) in enumerate(rows)
        ]
        last = events[-1]
        events[-1] = (*last[:6], last[6] | LAST, last[7])
        return events

    def _rows(self, change: Change) -> list[tuple[int, float, float]]:
        """Code, price and quantity of each event; changes the book."""
        rows = [(change.kind | side, number(px), number(qty)) for side, px, qty in change.rows]
        if change.kind == TRADE:
            return rows
        if change.kind == DEPTH_SNAPSHOT:
            self._book, self._whole, self._hole = CutBook(self._decoder.depths(change.symbol)), True, False
            rows[:0] = [(CLEAR, np.nan, 0.0)]
        assert self._book is not None
        if change.lost:
            self._whole, self._hole = False, True
        if self._decoder.checked_levels:
            rows += [(change.kind | side, number(px), 0.0) for side, px, _ in self._book.put(change.rows)]
        return rows

    def _compare(self, change: Change) -> list[tuple[int, float, float]]:
        """Compare the checksum that was sent with the book's; returns rows of levels that it shows to be others."""
        if change.checksum is None or self._book is None:
            return []
        if not self._whole:
            self._checksums["not compared"] += 1
            return []
        count, sent = self._decoder.checked_levels, change.checksum & 0xFFFF_FFFF

        def is_right(book: TextBook) -> bool:
            return self._decoder.checksum(change.symbol, book.best(BUY, count), book.best(SELL, count)) == sent

        changes = self._book.keep(is_right)
        self._checksums["wrong" if changes is None else "right"] += 1
        if changes is None:
            self._whole, self._hole = False, True
        return [(change.kind | side, number(px), number(qty)) for side, px, qty in changes or ()]

    def _proof(self) -> list[str]:
        """What the checksums showed."""
        if not self._decoder.checked_levels:
            return []
        if not self._checksums:
            return ["no checksums were sent"]
        after = self._checksums["not compared"]
        unproved = f", {after:,} after a gap not compared" if after else ""
        return [f"checksums: {self._checksums['right']:,} right, {self._checksums['wrong']:,} wrong{unproved}"]


def _unreadable(line: Line, error: Exception) -> DataError:
    met = f"no field {error}" if isinstance(error, KeyError) else first_line(error)
    return DataError(
        f"{line.where}: a message that is not as the exchange documents it ({met}); fetch or write it again"
    )
