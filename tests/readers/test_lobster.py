"""LOBSTER files: exact times, who took, and nothing but a DataError from damaged ones."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError, DataWarning
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries, validate_books
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import BookFeed, ReadOptions
from nanoarb_jax.readers.lobster import feed as lobster
from nanoarb_jax.readers.lobster.feed import open_lobster
from nanoarb_jax.readers.lobster.seconds import parse_seconds
from nanoarb_jax.readers.sources import find_sources, open_source
from support.examples import examples

quick = settings(deadline=None, max_examples=examples(60), database=None)
NEW_YORK = ZoneInfo("America/New_York")
DAY = "2012-06-21"
# two levels: ask price, ask size, bid price, bid size; the second row has an empty second level on both sides
BOOK = """\
5859400,200,5853300,18,5859800,200,5853000,150
5859400,100,5853300,18,9999999999,0,-9999999999,0
5859400,100,5853300,1000000000,5859800,200,5853000,150
5859400,100,5853300,18,5859800,200,5853000,150
"""
MESSAGES = """\
34200.004241176,1,16113575,18,5853300,1
34200.00426064,4,16113584,100,5859400,-1
34200.5,4,16113594,7,5853300,1
34201,1,16113595,7,5853300,1
"""


def zstd(data: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    return bytes(zstandard.ZstdCompressor().compress(data))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": zstd,
}


def write(folder: Path, book: str | bytes, messages: str | bytes | None, day: str = DAY) -> tuple[Path, Path | None]:
    paths = [folder / f"ABC_{day}_34200000_57600000_{kind}_2.csv" for kind in ("orderbook", "message")]
    for path, content in zip(paths, (book, messages), strict=True):
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return paths[0], None if messages is None else paths[1]


def read(
    folder: Path, book: str | bytes = BOOK, messages: str | bytes | None = MESSAGES, day: str = DAY, **options: float
) -> tuple[list[BookSeries], BookFeed]:
    feed = open_lobster(*write(folder, book, messages, day), ReadOptions(**options))
    return list(feed.chunks), feed


def ns(day: str, clock: str, nanoseconds: int = 0) -> int:
    return int(datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=NEW_YORK).timestamp()) * 10**9 + nanoseconds


def test_books_times_and_trades(tmp_path: Path) -> None:
    (books,), feed = read(tmp_path)
    validate_books(books)
    assert (feed.name, feed.format, books.name) == (f"ABC_{DAY}_34200000_57600000", "lobster", feed.name)
    assert (books.px_scale, books.lots_per_unit, books.tick, books.tick_size) == (10_000.0, 1.0, 100, 0.01)
    expected = [ns(DAY, "09:30:00", n) for n in (4_241_176, 4_260_640, 500_000_000)] + [ns(DAY, "09:30:01")]
    assert books.ts_ns.tolist() == expected
    assert books.ask_px[0, :3].tolist() == [5859400, 5859800, EMPTY_PRICE]
    assert books.bid_px[1, :2].tolist() == [5853300, EMPTY_PRICE] and books.bid_lots[1].sum() == 18
    assert books.bid_lots[2, 0] == 1_000_000_000
    assert books.bought is not None and books.sold is not None
    # a resting sell order executed: the taker bought
    assert books.bought.tolist() == [0, 100, 0, 0] and books.sold.tolist() == [0, 0, 7, 0]
    assert not feed.dropped


def test_without_messages_rows_are_a_nanosecond_apart(tmp_path: Path) -> None:
    (books,), _ = read(tmp_path, messages=None)
    assert books.ts_ns.tolist() == [ns(DAY, "09:30:00", n) for n in range(4)]
    assert books.bought is None and books.sold is None


def test_chunks_join_to_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,), _ = read(tmp_path)
    monkeypatch.setattr(lobster, "CHUNK", 3)
    parts, _ = read(tmp_path)
    assert [part.rows for part in parts] == [3, 1]
    for field in ("ts_ns", "bid_px", "ask_lots", "bought", "sold"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, field) for p in parts]), getattr(whole, field))


@pytest.mark.parametrize("packer", PACKERS)
def test_compression_is_told_by_the_bytes(tmp_path: Path, packer: str) -> None:
    (plain,), _ = read(tmp_path)
    (packed,), _ = read(tmp_path, PACKERS[packer](BOOK.encode()), PACKERS[packer](MESSAGES.encode()))
    np.testing.assert_array_equal(packed.bid_px, plain.bid_px)


@pytest.mark.parametrize(
    ("day", "utc_hour"),
    # winter, the Friday before and the Monday after the clocks change, the Sunday itself, and back in autumn
    [("2012-01-17", 14), ("2012-03-09", 14), ("2012-03-11", 13), ("2012-03-12", 13), ("2012-11-04", 14)],
)
def test_half_past_nine_is_half_past_nine_on_every_day(tmp_path: Path, day: str, utc_hour: int) -> None:
    (books,), _ = read(tmp_path, BOOK.splitlines()[0], "34200.000000001,1,1,1,5853300,1", day)
    utc = datetime.fromisoformat(f"{day}T{utc_hour}:30:00+00:00")
    assert books.ts_ns.tolist() == [int(utc.timestamp()) * 10**9 + 1]


def test_midnight(tmp_path: Path) -> None:
    messages = "0.000000000,1,1,1,5853300,1\n86399.999999999,1,1,1,5853300,1\n"
    (books,), _ = read(tmp_path, "".join(BOOK.splitlines(True)[:2]), messages)
    assert books.ts_ns.tolist() == [ns(DAY, "00:00:00"), ns(DAY, "23:59:59", 999_999_999)]
    with pytest.raises(DataError, match="seconds after midnight"):
        read(tmp_path, BOOK.splitlines()[0], "86400.0,1,1,1,5853300,1")


@quick
@given(st.integers(0, 86_399), st.text("0123456789", max_size=9))
def test_seconds_are_exact(seconds: int, decimals: str) -> None:
    text = f"{seconds}.{decimals}" if decimals else str(seconds)
    expected = seconds * 10**9 + int(decimals.ljust(9, "0"))
    assert parse_seconds(np.array([text, "34200.123456789123"])).tolist() == [expected, 34_200_123_456_789]


@pytest.mark.parametrize("text", ["", ".5", "-1.0", "1e4", "1.2.3", "nan", "100000.0", "1" * 30, "34\x00200"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(DataError, match="seconds after midnight"):
        parse_seconds(np.array(["1.0", text]))


HALT = {7: "7,0,0,-1,-1", 8: "7,0,0,0,-1", 9: "7,0,0,1,-1"}  # trading halts, quoting resumes, trading resumes


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [
        ([1, 7, 1, 9, 1, 1], [0, 4, 5]),
        ([1, 7, 1, 8, 1, 1], [0]),  # quoting is no trading
        ([7, 7, 8, 1, 9, 1], [5]),
        ([1, 9, 1, 1, 1, 7], [0, 2, 3, 4]),
        ([9, 1, 7, 9, 7, 1], [1]),
        ([7, 1, 1, 1, 1, 1], []),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 4, 100])
def test_there_are_no_books_in_a_halt(
    tmp_path: Path, kinds: list[int], kept: list[int], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobster, "CHUNK", chunk)
    messages = "".join(f"{34200 + i},{HALT.get(kind, '4,1,7,5853300,1')}\n" for i, kind in enumerate(kinds))
    parts, feed = read(tmp_path, f"{BOOK.splitlines()[0]}\n" * 6, messages)
    assert [(ts - ns(DAY, "09:30:00")) // 10**9 for part in parts for ts in part.ts_ns.tolist()] == kept
    assert feed.dropped == {"trading halt": 6 - len(kept)}
    assert sum(int(part.sold.sum()) for part in parts if part.sold is not None) == 7 * len(kept)


@pytest.mark.parametrize(("day", "sold"), [("2014-07-11", [5, 5, 5, 0]), ("2014-07-14", [0, 0, 5, 0])])
def test_hidden_orders_have_no_true_side_since_2014(tmp_path: Path, day: str, sold: list[int]) -> None:
    """Above, at and below the mid of 585.635; every resting order is said to be a bid."""
    hidden = "".join(f"3420{i}.0,5,0,5,{px},1\n" for i, px in enumerate((5857000, 5856350, 5855000)))
    (books,), _ = read(tmp_path, messages=hidden + "34209.0,6,-1,500,5857000,-1\n", day=day)
    assert books.sold is not None and books.sold.tolist() == sold
    assert books.bought is not None and books.bought.tolist() == ([0] * 4 if day == "2014-07-11" else [5, 0, 0, 0])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_pair_in_an_archive(tmp_path: Path, order: tuple[int, int]) -> None:
    """As LOBSTER gives its samples."""
    files = [path for path in write(tmp_path, BOOK, MESSAGES) if path is not None]
    with zipfile.ZipFile(tmp_path / "LOBSTER_SampleFile_ABC_2012-06-21_2.zip", "w") as archive:
        archive.writestr("LOBSTER_SampleFiles_ReadMe.txt", "-----\nThe files, their time and price, are as follows\n")
        for i in order:
            archive.write(files[i], f"day/{files[i].name}")
            files[i].unlink()
    with pytest.warns(DataWarning, match="1 of its files left alone"):
        (source,) = find_sources([tmp_path])
    assert [path.name for path in source.files] == [path.name for path in files]
    (books,) = open_source(source).chunks
    assert isinstance(books, BookSeries) and books.rows == 4 and books.bought is not None and books.bought.sum() == 100


@pytest.mark.parametrize(("kept", "rows"), [(0, 4), (1, None)])
def test_half_a_pair_in_an_archive(tmp_path: Path, kept: int, rows: int | None) -> None:
    files = [path for path in write(tmp_path, BOOK, MESSAGES) if path is not None]
    with zipfile.ZipFile(tmp_path / "half.zip", "w") as archive:
        archive.write(files[kept], files[kept].name)
    if rows is None:
        with pytest.raises(DataError, match=r"half\.zip/ABC.*orderbook_2\.csv beside it; LOBSTER messages need"):
            find_sources([tmp_path / "half.zip"])
        return
    feed = open_source(*find_sources([tmp_path / "half.zip"]))
    assert sum(len(books.ts_ns) for books in feed.chunks) == rows  # type: ignore[union-attr]
    assert feed.notes == ["no message file: times and trades are not known"]


def test_a_header_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a header line .*LOBSTER files have none, remove it"):
        read(tmp_path, "ask_price_1,ask_size_1,bid_price_1,bid_size_1\n" + BOOK, None)


def test_a_finer_tick_than_a_cent(tmp_path: Path) -> None:
    (books,), _ = read(tmp_path, "1005,1,1000,1\n", None)
    assert books.tick == 5
    (books,), _ = read(tmp_path, "1005,1,1000,1\n", None, tick_size=0.0001)
    assert books.tick == 1
    with pytest.raises(DataError, match=r"row 0: price 1005; expected a positive multiple of 100"):
        read(tmp_path, "1005,1,1000,1\n", None, tick_size=0.01)
    for tick_size in (0.00001, 0.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match=f"tick size {tick_size}"):
            read(tmp_path, "1005,1,1000,1\n", None, tick_size=tick_size)


def test_more_than_ten_levels_are_cut(tmp_path: Path) -> None:
    levels = ",".join(f"{5859400 + 100 * i},1,{5853300 - 100 * i},2" for i in range(12))
    (books,), _ = read(tmp_path, levels, None)
    assert books.bid_px.shape == (1, 10) and books.bid_px[0, 9] == 5853300 - 900
    validate_books(books)


def test_newer_messages_name_the_participant(tmp_path: Path) -> None:
    messages = "".join(f"{line},null\n" for line in MESSAGES.splitlines())
    (books,), _ = read(tmp_path, messages=messages)
    assert books.bought is not None and books.bought.sum() == 100


@pytest.mark.parametrize(
    ("book", "messages", "match"),
    [
        (BOOK, MESSAGES.splitlines()[0], "1 rows, but 4 in ABC"),
        (BOOK.splitlines()[0], MESSAGES, "4 rows, but 1 in ABC"),
        ("", None, "no rows"),
        (MESSAGES, None, "6 columns"),
        (BOOK, BOOK, "8 columns"),
        (BOOK + "1,2,3,4\n", None, "not a LOBSTER row"),
        (BOOK.replace("200,", "20.5,"), None, "not a LOBSTER row"),
        (BOOK.replace("\n", "\n\n"), None, "blank lines"),
        (BOOK.replace("5859400", "-5859400"), None, "row 0: price -5859400"),
        (BOOK, MESSAGES.replace(",4,", ",9,"), r"row 1: type 9"),
        (BOOK, MESSAGES.replace("100,5859400,-1", "100,5859400,0"), r"row 1: .* direction 0"),
    ],
)
def test_errors_name_what_is_wrong(tmp_path: Path, book: str, messages: str | None, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read(tmp_path, book, messages)


def test_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_lobster(tmp_path / f"ABC_{DAY}_x_orderbook_1.csv", None, ReadOptions())
    for name in ("orderbook.csv", "ABC_2012-13-41_1_2_orderbook_1.csv"):
        with pytest.raises(DataError, match="tells no day"):
            open_lobster(tmp_path / name, None, ReadOptions())


@quick
@given(packer=st.sampled_from(sorted(PACKERS)), data=st.data())
def test_damaged_files_end_in_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, packer: str, data: st.DataObject
) -> None:
    contents = [bytearray(PACKERS[packer](text.encode() * 20)) for text in (BOOK, MESSAGES)]
    for content in contents:
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at] ^= data.draw(st.integers(1, 255))
        del content[data.draw(st.integers(0, 2 * len(content))) :]
    try:
        read(tmp_path_factory.mktemp("damaged"), bytes(contents[0]), bytes(contents[1]))
    except DataError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("packer", [name for name in PACKERS if name != "plain"])
def test_truncated_archives_are_never_taken_for_whole(tmp_path: Path, packer: str) -> None:
    packed = PACKERS[packer](np.random.default_rng(0).bytes(3000))
    path = tmp_path / "packed"
    path.write_bytes(packed * 2)
    with open_bytes(path) as file:
        assert len(file.read()) == 6000
    for size in (len(packed) - 1, len(packed) // 2, 20):
        path.write_bytes(packed[:size])
        with open_bytes(path) as file, pytest.raises(DataError, match="damaged or truncated"):
            file.read()


def test_the_sample_of_apple(shared: Path) -> None:
    """999 messages and books: 98 visible and 61 hidden executions, quoted to the cent, never empty."""
    folder = shared / "data/lobster"
    paths = [folder / f"AAPL_{DAY}_first1000_{kind}_10.csv.xz" for kind in ("orderbook", "message")]
    feed = open_lobster(paths[0], paths[1], ReadOptions())
    (books,) = feed.chunks
    validate_books(books)
    assert (books.rows, books.tick, feed.name) == (999, 100, f"AAPL_{DAY}_first1000") and not feed.dropped
    assert books.ts_ns[0] == ns(DAY, "09:30:00", 4_241_176)
    assert books.bought is not None and books.sold is not None
    assert np.count_nonzero(books.bought) + np.count_nonzero(books.sold) == 98 + 61
    assert (int(books.bought.sum()), int(books.sold.sum())) == (6281, 4311)
    with lzma.open(paths[0], "rt") as file:
        last = [int(cell) for cell in file.read().splitlines()[-1].split(",")]
    assert books.ask_px[-1].tolist() == last[::4] and books.bid_lots[-1].tolist() == last[3::4]


def test_the_sample_of_amazon(shared: Path) -> None:
    path = shared / f"data/lobster/AMZN_{DAY}_34200000_57600000_orderbook_1.csv.xz"
    (books,) = open_lobster(path, None, ReadOptions()).chunks
    validate_books(books)
    assert books.rows == 57_515 and (books.bid_px[:, 1:] == EMPTY_PRICE).all()
    assert books.ts_ns[-1] == ns(DAY, "09:30:00", 57_514)
