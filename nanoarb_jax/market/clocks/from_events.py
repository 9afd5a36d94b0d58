"""Tick clocks: which of the book's states become ticks, and a compiled loop from events to rows of books."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.book import apply as kernel
from nanoarb_jax.market.book.apply import ASK, BID, BookState
from nanoarb_jax.market.book.ladder import copy_top
from nanoarb_jax.market.book.order_book import describe_raised, grow
from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.event import EXCH_EVENT, LOCAL_EVENT
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries

ROWS = 1 << 14  # in a chunk of books
FULL = -1  # status: no room for another row
_BOOK, _TRADE, _TIME = range(3)
SILENCE_NS, SILENT_TICKS, LATEST_NS = 86_400 * 10**9, 1_000_000, 2**62  # no grid of a time clock beyond


@dataclass(frozen=True)
class TickClock:
    """When the book becomes a tick; only ever at the end of a message, and only while it is valid.

    Args:
        kind: "book", a change of price or size in the best `levels`; "trade", every message with a trade; "time",
            every `interval_ns` on a grid of whole multiples since 1970, with the book after the last message known at
            that moment; not across a day or a million intervals of silence (a hole in the data, or a damaged time).
        levels: 1 is the BBO clock, 10 (the most) sees all that the features see.
        interval_ns: of the time clock.
    """

    kind: Literal["book", "trade", "time"] = "book"
    levels: int = LEVELS
    interval_ns: int = 100_000_000

    def __post_init__(self) -> None:
        if self.kind not in ("book", "trade", "time"):
            raise DataError(f"tick clock {self.kind!r}: expected 'book', 'trade' or 'time'")
        if not 1 <= self.levels <= LEVELS:
            raise DataError(f"tick clock: levels={self.levels}; expected 1 (best prices) to {LEVELS}")
        if self.interval_ns < 1:
            raise DataError(f"tick clock: interval_ns={self.interval_ns}; expected at least 1")


class Rows(NamedTuple):
    """Room for n ticks: arrays as in `BookSeries`, prices in ticks, sizes in lots."""

    ts_ns: NDArray[np.int64]
    bid_px: NDArray[np.int64]
    bid_lots: NDArray[np.int64]
    ask_px: NDArray[np.int64]
    ask_lots: NDArray[np.int64]
    bought: NDArray[np.int64]
    sold: NDArray[np.int64]


class Memory(NamedTuple):
    """What a clock keeps between events.

    Attributes:
        top: (4, 10) int64, bid_px, bid_lots, ask_px, ask_lots of the last tick; by a time clock, of the last message.
        marks: (5,) int64: ticks so far, bought, sold and trades at the last tick, next time on the grid.
    """

    top: NDArray[np.int64]
    marks: NDArray[np.int64]


_TICKS, _BOUGHT, _SOLD, _TRADES, _NEXT = range(5)


@compiled
def _copy_book(state, bid_px, bid_lots, ask_px, ask_lots):  # type: ignore[no-untyped-def]
    copy_top(state.levels, BID, bid_px, bid_lots, EMPTY_PRICE)
    copy_top(state.levels, ASK, ask_px, ask_lots, EMPTY_PRICE)


@compiled
def _count(state, memory, rows, at, ts_ns):  # type: ignore[no-untyped-def]
    """Row `at` is a tick: write its time and the trades since the tick before."""
    meta, marks = state.meta[0], memory.marks
    rows.ts_ns[at] = ts_ns
    rows.bought[at] = meta.bought - marks[_BOUGHT]
    rows.sold[at] = meta.sold - marks[_SOLD]
    marks[_TICKS] += 1
    marks[_BOUGHT], marks[_SOLD], marks[_TRADES] = meta.bought, meta.sold, meta.trades


@compiled
def _keep(memory, rows, at):  # type: ignore[no-untyped-def]
    """Remember the book of row `at`."""
    for i in range(LEVELS):
        memory.top[0, i], memory.top[1, i] = rows.bid_px[at, i], rows.bid_lots[at, i]
        memory.top[2, i], memory.top[3, i] = rows.ask_px[at, i], rows.ask_lots[at, i]


@compiled
def _recall(memory, rows, at):  # type: ignore[no-untyped-def]
    """Make the book remembered row `at`."""
    for i in range(LEVELS):
        rows.bid_px[at, i], rows.bid_lots[at, i] = memory.top[0, i], memory.top[1, i]
        rows.ask_px[at, i], rows.ask_lots[at, i] = memory.top[2, i], memory.top[3, i]


@compiled
def _changed(memory, rows, at, levels):  # type: ignore[no-untyped-def]
    """Do the best levels of row `at` differ from the last tick's?"""
    if memory.marks[_TICKS] == 0:
        return True
    for i in range(levels):
        if (
            memory.top[0, i] != rows.bid_px[at, i]
            or memory.top[1, i] != rows.bid_lots[at, i]
            or memory.top[2, i] != rows.ask_px[at, i]
            or memory.top[3, i] != rows.ask_lots[at, i]
        ):
            return True
    return False


