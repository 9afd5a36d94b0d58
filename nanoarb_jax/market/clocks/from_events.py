"""Ticks of a feed of events: a compiled loop that applies events to a book and writes its ticks as rows of books."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.book.state import (
    APPLIED,
    NEEDS_LEVELS,
    NEEDS_ORDERS,
    RAISED,
    BookState,
    describe_raised,
    grow,
)
from nanoarb_jax.market.clocks.clock import CHUNK_ROWS, TickClock
from nanoarb_jax.market.clocks.next_tick import DUE, TICK, clock_memory, next_tick
from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.series import LEVELS, BookSeries

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


@compiled
def sample(state, memory, events, start, rows):  # type: ignore[no-untyped-def]
    """Apply events from index `start` on, and write a row for every tick.

    Args:
        state: `BookState`, changed.
        memory: `ClockMemory`, changed.
        events: (n,) EVENT.
        start: index of the first event to apply.
        rows: `TickRows`, overwritten from the first on.

    Returns:
        (next index, rows filled, status): APPLIED at the end of the events, FULL when `rows` is, or the status of
        `apply_event` that stopped it.
    """
    at, filled, clock = start, 0, memory.clock[0]
    while at < len(events):
        if filled == len(rows.ts_ns):
            return at, filled, FULL
        status = next_tick(state, memory, events[at])
        if status in (TICK, DUE):
            rows.ts_ns[filled], rows.bought[filled], rows.sold[filled] = clock.ts_ns, clock.bought, clock.sold
            for i in range(LEVELS):
                rows.bid_px[filled, i], rows.bid_lots[filled, i] = memory.top[0, i], memory.top[1, i]
                rows.ask_px[filled, i], rows.ask_lots[filled, i] = memory.top[2, i], memory.top[3, i]
            filled += 1
        elif status != APPLIED:
            return at, filled, status
        if status != DUE:
            at += 1
    return at, filled, APPLIED


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
    memory = clock_memory(clock)
    px_scale, lots_per_unit = 1.0 / float(state.meta["tick_size"][0]), 1.0 / float(state.meta["lot_size"][0])
    for events in chunks:
        at = 0
        while at < len(events):
            # a message is at most one tick, but of a time clock an event may be many
            rows = _empty_rows(CHUNK_ROWS if clock.kind == "time" else min(CHUNK_ROWS, len(events)))
            at, filled, status = sample(state, memory, events, at, rows)
            if filled:
                columns = {field: column[:filled] for field, column in rows._asdict().items()}
                yield BookSeries(**columns, px_scale=px_scale, lots_per_unit=lots_per_unit, tick=1, name=name)
            if status == RAISED:
                raise DataError(f"{name}: {describe_raised(state, events[at])}")
            if status in (NEEDS_LEVELS, NEEDS_ORDERS):
                state = grow(state, status)
    done(state)


def _empty_rows(rows: int) -> TickRows:
    """Room for that many ticks."""
    bid_px, bid_lots, ask_px, ask_lots = (np.empty((rows, LEVELS), np.int64) for _ in range(4))
    ts_ns, bought, sold = (np.empty(rows, np.int64) for _ in range(3))
    return TickRows(ts_ns, bid_px, bid_lots, ask_px, ask_lots, bought, sold)
