"""Tables as they lie about: delimiters, spellings of the header, archives, units and forms of times, order of rows."""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers import sorting
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.sources import find_sources, open_source, recognise
from nanoarb_jax.readers.table.feed import open_table
from support.examples import examples
from support.tables import books_of, events_of, ticks_of, write_table

pa = pytest.importorskip("pyarrow")

T0 = 1_735_700_000_123_456_789
BOOKS = f"""\
timestamp,bid_px_0,bid_sz_0,ask_px_0,ask_sz_0
{T0},2474.29,1.932,2474.30,32.469
{T0 + 7},2474.28,0.465,2474.29,25.547
"""
HEADER = BOOKS.splitlines()[0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    "header", [HEADER, HEADER.upper(), '"' + HEADER.replace(",", '","') + '"', HEADER.replace(",", " , ")]
)
def test_delimiters_and_headers(tmp_path: Path, delimiter: str, end: str, start: bytes, header: str) -> None:
    text = BOOKS.replace(HEADER, header).replace(",", delimiter).replace("\n", end)
    path = write_table(tmp_path, start + text.encode(), "mine.tsv")
    (source,) = find_sources([path])
    assert (source.format, source.name) == ("table", "mine")
    books = books_of(path)
    assert books.ts_ns.tolist() == [T0, T0 + 7] and books.ask_px[:, 0].tolist() == [247430, 247429]


def test_the_index_that_pandas_writes_has_no_name(tmp_path: Path) -> None:
    text = "".join(f",{line}\n" if i == 0 else f"{i},{line}\n" for i, line in enumerate(BOOKS.splitlines()))
    assert recognise(path := write_table(tmp_path, text)) == "table" and books_of(path).rows == 2


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas_are_refused(tmp_path: Path, delimiter: str) -> None:
    text = BOOKS.replace(",", delimiter).replace(".", ",")
    with pytest.raises(DataError, match=r"a decimal comma \(2474,29\); write the file with decimal points; see docs"):
        open_table(write_table(tmp_path, text), ReadOptions())


@pytest.mark.parametrize(
    "text",
    ["Columns, as follows: the time and so on\n", "symbol,tick_size\nX,1\n", "Hello, world\n", "a;b\n1;2\n", ",,,\n"],
)
def test_text_that_is_no_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="not recognised"):
        recognise(write_table(tmp_path, text))


def test_archives(tmp_path: Path) -> None:
    parquet = {"timestamp": [T0], "side": ["b"], "price": [1.5], "size": [1]}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("day/books.csv", BOOKS)
        archive.writestr("day/more.csv.gz", gzip.compress(BOOKS.encode()))
        archive.write(write_table(tmp_path, parquet), "levels.parquet")
    sources = find_sources([tmp_path / "all.zip"])
    feeds = [open_source(source) for source in sources]
    assert [feed.format for feed in feeds] == ["table-books", "table-books", "table-events"]
    assert [sum(len(chunk[0]) if feed.format == "table-books" else len(chunk) for chunk in feed.chunks)
            for feed in feeds] == [2, 2, 1]  # fmt: skip
    packed = tmp_path / "levels.parquet.gz"
    packed.write_bytes(gzip.compress((tmp_path / "es.parquet").read_bytes()))
    assert len(events_of(packed)[0]) == 1


NS = {"ns": 1, "µs": 10**3, "ms": 10**6, "s": 10**9}


