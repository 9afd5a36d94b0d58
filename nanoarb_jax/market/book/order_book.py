"""The order book: L2 levels and L3 orders of one instrument, kept by events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.anomaly import Anomaly, Policy
from nanoarb_jax.market.book.apply import apply_event, apply_events
from nanoarb_jax.market.book.ladder import ASK, BID, best, copy_top
from nanoarb_jax.market.book.orders import locate
from nanoarb_jax.market.book.state import APPLIED, RAISED, BookState, describe_raised, empty_state, grow
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


class OrderBook:
    """The book of one instrument.

    Args:
        tick_size: price of one tick; a price off this grid is an anomaly.
        lot_size: quantity of one lot; quantities are kept in whole lots, to the nearest.
        policy: what to do about anomalies, see `anomaly.policies`; None: sensible defaults.
        clock: whose time orders the events and dates the ticks. With "local", events that only the exchange sees (as
            hftbacktest marks them) are passed over, and the other way round.
        levels, orders: room to begin with; it grows as needed.

    `state` serves the compiled functions of `apply.py`; where they ask for more room, assign `grow(...)` to it.

    >>> book = nj.OrderBook(tick_size=0.25, lot_size=1)
    >>> events = np.zeros(2, nj.EVENT)
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

    @classmethod
    def view(cls, state: BookState) -> OrderBook:
        """A book around a state that exists; what is done to one is done to the other."""
        book = cls.__new__(cls)
        book.state = state
        book.tick_size, book.lot_size = float(state.meta["tick_size"][0]), float(state.meta["lot_size"][0])
        return book

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
        status = apply_event(self.state, event)
        while status != APPLIED:
            self._attend(status, event)
            status = apply_event(self.state, event)
        return bool(meta["messages"] != messages and meta["quoted"])

    def apply_all(self, events: NDArray[np.void]) -> None:
        """Let an array of events (n,) EVENT change the book; raises as `apply`."""
        if not isinstance(events, np.ndarray) or events.dtype != EVENT or events.ndim != 1:
            raise DataError("order book: expected a one-dimensional array of event.EVENT")
        at, status = apply_events(self.state, events, 0)
        while status != APPLIED:
            self._attend(status, events[at])
            at, status = apply_events(self.state, events, at)

    def _attend(self, status: int, event: np.void) -> None:
        if status == RAISED:
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
