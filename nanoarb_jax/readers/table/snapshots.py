"""Rows of snapshots as blocks: which rows, of one time or of several, tell one snapshot.

Snapshot rows that follow one another, with at most trades between, are one snapshot, also where their times differ:
whoever writes a snapshot row by row may give each row its own time. A new one begins where a level or an order comes
again, and where a row's time is another and

- the rows of this time, and those before, tell both sides, and are not the further levels of both, or
- several rows of this time tell one side that was told before the other one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market import event
from nanoarb_jax.market.event import BUY, KIND_MASK, SELL
from nanoarb_jax.readers.table.events import Rows

_SIDES = (BUY, SELL)


class _Groups(NamedTuple):
    """Snapshot rows of one time that follow one another.

    Attributes:
        starts: (k + 1,) the first row of each among the snapshot rows, and their number.
        after: (k,) bool, no row but trades stands between a group and the one before.
        lowest, highest: (2, k) the prices of bids and asks; +inf and -inf where there are none.
    """

    starts: NDArray[np.intp]
    after: NDArray[np.bool_]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]

    @property
    def told(self) -> NDArray[np.bool_]:
        """(2, k) whether there are bids and asks."""
        return self.lowest <= self.highest


def spread_snapshots(rows: Rows) -> NDArray[np.bool_]:
    """(n,) rows after which a snapshot goes on, whatever their times."""
    goes_on = np.zeros(len(rows.events), bool)
    kind = rows.events["ev"] & KIND_MASK
    book = np.flatnonzero(kind != event.TRADE)  # rows that are no trades
    at = np.flatnonzero(rows.restated[book])
    if len(at) < 2:
        return goes_on
    snapshot = rows.events[book[at]]
    adjacent = np.diff(at) == 1
    groups = _groups(snapshot, adjacent)
    begins = np.zeros(len(at), bool)
    begins[groups.starts[:-1][_begin(snapshot, groups)]] = True
    joined = np.flatnonzero(adjacent & ~begins[1:])
    steps = np.zeros(len(goes_on) + 1, np.int64)
    np.add.at(steps, book[at[joined]], 1)
    np.add.at(steps, book[at[joined + 1]], -1)
    return np.cumsum(steps)[:-1] > 0


def _groups(snapshot: NDArray[np.void], adjacent: NDArray[np.bool_]) -> _Groups:
    times = snapshot["local_ts"]
    firsts = np.flatnonzero(np.append(True, (times[1:] != times[:-1]) | ~adjacent))
    px = snapshot["px"]
    of_side = [snapshot["ev"] & side != 0 for side in _SIDES]
    lowest = [np.minimum.reduceat(np.where(own, px, np.inf), firsts) for own in of_side]
    highest = [np.maximum.reduceat(np.where(own, px, -np.inf), firsts) for own in of_side]
    after = np.append(False, adjacent)[firsts]
    return _Groups(np.append(firsts, len(times)), after, np.stack(lowest), np.stack(highest))


def _begin(snapshot: NDArray[np.void], groups: _Groups) -> NDArray[np.bool_]:
    """(k,) which groups begin a snapshot."""
    both: NDArray[np.bool_] = np.logical_and(*groups.told)
    further = _further(groups.lowest[:, 1:], groups.highest[:, 1:], groups.lowest[:, :-1], groups.highest[:, :-1])
    several = np.diff(groups.starts) > 2
    # of two groups of both sides, the times alone tell: most feeds of snapshots are such, and need no loop
    of_orders = bool((snapshot["ev"] & KIND_MASK == event.ADD).any())  # whose ids tell
    apart = both[1:] & both[:-1] & ~(further & several[:-1]) & (not of_orders)
    begins = ~groups.after | np.append(True, apart)
    unsure = np.flatnonzero(~begins)
    if not len(unsure):
        return begins
    block = _Block(snapshot, groups)
    last = -1
    for group in unsure.tolist():
        if group - 1 != last:
            block.restart(group - 1)
        begins[group] = block.is_new(group)
        block.restart(group) if begins[group] else block.extend(group)
        last = group
    return begins


def _further(
    lowest: NDArray[np.float64], highest: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether bids and asks, (2, k) each, all lie beyond those before, on the far side of both or on the near one."""
    far: NDArray[np.bool_] = (highest[0] < low[0]) & (lowest[1] > high[1])
    near: NDArray[np.bool_] = (lowest[0] > high[0]) & (highest[1] < low[1])
    return far | near


class _Block:
    """The rows of a snapshot so far."""

    def __init__(self, snapshot: NDArray[np.void], groups: _Groups) -> None:
        self.groups, self.told = groups, groups.told
        of_order = snapshot["ev"] & KIND_MASK == event.ADD
        self.of_orders = bool(of_order.any())
        order_id = np.where(of_order, snapshot["order_id"], 0)
        self.rows = [snapshot["ev"] & (BUY | SELL), snapshot["px"], order_id]

    def _keys(self, group: int) -> list[tuple]:
        rows = slice(self.groups.starts[group], self.groups.starts[group + 1])
        return list(zip(*(column[rows].tolist() for column in self.rows), strict=True))

    def restart(self, group: int) -> None:
        """A snapshot of this group alone."""
        self.keys: set[tuple] = set()
        self.sides: NDArray[np.bool_] = np.zeros(2, bool)
        self.extend(group)

    def extend(self, group: int) -> None:
        """The snapshot goes on with this group."""
        self.keys.update(self._keys(group))
        self.last = self.told[:, group]
        self.sides = self.sides | self.last

    def is_new(self, group: int) -> bool:
        """Whether a group begins another snapshot."""
        keys, sides = self._keys(group), self.told[:, group]
        if not self.keys.isdisjoint(keys):
            return True
        if len(keys) == 1 or self.of_orders:
            return False
        if sides.all():
            return bool(self.sides.all() and not self._goes_further(group))
        came_back = self.sides[sides].all() and not self.last[sides].all()
        return bool(came_back)

    def _goes_further(self, group: int) -> bool:
        low, high = np.full(2, np.inf), np.full(2, -np.inf)
        for ev, px, _ in self.keys:
            side = 0 if ev & BUY else 1
            low[side], high[side] = min(low[side], px), max(high[side], px)
        return bool(_further(self.groups.lowest[:, group], self.groups.highest[:, group], low, high))
