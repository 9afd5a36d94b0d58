"""Books of Databento's schemas of levels and best prices: gaps, trades without a side, samples, consolidated books."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.databento.dbn import open_dbn
from nanoarb_jax.readers.feed import BookFeed, ReadOptions
from nanoarb_jax.readers.sources import find_sources
from support.databento_files import START, book, books_of, header, write

LOST, END = 4, 128


@pytest.mark.parametrize("schema", ["mbp-1", "mbp-10"])
def test_rows_after_a_gap(tmp_path: Path, schema: str) -> None:
    flags = [END, END | LOST, LOST, 0, END, END, LOST]  # the flag inside an event is the event's
    rows = [book(k, 10 + k / 4, schema=schema, ask=20, flags=flag) for k, flag in enumerate(flags)]
    path = write(tmp_path / "x.dbn", header(schema), *rows)
    books = books_of(open_dbn(path, ReadOptions(tick_size=0.25)))
    assert books.gap is not None and books.gap.tolist() == [False, True, True, False]
    (source,) = find_sources([path])
    ticks, report = read_books(source, DataConfig())
    assert (ticks.rows, report.anomalies["gap"]) == (2, 2)
    kept, report = read_books(source, DataConfig(), policy={"gap": "keep"})
    assert (kept.rows, report.anomalies["gap"]) == (4, 2)
    with pytest.raises(DataError, match="gap before the book"):
        read_books(source, DataConfig(), policy={"gap": "raise"})


def test_trades_without_a_side_are_trades(tmp_path: Path) -> None:
    rows = [book(1), book(2, action="T", side="N", size=9, flags=0), book(3, action="T", side="B", size=2), book(4)]
    rows += [book(5, action="T", side="N", size=1), book(6, ask=10.25)]
    path = write(tmp_path / "x.dbn", header("mbp-1"), *rows)
    books = books_of(open_dbn(path))
    assert books.unsided is not None and books.bought is not None and books.sold is not None
    assert (books.unsided.tolist(), books.bought.tolist()) == ([0, 9, 0, 1, 0], [0, 2, 0, 0, 0])
    assert not books.sold.any()
    (source,) = find_sources([path])
    ticks, report = read_books(source, DataConfig(clock="trade"))
    assert report.unsided == 10.0 and (ticks.ts_ns - START).tolist() == [1003, 1005]


def test_best_prices_before_each_trade(tmp_path: Path) -> None:
    rows = [book(k, 10 + k / 4, 20, schema="tbbo", action="T", side=s, flags=0) for k, s in enumerate("BAN")]
    feed = open_dbn(write(tmp_path / "x.dbn", header("tbbo"), *rows, book(9, 11, 20, action="T")))
    books = books_of(feed)
    assert books.rows == 4 and "every row is a trade" in feed.notes[0]  # whether or not an event ends there
    assert books.bought is not None and books.unsided is not None
    assert (books.bought.tolist(), books.unsided.tolist()) == ([5, 0, 0, 5], [0, 0, 5, 0])


@pytest.mark.parametrize("schema", ["bbo-1s", "bbo-1m", "cbbo-1s", "cbbo-1m"])
def test_samples(tmp_path: Path, schema: str) -> None:
    second = 10**9
    rows = [
        book(0, 10 + k / 4, 20, schema=schema, ts_recv=START + k * second, ts_event=2**64 - 1, flags=0)
        for k in range(3)
    ]
    path = write(tmp_path / "x.dbn", header(schema), *rows)
    feed = open_dbn(path, ReadOptions(exchange_time=True))
    books = books_of(feed)
    assert feed.format == f"databento-{schema}" and "trades are not known" in feed.notes[0]
    # dated by the end of the interval: the other time is that of the last trade
    assert ((books.ts_ns - START) // second).tolist() == [0, 1, 2]
    assert books.bought is books.sold is books.unsided is None
    assert books.bid_px[:, 0].tolist() == [10_000_000_000, 10_250_000_000, 10_500_000_000]
    (source,) = find_sources([path])
    with pytest.raises(DataError, match="no trades in these books"):
        read_books(source, DataConfig(clock="trade"))


@pytest.mark.parametrize("schema", ["cmbp-1", "tcbbo"])
def test_a_consolidated_book_is_one_of_all_venues(tmp_path: Path, schema: str) -> None:
    action = "T" if schema == "tcbbo" else "A"
    rows = [book(k, 10 + k / 4, 20, schema=schema, action=action, publisher=k + 1) for k in range(3)]
    feed = open_dbn(write(tmp_path / "x.dbn", header(schema), *rows))
    books = books_of(feed)
    assert books.rows == 3 and books.bought is not None
    assert books.bought.sum() == (15 if schema == "tcbbo" else 0)


def test_a_time_that_is_not_told_is_the_receive_time(tmp_path: Path) -> None:
    rows = [book(1), book(2, 10.25, ts_event=2**64 - 1)]
    feed = open_dbn(write(tmp_path / "x.dbn", header("mbp-1"), *rows), ReadOptions(exchange_time=True))
    assert (books_of(feed).ts_ns - START).tolist() == [901, 1002]


def test_one_off_the_grid(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dbn", header("mbp-1"), book(1), book(2, 10.13, ask=20))
    with pytest.raises(DataError, match=r"price 10.13 is no multiple of the tick size 0.25; .*--tick-size"):
        list(open_dbn(path, ReadOptions(tick_size=0.25)).chunks)
    with pytest.raises(DataError, match="expected a multiple of 1e-9"):
        open_dbn(path, ReadOptions(tick_size=1e-10))


def test_real_files_have_no_gap(shared: Path) -> None:
    feed = open_dbn(shared / "data" / "cme_es" / "futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst")
    assert isinstance(feed, BookFeed)
    assert not np.concatenate([books.gap for books in feed.chunks if books.gap is not None]).any()