@pytest.mark.parametrize("unit", NS)
@pytest.mark.parametrize("parquet", [False, True])
def test_units_of_whole_times(tmp_path: Path, unit: str, parquet: bool) -> None:
    stamps = [T0 // NS[unit], T0 // NS[unit] + 1]
    content: Any = {"timestamp": stamps, "side": ["b", "b"], "price": [1.5, 2], "size": [0, 1]}
    if not parquet:
        content = "timestamp,side,price,size\n" + "".join(f"{stamp},b,1.5,0\n" for stamp in stamps)
    events, feed = events_of(write_table(tmp_path, content))
    assert events["local_ts"].tolist() == [stamp * NS[unit] for stamp in stamps]
    assert feed.notes == ([] if unit == "ns" else [f"times are in {unit}"])


@given(ns=st.integers(315_532_800 * 10**9, 4_102_444_799 * 10**9), unit=st.sampled_from(["s", "ms", "µs"]))
@settings(max_examples=examples(60))
def test_decimals_of_text_are_exact(tmp_path_factory: pytest.TempPathFactory, ns: int, unit: str) -> None:
    whole, rest = divmod(ns, NS[unit])
    stamp = f"{whole}.{rest:0{len(str(NS[unit])) - 1}d}"
    path = write_table(tmp_path_factory.mktemp("t"), f"timestamp,side,price,size\n{stamp},b,1,0\n {whole} ,b,1,0\n")
    assert events_of(path)[0]["local_ts"].tolist() == [ns, whole * NS[unit]]


def test_float64_times_are_exact_to_the_microsecond(tmp_path: Path) -> None:
    ns = np.arange(T0 // 1000 * 1000, T0 + 10**9, 7_123_000)
    for unit in ("s", "ms", "µs"):
        content = {"timestamp": ns / NS[unit], "side": ["b"] * len(ns), "price": np.ones(len(ns))}
        path = write_table(tmp_path, content | {"size": np.zeros(len(ns))})
        np.testing.assert_array_equal(events_of(path)[0]["local_ts"], ns)


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        ("1735700000", "1735700000123", "1735700000123 is no time between 1980 and 2100, counted in s"),
        ("1735700000123", "1735700000", "no time between 1980 and 2100, counted in ms"),
        ("1735700000123", "99999999999999999", "no time between 1980 and 2100"),
        ("1735700000123", "soon", "expected times: ISO 8601, or a number"),
        ("1735700000.1234567891", "1735700000", "expected times: ISO 8601, or a number"),
        ("2025-01-01T00:00:00Z", "1735700000", "expected times: ISO 8601"),
        ("1735700000", "2025-01-01T00:00:00Z", "expected times: ISO 8601"),
        ("1970-01-01T00:28:55.7Z", "2025-01-01T00:00:00Z", "no time between 1980 and 2100"),
        ("20250101", "20250101", "time 20250101 lies between 1980 and 2100 in no unit"),
        ("09:30:00", "09:30:01", "'09:30:00'.*expected times: ISO 8601"),
        ("0", "1", "time 0 lies between 1980 and 2100 in no unit"),
        ("", "1", "an empty field"),
    ],
)
def test_times_that_are_refused(tmp_path: Path, first: str, second: str, match: str) -> None:
    path = write_table(tmp_path, f"timestamp,side,price,size\n{first},b,1,0\n{second},b,1,0\n")
    with pytest.raises(DataError, match=match) as caught:
        list(open_table(path, ReadOptions()).chunks)
    assert "\n" not in str(caught.value) and "; see docs/table.md" in str(caught.value)


