"""Raw Binance websocket feeds – spot, USD-M, COIN-M – as a collector writes them: local ns time, a space, JSON.

Depth diffs and trades become events once a REST snapshot has come; diffs that arrived before it and are newer are
applied right after it, at its time, since no book was known earlier. Diffs must follow each other (futures: `pu` is the
`u` before; spot: `U` is the `u` before + 1), else the first event behind the hole carries MAYBE_BAD_BOOK, and the next
snapshot is followed by newer diffs as the first was. Source: Binance, "How to manage a local order book correctly",
spot and futures.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import CLEAR, EVENT, KIND_MASK
from nanoarb_jax.readers.binance import scan, sequence
from nanoarb_jax.readers.binance.files import consecutive_days, series_key, sniff
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import EventFeed, ReadOptions, infer_lot_size, infer_tick_size
from nanoarb_jax.readers.format import Format
from nanoarb_jax.readers.names import series_name

_BLOCK = 1 << 20  # bytes read at a time
_MOST_BLOCKS = 16  # of diffs kept for a snapshot: minutes of a busy feed


def open_binance(files: Sequence[Path], options: ReadOptions = ReadOptions(), *, tickers: bool = False) -> EventFeed:  # noqa: B008
    """One instrument's feed from consecutive files (days): the book goes on from one to the next.

    Args:
        files: in order of time, plain or compressed; the first snapshot may be anywhere, nothing comes before it.
        options: tick and lot size; the symbol, where files mix several.
        tickers: keep best-price tickers as BBO events (to compare with; they would get ahead of the depth feed).

    Returns:
        A feed whose events carry the update id `u` in `order_id`.

    Raises:
        DataError: not such a feed, a malformed line, several symbols, or no snapshot.
    """
    dropped: Counter[str] = Counter()
    chunks = _sequenced(files, options, tickers, dropped)
    first = next(chunks, None)
    if first is None:
        raise DataError(
            f"binance {files[0]}: no depth snapshot (a line with lastUpdateId, bids, asks); without one no book can be "
            "built: put the file that holds it before this one"
        )
    book = first[(first["ev"] & KIND_MASK) != CLEAR]
    tick_size = options.tick_size or infer_tick_size(book["px"], f"binance {files[0]}")
    lot_size = options.lot_size or infer_lot_size(book["qty"], f"binance {files[0]}")
    return EventFeed(series_name(Path(files[-1])), "binance", tick_size, lot_size, chain([first], chunks), dropped)


def _sequenced(
    files: Sequence[Path], options: ReadOptions, tickers: bool, dropped: Counter[str]
) -> Iterator[NDArray[np.void]]:
    """Chunks of events from the first snapshot on."""
    state, counts = sequence.initial_state(options.symbol), np.zeros(len(sequence.REASONS), np.int64)
    recent = _RecentDiffs()
    for file in files:
        for messages, events in _scanned(file, counts):
            _check_symbol(messages, state, options, file)
            for ordered, theirs in recent.in_order(messages, events, state, counts):
                books = int((ordered["kind"] == scan.BOOK).sum())
                out = np.zeros(int((ordered["end"] - ordered["begin"]).sum()) + 2 * books, EVENT)
                if filled := sequence.follow(ordered, theirs, state, counts, tickers, out):
                    yield out[:filled]
            dropped.update({reason: int(n) for reason, n in zip(sequence.REASONS, counts, strict=True) if n})
            counts[:] = 0


def _scanned(file: Path, counts: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.void], NDArray[np.void]]]:
    """Messages and their events, block by block."""
    rest, line, ended, scratch = b"", 1, False, np.zeros(1, scan.LINE_STATE)
    with open_bytes(file) as stream:
        while not ended:
            block = stream.read(_BLOCK)
            ended = not block
            data = rest + block + (b"\n" if ended else b"")
            stop = data.rfind(b"\n") + 1
            rest = data[stop:]
            lines = data.count(b"\n", 0, stop)
            messages, events = np.zeros(lines, scan.MESSAGE), np.empty(len(data) // 10 + 2, EVENT)
            count, filled, malformed = scan.scan(np.frombuffer(data, np.uint8), stop, messages, events, scratch)
            if malformed and ended:
                counts[sequence.CUT] += 1
            elif malformed:
                at, text = [(i, text) for i, text in enumerate(data[:stop].split(b"\n")) if text][count]
                raise DataError(
                    f"binance {file}, line {line + at}: {text[:60].decode(errors='replace')!r} ... is malformed; "
                    "expected a local time in ns, a space and a JSON message of a Binance depth or trade stream"
                )
            line += lines
            yield messages[:count], events[:filled]


def _check_symbol(messages: NDArray[np.void], state: NDArray[np.void], options: ReadOptions, file: Path) -> None:
    """Refuse a second symbol, unless one was asked for and every snapshot says its own (spot and USD-M: none does)."""
    said = np.unique(messages["symbol"][messages["symbol"] > 0])
    if state["symbol"][0] == 0 and len(said):
        state["symbol"] = said[0]
    state["other_symbols"] |= bool((said != state["symbol"]).any())
    state["unnamed_book"] |= bool(((messages["kind"] == scan.BOOK) & (messages["symbol"] == 0)).any())
    if state["other_symbols"][0] and not options.symbol:
        raise DataError(
            f"binance {file}: messages of several symbols; choose one with symbol, on the command line --symbol"
        )
    if state["other_symbols"][0] and state["unnamed_book"][0]:
        raise DataError(
            f"binance {file}: messages of other symbols than {options.symbol!r}, and a snapshot that does not say "
            "whose it is; give the right symbol, on the command line --symbol, or none if the file holds one; "
            "split a file of several"
        )


def _wanted_books(messages: NDArray[np.void], state: NDArray[np.void]) -> NDArray[np.bool_]:
    """(n,) which messages are snapshots of the symbol wanted."""
    return (messages["kind"] == scan.BOOK) & np.isin(messages["symbol"], (0, state["symbol"][0]))


class _RecentDiffs:
    """Diffs that a snapshot still to come may have to be followed by.

    A snapshot is asked for when the first diffs have arrived, or when some are missing, and comes behind diffs that are
    newer than it. Those are applied right after it, at its time, since no book was known before.
    """

    def __init__(self) -> None:
        self._blocks: deque[tuple[NDArray[np.void], NDArray[np.void]]] = deque(maxlen=_MOST_BLOCKS)

    def in_order(
        self,
        messages: NDArray[np.void],
        events: NDArray[np.void],
        state: NDArray[np.void],
        counts: NDArray[np.int64],
    ) -> Iterator[tuple[NDArray[np.void], NDArray[np.void]]]:
        """A block in pieces to follow one after the other; `state` is what came of the piece before."""
        start = 0
        for at in np.flatnonzero(_wanted_books(messages, state)):
            if state["last_id"][0] >= 0:
                yield messages[start:at], events
            waits, missing = state["last_id"][0] < 0, state["missing_id"][0]
            if waits:
                counts[sequence.EARLY] += int((messages["kind"][start:at] != scan.DIFF).sum())
            if waits or (missing >= 0 and messages["last_id"][at] >= missing):
                self._keep(messages[start:at] if waits else messages[:at], events)
                yield self._replayed(messages[at : at + 1], events, state)
                start = at + 1
            else:
                start = at
        if state["last_id"][0] >= 0:
            yield messages[start:], events
            if state["missing_id"][0] >= 0:
                self._keep(messages[start:], events)
        else:
            counts[sequence.EARLY] += int((messages["kind"] != scan.DIFF).sum())
            self._keep(messages, events)

    def _keep(self, messages: NDArray[np.void], events: NDArray[np.void]) -> None:
        diffs = messages[messages["kind"] == scan.DIFF]
        if len(diffs):
            self._blocks.append((diffs, events))

    def _replayed(
        self, book: NDArray[np.void], events: NDArray[np.void], state: NDArray[np.void]
    ) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """The snapshot and the kept diffs behind it, all at its time."""
        kept = [*self._blocks, (book, events)]
        self._blocks.clear()
        diffs, parts, offset = [], [], 0
        for messages, theirs in kept:
            part = messages.copy()
            part["begin"] += offset
            part["end"] += offset
            offset += len(theirs)
            diffs.append(part)
            parts.append(theirs)
        book = diffs.pop()
        if state["last_id"][0] >= 0:  # what was followed already is told again, as far as it is newer
            diffs = [part[part["last_id"] > book["last_id"][0]] for part in diffs]
            state["last_id"] = book["last_id"][0]
        ordered, joined = np.concatenate([book, *diffs]), np.concatenate(parts)
        for message in ordered[1:]:
            joined["local_ts"][message["begin"] : message["end"]] = book["local_ts"][0]
        return ordered, joined


FORMAT = Format(
    name="binance",
    sniff=sniff,
    open=open_binance,
    options=("tick_size", "lot_size", "symbol"),
    group_key=series_key,
    group=consecutive_days,
)
