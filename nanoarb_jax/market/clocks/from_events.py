"""Ticks of a feed of events: compiled loops that apply events to a book and write its ticks as rows of books."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.book.apply import apply_event, event_time, is_seen
from nanoarb_jax.market.book.ladder import ASK, BID, copy_top
from nanoarb_jax.market.book.state import (
    APPLIED,
    NEEDS_LEVELS,
    NEEDS_ORDERS,
    RAISED,
    BookState,
    describe_raised,
    grow,
)
from nanoarb_jax.market.clocks.clock import CHUNK_ROWS, LATEST_NS, TickClock
from nanoarb_jax.market.compiled import compiled, inlined
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries

FULL = -1  # status: no room for another row


class TickRows(NamedTuple):
    """Room for n ticks: arrays as in `BookSeries`, prices in ticks, quantities in lots."""

    ts_ns: NDArray[np.int64]
    bid_px: NDArray[np.int64]
    bid_lots: NDArray[np.int64]
    ask_px: NDArray[np.int64]
    ask_lots: NDArray[np.int64]
    bought: NDArray[np.int64]
    sold: NDArray[np.int64]


_LAST_TICK = np.dtype(
    [
        ("ticks", "i8"),  # so far
        ("bought", "i8"),  # the book's counters at the last tick
        ("sold", "i8"),
        ("trades", "i8"),
        ("next_ns", "i8"),  # a time clock's next tick; 0 before the first event
    ],
    align=True,
)


class ClockMemory(NamedTuple):
    """What a clock keeps from one event to the next.

    Attributes:
        top: (4, 10) int64, bid_px, bid_lots, ask_px, ask_lots: of the last tick, or for a time clock of the book after
            the last message.
        last: (1,) record: counters at the last tick, and when the next one is due.
    """

    top: NDArray[np.int64]
    last: NDArray[np.void]


@inlined
def _count_tick(state, memory, rows, at, ts_ns):  # type: ignore[no-untyped-def]
    """Row `at` is a tick: write its time and the trades since the tick before."""
    meta, last = state.meta[0], memory.last[0]
    rows.ts_ns[at] = ts_ns
    rows.bought[at] = meta.bought - last.bought
    rows.sold[at] = meta.sold - last.sold
    last.ticks += 1
    last.bought, last.sold, last.trades = meta.bought, meta.sold, meta.trades


@inlined
def _write_book(state, rows, at):  # type: ignore[no-untyped-def]
    """Write the book's best levels into row `at`."""
    copy_top(state.levels, BID, rows.bid_px[at], rows.bid_lots[at], EMPTY_PRICE)
    copy_top(state.levels, ASK, rows.ask_px[at], rows.ask_lots[at], EMPTY_PRICE)


@compiled
def _remember_row(memory, rows, at):  # type: ignore[no-untyped-def]
    """Keep the book of row `at`."""
    for i in range(LEVELS):
        memory.top[0, i], memory.top[1, i] = rows.bid_px[at, i], rows.bid_lots[at, i]
        memory.top[2, i], memory.top[3, i] = rows.ask_px[at, i], rows.ask_lots[at, i]


@compiled
def _recall_row(memory, rows, at):  # type: ignore[no-untyped-def]
    """Write the book that was kept into row `at`."""
    for i in range(LEVELS):
        rows.bid_px[at, i], rows.bid_lots[at, i] = memory.top[0, i], memory.top[1, i]
        rows.ask_px[at, i], rows.ask_lots[at, i] = memory.top[2, i], memory.top[3, i]


@compiled
def _differs(memory, rows, at, levels):  # type: ignore[no-untyped-def]
    """Whether the best levels of row `at` differ from those of the last tick."""
    if memory.last[0].ticks == 0:
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
def sample_messages(state, events, start, every_trade, levels, memory, rows):  # type: ignore[no-untyped-def]
    """Apply events from index `start` on; write a row at the end of each message that a book or trade clock takes.

    Args:
        state: `BookState`, changed.
        events: (n,) EVENT.
        start: index of the first event to apply.
        every_trade: every message with a trade is a tick; otherwise every change of the best `levels` is.
        memory: `ClockMemory`, changed.
        rows: `TickRows`, overwritten from the first on.

    Returns:
        (next index, rows filled, status): APPLIED at the end of the events, FULL when `rows` is, or the status of
        `apply_event` that stopped it.
    """
    filled, meta = 0, state.meta[0]
    for i in range(start, len(events)):
        if filled == len(rows.ts_ns):
            return i, filled, FULL
        messages = meta.messages
        status = apply_event(state, events[i])
        if status != APPLIED:
            return i, filled, status
        if meta.messages == messages or not meta.quoted:
            continue
        if every_trade and meta.trades == memory.last[0].trades:
            continue
        _write_book(state, rows, filled)
        if every_trade or _differs(memory, rows, filled, levels):
            _remember_row(memory, rows, filled)
            _count_tick(state, memory, rows, filled, meta.time)
            filled += 1
    return len(events), filled, APPLIED


