"""Raw Binance websocket feeds – spot, USD-M, COIN-M – as a collector writes them: local ns time, a space, JSON.

Depth diffs and trades become events once a REST snapshot has come; diffs that arrived before it and are newer are
applied right after it, at its time, since no book was known earlier. Diffs must follow each other (futures: `pu` is the
`u` before; spot: `U` is the `u` before + 1), and the first one a snapshot (futures: its `pu` is not beyond; spot: its
`U` is not beyond the next), else the first event behind the hole carries MAYBE_BAD_BOOK. Source: Binance, "How to
manage a local order book correctly", spot and futures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.event import BUY, CLEAR, EVENT, LAST, MAYBE_BAD_BOOK, SELL, SNAPSHOT
from nanoarb_jax.market.readers import binance_scan as scan
from nanoarb_jax.market.readers.feed import EventFeed, ReadOptions, infer_lot_size, infer_tick_size
from nanoarb_jax.market.readers.files import open_bytes

_BLOCK = 1 << 20
_REASONS = (
    "other stream",
    "best-price ticker",
    "not a market trade",
    "diff before the first snapshot's update",
    "diff applied already",
    "snapshot older than the book",
    "trade told already",
    "before the first snapshot",
    "another symbol",
    "truncated last line",
)
_OTHER, _TICKER, _OFF_BOOK, _STALE, _REPEATED, _OLD_BOOK, _REPEATED_TRADE, _EARLY, _ALIEN, _CUT = range(len(_REASONS))
# what the sequence has come to: last update id, last trade id, fresh snapshot, the symbol wanted, a hole not told yet,
# met: a snapshot that does not say its symbol, messages of other symbols
_ID, _TRADE_ID, _FRESH, _SYMBOL, _HOLE, _UNSAID, _OTHERS = range(7)


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
    book = first[(first["ev"] & 0xFF) != CLEAR]
    tick_size = options.tick_size or infer_tick_size(book["px"], f"binance {files[0]}")
    lot_size = options.lot_size or infer_lot_size(book["qty"], f"binance {files[0]}")

    def all_chunks() -> Iterator[NDArray[np.void]]:
        yield first
        yield from chunks

    return EventFeed(Path(files[-1].name).name.split(".")[0], "binance", tick_size, lot_size, all_chunks(), dropped)


def _sequenced(
    files: Sequence[Path], options: ReadOptions, tickers: bool, dropped: Counter[str]
) -> Iterator[NDArray[np.void]]:
    """Chunks of events from the first snapshot on."""
    state = np.array([-1, -1, 0, 0, 0, 0, 0], np.int64)
    if options.symbol:
        letters = np.frombuffer(options.symbol.encode(), np.uint8)
        state[_SYMBOL] = scan.symbol_hash(letters, 0, len(letters))
    counts = np.zeros(len(_REASONS), np.int64)
    early: list[tuple[NDArray[np.void], NDArray[np.void]]] = []
    for file in files:
        for messages, events in _scanned(file, counts):
            _check_symbol(messages, state, options, file)
            if state[_ID] < 0:
                early.append((messages, events))
                if not _own_books(messages, state).any():
                    continue
                messages, events = _snapshot_first(early, state, counts)
            out = np.zeros(len(events) + 2 * int((messages["kind"] == scan.BOOK).sum()), EVENT)
            filled = _follow(messages, events, state, counts, tickers, out)
            dropped.update({reason: int(n) for reason, n in zip(_REASONS, counts, strict=True) if n})
            counts[:] = 0
            if filled:
                yield out[:filled]


def _scanned(file: Path, counts: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.void], NDArray[np.void]]]:
    """Messages and their events, block by block."""
    rest, line, ended, texts = b"", 1, False, np.zeros((6, 2), np.int64)
    with open_bytes(file) as stream:
        while not ended:
            block = stream.read(_BLOCK)
            ended = not block
            data = rest + block + (b"\n" if ended else b"")
            stop = data.rfind(b"\n") + 1
            rest = data[stop:]
            lines = data.count(b"\n", 0, stop)
            messages, events = np.zeros(lines, scan.MESSAGE), np.empty(len(data) // 10 + 2, EVENT)
            count, filled, malformed = scan.scan(np.frombuffer(data, np.uint8), stop, messages, events, texts)
            if malformed and ended:
                counts[_CUT] += 1
            elif malformed:
                at, text = [(i, text) for i, text in enumerate(data[:stop].split(b"\n")) if text][count]
                raise DataError(
                    f"binance {file}, line {line + at}: {text[:60].decode(errors='replace')!r} ... is malformed; "
                    "expected a local time in ns, a space and a JSON message of a Binance depth or trade stream"
                )
            line += lines
            yield messages[:count], events[:filled]


def _check_symbol(messages: NDArray[np.void], state: NDArray[np.int64], options: ReadOptions, file: Path) -> None:
    """Refuse a second symbol, unless one was asked for and every snapshot says its own (spot and USD-M: none does)."""
    said = np.unique(messages["symbol"][messages["symbol"] > 0])
    if state[_SYMBOL] == 0 and len(said):
        state[_SYMBOL] = said[0]
    state[_OTHERS] |= bool((said != state[_SYMBOL]).any())
    state[_UNSAID] |= bool(((messages["kind"] == scan.BOOK) & (messages["symbol"] == 0)).any())
    if state[_OTHERS] and not options.symbol:
        raise DataError(f"binance {file}: messages of several symbols; choose one with --symbol")
    if state[_OTHERS] and state[_UNSAID]:
        raise DataError(
            f"binance {file}: messages of several symbols, and a snapshot that does not say whose it is; expected one "
            "symbol a file, split it"
        )


def _own_books(messages: NDArray[np.void], state: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) which messages are snapshots of the symbol wanted."""
    return (messages["kind"] == scan.BOOK) & np.isin(messages["symbol"], (0, state[_SYMBOL]))


