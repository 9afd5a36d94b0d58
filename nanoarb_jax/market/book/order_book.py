"""The order book: L2 levels and L3 orders of one instrument, kept by events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.anomaly import Anomaly, Policy, policies
from nanoarb_jax.market.book import apply as kernel
from nanoarb_jax.market.book.apply import ASK, BID, META, BookState
from nanoarb_jax.market.book.ladder import WIDTH, best, copy_top, empty_ladder, wider
from nanoarb_jax.market.book.orders import empty_table, locate, rehash
from nanoarb_jax.market.event import EVENT
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS


class Top(NamedTuple):
    """The best levels of both sides, best first; absent ones have the price EMPTY_PRICE and the size 0.

    Attributes:
        bid_px, ask_px: (levels,) int64, price ticks.
        bid_lots, ask_lots: (levels,) int64, lots.
    """

    bid_px: NDArray[np.int64]
    bid_lots: NDArray[np.int64]
    ask_px: NDArray[np.int64]
    ask_lots: NDArray[np.int64]


class Order(NamedTuple):
    """A resting order (L3)."""

    side: Literal["bid", "ask"]
    price: float
    quantity: float


def empty_state(
    tick_size: float,
    lot_size: float,
    *,
    policy: Policy | Mapping[str, Policy] | None = None,
    clock: Literal["local", "exchange"] = "local",
    levels: int = 1024,
    orders: int = 4096,
) -> BookState:
    """The state of an empty book, for use inside compiled code; arguments as for `OrderBook`."""
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
    return BookState(
        levels=empty_ladder(2 + 2 * levels // WIDTH),
        orders=empty_table(1 << (2 * orders - 1).bit_length()),
        meta=meta,
        anomalies=np.zeros(len(Anomaly), np.int64),
        policy=policies(policy),
    )


def grow(state: BookState, status: int) -> BookState:
    """The same book with twice the room that `apply_event` asked for with NEEDS_LEVELS or NEEDS_ORDERS."""
    if status == kernel.NEEDS_ORDERS:
        larger = empty_table(2 * len(state.orders))
        rehash(state.orders, larger)
        return state._replace(orders=larger)
    return state._replace(levels=wider(state.levels))


class OrderBook:
    """The book of one instrument.

    Args:
        tick_size: price of one tick; a price off this grid is an anomaly.
        lot_size: quantity of one lot; quantities are kept in whole lots, to the nearest.
        policy: what to do about anomalies, see `anomaly.policies`; None: sensible defaults.
        clock: whose time orders the events and dates the ticks. With "local", events that only the exchange sees (as
            hftbacktest marks them) are passed over, and the other way round.
        levels, orders: room to begin with; it grows as needed.

    `state` serves the compiled functions of `kernel.py`; after they asked for more room, assign `grow(...)` to it.

    >>> book = OrderBook(tick_size=0.25, lot_size=1)
    >>> events = np.zeros(2, EVENT)
    >>> events["ev"], events["px"], events["qty"], events["ival"] = [1 | 1 << 29, 1 | 1 << 28], [10, 10.25], 3, 128
    >>> [book.apply(event) for event in events]
    [False, True]
    >>> book.mid
    10.125
    """

    def __init__(
        self,
        tick_size: float,
        lot_size: float = 1e-8,
        *,
        policy: Policy | Mapping[str, Policy] | None = None,
        clock: Literal["local", "exchange"] = "local",
        levels: int = 1024,
        orders: int = 4096,
    ):
        self.state = empty_state(tick_size, lot_size, policy=policy, clock=clock, levels=levels, orders=orders)
        self.tick_size, self.lot_size = float(tick_size), float(lot_size)

    def apply(self, event: np.void) -> bool:
        """Let one event, a record of EVENT, change the book.

        Returns:
            True where a message ended and the book is a valid tick: both sides quoted, not crossed, synchronised.

        Raises:
            DataError: not a record of EVENT, or an anomaly whose policy is to raise; the event was not applied, unless
                the anomaly is an invalid book at the end of its message.
        """
        if not isinstance(event, np.void) or event.dtype != EVENT:
            raise DataError(f"order book: event of type {type(event).__name__}; expected one record of event.EVENT")
        meta = self.state.meta[0]
        messages = meta["messages"]
        status = kernel.apply_event(self.state, event)
        while status != kernel.APPLIED:
            self._attend(status, event)
            status = kernel.apply_event(self.state, event)
        return bool(meta["messages"] != messages and meta["quoted"])

    def apply_all(self, events: NDArray[np.void]) -> None:
        """Let an array of events (n,) EVENT change the book; raises as `apply`."""
        if not isinstance(events, np.ndarray) or events.dtype != EVENT or events.ndim != 1:
            raise DataError("order book: expected a one-dimensional array of event.EVENT")
        at, status = kernel.apply_events(self.state, events, 0)
        while status != kernel.APPLIED:
            self._attend(status, events[at])
            at, status = kernel.apply_events(self.state, events, at)

    def _attend(self, status: int, event: np.void) -> None:
        if status == kernel.RAISED:
            raise DataError(describe_raised(self.state, event))
        self.state = grow(self.state, status)

    def top(self, levels: int = LEVELS) -> Top:
        """The best levels of both sides."""
        top = Top(*(np.empty(levels, np.int64) for _ in range(4)))
        copy_top(self.state.levels, BID, top.bid_px, top.bid_lots, EMPTY_PRICE)
        copy_top(self.state.levels, ASK, top.ask_px, top.ask_lots, EMPTY_PRICE)
        return top

    @property
    def best_bid(self) -> float:
        """Best bid price; NaN if there is none."""
        return self._best(BID)

    @property
    def best_ask(self) -> float:
        """Best ask price; NaN if there is none."""
        return self._best(ASK)

    @property
    def mid(self) -> float:
        """Midpoint of the best prices; NaN if a side is empty."""
        return (self.best_bid + self.best_ask) / 2

    def _best(self, side: int) -> float:
        if self.state.levels.depth[side] == 0:
            return math.nan
        ticks = int(best(self.state.levels, side))
        return (ticks if side == BID else -ticks) * self.tick_size

    @property
    def depth(self) -> tuple[int, int]:
        """Quoted levels, bid and ask."""
        return int(self.state.levels.depth[BID]), int(self.state.levels.depth[ASK])

    @property
    def time_ns(self) -> int:
        """Latest time of all events so far, by the book's clock."""
        return int(self.state.meta[0]["time"])

    @property
    def traded(self) -> tuple[float, float]:
        """Quantity that takers bought and sold so far."""
        meta = self.state.meta[0]
        return int(meta["bought"]) * self.lot_size, int(meta["sold"]) * self.lot_size

    @property
    def anomalies(self) -> dict[str, int]:
        """How often each kind of anomaly was met, by its name in lower case."""
        return {kind.name.lower(): int(self.state.anomalies[kind]) for kind in Anomaly}

    def order(self, order_id: int) -> Order | None:
        """A resting order (L3), or None."""
        found = self.state.orders[locate(self.state.orders, np.uint64(order_id))]
        if found["side"] < 0:
            return None
        ticks = int(found["rank"]) if found["side"] == BID else -int(found["rank"])
        side: Literal["bid", "ask"] = "bid" if found["side"] == BID else "ask"
        return Order(side, ticks * self.tick_size, int(found["lots"]) * self.lot_size)


def describe_raised(state: BookState, event: np.void) -> str:
    """One line on the anomaly that stopped the book at this event."""
    meta = state.meta[0]
    kind = Anomaly(int(meta["raised"])).name.lower()
    fields = ", ".join(f"{name} {event[name]}" for name in ("px", "qty", "order_id", "local_ts"))
    return (
        f"order book, event {meta['events']}: {kind} (kind {int(event['ev']) & 255}, {fields}; tick size "
        f"{meta['tick_size']:g}, lot size {meta['lot_size']:g}); check the feed and both sizes, or choose another "
        f"policy for {kind!r}"
    )
