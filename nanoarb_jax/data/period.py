"""A period of a series: which ticks a user wants to look at, between two times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.market.series import BookSeries

_TIME = re.compile(r"(?:(\d{4}-\d\d-\d\d)[T ]?)?(?:(\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)? ?(Z|[+-]\d\d(?::?\d\d)?)?")
_LAST_NS = int(np.iinfo(np.int64).max)
_DAY_NS = 86_400 * 10**9


class Moment(NamedTuple):
    """A time as the user gave it.

    Attributes:
        ns: since 1970 UTC, or since midnight.
        of_first_day: a time of day, UTC, on the day of the first tick.
    """

    ns: int
    of_first_day: bool = False

    def after(self, first_ns: int) -> int:
        """ns since 1970 UTC, of a series whose first tick has the time `first_ns`."""
        ns = first_ns // _DAY_NS * _DAY_NS + self.ns if self.of_first_day else self.ns
        return max(-_LAST_NS, min(ns, _LAST_NS))


class Period(NamedTuple):
    """From one time to another, both included; None: from the first tick on, to the last."""

    start: Moment | None = None
    stop: Moment | None = None

    def bounds(self, first_ns: int) -> tuple[int, int]:
        """Its first and last ns since 1970 UTC, of a series whose first tick has the time `first_ns`.

        Raises:
            ConfigError: it ends before it begins.
        """
        low = -_LAST_NS if self.start is None else self.start.after(first_ns)
        high = _LAST_NS if self.stop is None else self.stop.after(first_ns)
        if low > high:
            raise ConfigError(f"--from {utc(low)}: later than --to {utc(high)}; expected the earlier of the two times")
        return low, high


def parse_period(start: str | None, stop: str | None) -> Period | None:
    """The period of `--from` and `--to`; None: neither is given.

    Raises:
        ConfigError: a text that is no time.

    >>> from nanoarb_jax.data.period import parse_period
    >>> parse_period("1970-01-01T01:00:00.5+01:00", "14:30").stop
    Moment(ns=52200000000000, of_first_day=True)
    """
    if start is None and stop is None:
        return None
    return Period(*(None if text is None else _moment(text, name) for name, text in (("from", start), ("to", stop))))


def _moment(text: str, option: str) -> Moment:
    """The time in a text: a date and a time of day, a date (its midnight), or a time of day."""
    met = _TIME.fullmatch(text.strip())
    day, clock, seconds, fraction, zone = met.groups() if met else (None,) * 5
    # a zone moves a time of day to another day, and which one is meant then is not told
    if day or (clock and not zone):
        try:
            time = datetime.fromisoformat(f"{day or '1970-01-01'}T{clock or '00:00'}:{seconds or '00'}{zone or 'Z'}")
        except ValueError:
            pass
        else:
            since = time - datetime(1970, 1, 1, tzinfo=UTC)
            ns = (since.days * 86_400 + since.seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))
            return Moment(ns, of_first_day=day is None)
    raise ConfigError(
        f"--{option} {text}: expected a time such as 2024-08-08T23:55:00, UTC where no zone is given, or a time of the "
        "first day such as 23:55:00"
    )


@dataclass
class PeriodCut:
    """Cuts a period out of a series that comes in chunks, in order.

    Args:
        period: that is wanted; None: all of the series.
        before, after: times of the last tick before it, and of the first one after it; None: there is none.
    """

    period: Period | None
    before: int | None = None
    after: int | None = None
    _bounds: tuple[int, int] | None = None

    def cut(self, books: BookSeries) -> BookSeries:
        """The rows of a chunk that lie in the period, maybe none."""
        if self.period is None or books.rows == 0:
            return books
        if self._bounds is None:
            self._bounds = self.period.bounds(int(books.ts_ns[0]))
        first = int(np.searchsorted(books.ts_ns, self._bounds[0], side="left"))
        end = int(np.searchsorted(books.ts_ns, self._bounds[1], side="right"))
        if first > 0:
            self.before = int(books.ts_ns[first - 1])
        if end < books.rows and self.after is None:
            self.after = int(books.ts_ns[end])
        return books.part(first, end)

    @property
    def bounds(self) -> dict[str, str | None] | None:
        """The period in words, for JSON; None: there is none."""
        if self.period is None or self._bounds is None:
            return None
        return {
            "from": None if self.period.start is None else utc(self._bounds[0]),
            "to": None if self.period.stop is None else utc(self._bounds[1]),
        }

    def nothing(self) -> str:
        """What to say where no tick lies in the period."""
        words = " ".join(f"--{name} {time}" for name, time in (self.bounds or {}).items() if time is not None)
        beside = [f"the last one before is at {utc(self.before)}"] if self.before is not None else []
        beside += [f"the first one after is at {utc(self.after)}"] if self.after is not None else []
        return f"{words}: no tick lies there; {', '.join(beside)}"


def utc(ns: int) -> str:
    """A time as ISO 8601 without zeros at its end: 2024-08-08T23:55:00.5Z."""
    text = str(np.datetime64(ns, "ns"))
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}Z"
