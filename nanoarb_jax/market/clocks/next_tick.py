"""When an event makes a tick: `next_tick` is the one definition, compiled, for files, live books and strategies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.anomaly import KEEP, Anomaly
from nanoarb_jax.market.book.apply import apply_event, event_time, is_seen
from nanoarb_jax.market.book.changes import count_anomaly
from nanoarb_jax.market.book.ladder import ASK, BID, copy_top
from nanoarb_jax.market.book.state import APPLIED, RAISED
from nanoarb_jax.market.clocks.clock import LATEST_NS, TickClock
from nanoarb_jax.market.compiled import inlined, internal
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS

# what `next_tick` returns beside what `apply_event` does: the event was applied and made a tick; or a tick of the grid
# of time is due before the event, which was not applied
TICK, DUE = RAISED + 1, RAISED + 2

_BACKWARDS = int(Anomaly.BACKWARDS)
_BOOK, _TRADE, _TIME = range(3)
_KINDS = {"book": _BOOK, "trade": _TRADE, "time": _TIME}

CLOCK = np.dtype(
    [
        ("kind", "i8"),  # _BOOK, _TRADE or _TIME
        ("levels", "i8"),
        ("interval_ns", "i8"),
        ("silence_ns", "i8"),
        ("ticks", "i8"),  # so far
        ("ts_ns", "i8"),  # of the last tick, with what was bought and sold since the tick before it, in lots
        ("bought", "i8"),
        ("sold", "i8"),
        ("bought_before", "i8"),  # the book's counters at the last tick
        ("sold_before", "i8"),
        ("trades_before", "i8"),
        ("next_ns", "i8"),  # a time clock's next tick; 0 before the first event
    ],
    align=True,
)


class ClockMemory(NamedTuple):
    """A clock, and what it keeps from one event to the next.

    Attributes:
        top: (4, 10) int64, bid_px, bid_lots, ask_px, ask_lots, prices in ticks: the book of the last tick; for a time
            clock, the book after the last message, which is that of every tick that is due.
        now: as `top`, the book at the end of the latest message.
        clock: (1,) CLOCK: the settings, the last tick, and when the next one is due.
    """

    top: NDArray[np.int64]
    now: NDArray[np.int64]
    clock: NDArray[np.void]


def clock_memory(clock: TickClock) -> ClockMemory:
    """Before the first event."""
    memory = ClockMemory(np.zeros((4, LEVELS), np.int64), np.zeros((4, LEVELS), np.int64), np.zeros(1, CLOCK))
    set_clock(memory, clock)
    return memory


def set_clock(memory: ClockMemory, clock: TickClock) -> None:
    """Write the settings of a clock into a memory of zeros."""
    record = memory.clock
    record["kind"], record["levels"] = _KINDS[clock.kind], clock.levels
    record["interval_ns"], record["silence_ns"] = clock.interval_ns, clock.silence_ns


@inlined
def next_tick(state, memory, event):  # type: ignore[no-untyped-def]
    """Apply one event, and say whether it makes a tick: `memory.top` is then its book, `memory.clock` has the rest.

    Args:
        state: `BookState`, changed.
        memory: `ClockMemory`, changed.
        event: one record of EVENT.

    Returns:
        APPLIED: no tick; TICK: the event was applied and made one; DUE: a tick is due before this event, call again
        with the same event; or what stopped `apply_event`.
    """
    clock = memory.clock[0]
    if clock.kind == _TIME and is_seen(state, event) and _is_due(state, memory, event_time(state, event)):
        return DUE
    meta = state.meta[0]
    messages = meta.messages
    status = apply_event(state, event)
    if status != APPLIED:
        return status
    if clock.kind == _TIME and clock.next_ns - meta.time > clock.interval_ns:
        # the book rejected the event's time as damaged, so go back to the book's own time
        clock.next_ns = _grid_time(meta.time, clock.interval_ns)
    if meta.messages == messages or not meta.quoted:
        return APPLIED
    copy_top(state.levels, BID, memory.now[0], memory.now[1], EMPTY_PRICE)
    copy_top(state.levels, ASK, memory.now[2], memory.now[3], EMPTY_PRICE)
    return _end_message(state, memory)


@inlined
def is_due(state, memory, ts_ns):  # type: ignore[no-untyped-def]
    """Whether a tick of the time clock is due before a book of this time; if so, it is counted: ask again."""
    return memory.clock[0].kind == _TIME and _is_due(state, memory, ts_ns)


@internal
def next_tick_of_books(state, memory, ts_ns, bought, sold, valid):  # type: ignore[no-untyped-def]
    """As `next_tick`, of feeds that bring whole books: the book at the end of a message is in `memory.now`.

    Call it once a book, when no tick `is_due` before it any more.

    Args:
        state: `BookState`, of which only the counters, anomalies and policies are used; changed.
        memory: `ClockMemory`, changed.
        ts_ns: int, time of the book.
        bought, sold: int, lots that takers traded since the book before; below 0: not counted.
        valid: whether the book may be a tick.

    Returns:
        APPLIED or TICK, see `next_tick`; or RAISED.
    """
    meta = state.meta[0]
    meta.events += 1
    meta.messages += 1
    meta.bought += max(bought, 0)
    meta.sold += max(sold, 0)
    if bought > 0 or sold > 0:
        meta.trades += 1
    if ts_ns < meta.time:
        valid = count_anomaly(state, _BACKWARDS) == KEEP and valid
    else:
        meta.time = ts_ns
    meta.quoted = 1 if valid else 0
    if meta.raised >= 0:
        return RAISED
    return _end_message(state, memory) if valid else APPLIED


@inlined
def _end_message(state, memory):  # type: ignore[no-untyped-def]
    """APPLIED or TICK: what the valid book `memory.now` at the end of a message is to the clock."""
    meta, clock = state.meta[0], memory.clock[0]
    if (clock.kind == _TRADE and meta.trades == clock.trades_before) or (
        clock.kind == _BOOK and clock.ticks > 0 and not _differs(memory.top, memory.now, clock.levels)
    ):
        return APPLIED
    _copy_top(memory.now, memory.top)
    if clock.kind == _TIME:
        return APPLIED
    _count_tick(state, clock, meta.time)
    return TICK


@inlined
def _is_due(state, memory, event_ns):  # type: ignore[no-untyped-def]
    """Count the next tick of the grid if it lies before an event of this time."""
    meta, clock = state.meta[0], memory.clock[0]
    time = min(max(event_ns, meta.time), LATEST_NS)
    if clock.next_ns == 0 or not meta.quoted or time - clock.next_ns > clock.silence_ns:
        clock.next_ns = _grid_time(time, clock.interval_ns)
    if clock.next_ns >= time:
        return False
    _count_tick(state, clock, clock.next_ns)
    clock.next_ns += clock.interval_ns
    return True


@inlined
def _count_tick(state, clock, ts_ns):  # type: ignore[no-untyped-def]
    """Note a tick: its time, and the trades since the tick before."""
    meta = state.meta[0]
    clock.ticks += 1
    clock.ts_ns = ts_ns
    clock.bought, clock.sold = meta.bought - clock.bought_before, meta.sold - clock.sold_before
    clock.bought_before, clock.sold_before, clock.trades_before = meta.bought, meta.sold, meta.trades


@inlined
def _grid_time(time, interval_ns):  # type: ignore[no-untyped-def]
    """The first time of the grid that is not before this one."""
    return ((time - 1) // interval_ns + 1) * interval_ns


@internal
def _copy_top(source, target):  # type: ignore[no-untyped-def]
    """Copy the best levels of a book; a slice assignment would allocate."""
    for column in range(4):
        for i in range(LEVELS):
            target[column, i] = source[column, i]


@internal
def _differs(top, now, levels):  # type: ignore[no-untyped-def]
    """Whether the best levels of two books differ."""
    for column in range(4):
        for i in range(levels):
            if top[column, i] != now[column, i]:
                return True
    return False
