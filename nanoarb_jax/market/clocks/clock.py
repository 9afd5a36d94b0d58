"""Tick clocks: the settings that say which valid states of a book become ticks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import LEVELS

CHUNK_ROWS = 1 << 14  # of books in a chunk, at most
LATEST_NS = 2**62  # a time clock counts later times as this one, so that sums of times stay in int64
_SILENCE_NS, _SILENT_TICKS = 86_400 * 10**9, 1_000_000


@dataclass(frozen=True)
class TickClock:
    """When the book becomes a tick; only ever at the end of a message, and only while it is valid.

    Args:
        kind: "book", a change of price or lots in the best `levels`; "trade", every message with a trade; "time",
            every `interval_ns` on a grid of whole multiples since 1970, with the book after the last message known at
            that moment; not across a day or a million intervals of silence (a hole in the data, or a damaged time).
        levels: 1 is the BBO clock, 10 (the most) sees all that the features see.
        interval_ns: of the time clock.

    Raises:
        DataError: an argument out of range.

    >>> from nanoarb_jax.market.clocks.clock import TickClock
    >>> TickClock("time", interval_ns=10**9).silence_ns == 86_400 * 10**9
    True
    """

    kind: Literal["book", "trade", "time"] = "book"
    levels: int = LEVELS
    interval_ns: int = 100_000_000

    def __post_init__(self) -> None:
        if self.kind not in ("book", "trade", "time"):
            raise DataError(f"tick clock {self.kind!r}: expected 'book', 'trade' or 'time'")
        if not 1 <= self.levels <= LEVELS:
            raise DataError(f"tick clock: levels={self.levels}; expected 1 (best prices) to {LEVELS}")
        if self.interval_ns < 1:
            raise DataError(f"tick clock: interval_ns={self.interval_ns}; expected at least 1")

    @property
    def silence_ns(self) -> int:
        """The longest time without a message that a time clock ticks across: a day or a million intervals."""
        return _SILENT_TICKS * min(self.interval_ns, _SILENCE_NS // _SILENT_TICKS)
