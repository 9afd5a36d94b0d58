"""Splits: no label of a training row reads a test row, every row is tested once, days begin by the local clock."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.labelling import split_rows
from nanoarb_jax.data.labels import reach
from nanoarb_jax.data.splits import (
    Fold,
    Parts,
    Session,
    by_day,
    chronological,
    chronological_sessions,
    purged_kfold,
    walk_forward,
)
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.simulation.market import synthetic_books
from support.examples import examples

quick = settings(deadline=None, max_examples=examples(60), database=None)
HOUR_NS = 3_600 * 10**9
sizes = {"rows": st.integers(150, 2_000), "folds": st.integers(2, 8), "ahead": st.integers(0, 15)}


def rows_of(ranges: tuple[tuple[int, int], ...]) -> set[int]:
    return {row for start, stop in ranges for row in range(start, stop)}


def hours(first: str, last: str, zone: str) -> np.ndarray:
    """Time stamps of every hour from one local time to another, the last one excluded."""
    start, stop = (datetime.fromisoformat(t).replace(tzinfo=ZoneInfo(zone)).timestamp() for t in (first, last))
    return np.arange(int(start), int(stop), 3_600) * 10**9


@quick
@given(**sizes, embargo=st.integers(0, 8))
def test_purged_kfold(rows: int, folds: int, ahead: int, embargo: int) -> None:
    """Exactly the rows are dropped whose label interval meets that of a test label, or that the embargo names."""
    found = purged_kfold(rows, folds, ahead, embargo)
    assert [row for fold in found for row in range(*fold.test)] == list(range(rows))
    for fold in found:
        first, last = fold.test[0], fold.test[1] - 1
        overlapping = {t for t in range(rows) if t <= last + ahead and t + ahead >= first}
        embargoed = {t for t in range(rows) if last + ahead < t <= last + ahead + embargo}
        assert rows_of(fold.train) == set(range(rows)) - overlapping - embargoed
        assert list(fold.train) == sorted(fold.train)


@quick
@given(**sizes, back=st.integers(0, 15))
def test_a_purge_of_the_whole_reach_keeps_smoothed_labels_apart(rows: int, folds: int, ahead: int, back: int) -> None:
    for fold in purged_kfold(rows, min(folds, 3), ahead + back):
        read_by_test = set(range(fold.test[0] - back, fold.test[1] + ahead))
        for t in rows_of(fold.train):
            assert not read_by_test.intersection((t - back, t + ahead))


@quick
@given(**sizes, expanding=st.booleans())
def test_walk_forward_learns_from_the_past(rows: int, folds: int, ahead: int, expanding: bool) -> None:
    found = walk_forward(rows, folds, ahead, expanding=expanding)
    first = rows // (folds + 1)
    assert [row for fold in found for row in range(*fold.test)] == list(range(first, rows))
    for fold in found:
        ((start, stop),) = fold.train
        assert stop - 1 + ahead < fold.test[0] == stop + ahead
        assert start == (0 if expanding else fold.test[0] - first)


def test_folds_by_hand_and_their_errors() -> None:
    assert purged_kfold(10, 2, 1, 1) == (Fold(((7, 10),), (0, 5)), Fold(((0, 4),), (5, 10)))
    assert walk_forward(9, 2, 1, expanding=False) == (Fold(((0, 2),), (3, 6)), Fold(((3, 5),), (6, 9)))
    with pytest.raises(DataError, match=r"^10 rows, 2 folds, purge 5, embargo 0: the fold that tests rows 0 to 5 has"):
        purged_kfold(10, 2, 5)
    with pytest.raises(DataError, match=r"3 rows, 8 folds, purge 0: .* expected more rows, fewer folds"):
        walk_forward(3, 8, 0)
    for call in (lambda: purged_kfold(10, 1, 0), lambda: walk_forward(10, 0, 0)):
        with pytest.raises(ConfigError, match=r"^folds=\d: expected an integer of at least \d$"):
            call()
    with pytest.raises(ConfigError, match="embargo=-1"):
        purged_kfold(10, 2, 0, -1)


@quick
@given(st.integers(0, 3_000), st.floats(0.2, 0.7), st.floats(0.05, 0.25), st.integers(1, 100), st.integers(0, 100))
def test_chronological_parts(rows: int, train: float, validation: float, purge: int, first: int) -> None:
    parts = chronological(rows, train, validation, purge, first)
    assert parts.train[0] == first and parts.test[1] == rows
    assert all(0 <= start <= stop for start, stop in parts)
    for part, following in pairwise(parts):
        assert part[0] == part[1] or part[1] + purge == following[0]


@pytest.mark.parametrize(
    ("zone", "day", "hours_long"),
    [
        ("America/Chicago", "2024-03-10", 23), ("America/Chicago", "2024-11-03", 25),
        ("Europe/London", "2024-03-31", 23), ("Europe/London", "2024-10-27", 25), ("UTC", "2024-03-10", 24),
        ("America/Chicago", "2024-07-04", 24),
    ],
)  # fmt: skip
def test_days_follow_the_local_clock(zone: str, day: str, hours_long: int) -> None:
    middle = datetime.fromisoformat(day)
    before, after = (middle + timedelta(days=d) for d in (-1, 2))
    found = by_day(hours(before.isoformat(), after.isoformat(), zone), zone)
    assert [session.date for session in found] == [(middle + timedelta(days=d)).date().isoformat() for d in (-1, 0, 1)]
    assert [session.rows[1] - session.rows[0] for session in found] == [24, hours_long, 24]


def test_sessions_of_cme_futures() -> None:
    """From 17:00 in Chicago, 23:00 UTC in winter and 22:00 in summer; the first row belongs to the day before."""
    ts = hours("2024-03-09T12:00", "2024-03-12T12:00", "America/Chicago")
    found = by_day(ts, "America/Chicago", "17:00")
    assert [session.date for session in found] == ["2024-03-08", "2024-03-09", "2024-03-10", "2024-03-11"]
    starts = [datetime.fromtimestamp(int(ts[session.rows[0]]) // 10**9, tz=UTC) for session in found[1:]]
    assert [start.isoformat()[5:16] for start in starts] == ["03-09T23:00", "03-10T22:00", "03-11T22:00"]


def test_a_row_at_midnight_belongs_to_the_new_day() -> None:
    midnight = int(datetime(2024, 1, 2, tzinfo=UTC).timestamp()) * 10**9
    assert by_day(np.array([midnight - 1, midnight])) == (
        Session("2024-01-01", (0, 1)),
        Session("2024-01-02", (1, 2)),
    )
    assert by_day(np.array([], np.int64)) == ()
    with pytest.raises(ConfigError, match=r"data.timezone='Mars/Base': expected an IANA time zone"):
        by_day(np.array([0]), "Mars/Base")


@quick
@given(
    st.lists(st.integers(0, 40 * HOUR_NS), min_size=1, max_size=80),
    st.sampled_from(["UTC", "America/Chicago", "Europe/London", "Asia/Kathmandu", "Pacific/Apia"]),
    st.sampled_from(["00:00", "01:30", "02:30", "17:00", "23:59"]),
    st.sampled_from(["2024-03-08", "2024-10-26", "2011-12-28", "1969-12-30"]),
)
def test_sessions_hold_every_row_once(gaps: list[int], zone: str, start: str, begin: str) -> None:
    origin = int(datetime.fromisoformat(begin).replace(tzinfo=UTC).timestamp()) * 10**9
    ts = origin + np.cumsum(np.array(gaps, np.int64))
    found = by_day(ts, zone, start)
    assert [row for session in found for row in range(*session.rows)] == list(range(len(ts)))
    assert [session.date for session in found] == sorted({session.date for session in found})
    hour, minute = (int(text) for text in start.split(":"))
    for session in found:
        day = datetime.fromisoformat(session.date)
        for row in range(*session.rows):  # the wall clock's own view, an hour of grace where the clocks change
            local = datetime.fromtimestamp(int(ts[row]) // 10**9, tz=ZoneInfo(zone)).replace(tzinfo=None)
            elapsed = local - (day + timedelta(hours=hour, minutes=minute))
            grace = timedelta(days=1 if zone == "Pacific/Apia" else 0, hours=1)
            assert -grace <= elapsed < timedelta(days=1) + grace


def test_days_are_shared_out_whole() -> None:
    def sessions(days: int) -> list[Session]:
        return [Session(f"day {i}", (i * 10, i * 10 + 10)) for i in range(days)]

    assert chronological_sessions(sessions(10), 0.7, 0.15, 2) == Parts((0, 68), (70, 78), (80, 100))
    assert chronological_sessions(sessions(3), 0.9, 0.05, 2, first=4) == Parts((4, 8), (10, 18), (20, 30))
    assert chronological_sessions(sessions(100), 0.29, 0.28, 0).validation == (290, 570)
    with pytest.raises(DataError, match=r"^2 sessions \(day 0, day 1\); expected at least 3"):
        chronological_sessions(sessions(2), 0.7, 0.15, 2)


def test_streams_split_by_day() -> None:
    config = DataConfig(horizons=(5, 20), split="day", timezone="Europe/London", label_rule="deeplob")
    books = synthetic_books(2_975, 0, name="abc")  # five London days of 25 rows an hour, one of them of 23 hours
    begin = int(datetime(2024, 3, 29, tzinfo=UTC).timestamp()) * 10**9
    books = books._replace(ts_ns=begin + np.arange(2_975) * (HOUR_NS // 25))
    stream = make_stream(books, config)
    assert stream.train[0] == reach("deeplob", (5, 20)).back == 20
    # the clocks go forward on 31 March: 1 April begins at 23:00 UTC, 25 rows early
    assert stream.train[1] == 1_755 and stream.validation == (1_775, 2_355) and stream.test == (2_375, 2_975)
    with pytest.raises(DataError, match=r"ts_ns \(rows,\) for data.split='day'"):
        split_rows(2_975, config)
    with pytest.raises(DataError, match=r"^stream 'abc': 1 sessions \(2024-03-29\); expected at least 3"):
        make_stream(books._replace(ts_ns=begin + np.arange(2_975)), config)
    with pytest.raises(DataError, match=r"^stream 'abc': .* split by day; expected at least 100 in each"):
        make_stream(books, dataclasses.replace(config, purge_ticks=590))