@inlined
def _grid_time(time, interval_ns):  # type: ignore[no-untyped-def]
    """The first time of the grid that is not before this one."""
    return ((time - 1) // interval_ns + 1) * interval_ns


@inlined
def _tick_until(state, time, interval_ns, memory, rows, filled):  # type: ignore[no-untyped-def]
    """Write the ticks that are due before this time while there is room; returns the number of rows filled."""
    last = memory.last[0]
    while last.next_ns < time and filled < len(rows.ts_ns):
        _recall_row(memory, rows, filled)
        _count_tick(state, memory, rows, filled, last.next_ns)
        filled += 1
        last.next_ns += interval_ns
    return filled


@compiled
def sample_times(state, events, start, interval_ns, silence_ns, memory, rows):  # type: ignore[no-untyped-def]
    """Apply events from index `start` on; write a row for every time of the grid, with the book known at that time.

    Args:
        state, events, start, memory, rows: as for `sample_messages`.
        interval_ns, silence_ns: of the `TickClock`.

    Returns:
        As `sample_messages`.
    """
    filled, meta, last = 0, state.meta[0], memory.last[0]
    for i in range(start, len(events)):
        event = events[i]
        if is_seen(state, event):
            time = min(max(event_time(state, event), meta.time), LATEST_NS)
            if last.next_ns == 0 or not meta.quoted or time - last.next_ns > silence_ns:
                last.next_ns = _grid_time(time, interval_ns)
            filled = _tick_until(state, time, interval_ns, memory, rows, filled)
            if last.next_ns < time:
                return i, filled, FULL
        messages = meta.messages
        status = apply_event(state, event)
        if status != APPLIED:
            return i, filled, status
        if last.next_ns - meta.time > interval_ns:
            # the book rejected the event's time as damaged, so go back to the book's own time
            last.next_ns = _grid_time(meta.time, interval_ns)
        if meta.messages != messages and meta.quoted:
            copy_top(state.levels, BID, memory.top[0], memory.top[1], EMPTY_PRICE)
            copy_top(state.levels, ASK, memory.top[2], memory.top[3], EMPTY_PRICE)
    return len(events), filled, APPLIED


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
        state: an empty book (`state.empty_state`); used up.
        clock: which states are ticks.
        name: of the series.
        done: called at the end with the final book and its counters; it is a new object if the book outgrew `state`.

    Yields:
        BookSeries of at most CHUNK_ROWS rows, never empty; trades are those since the row before, across chunks.

    Raises:
        DataError: an anomaly whose policy is to raise.
    """
    memory = ClockMemory(np.zeros((4, LEVELS), np.int64), np.zeros(1, _LAST_TICK))
    px_scale, lots_per_unit = 1.0 / float(state.meta["tick_size"][0]), 1.0 / float(state.meta["lot_size"][0])
    for events in chunks:
        at = 0
        while at < len(events):
            rows, at, filled, status = _sample(state, events, at, clock, memory)
            if filled:
                columns = {field: column[:filled] for field, column in rows._asdict().items()}
                yield BookSeries(**columns, px_scale=px_scale, lots_per_unit=lots_per_unit, tick=1, name=name)
            if status == RAISED:
                raise DataError(f"{name}: {describe_raised(state, events[at])}")
            if status in (NEEDS_LEVELS, NEEDS_ORDERS):
                state = grow(state, status)
    done(state)


def _sample(
    state: BookState, events: NDArray[np.void], start: int, clock: TickClock, memory: ClockMemory
) -> tuple[TickRows, int, int, int]:
    """The next rows of ticks, and what `sample_messages` or `sample_times` returns."""
    if clock.kind == "time":
        rows = _empty_rows(CHUNK_ROWS)
        return rows, *sample_times(state, events, start, clock.interval_ns, clock.silence_ns, memory, rows)
    rows = _empty_rows(min(CHUNK_ROWS, len(events)))  # a message is at most one tick
    return rows, *sample_messages(state, events, start, clock.kind == "trade", clock.levels, memory, rows)


def _empty_rows(rows: int) -> TickRows:
    """Room for that many ticks."""
    bid_px, bid_lots, ask_px, ask_lots = (np.empty((rows, LEVELS), np.int64) for _ in range(4))
    ts_ns, bought, sold = (np.empty(rows, np.int64) for _ in range(3))
    return TickRows(ts_ns, bid_px, bid_lots, ask_px, ask_lots, bought, sold)