def _snapshot_first(
    early: list[tuple[NDArray[np.void], NDArray[np.void]]], state: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """All messages so far, the first snapshot before the diffs that arrived earlier, which now bear its time."""
    offsets = np.cumsum([0, *(len(events) for _, events in early)])
    for (messages, _), offset in zip(early, offsets, strict=False):
        messages["begin"] += offset
        messages["end"] += offset
    messages = np.concatenate([m for m, _ in early])
    events = np.concatenate([e for _, e in early])
    early.clear()
    book = int(np.argmax(_own_books(messages, state)))
    before = np.flatnonzero(messages["kind"][:book] == scan.DIFF)
    counts[_EARLY] += book - len(before)
    now = messages["local_ts"][book]
    messages["local_ts"][before] = now
    for i in before:
        events["local_ts"][messages["begin"][i] : messages["end"][i]] = now
    return messages[np.r_[book, before, book + 1 : len(messages)]], events


@compiled
def _follow(messages, events, state, counts, tickers, out):  # type: ignore[no-untyped-def]
    """Copy the events of the messages that belong to the book or are trades; returns how many."""
    filled = 0
    for i in range(len(messages)):
        message = messages[i]
        flags, first = LAST, filled
        if state[_SYMBOL] != 0 and message.symbol != 0 and message.symbol != state[_SYMBOL]:
            counts[_ALIEN] += 1
            continue
        if message.kind == scan.DIFF:
            if message.last_id < state[_ID] or (message.last_id == state[_ID] and not state[_FRESH]):
                counts[_STALE if state[_FRESH] else _REPEATED] += 1
                continue
            if _behind_a_hole(message, state):
                state[_HOLE] = 1
            state[_ID], state[_FRESH] = message.last_id, 0
        elif message.kind == scan.BOOK:
            if message.last_id < state[_ID]:
                counts[_OLD_BOOK] += 1
                continue
            state[_ID], state[_FRESH], state[_HOLE] = message.last_id, 1, 0
            flags = LAST | SNAPSHOT
            for side in (BUY, SELL):
                event = out[filled]
                event.ev, event.px, event.ival, event.order_id = CLEAR | side, np.nan, SNAPSHOT, message.last_id
                event.local_ts = message.local_ts
                event.exch_ts = message.exch_ts if message.exch_ts > 0 else message.local_ts
                filled += 1
        elif message.kind == scan.DEAL:
            if message.trade_id <= state[_TRADE_ID]:
                counts[_REPEATED_TRADE] += 1
                continue
            state[_TRADE_ID] = message.trade_id
        elif message.kind != scan.TICKER or not tickers:
            counts[
                _TICKER if message.kind == scan.TICKER else (_OFF_BOOK if message.kind == scan.OFF_BOOK else _OTHER)
            ] += 1
            continue
        for k in range(message.begin, message.end):
            out[filled] = events[k]
            out[filled].ival = flags & SNAPSHOT
            filled += 1
        if filled > first:  # an empty diff tells nothing
            out[filled - 1].ival = flags
            if state[_HOLE]:
                out[first].ival |= MAYBE_BAD_BOOK
                state[_HOLE] = 0
    return filled


@compiled
def _behind_a_hole(message, state):  # type: ignore[no-untyped-def]
    """Are updates missing between the last one known and this diff? Ids of futures skip: only `pu` tells there."""
    if message.previous_id >= 0:
        return message.previous_id > state[_ID] if state[_FRESH] else message.previous_id != state[_ID]
    return message.first_id > state[_ID] + 1 if state[_FRESH] else message.first_id != state[_ID] + 1
