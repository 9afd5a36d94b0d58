"""A slow order book of plain dicts and a slow tick clock, written from the documentation, and random events.

The fast ones must equal them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market import event as ev
from nanoarb_jax.market.anomaly import HEAL, RAISE, RESYNC, SKIP, Anomaly, Policy, policies
from nanoarb_jax.market.event import BUY, EVENT, EXCH_EVENT, LAST, LOCAL_EVENT, MAYBE_BAD_BOOK, SELL, SNAPSHOT

TICK, LOT = 0.25, 0.5
SIDES = (BUY, SELL)
KINDS = (ev.DEPTH, ev.TRADE, ev.CLEAR, ev.DEPTH_SNAPSHOT, ev.BBO, ev.ADD, ev.CANCEL, ev.MODIFY, ev.FILL)


class Raised(Exception):
    """An anomaly whose policy is to raise; its argument is the kind."""


@dataclass
class SlowBook:
    """Levels {price in ticks: [lots, orders]} of the bid (0) and the ask (1); orders {id: [side, ticks, lots]}."""

    policy: Policy | dict[str, str] | None = None
    clock: str = "local"
    tick: float = TICK
    lot: float = LOT
    levels: tuple[dict[int, list[int]], dict[int, list[int]]] = field(default_factory=lambda: ({}, {}))
    orders: dict[int, list[int]] = field(default_factory=dict)
    anomalies: Counter[Anomaly] = field(default_factory=Counter)
    time: int = -(2**63)
    synced: bool = True
    quoted: bool = False
    traded: list[int] = field(default_factory=lambda: [0, 0, 0])  # bought, sold, not known
    trades: int = 0
    events: int = 0
    told: dict[tuple[int, int], int] = field(default_factory=dict)  # {(side, price): the L2 event that told it}
    whole: bool | None = None  # None: no event has changed the book yet
    crossed_trades: list[tuple[int, float]] = field(default_factory=list)  # (time, ticks) since the book is crossed
    is_crossed: bool = False

    def __post_init__(self) -> None:
        self._policy = policies(self.policy)
        self._raised: Anomaly | None = None

    def note(self, kind: Anomaly) -> int:
        self.anomalies[kind] += 1
        if self._policy[kind] == RESYNC:
            self.wipe()
            self.synced = self.quoted = False
        if self._policy[kind] == RAISE:
            self._raised = kind
        return int(self._policy[kind])

    def wipe(self) -> None:
        self.levels[0].clear()
        self.levels[1].clear()
        self.orders.clear()

    def sees(self, event: np.void) -> bool:
        told = int(event["ev"]) & (EXCH_EVENT | LOCAL_EVENT)
        return not told or bool(told & (EXCH_EVENT if self.clock == "exchange" else LOCAL_EVENT))

    def apply(self, event: np.void) -> bool:
        """Is the book a valid tick after this event?"""
        if not self.sees(event):
            return False
        self._raised, skipped = None, False
        time = int(event["exch_ts" if self.clock == "exchange" else "local_ts"])
        if time < self.time:
            skipped = self.note(Anomaly.BACKWARDS) == SKIP
        elif self.events and time - self.time > 400 * 86_400 * 10**9:
            self.note(Anomaly.INVALID)
            skipped, time = True, self.time
        self.events += 1
        self.time = max(time, self.time)
        if int(event["ival"]) & MAYBE_BAD_BOOK:
            skipped |= self.note(Anomaly.GAP) == SKIP
        if self._raised is None and not skipped:
            self._take(event)
        ended = bool(int(event["ival"]) & LAST) and self._raised is None
        if ended:
            self.settle()
        if self._raised is not None:
            raise Raised(self._raised)
        return ended and self.quoted

    def _take(self, event: np.void) -> None:
        kind, code = int(event["ev"]) & 255, int(event["ev"])
        side = 0 if code & BUY else 1 if code & SELL else -1
        self._begin(kind, side, int(event["ival"]))
        self.synced |= kind == ev.DEPTH_SNAPSHOT or (kind == ev.CLEAR and side < 0)
        ticks = float(event["px"]) / self.tick
        if not self.synced and kind != ev.TRADE:
            if kind != ev.CLEAR:
                self.note(Anomaly.UNSYNCED)
        elif kind == ev.CLEAR:
            self.void(side, ticks)
        else:
            self._change(kind, side, ticks, float(event["qty"]), int(event["order_id"]))

    def _begin(self, kind: int, side: int, flags: int) -> None:
        """What the first event that changes the book says about whether it is whole."""
        if kind == ev.DEPTH_SNAPSHOT or (kind == ev.CLEAR and side < 0):
            self.whole = True
        elif self.whole is None and kind != ev.TRADE:
            self.whole = kind == ev.BBO or bool(flags & SNAPSHOT)

    def void(self, side: int, ticks: float) -> None:
        """CLEAR: all of it, a side, or a side up to a price."""
        if side < 0:
            return self.wipe()
        worst = -math.inf if not math.isfinite(ticks) else (-1) ** side * float(np.rint(ticks))
        for price in [price for price in self.levels[side] if (-1) ** side * price >= worst]:
            del self.levels[side][price]
        for key in [k for k, (s, price, _) in self.orders.items() if s == side and (-1) ** side * price >= worst]:
            del self.orders[key]
        return None

    def _change(self, kind: int, side: int, ticks: float, qty: float, key: int) -> None:
        lots = float(np.rint(qty / self.lot))
        if not 0 <= lots <= 2**53 or (lots == 0 and qty > 0):
            self.note(Anomaly.INVALID)
        elif kind == ev.TRADE:
            self.traded[side] += int(lots)
            self.trades += 1
            if self.is_crossed and abs(ticks) < 2**52:
                self.crossed_trades.append((self.time, ticks))
        elif kind in (ev.CANCEL, ev.FILL):
            self._reduce(kind, key, int(lots))
        elif (
            side < 0
            or kind not in KINDS
            or not (abs(ticks) <= 2**52 and abs(ticks - np.rint(ticks)) <= 1e-3)
            or (kind >= ev.ADD and lots > 2**43 and self.levels[side].get(round(ticks), [0])[0] > 2**62)
        ):
            self.note(Anomaly.INVALID)
        elif kind in (ev.ADD, ev.MODIFY):
            self._place(kind, key, side, round(ticks), int(lots))
        else:
            if kind == ev.BBO:
                self.void(side, ticks)
            self._set(side, round(ticks), int(lots))

    def _set(self, side: int, price: int, lots: int) -> None:
        if lots == 0:
            self.levels[side].pop(price, None)
        else:
            self.levels[side].setdefault(price, [0, 0])[0] = lots
            if self.levels[side][price][1] == 0:
                self.told[side, price] = self.events

    def _shift(self, side: int, price: int, lots: int, orders: int) -> None:
        """A level gains; it goes with its last order, or its last lot (where L2 events meddle with L3 ones)."""
        if price in self.levels[side] or lots > 0:
            level = self.levels[side].setdefault(price, [0, 0])
            level[0] += lots
            level[1] += orders
            if level[0] <= 0 or level[1] <= 0:
                del self.levels[side][price]

    def _place(self, kind: int, key: int, side: int, price: int, lots: int) -> None:
        kept = key in self.orders
        wrong = Anomaly.DUPLICATE_ORDER if kind == ev.ADD else Anomaly.UNKNOWN_ORDER
        if kept == (kind == ev.ADD) and self.note(wrong) != 0:
            return
        if kept:
            old = self.orders.pop(key)
            self._shift(old[0], old[1], -old[2], -1)
        if lots:
            self.orders[key] = [side, price, lots]
            self._shift(side, price, lots, 1)

    def _reduce(self, kind: int, key: int, lots: int) -> None:
        if key not in self.orders:
            self.note(Anomaly.UNKNOWN_ORDER)
            return
        side, price, size = self.orders[key]
        if (lots > size and self.note(Anomaly.OVER_CANCEL) != 0) or kind == ev.FILL:
            return
        if lots == 0 or lots >= size:
            del self.orders[key]
            self._shift(side, price, -size, -1)
        else:
            self.orders[key][2] -= lots
            self._shift(side, price, -lots, 0)

    def settle(self) -> None:
        bids, asks = self.levels
        self.quoted = False
        if not bids or not asks:
            if self.synced:
                self.note(Anomaly.ONE_SIDED)
        else:
            policy = 0
            if max(bids) >= min(asks):
                policy = self.note(Anomaly.CROSSED if max(bids) > min(asks) else Anomaly.LOCKED)
                if policy == HEAL:
                    self.heal()
            if not bids or not asks:  # a policy emptied the book, or all of a side was stale
                self.is_crossed = False
            else:
                self.is_crossed = max(bids) > min(asks)
                sound = not self.is_crossed and policy in (0, HEAL)
                self.quoted = sound and (self.whole is not False or self.note(Anomaly.INCOMPLETE) == 0)
        if not self.is_crossed:
            self.crossed_trades.clear()

    def heal(self) -> None:
        """Remove the older of two L2 levels that cross, then levels that trades show to be gone."""
        bids, asks = self.levels
        least = 1 if self._policy[Anomaly.LOCKED] == 0 else 0
        while bids and asks and max(bids) - min(asks) >= least and not bids[max(bids)][1] and not asks[min(asks)][1]:
            bid, ask = (0, max(bids)), (1, min(asks))
            self._drop(*(bid if self.told[bid] < self.told[ask] else ask))
        if not (bids and asks and max(bids) > min(asks)) or len(self.crossed_trades) < 3:
            return
        if self.time - self.crossed_trades[0][0] >= 10**9:
            trade, best_bid, best_ask = self.crossed_trades[-1][1], max(bids), min(asks)
            ghosts = [(0, p) for p in bids if p > trade and p > best_ask]
            for ghost in ghosts + [(1, p) for p in asks if p < trade and p < best_bid]:
                self._drop(*ghost)

    def _drop(self, side: int, price: int) -> None:
        del self.levels[side][price]
        better = [k for k, (s, p, _) in self.orders.items() if s == side and (-1) ** side * (p - price) >= 0]
        for key in better:  # where L2 events meddle with L3 ones, orders may be left without their level
            del self.orders[key]
        self.note(Anomaly.STALE)

    def top(self, side: int, levels: int = 10) -> list[tuple[int, int]]:
        """[(ticks, lots)], best first."""
        return sorted(((p, v[0]) for p, v in self.levels[side].items()), reverse=side == 0)[:levels]


def random_events(seed: int, count: int = 200, *, prices: int = 12, keys: int = 12, dirt: float = 0.05) -> NDArray:
    """Events of all kinds around a price that hardly moves, so that everything meets everything.

    Args:
        prices: ticks either side; keys: order ids in use, 0 and 2**64 - 1 among them.
        dirt: share of events with a defect of each sort.
    """
    rng = np.random.default_rng(seed)
    events = np.zeros(count, EVENT)
    common = [ev.DEPTH, ev.TRADE, ev.DEPTH_SNAPSHOT, ev.BBO, ev.ADD, ev.CANCEL, ev.MODIFY, ev.FILL]
    kind = rng.choice(common, count, p=[0.2, 0.1, 0.06, 0.04, 0.3, 0.15, 0.1, 0.05])
    kind = np.where(rng.random(count) < dirt / 3, ev.CLEAR, kind)
    side = rng.integers(0, 2, count)
    away = rng.integers(-1 - prices // 8, prices, count)
    ids = np.r_[np.uint64(0), np.uint64(2**64 - 1), rng.integers(0, 2**63, max(keys - 2, 0), np.uint64)]
    events["ev"] = kind.astype(np.uint64) | np.where(side == 0, BUY, SELL).astype(np.uint64)
    events["px"] = TICK * (400 + np.where(side == 0, -1, 1) * (1 + away))
    events["qty"] = LOT * rng.integers(0, 9, count)
    events["order_id"] = rng.choice(ids, count)
    events["local_ts"] = np.cumsum(rng.integers(0, 50, count)) + 1_000_000
    events["exch_ts"] = events["local_ts"] - rng.integers(0, 30, count)
    events["ival"] = np.where(rng.random(count) < 0.6, LAST, 0)
    spoil(events, rng, dirt)
    return events


def spoil(events: NDArray, rng: np.random.Generator, dirt: float) -> None:
    """Defects of every sort, in place."""

    def some() -> NDArray[np.intp]:
        return np.flatnonzero(rng.random(len(events)) < dirt / 4)

    events["ival"][some()] |= MAYBE_BAD_BOOK
    events["local_ts"][some()] -= 500
    for field_, values in (("px", [0.1, np.nan, np.inf, -np.inf, 1e300, -3.0]), ("qty", [-1.0, np.nan, 1e300, 1e9])):
        rows = some()
        events[field_][rows] = rng.choice(values, len(rows))
    events["ev"][some()] &= ~np.uint64(BUY | SELL)
    events["ev"][some()] |= np.uint64(77)
    for seen in (EXCH_EVENT, LOCAL_EVENT, EXCH_EVENT | LOCAL_EVENT):
        events["ev"][some()] |= np.uint64(seen)


@dataclass
class SlowClock:
    """Rows (time, bid levels, ask levels, bought, sold) of a `SlowBook`, as `TickClock` describes them."""

    book: SlowBook
    kind: str
    levels: int = 10
    interval_ns: int = 100
    rows: list[tuple[int, list, list, int, int]] = field(default_factory=list)
    marks: tuple[int, int, int] = (0, 0, 0)  # bought, sold, trades at the last tick
    known: tuple[list, list] | None = None  # the book after the last message, if it was valid
    due: int = 0

    def apply(self, event: np.void) -> None:
        if self.kind == "time" and self.book.sees(event):
            self._ring(max(int(event["exch_ts" if self.book.clock == "exchange" else "local_ts"]), self.book.time))
        if self.book.apply(event):
            self.known = self.book.top(0), self.book.top(1)
            traded = self.kind == "trade" and self.book.trades > self.marks[2]
            if traded or (self.kind == "book" and (not self.rows or self._best() != self._best(self.rows[-1][1:3]))):
                self._row(self.book.time)
        elif not self.book.quoted:
            self.known = None

    def _best(self, book: tuple[list, list] | None = None) -> list[list]:
        return [side[: self.levels] for side in book or (self.book.top(0), self.book.top(1))]

    def _ring(self, now: int) -> None:
        silence = min(86_400 * 10**9, 1_000_000 * self.interval_ns)
        if self.book.events and now - self.book.time > 400 * 86_400 * 10**9:
            return  # a damaged time
        if self.known is None or not self.due or now > self.due + silence:
            self.due = -(-now // self.interval_ns) * self.interval_ns
        for time in range(self.due, now, self.interval_ns):
            self._row(time)
            self.due = time + self.interval_ns

    def _row(self, time: int) -> None:
        assert self.known is not None
        bought, sold = self.book.traded[0] - self.marks[0], self.book.traded[1] - self.marks[1]
        self.rows.append((time, *self.known, bought, sold))
        self.marks = (self.book.traded[0], self.book.traded[1], self.book.trades)