@compiled
def sample(state, events, start, kind, levels, interval_ns, memory, rows):  # type: ignore[no-untyped-def]
    """Apply events from index `start` on and write the ticks into `rows`.

    Returns:
        (next index, rows filled, status): APPLIED at the end of the events, FULL when `rows` is, or the status of
        `apply_event` that stopped it.
    """
    filled, meta, marks = 0, state.meta[0], memory.marks
    silence_ns = SILENT_TICKS * min(interval_ns, SILENCE_NS // SILENT_TICKS)
    top, seen = memory.top, EXCH_EVENT if meta.exchange_time else LOCAL_EVENT
    for i in range(start, len(events)):
        event = events[i]
        if kind == _TIME:
            code = np.int64(event.ev)
            time = min(max(event.exch_ts if meta.exchange_time else event.local_ts, meta.time), LATEST_NS)
            if code & seen or not code & (EXCH_EVENT | LOCAL_EVENT):
                if marks[_NEXT] == 0 or not meta.quoted or time - marks[_NEXT] > silence_ns:
                    marks[_NEXT] = ((time - 1) // interval_ns + 1) * interval_ns
                while marks[_NEXT] < time:
                    if filled == len(rows.ts_ns):
                        return i, filled, FULL
                    _recall(memory, rows, filled)
                    _count(state, memory, rows, filled, marks[_NEXT])
                    filled += 1
                    marks[_NEXT] += interval_ns
        if filled == len(rows.ts_ns):
            return i, filled, FULL
        messages = meta.messages
        status = kernel.apply_event(state, event)
        if status != kernel.APPLIED:
            return i, filled, status
        if kind == _TIME and marks[_NEXT] - meta.time > interval_ns:
            marks[_NEXT] = ((meta.time - 1) // interval_ns + 1) * interval_ns  # its time was damaged, and not taken
        if meta.messages == messages or not meta.quoted:
            continue
        if kind == _TIME:
            _copy_book(state, top[0], top[1], top[2], top[3])
        elif kind == _BOOK or meta.trades != marks[_TRADES]:
            _copy_book(state, rows.bid_px[filled], rows.bid_lots[filled], rows.ask_px[filled], rows.ask_lots[filled])
            if kind == _TRADE or _changed(memory, rows, filled, levels):
                _keep(memory, rows, filled)
                _count(state, memory, rows, filled, meta.time)
                filled += 1
    return len(events), filled, kernel.APPLIED


def empty_rows(rows: int) -> Rows:
    """Room for that many ticks."""
    bid_px, bid_lots, ask_px, ask_lots = (np.empty((rows, LEVELS), np.int64) for _ in range(4))
    ts_ns, bought, sold = (np.empty(rows, np.int64) for _ in range(3))
    return Rows(ts_ns, bid_px, bid_lots, ask_px, ask_lots, bought, sold)


def tick_chunks(
    chunks: Iterable[NDArray[np.void]],
    state: BookState,
    clock: TickClock,
    name: str,
    done: Callable[[BookState], None] = lambda state: None,
) -> Iterator[BookSeries]:
    """Ticks of a feed's events, in chunks of bounded size.

    Args:
        chunks: arrays of EVENT.
        state: an empty book (`book.empty_state`); used up.
        clock: which states are ticks.
        name: of the series.
        done: given the book at the end, with its counters; the state passed in is not it, if it had to grow.

    Yields:
        BookSeries of at most ROWS rows, never empty; trades are those since the row before, across chunks.

    Raises:
        DataError: an anomaly whose policy is to raise.
    """
    kind = ("book", "trade", "time").index(clock.kind)
    memory = Memory(np.zeros((4, LEVELS), np.int64), np.zeros(5, np.int64))
    px_scale, lots_per_unit = 1.0 / float(state.meta["tick_size"][0]), 1.0 / float(state.meta["lot_size"][0])
    for events in chunks:
        at = 0
        while at < len(events):
            rows = empty_rows(min(ROWS, len(events) if clock.kind != "time" else ROWS))
            at, filled, status = sample(state, events, at, kind, clock.levels, clock.interval_ns, memory, rows)
            if filled:
                columns = {field: column[:filled] for field, column in rows._asdict().items()}
                yield BookSeries(**columns, px_scale=px_scale, lots_per_unit=lots_per_unit, tick=1, name=name)
            if status == kernel.RAISED:
                raise DataError(f"{name}: {describe_raised(state, events[at])}")
            if status in (kernel.NEEDS_LEVELS, kernel.NEEDS_ORDERS):
                state = grow(state, status)
    done(state)