@pytest.mark.parametrize("stamp", [T0 // 10**3, T0 // 10**6, T0 // 10**9, 10**8, 10**19])
def test_a_column_called_ns_holds_ns(tmp_path: Path, stamp: int) -> None:
    with pytest.raises(DataError, match=r"ts_ns: \d+ ns is before 1980 or after 2100|expected whole ns"):
        open_table(write_table(tmp_path, f"ts_ns,side,price,size\n{stamp},b,1,0\n"), ReadOptions())


def test_ns_from_any_moment(tmp_path: Path) -> None:
    path = write_table(tmp_path, f"ts_ns,exch_ts,side,price,size\n5,1,b,1,0\n{10**12},7,b,1,0\n")
    events, feed = events_of(path)
    assert events["local_ts"].tolist() == [5, 10**12] and events["exch_ts"].tolist() == [1, 7]
    assert feed.notes == ["times do not count from 1970"]


def test_local_and_exchange_times(tmp_path: Path) -> None:
    rows = f"{T0 // 10**6},{T0 + 10**9},b,1,1\n{T0 // 10**6 + 9},{T0 + 10**9},a,2,1\n"
    text = f"timestamp,local_timestamp,side,price,size\n{rows}"
    events, feed = events_of(write_table(tmp_path, text))
    assert events["local_ts"].tolist() == [T0 + 10**9] * 2
    assert (events["exch_ts"] // 10**6 - T0 // 10**6).tolist() == [0, 9] and events["ival"].tolist() == [0, 128]
    assert feed.notes[:2] == [
        "local_timestamp is when a row was received, timestamp the exchange's time",
        "times are in ms",
    ]
    books = write_table(tmp_path, BOOKS.replace("timestamp", "ts_event,local_ts").replace("\n1", f"\n{T0 - 9},1"))
    assert books_of(books).ts_ns.tolist() == [T0, T0 + 7]
    assert books_of(books, exchange_time=True).ts_ns.tolist() == [T0 - 9] * 2


def test_calendar_times_of_many_writers(tmp_path: Path) -> None:
    moment = datetime(2025, 1, 1, 2, 53, 20, 123_000, UTC)
    stamps: list[Any] = [
        pa.array([moment], pa.timestamp(unit, zone))
        for unit in ("ms", "us", "ns")
        for zone in (None, "UTC", "Asia/Tokyo")
    ]
    texts = ["2025-01-01T02:53:20.123Z", "2025-01-01 02:53:20.123000", "2025-01-01 11:53:20.123+09:00"]
    stamps += [pa.array([text], kind) for text in texts for kind in (pa.string(), pa.large_string(), pa.string_view())]
    stamps += [pa.array([text]).dictionary_encode() for text in texts]
    for stamp in stamps:
        path = write_table(tmp_path, {"timestamp": stamp, "side": ["b"], "price": [1.0], "size": [0]})
        events, feed = events_of(path)
        assert events["local_ts"].tolist() == [1_735_700_000_123_000_000]
        said = str(stamp[0])
        assert feed.notes == ([] if said.endswith(("Z", ":00")) else ["times have no zone and are taken for UTC"])
    dates = {"timestamp": pa.array([moment.date()]), "side": ["b"], "price": [1.0], "size": [0]}
    with pytest.raises(DataError, match=r"\(date32\[day\]\); expected times"):
        open_table(write_table(tmp_path, dates), ReadOptions())


def depth_rows(rng: np.random.Generator, messages: int) -> list[str]:
    return [
        f"{T0 + 10 * i},{side},{100 + sign * int(rng.integers(1, 9))},{int(rng.integers(0, 4))}"
        for i in range(messages)
        for side, sign in (("buy", -1), ("sell", 1))
        for _ in range(int(rng.integers(1, 4)))
    ]


@given(seed=st.integers(0, 2**32 - 1), chunk=st.integers(1, 40), turned=st.booleans())
@settings(max_examples=examples(50))
def test_sorted_rows_are_the_rows_in_order(
    tmp_path_factory: pytest.TempPathFactory, seed: int, chunk: int, turned: bool
) -> None:
    """Newest first, rows of one time turned round too, or messages in any order: the books are the same."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("sorted")
    rows = depth_rows(rng, 30)
    blocks = [[row for row in rows if row.startswith(f"{T0 + 10 * i},")] for i in range(30)]
    mixed = rows[::-1] if turned else [row for i in rng.permutation(30) for row in blocks[i]]
    header = "ts_ns,side,price,size"
    expected = ticks_of(write_table(folder, "\n".join([header, *rows]), "a.csv"))
    path = write_table(folder, "\n".join([header, *mixed]), "b.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nanoarb_jax.readers.table.messages.CHUNK", chunk)
        assert ticks_of(path, sort=True) == expected


def test_sorted_books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{T0 + i // 2},{100 + i},1,{200 + i},1" for i in range(20)]
    path = write_table(tmp_path, "\n".join([HEADER, *lines[::-1]]))
    monkeypatch.setattr(sorting, "CHUNK", 7)
    for options, expected in ((ReadOptions(sort=True), range(20)), (ReadOptions(), range(19, -1, -1))):
        feed = open_table(path, options)
        assert not isinstance(feed, EventFeed)
        chunks = list(feed.chunks)
        assert [int(px) for chunk in chunks for px in chunk.bid_px[:, 0]] == [100 + i for i in expected]
        assert feed.notes == (["rows sorted by time (newest first in the file)"] if options.sort else [])
    assert open_table(path, ReadOptions(sort=True)).chunks.__next__().ts_ns[0] == T0


@pytest.mark.parametrize("content", [BOOKS, "ts_ns,side,price,size,is_snapshot\n1,b,1,1,t\n1,a,2,1,t\n2,b,1,1,f\n"])
@given(data=st.data())
@settings(max_examples=examples(150))
def test_mutated_prefixes(tmp_path_factory: pytest.TempPathFactory, content: str, data: st.DataObject) -> None:
    """Bytes replaced, put in and cut off: an error of ours, or a feed."""
    raw = bytearray(content.encode())
    for _ in range(data.draw(st.integers(0, 5))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from([b",", b"\n", b'"', b"9", b"-", b"", b"\0", b"e", b";"]))  # fmt: skip  # noqa: E501
    path = tmp_path_factory.mktemp("mutated") / "x.csv"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    sort, symbol = data.draw(st.booleans()), data.draw(st.sampled_from([None, "X"]))
    try:
        for _ in open_table(path, ReadOptions(sort=sort, symbol=symbol)).chunks:
            pass
    except DataError as error:
        assert "\n" not in str(error)


def test_a_damaged_member_of_an_archive(tmp_path: Path) -> None:
    """Its first bytes are damaged already."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.csv", BOOKS)
    raw = (tmp_path / "a.zip").read_bytes().replace(b"2474.29", b"2474.28")
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(DataError, match=r"x\.csv: damaged or truncated \(Bad CRC-32.*\); fetch it again"):
        find_sources([tmp_path / "a.zip"])


def test_a_member_that_is_no_parquet(tmp_path: Path) -> None:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("x.parquet", b"PAR1" + bytes(100) + b"PAR1")
    (tmp_path / "a.zip").write_bytes(raw.getvalue())
    (source,) = find_sources([tmp_path / "a.zip"])
    with pytest.raises(DataError, match=r"x\.parquet: damaged Parquet"):
        open_source(source)
