"""Tables of books and events: both formats, every spelling, and nothing but a DataError from damaged files."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import BUY, CLEAR, DEPTH, EVENT, KIND_MASK, LAST, SELL, SNAPSHOT, TRADE
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries, validate_books
from nanoarb_jax.readers import columns as read_columns
from nanoarb_jax.readers.feed import BookFeed, ReadOptions
from nanoarb_jax.readers.table import file as table_file
from nanoarb_jax.readers.table.feed import open_table
from support.examples import examples
from support.tables import books_of, events_of
from support.tables import write_table as write

pa = pytest.importorskip("pyarrow")

quick = settings(deadline=None, max_examples=examples(60), database=None)
T0 = 1_700_000_000_123_456_789
BOOKS = f"""\
ts_ns,bid_px_0,bid_sz_0,ask_px_0,ask_sz_0,bid_px_1,bid_sz_1,ask_px_1,ask_sz_1,note
{T0},100.25,3,100.5,4,100.0,1000000000,100.75,2,first
{T0 + 1},100.25,3.5,100.5,4,,,100.75,0,
{T0 + 5},100.25,3,101,4,100.0,1,NaN,2,last
"""
EVENTS = f"""\
ts_ns,side,price,size,kind
{T0},buy,100.25,3,
{T0},ask,100.5,1000000000,depth
{T0 + 7},Sell,100.25,2,trade
{T0 + 8},,,,clear
{T0 + 8},b,100.0,1.5,snapshot
{T0 + 9},s,101,0,depth
"""


def columns(rows: int, zeros: str = "", levels: int = 10) -> dict[str, Any]:
    """Books as columns: bids from 100 down, asks from 101 up, in quarters."""
    made: dict[str, Any] = {"ts_ns": np.arange(rows) + T0}
    for level in range(levels):
        made[f"bid_px_{zeros}{level}"] = np.full(rows, 100 - level / 4)
        made[f"ask_px_{zeros}{level}"] = np.full(rows, 101 + level / 4)
        for side in ("bid", "ask"):
            made[f"{side}_sz_{zeros}{level}"] = np.arange(rows) + 1
    return made


def test_books_of_csv(tmp_path: Path) -> None:
    books = books_of(write(tmp_path, BOOKS))
    validate_books(books)
    assert (books.name, books.tick_size, books.tick, books.px_scale) == ("es", 0.25, 25, 100.0)
    assert books.ts_ns.tolist() == [T0, T0 + 1, T0 + 5]
    assert books.bid_px[0, :3].tolist() == [10025, 10000, EMPTY_PRICE]
    assert (books.bid_lots[0, :2] / books.lots_per_unit).tolist() == [3.0, 1e9] and books.bid_lots[
        1, 0
    ] == 3.5 * books.lots_per_unit
    # a missing price, a size of 0, a price that is no number
    assert (books.bid_px[1, 1], books.ask_px[1, 1], books.ask_px[2, 1]) == (EMPTY_PRICE,) * 3
    assert books.bid_lots[1, 1] == books.ask_lots[1, 1] == books.ask_lots[2, 1] == 0
    assert books.bought is None


@pytest.mark.parametrize("zeros", ["", "0"])
def test_books_of_parquet(tmp_path: Path, zeros: str) -> None:
    content = columns(5, zeros) | {"bought": [1, None, 3, 0, 0], "sold": [0, 0, 0, 0, 2]}
    books = books_of(write(tmp_path, content))
    validate_books(books)
    assert books.bid_px.shape == (5, 10) and books.bought is not None and books.sold is not None
    assert (books.bought / books.lots_per_unit).tolist() == [1, 0, 3, 0, 0] and books.sold[4] == 2 * books.lots_per_unit


def test_single_precision_prices_are_the_decimals_that_were_meant(tmp_path: Path) -> None:
    content = columns(3, levels=1)
    content["bid_px_0"] = np.array([585.33, 585.34, np.nan], np.float32)
    content["ask_px_0"] = np.array([585.94, 585.95, 585.96], np.float32)
    books = books_of(write(tmp_path, content))
    assert books.bid_px[:, 0].tolist() == [58533, 58534, EMPTY_PRICE] and books.tick_size == 0.01


def test_chunks_are_bounded_and_join_to_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "CHUNK", 64)
    monkeypatch.setattr(read_columns, "CSV_BLOCK", 4096)
    content = columns(1000)
    text = "\n".join([",".join(content), *(",".join(map(str, row)) for row in zip(*content.values(), strict=True))])
    for path in (write(tmp_path, content), write(tmp_path, text)):
        feed = open_table(path, ReadOptions())
        parts = list(feed.chunks)
        assert len(parts) > 10 and all(isinstance(part, BookSeries) and part.rows <= 64 for part in parts)
        assert np.concatenate([part.ts_ns for part in parts]).tolist() == content["ts_ns"].tolist()
        assert len({(part.px_scale, part.lots_per_unit, part.tick, part.name) for part in parts}) == 1


def test_events_of_csv(tmp_path: Path) -> None:
    events, feed = events_of(write(tmp_path, EVENTS))
    assert events.dtype == EVENT and (feed.tick_size, feed.lot_size) == (0.25, 0.001)
    assert (events["ev"] & KIND_MASK).tolist() == [DEPTH, DEPTH, TRADE, CLEAR, event.DEPTH_SNAPSHOT, DEPTH]
    assert (events["ev"] & (BUY | SELL)).tolist() == [BUY, SELL, SELL, 0, BUY, SELL]
    assert events["px"].tolist() == [100.25, 100.5, 100.25, 0.0, 100.0, 101.0]
    assert events["qty"].tolist() == [3, 1e9, 2, 0, 1.5, 0]
    assert events["ival"].tolist() == [0, LAST, LAST, 0, SNAPSHOT | LAST, LAST]
    np.testing.assert_array_equal(events["exch_ts"], events["local_ts"])


def test_messages_are_not_cut_between_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = T0 + np.repeat([0, 3, 4, 9], [5, 1, 6, 1])
    content = {"ts_ns": stamps, "side": ["b"] * 13, "price": np.arange(13.0), "size": np.ones(13)}
    path = write(tmp_path, content)
    whole, _ = events_of(path)
    assert np.flatnonzero(whole["ival"] & LAST).tolist() == [4, 5, 11, 12]
    for size in (1, 2, 3, 5, 6):
        monkeypatch.setattr(table_file, "CHUNK", size)
        np.testing.assert_array_equal(events_of(path)[0], whole)


def test_flags_of_the_file_are_kept(tmp_path: Path) -> None:
    content = {
        "ts_ns": [T0, T0, T0 + 1],
        "exch_ts": [T0 - 5, T0 - 4, T0 - 3],
        "side": ["b", "a", None],
        "kind": ["add", "cancel", "trade"],
        "price": [1.5, 2, 2.5],
        "size": [1, 2, 3],
        "order_id": np.array([2**63 + 1, 7, 0], np.uint64),
        "flags": [0, 128, 0],
    }
    events, _ = events_of(write(tmp_path, content))
    assert events["ival"].tolist() == [0, LAST, 0] and events["order_id"].tolist() == [2**63 + 1, 7, 0]
    assert events["exch_ts"].tolist() == [T0 - 5, T0 - 4, T0 - 3]
    events, _ = events_of(write(tmp_path, content | {"flags": [0, 0, 32]}))
    # what was received at one time is one message, whatever the exchange's times
    assert events["ival"].tolist() == [0, LAST, LAST | 32]


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (str(T0), T0),
        ("2023-11-14T22:13:20.123456789Z", T0),
        ("2023-11-14 22:13:20.123456789", T0),
        ("2023-11-14T17:13:20.123456789-05:00", T0),
        ("2023-11-14T22:13:20", T0 // 10**9 * 10**9),
    ],
)
def test_timestamps_of_csv(tmp_path: Path, stamp: str, expected: int) -> None:
    text = f"timestamp;Bid_Px_0; bid_sz_0;ask_px_0;ask_sz_0\n{stamp};1;2;3;4\n"
    assert books_of(write(tmp_path, text)).ts_ns.tolist() == [expected]


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("unit", ["us", "ns"])
def test_timestamps_of_parquet(tmp_path: Path, unit: str, zone: str | None) -> None:
    stamps = pa.array([T0 // 1000 * (1000 if unit == "ns" else 1)], pa.int64()).cast(pa.timestamp(unit, zone))
    content = columns(1, levels=1)
    del content["ts_ns"]
    assert books_of(write(tmp_path, content | {"timestamp": stamps})).ts_ns.tolist() == [T0 // 1000 * 1000]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_compressed_csv(tmp_path: Path, pack: Any) -> None:
    assert books_of(write(tmp_path, pack(BOOKS.encode()), "es.csv.gz")).rows == 3


def test_given_grids(tmp_path: Path) -> None:
    books = books_of(write(tmp_path, BOOKS), tick_size=0.01, lot_size=0.5)
    assert (books.tick, books.px_scale, books.lots_per_unit) == (1, 100.0, 2.0) and books.bid_lots[:, 0].tolist() == [
        6,
        7,
        6,
    ]
    assert books_of(write(tmp_path, BOOKS.replace("3.5", "4")), lot_size=0.3 / 3).lots_per_unit == 10.0
    with pytest.raises(DataError, match=r"bid price 100\.25 is no multiple of 0\.5; give a finer tick_size, .*--tick"):
        books_of(write(tmp_path, BOOKS), tick_size=0.5)
    with pytest.raises(DataError, match=r"bid size 3\.5 is no multiple of 1.*; give a finer lot_size, .* --lot-size"):
        books_of(write(tmp_path, BOOKS), lot_size=1.0)
    with pytest.raises(DataError, match="lot size -1"):
        books_of(write(tmp_path, BOOKS), lot_size=-1)
    with pytest.raises(DataError, match="tick size 0"):
        books_of(write(tmp_path, BOOKS), tick_size=0)
    with pytest.raises(DataError, match=r"price 100\.25 is no multiple of 1"):
        events_of(write(tmp_path, EVENTS), tick_size=1.0)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "no header line"),
        ("ts_ns,a\rb,c\n1,2,3\n", "no header line"),
        (BOOKS.splitlines()[0], "no rows"),
        (BOOKS.splitlines()[0] + "\n\n", "no rows|Empty CSV"),
        ("time,price\n1,2\n", r"no column ts_ns or timestamp \(has time, price\)"),
        ("ts_ns,price\n1,2\n", r"neither books nor events \(has ts_ns, price\).*without side, size here"),
        (BOOKS.replace("ask_sz_1", "x"), "no column ask_sz_1"),
        (BOOKS.replace("note", "sold"), "sold alone"),
        (BOOKS.replace("100.25,3,", "100.25,three,"), "three"),
        (BOOKS.replace("100.25,3,", "inf,3,"), "infinite"),
        (BOOKS.replace(f"{T0},", ","), "missing in row 0"),
        (BOOKS.replace(f"{T0},", "yesterday,"), "yesterday"),
        (BOOKS.replace(f"{T0},", "170.5,"), "170.5"),
        (BOOKS.replace("ts_ns", "timestamp").replace(f"{T0},", f"{T0 // 1000},"), "no time between 1980 and 2100"),
        (BOOKS + "1,2\n", "columns"),
        (EVENTS.replace("Sell", "up"), "side: 'up'; expected one of buy, sell"),
        (EVENTS.replace("trade", "deal"), "kind: 'deal'; expected one of depth, snapshot, trade"),
        (EVENTS.replace("depth", "add"), "an order without an id"),
        (EVENTS.replace("101,0", ",0"), "no price"),
        (EVENTS.replace("101,0", "101,-1"), "no size, or a negative one"),
        (EVENTS.replace("s,101", ",101"), "no side"),
        (BOOKS.replace(f"{T0},", "2023-11-14,"), str(T0 + 5)),
        (b"\xff\xfe\x00\x01" * 9 + b"\n1", "no column ts_ns"),
    ],
)
def test_errors_name_what_is_wrong(tmp_path: Path, content: str | bytes, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        list(open_table(write(tmp_path, content), ReadOptions()).chunks)
    assert "\n" not in str(caught.value)


def test_what_is_not_parquet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a Parquet file"):
        open_table(write(tmp_path, BOOKS, "es.parquet"), ReadOptions())
    with pytest.raises(DataError, match="no such file"):
        open_table(tmp_path / "missing.csv", ReadOptions())
    with pytest.raises(DataError, match=r"ts_ns: 1\.5; expected whole ns"):
        open_table(write(tmp_path, columns(2) | {"ts_ns": [1.5, 2.5]}), ReadOptions()).chunks.__next__()
    with pytest.raises(DataError, match=r"bid_px_0: .*cheap|bid_px_0: .*dear"):
        open_table(write(tmp_path, columns(2) | {"bid_px_0": ["cheap", "dear"]}), ReadOptions())


def drain(path: Path) -> None:
    try:
        for _ in open_table(path, ReadOptions()).chunks:
            pass
    except DataError as error:
        assert "\n" not in str(error)


def damaged(raw: bytes, data: st.DataObject) -> bytes:
    content = bytearray(raw)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    del content[data.draw(st.integers(0, 2 * len(content))) :]
    return bytes(content)


@quick
@given(text=st.sampled_from([BOOKS, EVENTS]), packed=st.booleans(), data=st.data())
def test_damaged_csv_ends_in_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, packed: bool, data: st.DataObject
) -> None:
    raw = lzma.compress(text.encode()) if packed else text.encode()
    drain(write(tmp_path_factory.mktemp("damaged"), damaged(raw, data)))


@quick
@given(data=st.data())
def test_damaged_parquet_ends_in_a_data_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    raw = write(folder, columns(40, levels=2)).read_bytes()
    drain(write(folder, damaged(raw, data), "es.parquet"))


def test_books_of_a_real_day(shared: Path, tmp_path: Path) -> None:
    """The vendor's own ten-level books of ARL, whose columns are spelt bid_px_00; only the time needs a name."""
    with lzma.open(shared / "data/nasdaq_arl/mbp.csv.xz", "rt") as file:
        text = file.read().replace(",ts_recv,", ",timestamp,", 1)
    feed = open_table(write(tmp_path, text), ReadOptions())
    assert isinstance(feed, BookFeed)
    books = next(feed.chunks)
    assert books.rows == 3_928 and books.tick_size == 0.01
    quoted = (books.bid_px[:, 0] != EMPTY_PRICE) & (books.ask_px[:, 0] != EMPTY_PRICE)
    assert quoted.mean() > 0.9 and (books.bid_px[quoted, 0] < books.ask_px[quoted, 0]).all()
