"""A small book of levels as text, for checksums over what was sent and for exchanges that cut books at a depth."""

from __future__ import annotations

from bisect import bisect_left, insort

from nanoarb_jax.market.event import BUY, SELL
from nanoarb_jax.readers.captures.lines import number

Level = tuple[str, str]  # price and quantity, as they were sent


class _Side:
    """The levels of one side."""

    def __init__(self, sign: int) -> None:
        self._sign = sign  # -1 for bids, whose best price is the highest
        self._ranks: list[float] = []  # prices times the sign, best first
        self._levels: dict[float, Level] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def put(self, px: str, qty: str) -> None:
        rank = self._sign * number(px)
        if number(qty) == 0:
            if self._levels.pop(rank, None) is not None:
                del self._ranks[bisect_left(self._ranks, rank)]
            return
        if rank not in self._levels:
            insort(self._ranks, rank)
        self._levels[rank] = (px, qty)

    def best(self, count: int) -> list[Level]:
        return [self._levels[rank] for rank in self._ranks[:count]]

    def cut(self, depth: int) -> list[Level]:
        gone = [self._levels.pop(rank) for rank in self._ranks[depth:]]
        del self._ranks[depth:]
        return gone


class TextBook:
    """Bids and asks as they were sent."""

    def __init__(self) -> None:
        self._sides = {BUY: _Side(-1), SELL: _Side(1)}

    def put(self, side: int, px: str, qty: str) -> None:
        """Set a level; a quantity of 0 deletes it."""
        self._sides[side].put(px, qty)

    def best(self, side: int, count: int) -> list[Level]:
        """At most `count` levels, best first."""
        return self._sides[side].best(count)

    def cut(self, depth: int) -> list[tuple[int, str, str]]:
        """Delete what lies deeper than `depth` levels; returns side, price and quantity of these."""
        return [(side, *level) for side, levels in self._sides.items() for level in levels.cut(depth)]
