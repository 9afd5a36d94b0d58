"""Tardis' files: through hftbacktest's converter, and its snapshots as books."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.sources import find_sources
from support.captures import STEP, T0, market, ranked
from support.converted import (
    LATE,
    MS,
    SIZES,
    US,
    check,
    read,
    tardis_files,
    tardis_rows,
    with_snapshot,
)

pytest.importorskip("hftbacktest")


def test_tardis(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    messages = with_snapshot(list(market(60)))
    book, trades = tardis_files(tmp_path, *tardis_rows(messages))
    for named in ([book, trades], [tmp_path], [book]):  # a book file finds its trades
        events, feed = read(named)
        check(events, messages)
        assert (feed.name, feed.format, dict(feed.dropped)) == ("x_2025-01-01_BTCUSDT", "tardis", {})
        assert feed.notes == ["converted by hftbacktest, which reads files whole"]
    assert capfd.readouterr().out == ""
    with pytest.raises(DataError, match="trades alone; expected incremental_book_L2"):
        read([trades])


def test_tardis_shifts_and_cuts_are_told(tmp_path: Path) -> None:
    """A local time before the exchange's shifts all; a snapshot that ends the file is left out by the converter."""
    messages = list(market(20))
    book, trades = tardis_rows(messages)
    for row in trades + book:
        row[3] = row[2] - 2_000
    ending, _ = tardis_rows([messages[0]])
    for row in ending:
        row[2], row[3] = row[2] + 10**9, row[3] + 10**9
    events, feed = read(tardis_files(tmp_path, book + ending, trades)[:1])
    check(events, messages, late=0)
    assert feed.notes[1] == "local times are 2,000,000 ns later than in the file, where one lay before the exchange's"
    assert feed.dropped == {"level of a snapshot that ends the file": 60}


def test_tardis_files_of_several_symbols(tmp_path: Path) -> None:
    messages, others = list(market(20)), list(market(20, 7))
    rows = [mine + theirs for mine, theirs in zip(tardis_rows(messages), tardis_rows(others, "ETHUSDT"), strict=True)]
    files = tardis_files(tmp_path, *rows)
    with pytest.raises(
        DataError, match=r"several symbols \(BTCUSDT, ETHUSDT\); choose one, on the command line --symbol"
    ):
        read(files)
    events, _ = read(files, SIZES._replace(symbol="BTCUSDT"))
    check(events, messages)


@pytest.mark.parametrize(
    ("column", "cell", "text"),
    [
        (2, 1_735_700_000_000, "is not in µs"),
        (4, "maybe", "is_snapshot 'maybe'"),
        (5, "up", "side 'up'"),
        (6, "x", "price"),
        (7, "", "amount"),
        (1, "", "symbol"),
    ],
)
def test_tardis_cells(tmp_path: Path, column: int, cell: object, text: str) -> None:
    book, trades = tardis_rows(list(market(20)))
    book[9][column] = cell
    with pytest.raises(DataError, match=text) as caught:
        read(tardis_files(tmp_path, book, trades)[:1])
    assert "\n" not in str(caught.value)


def test_without_hftbacktest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tardis_files(tmp_path, *tardis_rows(list(market(5))))
    monkeypatch.setitem(sys.modules, "hftbacktest.data.utils.tardis", None)
    with pytest.raises(DataError, match=r"pip install 'nanoarb-jax\[backtest\]'"):
        read(files)


def test_tardis_books(tmp_path: Path) -> None:
    messages = [m for m in market(40) if len(m.book["bids"]) > 25 < len(m.book["asks"])]
    path = tmp_path / "x_book_snapshot_25_2025-01-01_BTCUSDT.csv"
    fields = [f"{side}[{i}].{what}" for i in range(25) for side in ("asks", "bids") for what in ("price", "amount")]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["exchange", "symbol", "timestamp", "local_timestamp", *fields])
        for i, message in enumerate(messages):
            levels = {}
            for side in ("asks", "bids"):
                for k, px in enumerate(ranked(side, message.book[side])[:25]):
                    levels |= {f"{side}[{k}].price": px, f"{side}[{k}].amount": message.book[side][px]}
            times = [(T0 + i * STEP) // US, (T0 + i * STEP + LATE) // US]
            writer.writerow(["x", "BTCUSDT", *times, *(levels[name] for name in fields)])
    (source,) = find_sources([path])
    books, report = read_books(source, DataConfig())
    assert report.format == "tardis-books" and books.tick_size == 0.1
    ours = {int(ts): row for row, ts in enumerate(books.ts_ns)}
    assert len(ours) > 10
    for i, message in enumerate(messages):
        row = ours.get(T0 + i * STEP + LATE)
        if row is None:  # the clock saw no change
            continue
        for side, px, lots in (("bids", books.bid_px, books.bid_lots), ("asks", books.ask_px, books.ask_lots)):
            best = ranked(side, message.book[side])[:10]
            assert [round(p / books.px_scale, 1) for p in px[row].tolist()] == best
            told = [f"{q / books.lots_per_unit:.8f}" for q in lots[row].tolist()]
            assert told == [message.book[side][p] for p in best]
    exchange, _ = read_books(source, DataConfig(timestamps="exchange"))
    assert (exchange.ts_ns == books.ts_ns - LATE).all()
    path.write_text(path.read_text().replace(str(T0 // US), str(T0 // MS), 1))
    with pytest.raises(DataError, match="is not in µs"):
        read_books(source, DataConfig(timestamps="exchange"))
