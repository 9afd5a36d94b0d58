"""A small book of levels as text, for checksums over what was sent and for exchanges that cut books at a depth."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence

from nanoarb_jax.market.event import BUY, SELL
from nanoarb_jax.readers.captures.lines import number

Level = tuple[str, str]  # price and quantity, as they were sent
Row = tuple[int, str, str]  # side, price and quantity, as they were sent


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

    def rows(self) -> list[Row]:
        """All levels, best first."""
        return [(side, *level) for side, levels in self._sides.items() for level in levels.best(len(levels))]

    def cut(self, depth: int) -> list[Row]:
        """Delete what lies deeper than `depth` levels; returns these."""
        return [(side, *level) for side, levels in self._sides.items() for level in levels.cut(depth)]


class CutBook:
    """A book that the exchange cuts at a depth which is not known for sure: one book for each depth that is possible.

    Args:
        depths: that are possible, the one to follow first; None: it is not cut.
    """

    def __init__(self, depths: Sequence[int | None]) -> None:
        self._books = [(depth, TextBook()) for depth in depths]

    def put(self, rows: Iterable[Row]) -> list[Row]:
        """Set levels and cut; returns what fell out of the book that is followed."""
        rows = list(rows)
        gone: list[list[Row]] = []
        for depth, book in self._books:
            for row in rows:
                book.put(*row)
            gone.append(book.cut(depth) if depth is not None else [])
        return gone[0]

    def keep(self, is_right: Callable[[TextBook], bool]) -> list[Row] | None:
        """Leave out the depths whose book is wrong.

        Returns:
            What turns the book that was followed into the one that now is, quantities of 0 delete; None: all are wrong,
            and none was left out.
        """
        right = [(depth, book) for depth, book in self._books if is_right(book)]
        if not right:
            return None
        before, after = self._books[0][1], right[0][1]
        self._books = right
        return [] if after is before else _changes(before.rows(), after.rows())


def _changes(before: list[Row], after: list[Row]) -> list[Row]:
    stays = {row[:2] for row in after}
    known = set(before)
    return [(side, px, "0") for side, px, _ in before if (side, px) not in stays] + [r for r in after if r not in known]
