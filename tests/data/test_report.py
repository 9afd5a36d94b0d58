"""What is said of messages that made no tick, of times that run backwards, and of what a feed lacks."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.data.report import lost_messages
from nanoarb_jax.data.stored import read_accounts
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError, DataWarning
from nanoarb_jax.market.event import BUY, CLEAR, DEPTH, EVENT, LAST, SELL, TRADE
from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.readers.sources import find_sources
from nanoarb_jax.simulation.market import synthetic_books

SECOND = 10**9
NOON = 1_735_732_800 * SECOND  # 1 January 2025, 12:00 UTC


def feed_of(kinds: list[tuple[int, float, float]]) -> NDArray[np.void]:
    """A message a second of these (event code, price, quantity), after a clear and one level a side."""
    rows = [(CLEAR, np.nan, 0.0), (DEPTH | BUY, 10.0, 1.0), (DEPTH | SELL, 10.25, 1.0), *kinds]
    events = np.zeros(len(rows), EVENT)
    for name, column in zip(("ev", "px", "qty"), zip(*rows, strict=True), strict=True):
        events[name] = column
    events["local_ts"] = events["exch_ts"] = NOON + np.arange(len(rows)) * SECOND
    events["ival"] = LAST
    return events


def read(tmp_path: Path, events: NDArray[np.void], **options: object):  # type: ignore[no-untyped-def]
    np.save(tmp_path / "feed.npy", events)
    return read_books(find_sources([tmp_path / "feed.npy"])[0], DataConfig(), **options)  # type: ignore[arg-type]


def as_csv(books: BookSeries) -> str:
    """The best levels as a table."""
    lines = ["ts_ns,bid_px_0,bid_sz_0,ask_px_0,ask_sz_0"]
    for row in range(books.rows):
        bid, ask = books.bid_px[row, 0] / books.px_scale, books.ask_px[row, 0] / books.px_scale
        lines.append(f"{books.ts_ns[row]},{bid},{books.bid_lots[row, 0]},{ask},{books.ask_lots[row, 0]}")
    return "\n".join(lines)


def test_lost_messages_are_told_with_what_would_help(tmp_path: Path) -> None:
    quiet = [(DEPTH | BUY, 10.0, 1.0 + i % 2) for i in range(96)]
    gone = [(DEPTH | SELL, 10.25, 0.0), (DEPTH | BUY, 9.75, 1.0), (DEPTH | SELL, 10.25, 1.0)]
    _, report = read(tmp_path, feed_of(quiet))
    assert report.lost["one_sided"] == 2 and lost_messages("feed", report.as_dict() | {"messages": 200}) is None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _, report = read(tmp_path, feed_of([*quiet, *gone]))
    (warning,) = told
    assert warning.category is DataWarning
    assert str(warning.message) == (
        "feed: 3.92 % of 102 messages lost (4 × one_sided); a side of the book is empty then"
    )
    crossed = feed_of([*quiet, (DEPTH | BUY, 10.5, 1.0), *quiet])
    _, report = read(tmp_path, crossed, policy={"crossed": "skip"})
    assert report.lost["crossed"] == 97 and "crossed=heal" in (lost_messages("feed", report.as_dict()) or "")
    crossed = feed_of([*quiet, (DEPTH | BUY, 10.5, 1.0), (DEPTH | SELL, 10.75, 1.0), *quiet])
    _, report = read(tmp_path, crossed)
    assert report.lost["crossed"] == 1  # healed, and no ask was left for a message
    assert report.anomalies["stale"] == report.anomalies["crossed"] == 1


def test_times_that_run_backwards(tmp_path: Path) -> None:
    events = feed_of([(DEPTH | BUY, 10.0, 1.0 + i % 2) for i in range(300)])
    newest_first = events.copy()
    newest_first["local_ts"] = newest_first["exch_ts"] = events["local_ts"][::-1]
    with pytest.raises(DataError, match=r"302 of 303 events lie before an earlier one, by up to 302 s; .* --sort"):
        read(tmp_path, newest_first)
    assert read(tmp_path, newest_first, policy={"backwards": "keep"})[0].rows > 0
    few = events.copy()
    few["local_ts"][100] -= 50 * SECOND
    assert read(tmp_path, few)[1].late_ns == 49 * SECOND  # one of 303: told, not refused
    close = events.copy()
    close["exch_ts"][::2] -= 3 * SECOND // 2  # by half a second, as the streams of an exchange overtake each other
    by_exchange = read_books(find_sources([tmp_path / "feed.npy"])[0], DataConfig(timestamps="exchange"))
    assert by_exchange[1].anomalies["backwards"] == 0
    np.save(tmp_path / "feed.npy", close)
    by_exchange = read_books(find_sources([tmp_path / "feed.npy"])[0], DataConfig(timestamps="exchange"))
    assert by_exchange[1].anomalies["backwards"] > 100
    close["local_ts"] = close["exch_ts"]  # but messages are not received before earlier ones
    with pytest.raises(DataError, match=r"lie before an earlier one, by up to 0\.5 s"):
        read(tmp_path, close)


def test_books_that_run_backwards(tmp_path: Path) -> None:
    books = synthetic_books(500, 0)
    path = tmp_path / "b.csv"
    path.write_text(as_csv(books._replace(ts_ns=books.ts_ns[::-1])))
    with pytest.raises(DataError, match=r"499 of 500 events lie before an earlier one"):
        read_books(find_sources([path])[0], DataConfig())


def test_what_a_feed_lacks_and_its_quantities_step(tmp_path: Path) -> None:
    events = feed_of([(DEPTH | BUY, 9.75, 0.015), (DEPTH | BUY, 9.5, 0.04)] * 5)
    _, report = read(tmp_path, events)
    assert report.notes == ["no trades"] and report.quantity_step == 0.005
    _, report = read(tmp_path, feed_of([(TRADE | BUY, 10.0, 1.0)]))
    assert report.notes == [] and report.as_dict()["quantity_step"] == 1.0
    _, report = read(tmp_path, feed_of([(TRADE, 10.0, 1.0), (DEPTH | BUY, 9.75, 1.0)]))
    assert report.notes == [] and report.unsided == 1.0  # trades, though nobody says who took
    midway = events[1:]
    _, report = read(tmp_path, midway, policy={"incomplete": "keep"})
    assert "begins without a snapshot" in report.notes
    with pytest.raises(DataError, match=r"not one tick .* begins without a snapshot.* --snapshot"):
        read(tmp_path, midway)


def test_prepared_data_keep_the_account_and_tell_it_again(tmp_path: Path) -> None:
    books = synthetic_books(6_000, 0)
    crossed = np.arange(6_000) % 20 == 5
    books.bid_px[crossed] = books.ask_px[crossed] + books.tick
    (tmp_path / "x.csv").write_text(as_csv(books))
    with pytest.warns(DataWarning, match=r"^x: 5 % of 6,000 messages lost \(300 × crossed\)"):
        prepare([tmp_path / "x.csv"], tmp_path / "out", DataConfig())
    account = read_accounts(tmp_path / "out")["x"]
    assert account["lost"] == {"crossed": 300} and account["notes"] == ["no trades"]


def test_a_source_of_our_own_format_loses_nothing(tmp_path: Path) -> None:
    write_book_npz(tmp_path / "a.npz", synthetic_books(2_000, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lost_messages("a", read_books(find_sources([tmp_path])[0], DataConfig())[1].as_dict()) is None
