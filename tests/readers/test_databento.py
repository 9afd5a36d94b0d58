"""Databento's files: the library's own objects as the reference, damaged files, several instruments, the CSV form."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.databento.csv_form import open_databento_csv
from nanoarb_jax.readers.databento.dbn import open_dbn
from nanoarb_jax.readers.databento.records import RECORDS
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions
from support.examples import examples

dbn = pytest.importorskip("databento_dbn", reason="needs the package databento-dbn")
pytest.importorskip("zstandard", reason="needs the package zstandard")
pytest.importorskip("pyarrow", reason="needs the package pyarrow")

SEEN = event.BOTH_SEE
MBO_FILES = {
    "cme_es/esh4-glbx-mdp3-20231224.mbo.dbn.zst": 8725,
    "cme_es/esh4-glbx-mdp3-20231225.mbo.dbn.zst": 68792,
    "cme_es/orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst": 13796,
    "databento_tiny/test_data.mbo.dbn.zst": 4,
}
MBP_FILES = {
    "cme_es/futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst": 2288,
    "databento_tiny/test_data.mbp-1.dbn.zst": 4,
    "databento_tiny/test_data.mbp-10.dbn.zst": 4,
}


def objects(path: Path) -> list:
    """All that the library makes of a file, in one go."""
    decoder = dbn.DBNDecoder(upgrade_policy=dbn.VersionUpgradePolicy.UPGRADE_TO_V3)
    with open_bytes(path) as stream:
        decoder.write(stream.read())
    return decoder.decode()[1:]


def events_of(feed: EventFeed | BookFeed) -> NDArray[np.void]:
    assert isinstance(feed, EventFeed)
    return np.concatenate(list(feed.chunks))


def order(number: int, action: str = "A", side: str = "B", *, instrument: int = 7, publisher: int = 1, **more) -> bytes:
    fields = {"price": 10_250_000_000, "size": 2, "flags": 128, "ts_recv": 1000 + number, "ts_event": 900 + number}
    fields |= more
    price, size, received = fields.pop("price"), fields.pop("size"), fields.pop("ts_recv")
    return bytes(
        dbn.MBOMsg(
            publisher,
            instrument,
            fields.pop("ts_event"),
            number,
            price,
            size,
            dbn.Action(action),
            dbn.Side(side),
            received,
            **fields,
        )
    )


def header(schema: str = "mbo", names: dict[str, str] | None = None, version: int = 3, ts_out: bool = False) -> bytes:
    days = {"start_date": datetime.date(2024, 1, 1), "end_date": datetime.date(2024, 1, 2)}
    mappings = [
        SimpleNamespace(raw_symbol=name, intervals=[SimpleNamespace(**days, symbol=number)])
        for name, number in (names or {"ESH4": "7"}).items()
    ]
    return bytes(
        dbn.Metadata(
            "GLBX.MDP3",
            1,
            dbn.SType.RAW_SYMBOL,
            dbn.SType.INSTRUMENT_ID,
            dbn.Schema(schema),
            symbols=list(names or {}),
            mappings=mappings,
            version=version,
            ts_out=ts_out,
        )
    )


def write(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("schema", RECORDS)
def test_layouts_are_the_librarys(schema: str) -> None:
    message = {"mbo": dbn.MBOMsg, "mbp-1": dbn.MBP1Msg, "mbp-10": dbn.MBP10Msg}[schema]
    theirs, ours = np.dtype(message._dtypes), RECORDS[schema]
    assert ours.itemsize == theirs.itemsize == message.size_hint
    for name in set(ours.names) - {"levels"}:
        assert ours.fields[name][1] == theirs.fields[name][1], name


@pytest.mark.parametrize("file", MBO_FILES)
def test_orders_equal_the_librarys_objects(shared: Path, file: str) -> None:
    feed = open_dbn(shared / "data" / file)
    events, records = events_of(feed), objects(shared / "data" / file)
    assert (len(records), feed.dropped) == (MBO_FILES[file], {})
    kinds = {"A": 10, "C": 11, "M": 12, "F": 13, "T": 2, "R": 3}
    sides = {"B": event.BUY, "A": event.SELL, "N": 0}
    expected = np.array(
        [
            (
                kinds[str(r.action)] | sides[str(r.side)] | SEEN,
                r.ts_recv if int(r.flags) & 32 else r.ts_event,
                r.ts_recv,
                np.nan if r.price == dbn.UNDEF_PRICE else r.pretty_price,
                r.size,
                r.order_id,
                int(r.flags),
                0,
            )
            for r in records
        ],
        event.EVENT,
    )
    for name in event.EVENT.names:
        np.testing.assert_array_equal(events[name], expected[name], err_msg=name)
    assert (np.diff(events["exch_ts"]) >= 0).all() and (np.diff(events["local_ts"]) >= 0).all()
    assert isinstance(feed, EventFeed) and (feed.format, feed.tick_size, feed.lot_size) == ("databento-mbo", 0.25, 1)


@pytest.mark.parametrize("file", MBP_FILES)
def test_books_equal_the_librarys_objects(shared: Path, file: str) -> None:
    feed = open_dbn(shared / "data" / file)
    assert isinstance(feed, BookFeed)
    books = list(feed.chunks)
    records = objects(shared / "data" / file)
    ends = [r for r in records if int(r.flags) & 128]
    assert len(records) == MBP_FILES[file] and sum(b.rows for b in books) == len(ends)
    np.testing.assert_array_equal(np.concatenate([b.ts_ns for b in books]), [r.ts_recv for r in ends])
    for field in ("bid_px", "bid_lots", "ask_px", "ask_lots"):
        met = np.concatenate([getattr(b, field) for b in books])
        depth = len(records[0].levels)
        theirs = field.replace("lots", "sz")
        np.testing.assert_array_equal(met[:, :depth], [[getattr(x, theirs) for x in r.levels] for r in ends])
        assert (met[:, depth:] == (EMPTY_PRICE if "px" in field else 0)).all() and met.shape == (len(ends), LEVELS)
    for field, side in (("bought", "B"), ("sold", "A")):
        taken = sum(r.size for r in records if (str(r.action), str(r.side)) == ("T", side))
        assert sum(getattr(b, field).sum() for b in books) == taken
    assert feed.dropped["inside an event"] == len(records) - len(ends)
    assert books[0].tick_size == 0.25


def test_the_chunks_do_not_depend_on_the_pieces(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in (*list(MBO_FILES)[:1], *MBP_FILES):
        whole = list(open_dbn(shared / "data" / file, ReadOptions(tick_size=0.25)).chunks)
        with monkeypatch.context() as patch:
            patch.setattr("nanoarb_jax.readers.databento.dbn._PIECE", 1009)
            pieces = list(open_dbn(shared / "data" / file, ReadOptions(tick_size=0.25)).chunks)
        if isinstance(whole[0], np.ndarray):
            np.testing.assert_array_equal(np.concatenate(pieces), np.concatenate(whole))
        else:
            for field in ("ts_ns", "bid_px", "ask_lots", "bought", "sold"):
                both = (np.concatenate([getattr(b, field) for b in books]) for books in (pieces, whole))
                np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_generated_orders(tmp_path: Path, version: int) -> None:
    rows = [
        order(1, "R", "N", price=EMPTY_PRICE, size=0, flags=8),
        order(2, flags=32, ts_event=5),
        order(3, "N", "N"),
        order(4, price=EMPTY_PRICE),
        order(5, "T", "A", price=10_125_000_000),
        order(6, price=10_500_000_000),
    ]
    feed = open_dbn(write(tmp_path / "es.mbo.dbn", header(version=version), *rows), ReadOptions(lot_size=2.0))
    events = events_of(feed)
    assert isinstance(feed, EventFeed) and (feed.name, feed.tick_size, feed.lot_size) == ("es.mbo", 0.25, 2.0)
    assert feed.dropped == {"no action": 1, "order without a price": 1}
    assert (events["ev"] ^ SEEN).tolist() == [3, 10 | event.BUY, 2 | event.SELL, 10 | event.BUY]
    assert events["exch_ts"].tolist() == [901, 1002, 905, 906]  # the replayed order: when it was received
    assert np.isnan(events["px"][0]) and events["px"][1:].tolist() == [10.25, 10.125, 10.5]


def test_sending_times_and_other_records_are_left_out(tmp_path: Path) -> None:
    rows = [order(1, ts_out=17), bytes(dbn.SystemMsg(2, "heartbeat")), order(2, ts_out=18, price=10_500_000_000)]
    rows[1] = bytes([rows[1][0] + 2]) + rows[1][1:] + (19).to_bytes(8, "little")
    feed = open_dbn(write(tmp_path / "live.dbn", header(ts_out=True), *rows))
    assert events_of(feed)["order_id"].tolist() == [1, 2]
    assert feed.dropped == {"other kind of record": 1}


def test_several_instruments(tmp_path: Path) -> None:
    names = {"ESH4": "7", "NQ/H4": "8"}
    rows = [order(1), order(2, instrument=8), order(3, instrument=8), order(4)]
    path = write(tmp_path / "cme.dbn", header(names=names), *rows)
    with pytest.raises(DataError, match=r"several instruments \(ESH4 = 7, NQ/H4 = 8\).* symbol, .*--symbol"):
        open_dbn(path)
    with pytest.raises(DataError, match=r"no symbol 'ESM4' \(has ESH4 = 7, NQ/H4 = 8\)"):
        open_dbn(path, ReadOptions(symbol="ESM4"))
    for symbol in ("NQ/H4", "8"):
        feed = open_dbn(path, ReadOptions(symbol=symbol))
        assert events_of(feed)["order_id"].tolist() == [2, 3]
        assert feed.name == f"cme-{symbol.replace('/', '_')}" and feed.dropped == {"other instrument": 2}
    with pytest.raises(DataError, match="no records of 'NQ/H4'"):
        open_dbn(write(tmp_path / "one.dbn", header(names=names), order(1)), ReadOptions(symbol="NQ/H4"))
    unnamed = write(tmp_path / "unnamed.dbn", header(names={"X": "none"}), *rows)
    with pytest.raises(DataError, match=r"several instruments \(7, 8\)"):
        open_dbn(unnamed)
    two_venues = write(tmp_path / "venues.dbn", header(), order(1), order(2, publisher=39))
    with pytest.raises(DataError, match=r"7 at publisher 1, 7 at publisher 39"):
        open_dbn(two_venues)


def test_what_is_no_market_data(tmp_path: Path, shared: Path) -> None:
    with pytest.raises(DataError, match=r"schema 'definition'; expected one of mbo, mbp-1, mbp-10"):
        open_dbn(shared / "data" / "databento_tiny" / "test_data.definition.dbn.zst")
    cases = {
        "no DBN header": b"",
        "not DBN": b"timestamp,price\n" * 9,
        "no records": header(),
        "cut within a record, 40 bytes": header() + order(1) + order(2)[:40],
        "flag 64": header() + order(1, flags=64),
        "action 'X'": header() + order(1).replace(b"AB", b"XB"),
        "side 'Z'": header() + order(1).replace(b"AB", b"AZ"),
    }
    for met, data in cases.items():
        with pytest.raises(DataError, match=met):
            list(open_dbn(write(tmp_path / "x.dbn", data), ReadOptions(tick_size=0.25)).chunks)
    with pytest.raises(DataError, match="no such file"):
        open_dbn(tmp_path / "missing.dbn")


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files(shared: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Truncated or with flipped bits, compressed or not: a DataError or, where nothing tells, the same records."""
    source = shared / "data" / "databento_tiny" / f"test_data.{data.draw(st.sampled_from(list(RECORDS)))}.dbn.zst"
    original = source.read_bytes()
    if data.draw(st.booleans()):
        with open_bytes(source) as stream:
            original = stream.read()
    damaged = bytearray(original[: data.draw(st.integers(0, len(original) - 1))])
    if data.draw(st.booleans()):
        damaged = bytearray(original)
        for at in data.draw(st.lists(st.integers(0, 8 * len(original) - 1), min_size=1, max_size=4)):
            damaged[at // 8] ^= 1 << at % 8
    try:
        list(open_dbn(write(tmp_path / "damaged.dbn", bytes(damaged))).chunks)
    except DataError as error:
        assert "\n" not in str(error) and "damaged.dbn" in str(error)


def test_truncated_real_file(shared: Path, tmp_path: Path) -> None:
    original = (shared / "data" / "cme_es" / "esh4-glbx-mdp3-20231224.mbo.dbn.zst").read_bytes()
    feed_or_error = write(tmp_path / "cut.dbn.zst", original[:-9])
    with pytest.raises(DataError, match="truncated"):
        list(open_dbn(feed_or_error).chunks)


MBO_CSV = """ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,price,size,channel_id,order_id,flags,symbol
2025-07-17T07:05:09.035793433Z,2025-07-17T07:05:09.035627674Z,160,2,1108,R,N,,0,0,0,8,ARL
2025-07-17T08:05:03.360842448Z,2025-07-17T08:05:03.360677248Z,160,2,1108,A,B,5.510000000,100,0,18446744073709551615,130,ARL
2025-07-17T08:05:03.360848793Z,2025-07-17T08:05:03.360683462Z,160,2,1108,A,A,21.330000000,100,0,817597,130,ARL
"""


def test_csv_orders_as_text_and_as_integers(tmp_path: Path) -> None:
    whole = MBO_CSV.replace("5.510000000", "5510000000").replace("21.330000000", "21330000000")
    whole = whole.replace(",N,,0", f",N,{EMPTY_PRICE},0")
    for text in np.unique([cell for line in MBO_CSV.splitlines()[1:] for cell in line.split(",")[:2]]):
        whole = whole.replace(text, str(np.datetime64(text[:-1], "ns").astype(np.int64)))
    assert "Z" not in whole
    path = write(tmp_path / "arl.mbo.csv.gz", gzip.compress(MBO_CSV.encode()))
    feed = open_databento_csv(path)
    events = events_of(feed)
    assert isinstance(feed, EventFeed) and (feed.name, feed.format) == ("arl.mbo", "databento-csv-mbo")
    assert feed.tick_size == 0.01
    same = events_of(open_databento_csv(write(tmp_path / "b.csv", whole.encode())))
    for name in event.EVENT.names:  # NaN equals NaN only outside a record
        np.testing.assert_array_equal(same[name], events[name])
    assert events["local_ts"][1] == 1752739503360842448 and events["order_id"][1] == 2**64 - 1
    assert events["px"][1:].tolist() == [5.51, 21.33]


def test_csv_of_real_orders_and_books(shared: Path) -> None:
    folder = shared / "data" / "nasdaq_arl"
    orders = open_databento_csv(folder / "mbo.csv.xz")
    events = events_of(orders)
    assert isinstance(orders, EventFeed) and (len(events), orders.tick_size, orders.dropped) == (5886, 0.01, {})
    feed = open_databento_csv(folder / "mbp.csv.xz", ReadOptions(symbol="ARL"))
    books = list(feed.chunks)
    assert sum(b.rows for b in books) == 3171 and feed.dropped == {"inside an event": 757}
    assert books[0].bid_px[1, :2].tolist() == [5_510_000_000, EMPTY_PRICE] and books[0].tick_size == 0.01
    # the books are dated by the exchange's time; every one of an event's end has that of an order
    assert np.isin(np.concatenate([b.ts_ns for b in books]), events["exch_ts"]).all()


def test_csv_of_books(tmp_path: Path) -> None:
    text = ",ts_recv,ts_event,publisher_id,instrument_id,action,side,price,size,flags,bid_px_00,bid_sz_00,"
    text += "ask_px_00,ask_sz_00\n"
    for row in ("T,B,10.5,3,0", "T,A,10,4,0", "C,A,10.5,3,128", "A,B,10,1,0", "T,N,10,9,0", "A,B,10,1,128"):
        text += f"0,2024-01-01T00:00:00Z,2024-01-01 00:00:00+00:00,1,7,{row},10,5,,0\n"
    feed = open_databento_csv(write(tmp_path / "b.csv", text.encode()))
    assert isinstance(feed, BookFeed) and feed.format == "databento-csv-mbp-1"
    (books,) = feed.chunks
    assert books.bought is not None and books.sold is not None
    assert (books.bought.tolist(), books.sold.tolist()) == ([3, 0], [4, 0])
    assert (books.bid_px[:, 0] == 10**10).all() and (books.ask_px == EMPTY_PRICE).all()
    with pytest.raises(DataError, match="10 is no multiple of the tick size 3"):
        list(open_databento_csv(tmp_path / "b.csv", ReadOptions(tick_size=3.0)).chunks)
    with pytest.raises(DataError, match="expected a multiple of 1e-9"):
        open_databento_csv(tmp_path / "b.csv", ReadOptions(tick_size=1e-10))
    unmarked = open_databento_csv(write(tmp_path / "c.csv", text.replace(",128,", ",0,").encode()))
    (books,) = unmarked.chunks
    assert books.rows == 6 and books.bought is not None and books.bought.tolist() == [3, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("old", "new", "met"),
    [
        ("order_id", "oid", "no column 'order_id'"),
        ("5.510000000", "five", "column 'price'"),
        ("5.510000000", "5.5100000000001", "column 'price'"),
        ("2025-07-17T08:05:03.360842448Z", "yesterday", "column 'ts_recv'"),
        ("2025-07-17T08:05:03.360842448Z", "", "column 'ts_recv' has an empty field"),
        (",A,B,", ",Add,B,", "action 'Add'; expected one letter"),
        (",A,B,", ",Y,B,", "action 'Y'; expected one of A C M R T F N"),
        (",817597,130,ARL", ",81", "damaged CSV"),
        (",100,0,817597", ",-100,0,817597", "column 'size'"),
        (",1108,A,A", ",1109,A,A", r"several instruments \(ARL = 1108, ARL = 1109\)"),
    ],
)
def test_csv_errors(tmp_path: Path, old: str, new: str, met: str) -> None:
    path = write(tmp_path / "arl.csv", MBO_CSV.replace(old, new).encode())
    with pytest.raises(DataError, match=met) as caught:
        list(open_databento_csv(path).chunks)
    assert "\n" not in str(caught.value)


def test_csv_of_several_instruments(tmp_path: Path) -> None:
    path = write(
        tmp_path / "two.csv", (MBO_CSV + MBO_CSV.split("\n", 1)[1].replace("1108", "9").replace("ARL", "B")).encode()
    )
    assert events_of(open_databento_csv(path, ReadOptions(symbol="B")))["order_id"].tolist() == [0, 2**64 - 1, 817597]
    with pytest.raises(DataError, match=r"no records of 'C' \(has B = 9, ARL = 1108\)"):
        open_databento_csv(path, ReadOptions(symbol="C"))


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_csv(tmp_path: Path, data: st.DataObject) -> None:
    original = MBO_CSV.encode()
    if data.draw(st.booleans()):
        original = gzip.compress(original, mtime=0)
    damaged = bytearray(original[: data.draw(st.integers(0, len(original)))])
    for at in data.draw(st.lists(st.integers(0, 8 * len(original) - 1), max_size=3)):
        if at // 8 < len(damaged):
            damaged[at // 8] ^= 1 << at % 8
    try:
        list(open_databento_csv(write(tmp_path / "damaged.csv", bytes(damaged))).chunks)
    except DataError as error:
        assert "\n" not in str(error) and "damaged.csv" in str(error)
