"""The state of a book: its levels, its orders and its counters as arrays, made empty and made larger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.anomaly import Anomaly, Policy, policies
from nanoarb_jax.market.book.ladder import WIDTH, Ladder, empty_ladder, wider
from nanoarb_jax.market.book.orders import empty_table, rehash
from nanoarb_jax.market.series import finer_step

_BETWEEN = 1e-3  # steps, as `apply.py` has it

# what `apply_event` returns: the event was applied; a table has no room for it; its anomaly's policy is to raise
APPLIED, NEEDS_LEVELS, NEEDS_ORDERS, RAISED = range(4)

META = np.dtype(
    [
        ("tick_size", "f8"),
        ("lot_size", "f8"),
        ("exchange_time", "i8"),  # 1: exch_ts is the time of a tick, 0: local_ts
        ("time", "i8"),  # latest of all events so far
        ("events", "i8"),  # seen so far
        ("messages", "i8"),  # ended so far
        ("live_orders", "i8"),  # in the table of orders
        ("synced", "i8"),  # 0: waits for a snapshot
        ("quoted", "i8"),  # 1: valid at the end of the last message
        ("raised", "i8"),  # the anomaly whose policy raised at the last event, -1 if none did
        ("trades", "i8"),  # so far
        ("bought", "i8"),  # lots that takers bought so far
        ("sold", "i8"),  # lots that takers sold so far
        ("unsided", "i8"),  # lots traded so far where the taker's side is not known
        ("late_ns", "i8"),  # the furthest that an event's time lay before the book's
        ("begun", "i8"),  # 1: an event has changed the book
        ("whole", "i8"),  # 0: it began without a snapshot or clear, and none has come since
        ("crossed", "i8"),  # 1: the last message left a crossed book
        ("spoiled", "i8"),  # the anomaly for which an event of this message was left out, 0 if none was
        ("lost_unsynced", "i8"),  # messages of which an event was left out, by the anomaly
        ("lost_invalid", "i8"),
        ("lost_backwards", "i8"),
        ("lost_gap", "i8"),
        ("healed", "i8"),  # messages so far that left a crossed book, and no longer do
        ("trades_crossed", "i8"),  # trades since the book is crossed, the time of the first and the ticks of the last
        ("trade_crossed_ns", "i8"),
        ("trade_ticks", "f8"),
    ],
    align=True,
)


class BookState(NamedTuple):
    """A book and its bookkeeping; compiled functions change it in place.

    Attributes:
        levels: price levels of both sides.
        orders: (slots,) ORDER, resting orders by id (L3).
        meta: (1,) META.
        anomalies: (kinds,) int64 counters; policy: (kinds,) int8.
    """

    levels: Ladder
    orders: NDArray[np.void]
    meta: NDArray[np.void]
    anomalies: NDArray[np.int64]
    policy: NDArray[np.int8]


def empty_state(
    tick_size: float,
    lot_size: float,
    *,
    policy: Policy | Mapping[str, Policy] | None = None,
    clock: Literal["local", "exchange"] = "local",
    levels: int = 1024,
    orders: int = 4096,
) -> BookState:
    """The state of an empty book, for use inside compiled code; arguments as for `OrderBook`.

    Raises:
        DataError: an argument out of range.

    >>> from nanoarb_jax.market.book.state import empty_state
    >>> int(empty_state(0.25, 1.0).levels.depth.sum())
    0
    """
    for name, value in (("tick_size", tick_size), ("lot_size", lot_size)):
        if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
            raise DataError(f"order book: {name}={value!r}; expected a finite number above 0")
    if clock not in ("local", "exchange"):
        raise DataError(f"order book: clock={clock!r}; expected 'local' or 'exchange'")
    if levels < 2 or orders < 4:
        raise DataError(f"order book: room for {levels=} and {orders=}; expected at least 2 and 4")
    meta = np.zeros(1, META)
    meta["tick_size"], meta["lot_size"], meta["exchange_time"] = tick_size, lot_size, clock == "exchange"
    meta["time"], meta["synced"], meta["raised"] = np.iinfo(np.int64).min, 1, -1
    meta["whole"] = 1
    return BookState(
        levels=empty_ladder(2 + 2 * levels // WIDTH),
        orders=empty_table(1 << (2 * orders - 1).bit_length()),
        meta=meta,
        anomalies=np.zeros(len(Anomaly), np.int64),
        policy=policies(policy),
    )


def grow(state: BookState, status: int) -> BookState:
    """The same book with twice the room that `apply_event` asked for with NEEDS_LEVELS or NEEDS_ORDERS."""
    if status == NEEDS_ORDERS:
        larger = empty_table(2 * len(state.orders))
        rehash(state.orders, larger)
        return state._replace(orders=larger)
    return state._replace(levels=wider(state.levels))


def describe_raised(state: BookState, event: np.void) -> str:
    """One line on the anomaly that stopped the book at this event."""
    meta = state.meta[0]
    kind = Anomaly(int(meta["raised"])).name.lower()
    fields = ", ".join(f"{name} {event[name]}" for name in ("px", "qty", "order_id", "local_ts"))
    return (
        f"order book, event {meta['events']}: {kind} (kind {int(event['ev']) & 255}, {fields}; tick size "
        f"{meta['tick_size']:g}, lot size {meta['lot_size']:g}); {_finer_size(meta, event)}check the feed and both "
        f"sizes, or choose another policy for {kind!r}"
    )


def _finer_size(meta: np.void, event: np.void) -> str:
    """What to do about a price between the ticks, or a quantity below a lot; nothing where it is neither."""
    if Anomaly(int(meta["raised"])) is not Anomaly.INVALID:
        return ""
    for option, value, unit in (
        ("tick-size", event["px"], meta["tick_size"]),
        ("lot-size", event["qty"], meta["lot_size"]),
    ):
        steps = float(value) / float(unit)
        if math.isfinite(steps) and abs(steps - round(steps)) > _BETWEEN and (option == "tick-size" or steps < 0.5):
            size = finer_step(value)
            return f"it lies between the steps of {unit:g}: give --{option} {size} or another that it fits; "
    return ""


def describe_refused(state: BookState) -> str:
    """One line on what is wrong with a whole book that was refused."""
    kind = Anomaly(int(state.meta[0]["raised"])).name.lower()
    invalid = (
        " (a price off the tick grid, a quantity below a lot, sides that are unsorted or of unequal length, or "
        "negative trades)"
    )
    return (
        f"book: {kind}{invalid if kind == 'invalid' else ''}; check the feed and both sizes, or choose another policy "
        f"for {kind!r}"
    )
