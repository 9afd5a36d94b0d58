"""Raw Binance websocket feeds – spot, USD-M, COIN-M – as a collector writes them: local time, a space, JSON.

Depth diffs and trades become events once a REST snapshot has come; diffs that arrived before it and are newer are
applied right after it, at its time, since no book was known earlier. Diffs must follow each other (futures: `pu` is the
`u` before; spot: `U` is the `u` before + 1), else the first event behind the hole carries MAYBE_BAD_BOOK, and the next
snapshot is followed by newer diffs as the first was. Source: Binance, "How to manage a local order book correctly",
spot and futures.

Which streams make the book and the trades, of those that a capture mixes:

* The book comes from diffs if one of the first 20,000 messages is a diff. Partial books (`@depth5`, 10, 20) are then
  left out. Otherwise every partial book is the whole book. A diff that comes later than that ends them for good: from
  there on the book waits for a REST snapshot.
* Trades come from the trade stream if one of the first 20,000 messages is a trade. Aggregated trades (`aggTrade`) are
  then left out. Otherwise they are the trades, until the first trade comes.
* `@rpiDepth`, a book that includes orders hidden from others, is never read.

What has no stream's name on its line is told by what it holds, see `message` and `snapshots`. All that is left out is
counted by its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import CLEAR, EVENT, KIND_MASK
from nanoarb_jax.readers.binance import message as of
from nanoarb_jax.readers.binance import sequence
from nanoarb_jax.readers.binance.blocks import Block, read_blocks
from nanoarb_jax.readers.binance.checks import check_market, check_order, check_symbol
from nanoarb_jax.readers.binance.files import files_of_each_symbol, series_key, sniff, symbols_in
from nanoarb_jax.readers.binance.given import GivenSnapshot, is_snapshot_file
from nanoarb_jax.readers.binance.snapshots import Piece, SnapshotOrder, find_wanted, is_small
from nanoarb_jax.readers.binance.units import unit_notes
from nanoarb_jax.readers.captures.lines import foreign_note
from nanoarb_jax.readers.feed import EventFeed, ReadOptions, infer_lot_size, infer_tick_size
from nanoarb_jax.readers.format import Format
from nanoarb_jax.readers.names import series_name

_AHEAD = 20_000  # messages that say which streams a capture has


def open_binance(files: Sequence[Path], options: ReadOptions = ReadOptions(), *, tickers: bool = False) -> EventFeed:  # noqa: B008
    """One instrument's feed from consecutive files (days, hours): the book goes on from one to the next.

    Args:
        files: in order of time, plain or compressed; the first snapshot may be anywhere, nothing comes before it.
        options: tick and lot size; the symbol, where files mix several; a snapshot in a file of its own.
        tickers: keep best-price tickers as BBO events (to compare with; they would get ahead of the depth feed).

    Returns:
        A feed whose events carry the update id `u` in `order_id`.

    Raises:
        DataError: not such a feed, a malformed line, times that no unit makes plausible, several symbols, no snapshot.
    """
    capture = _Capture(files, options)
    chunks = capture.chunks(tickers)
    first = next(chunks, None)
    if first is None:
        raise DataError(_no_book(files, options, capture.dropped))
    book = first[(first["ev"] & KIND_MASK) != CLEAR]
    tick_size = options.tick_size or infer_tick_size(book["px"], f"binance {files[0]}")
    lot_size = options.lot_size or infer_lot_size(book["qty"], f"binance {files[0]}")
    name, chunks = series_name(Path(files[-1])), chain([first], chunks)
    return EventFeed(name, "binance", tick_size, lot_size, chunks, capture.dropped, capture.notes)


def _no_book(files: Sequence[Path], options: ReadOptions, dropped: Counter[str]) -> str:
    """What to say of files without a snapshot."""
    if options.snapshot:
        return f"--snapshot {options.snapshot}: no diff in the data is newer than it; expected the book before them"
    met = ", ".join(f"{reason}: {n}" for reason, n in dropped.most_common())
    symbols = f"; of the symbols in it ({', '.join(symbols_in(files[0]))}) {options.symbol} was read"
    return (
        f"binance {files[0]}: no depth snapshot (a line with lastUpdateId, bids, asks); without one no book can be "
        "built: put the file that holds it before this one. Files are one feed if they lie in one folder and are "
        "called NAME_YYYYMMDD or NAME_YYYYMMDD_HH, also _HHMM or _HHMMSS; else join them in order into one file, or "
        "name the snapshot's file with --snapshot"
        f"{symbols if options.symbol else ''}{f'; left out: {met}' if met else ''}"
    )


class _Capture:
    """What is known of a feed while its files are read, and what was left out of it."""

    def __init__(self, files: Sequence[Path], options: ReadOptions) -> None:
        self.dropped: Counter[str] = Counter()
        self.notes: list[str] = []
        self._files, self._options = files, options
        self._scratch = np.zeros(1, of.LINE_STATE)
        self._state = sequence.initial_state(options.symbol)
        self._counts = np.zeros(len(sequence.REASONS), np.int64)
        self._levels: list[str] | None = None  # a note on books of few levels; None: not known yet
        self._given = GivenSnapshot(options.snapshot) if options.snapshot else None
        self._messages, self._foreign = 0, b""  # how many, and the first foreign one
        self._repeating: dict[Path, bool] = {}  # files, and whether they told only what was told before
        self._begun: list[str] = []  # a note on the snapshot that was given

    def chunks(self, tickers: bool) -> Iterator[NDArray[np.void]]:
        """Events from the first snapshot on."""
        blocks = self._blocks()
        order = SnapshotOrder(self._state, self._counts)
        for read in chain(self._look_ahead(blocks), blocks):
            block = self._begin_with_given(read)
            known = self._state["last_id"][0] >= 0 and len(block.messages) > 0
            self._repeating[read.file] = self._repeating.get(read.file, known)
            for events in self._followed(order.pieces(block.messages, block.events), tickers):
                self._repeating[read.file] = False
                yield events
            self._tell()
        yield from self._followed(order.finish(), tickers)
        self._tell()

    def _followed(self, pieces: Iterator[Piece], tickers: bool) -> Iterator[NDArray[np.void]]:
        """The events of pieces that belong to the book or are trades."""
        for messages, events in pieces:
            books = np.count_nonzero(messages["kind"] == of.BOOK) + np.count_nonzero(messages["kind"] == of.PARTIAL)
            out = np.zeros(int((messages["end"] - messages["begin"]).sum()) + 2 * books, EVENT)
            if filled := sequence.follow(messages, events, self._state, self._counts, tickers, out):
                self._note_levels(messages)
                yield out[:filled]

    def _blocks(self) -> Iterator[Block]:
        for number, file in enumerate(self._files):
            for block in read_blocks(file, self._scratch):
                check_symbol(block.messages, self._state, self._options, self._files[: number + 1])
                check_market(block.messages, self._state, file)
                self._counts[sequence.CUT] += block.cut
                self._messages += len(block.messages)
                self._foreign = self._foreign or block.foreign
                yield block

    def _begin_with_given(self, block: Block) -> Block:
        """The block with the snapshot that the user gave, where this is its place."""
        if self._given is None:
            return block
        path = self._options.snapshot
        if not self._state["diffs"][0]:
            raise DataError(f"binance {block.file}: whole books, and no diffs; leave out --snapshot {path}")
        begun = self._given.put_in(block, self._state)
        if begun is None:
            return block
        self._given, self._begun = None, [f"begins with the snapshot {path}"]
        return begun

    def _look_ahead(self, blocks: Iterator[Block]) -> list[Block]:
        """The first blocks, which say whether there are diffs and trades."""
        ahead: list[Block] = []
        left = _AHEAD
        while left > 0 and not (self._state["diffs"][0] and self._state["trades"][0]):
            if (block := next(blocks, None)) is None:
                break
            ahead.append(block)
            first = block.messages[:left]
            self._state["diffs"] |= len(find_wanted(first, self._state, of.DIFF)) > 0
            self._state["trades"] |= len(find_wanted(first, self._state, of.DEAL, of.OFF_BOOK)) > 0
            left -= len(block.messages)
        check_order([block.messages for block in ahead], self._files[0])
        return ahead

    def _note_levels(self, messages: NDArray[np.void]) -> None:
        """See whether partial books are the book, or what it begins with."""
        if self._levels is not None:
            return
        if self._state["diffs"][0]:
            begin = f"the book begins with {messages['bids'][0]} levels a side; diffs tell of deeper ones"
            self._levels = [begin] if is_small(messages[:1])[0] else []
            return
        books = messages[find_wanted(messages, self._state, of.PARTIAL, of.BOOK)]
        partial = books[(books["kind"] == of.PARTIAL) | is_small(books)]
        if len(partial):
            levels = max(partial["bids"].max(), partial["asks"].max())
            timed = "" if partial["exch_ts"].any() else "; no exchange times, local ones stand for them"
            self._levels = [f"books of {levels} levels, whole at every message{timed}"]

    def _tell(self) -> None:
        """Hand on what was counted and recognised."""
        for reason in np.flatnonzero(self._counts):
            self.dropped[sequence.REASONS[reason]] += int(self._counts[reason])
        self._counts[:] = 0
        units = unit_notes(int(self._scratch["local_units"][0]), int(self._scratch["exchange_units"][0]))
        aggregated = self._state["aggregate_id"][0] >= 0
        self.notes[:] = [
            *self._begun,
            *units,
            *(self._levels or []),
            *foreign_note(self.dropped[sequence.REASONS[sequence.FOREIGN]], self._messages, self._foreign),
            *(f"{file.name} tells nothing that is new" for file, repeating in self._repeating.items() if repeating),
            *(["trades are aggregated (aggTrade)"] if aggregated else []),
        ]


FORMAT = Format(
    name="binance",
    sniff=sniff,
    open=open_binance,
    options=("tick_size", "lot_size", "symbol"),
    group_key=series_key,
    group=files_of_each_symbol,
    reads_snapshot=is_snapshot_file,
)
