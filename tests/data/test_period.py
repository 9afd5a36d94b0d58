"""Times of `--from` and `--to`, and the ticks between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.data.period import Moment, PeriodCut, parse_period, utc
from nanoarb_jax.data.survey import survey
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.readers.sources import find_sources
from nanoarb_jax.simulation.market import synthetic_books

BOOKS = synthetic_books(10_001, 3, name="x_20240101")


@pytest.mark.parametrize(
    "text, time",
    [
        ("2024-08-08T23:55:00", "2024-08-08T23:55:00"),
        ("2024-08-08 23:55", "2024-08-08T23:55:00"),
        ("2024-08-08", "2024-08-08T00:00:00"),
        ("2024-08-08T23:54:15.319702566Z", "2024-08-08T23:54:15.319702566"),
        ("2024-08-09T01:55:00.5+02:00", "2024-08-08T23:55:00.500"),
        ("1969-12-31T23:59:59.25", "1969-12-31T23:59:59.250"),
    ],
)
def test_times_with_a_date(text: str, time: str) -> None:
    period = parse_period(text, None)
    assert period and period.start == Moment(int(np.datetime64(time, "ns").astype(np.int64))) and period.stop is None


def test_times_of_the_first_day() -> None:
    period = parse_period("14:30", "14:30:00.000000001")
    assert period is not None
    first = int(np.datetime64("2024-08-08T09:00", "ns").astype(np.int64))
    assert [utc(ns) for ns in period.bounds(first)] == ["2024-08-08T14:30:00Z", "2024-08-08T14:30:00.000000001Z"]
    assert parse_period(None, None) is None


@pytest.mark.parametrize("text", ["25:00", "noon", "", "2024-13-01", "14", "14:30Z", "14:30+02:00", "2024-08-08T", "Z"])
def test_what_is_no_time(text: str) -> None:
    if text == "2024-08-08T":  # a date whose time of day is left out
        assert parse_period(text, None) == parse_period("2024-08-08", None)
        return
    with pytest.raises(ConfigError, match=f"^--to {text.replace('+', '.')}: expected a time such as"):
        parse_period(None, text)


def test_far_away_times_do_not_overflow() -> None:
    period = parse_period("0001-01-01", "9999-12-31")
    assert PeriodCut(period).cut(BOOKS).rows == BOOKS.rows


def test_figures_and_sample_are_of_the_period(tmp_path: Path) -> None:
    write_book_npz(tmp_path / "x_20240101.npz", BOOKS)
    (source,) = find_sources([tmp_path])
    first, last = 2_000, 3_000  # in the middle of chunks
    period = parse_period(utc(int(BOOKS.ts_ns[first])), utc(int(BOOKS.ts_ns[last])))
    figures, sample, _ = survey(source, period=period)
    part = BOOKS.part(first, last + 1)
    np.testing.assert_array_equal(sample.ts_ns, part.ts_ns)
    np.testing.assert_array_equal(sample.bid_px, part.bid_px)
    assert BOOKS.bought is not None and sample.bought is not None
    np.testing.assert_array_equal(sample.bought, BOOKS.bought[first : last + 1])
    assert (figures["ticks"], figures["ticks_read"], figures["messages"]) == (1_001, 10_001, 10_001)
    assert figures["mid"] == {"first": part.mid[0], "last": part.mid[-1]}
    assert figures["span_s"] == (part.ts_ns[-1] - part.ts_ns[0]) / 1e9
    assert figures["ticks_per_s"] == 1_001 / figures["span_s"] and figures["messages_per_s"] is None
    assert figures["spread_ticks"]["max"] == part.spread_ticks.max()
    assert figures["traded"] == {
        "bought": BOOKS.bought[first : last + 1].sum(), "sold": BOOKS.sold[first : last + 1].sum(), "unsided": None
    }  # fmt: skip
    assert figures["period"] == {"from": utc(int(part.ts_ns[0])), "to": utc(int(part.ts_ns[-1]))}


def test_a_period_without_ticks(tmp_path: Path) -> None:
    gap = BOOKS._replace(ts_ns=BOOKS.ts_ns + np.where(np.arange(BOOKS.rows) >= 5_000, 7_200 * 10**9, 0))
    write_book_npz(tmp_path / "x.npz", gap)
    (source,) = find_sources([tmp_path])
    before, after = (utc(int(gap.ts_ns[row])) for row in (4_999, 5_000))
    low, high = (utc(int(gap.ts_ns[4_999]) + hours * 3_600 * 10**9 + 1) for hours in (0, 1))
    message = f"--from {low} --to {high}: no tick lies there; the last one before is at {before}, the first one after"
    with pytest.raises(DataError, match=f"x.npz: {message} is at {after}$"):
        survey(source, period=parse_period(low, high))
    with pytest.raises(DataError, match="--from 2100-01-01T00:00:00Z: no tick lies there; the last one before is at "):
        survey(source, period=parse_period("2100-01-01", None))
    with pytest.raises(ConfigError, match=r"^--from 2024-01-02T00:00:00Z: later than --to 2024-01-01T00:00:00Z"):
        survey(source, period=parse_period("2024-01-02", "2024-01-01"))
