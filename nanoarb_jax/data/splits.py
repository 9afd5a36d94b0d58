"""Splits of one stream's rows: by fraction, by session or day, walk-forward folds, purged k-fold with embargo.

Row ranges are half-open (start, stop) and hold *anchor* rows. A label of row t reads rows t … t + ahead, so the last
`ahead` rows before another part are purged: `purge` is at least that (`data.labels.reach(…).ahead`). A rule that
also looks `back` is kept wholly apart by a purge of ahead + back.

>>> from nanoarb_jax.data.splits import purged_kfold
>>> purged_kfold(100, 4, purge=10, embargo=5)[1]
Fold(train=((0, 15), (65, 100)), test=(25, 50))
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import session_time, time_zone
from nanoarb_jax.errors import ConfigError, DataError

RowRange: TypeAlias = tuple[int, int]  # (start, stop)
_DAY = timedelta(days=1)


class Parts(NamedTuple):
    """Anchor rows to learn from, to choose with and to judge on, in this order in time."""

    train: RowRange
    validation: RowRange
    test: RowRange


class Fold(NamedTuple):
    """One turn of a cross-validation: rows to learn from, in time order, and the rows to judge on."""

    train: tuple[RowRange, ...]
    test: RowRange


class Session(NamedTuple):
    """Rows from one session start to the next; `date` is the local day it starts on, as 2024-03-10."""

    date: str
    rows: RowRange


def chronological(rows: int, train_fraction: float, validation_fraction: float, purge: int, first: int = 0) -> Parts:
    """Train, validation and test in time order, by shares of the rows; the remaining rows are the test part.

    Args:
        rows: of the stream.
        train_fraction, validation_fraction: shares in (0, 1), together below 1.
        purge: rows dropped before each boundary. A part that it swallows comes out empty.
        first: rows at the start that have no label (`reach(…).back`).
    """
    validation = int(train_fraction * rows)
    test = int((train_fraction + validation_fraction) * rows)
    return _parts(rows, validation, test, purge, first)


def _parts(rows: int, validation: int, test: int, purge: int, first: int) -> Parts:
    return Parts(
        (first, max(first, validation - purge)), (validation, max(validation, test - purge)), (test, max(test, rows))
    )


def by_day(ts_ns: NDArray[np.int64], timezone: str = "UTC", session_start: str = "00:00") -> tuple[Session, ...]:
    """Sessions that hold rows, in order; together they hold every row once.

    A session lasts from `session_start` on a local day to the same wall time on the next, so it has 23 or 25 hours
    where the clocks change. A start that is skipped then is read on the clock before the change, one that comes twice
    is its first.

    Args:
        ts_ns: (n,) ns since 1970 UTC, never going backwards; read at a few rows only, it may be a file.
        timezone: IANA name, e.g. "America/Chicago".
        session_start: local "HH:MM", e.g. "17:00" for CME futures.

    Raises:
        ConfigError: no such zone or time.

    >>> from nanoarb_jax.data.splits import by_day
    >>> by_day(np.array([0, 3_600_000_000_000]), "UTC", "01:00")
    (Session(date='1969-12-31', rows=(0, 1)), Session(date='1970-01-01', rows=(1, 2)))
    """
    zone, start = time_zone(timezone), session_time(session_start)
    if not len(ts_ns):
        return ()
    begin, end = (datetime.fromtimestamp(int(ts_ns[row]) // 10**9, tz=zone).date() for row in (0, -1))
    days = [begin + i * _DAY for i in range(-1, (end - begin).days + 2)]  # the first row may belong to the day before
    edges = [bisect_left(ts_ns, _instant_ns(day, start, zone)) for day in days]
    found = zip(days[:-1], pairwise(edges), strict=True)
    return tuple(Session(day.isoformat(), rows) for day, rows in found if rows[0] < rows[1])


def _instant_ns(day: date, start: time, zone: tzinfo) -> int:
    """The moment of a local wall time, ns since 1970 UTC, in integers: a float of seconds would round it."""
    since = datetime.combine(day, start, tzinfo=zone) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * 1_000


def chronological_sessions(
    sessions: Sequence[Session], train_fraction: float, validation_fraction: float, purge: int, first: int = 0
) -> Parts:
    """Train, validation and test in whole sessions, by shares of their number; each part gets at least one.

    Args:
        sessions: of `by_day`.
        train_fraction, validation_fraction, purge, first: as in `chronological`.

    Raises:
        DataError: fewer than three sessions.
    """
    count = len(sessions)
    if count < 3:
        met = ", ".join(session.date for session in sessions) or "none"
        raise DataError(
            f"{count} sessions ({met}); expected at least 3, one each for train, validation and test; give a longer "
            "stream or split by fraction"
        )
    # the last bit of a product must not cost a session: 0.29 * 100 is 28.999…
    validation = min(max(int(train_fraction * count + 1e-9), 1), count - 2)
    test = min(max(int((train_fraction + validation_fraction) * count + 1e-9), validation + 1), count - 1)
    return _parts(sessions[-1].rows[1], sessions[validation].rows[0], sessions[test].rows[0], purge, first)


def walk_forward(rows: int, folds: int, purge: int, *, expanding: bool = True) -> tuple[Fold, ...]:
    """Folds that learn from the past alone: of folds + 1 equal blocks, each but the first is tested once.

    Args:
        rows: of the stream.
        folds: at least 1.
        purge: rows dropped before each test range.
        expanding: learn from all rows before the test; False: from as many as the first block has, the latest.

    Raises:
        ConfigError: a count out of range.
        DataError: too few rows to learn from in a fold.

    >>> from nanoarb_jax.data.splits import walk_forward
    >>> walk_forward(90, 2, purge=10)
    (Fold(train=((0, 20),), test=(30, 60)), Fold(train=((0, 50),), test=(60, 90)))
    """
    _check_counts(folds=(folds, 1), purge=(purge, 0))
    edges = [i * rows // (folds + 1) for i in range(folds + 2)]
    found = []
    for test in pairwise(edges[1:]):
        start = 0 if expanding else test[0] - edges[1]
        found.append(_fold(rows, [(start, test[0] - purge)], test, f"{folds} folds, purge {purge}"))
    return tuple(found)


def purged_kfold(rows: int, folds: int, purge: int, embargo: int = 0) -> tuple[Fold, ...]:
    """k contiguous test ranges that hold every row once; the rest to learn from, purged and embargoed.

    Rows whose label interval [t, t + purge] shares a row with the interval of a test label are dropped: `purge` rows
    before the test range, and `purge` after it, where the labels of the last test rows end. `embargo` more rows are
    dropped after those (López de Prado 2018, Advances in Financial Machine Learning, ch. 7).

    Args:
        rows: of the stream.
        folds: k, at least 2.
        purge: rows a label looks ahead.
        embargo: rows, against serial correlation of the features; de Prado takes about 1 % of all rows.

    Raises:
        ConfigError: a count out of range.
        DataError: too few rows to learn from in a fold.
    """
    _check_counts(folds=(folds, 2), purge=(purge, 0), embargo=(embargo, 0))
    edges = [i * rows // folds for i in range(folds + 1)]
    found = []
    for test in pairwise(edges):
        sides = [(0, test[0] - purge), (test[1] + purge + embargo, rows)]
        found.append(_fold(rows, sides, test, f"{folds} folds, purge {purge}, embargo {embargo}"))
    return tuple(found)


def _fold(rows: int, train: Sequence[RowRange], test: RowRange, asked: str) -> Fold:
    kept = tuple((start, stop) for start, stop in train if start < stop)
    if not kept or test[0] >= test[1]:
        raise DataError(
            f"{rows} rows, {asked}: the fold that tests rows {test[0]} to {test[1]} has nothing to learn from or to "
            "test; expected more rows, fewer folds or a shorter purge"
        )
    return Fold(kept, test)


def _check_counts(**counts: tuple[int, int]) -> None:
    for name, (value, least) in counts.items():
        if value < least:
            raise ConfigError(f"{name}={value!r}: expected an integer of at least {least}")
