"""The CSV form of Databento's records: text and integers, real files, several instruments, damaged cells."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.databento.csv_form import open_databento_csv
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions
from nanoarb_jax.readers.sources import find_sources, open_source, recognise
from support.databento_files import books_of, events_of, write

pytest.importorskip("pyarrow", reason="needs the package pyarrow")

MBO_CSV = """ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,price,size,channel_id,order_id,flags,symbol
2025-07-17T07:05:09.035793433Z,2025-07-17T07:05:09.035627674Z,160,2,1108,R,N,,0,0,0,8,ARL
2025-07-17T08:05:03.360842448Z,2025-07-17T08:05:03.360677248Z,160,2,1108,A,B,5.510000000,100,0,18446744073709551615,130,ARL
2025-07-17T08:05:03.360848793Z,2025-07-17T08:05:03.360683462Z,160,2,1108,A,A,21.330000000,100,0,817597,130,ARL
"""
BOOK_CSV = ",ts_recv,ts_event,publisher_id,instrument_id,action,side,price,size,flags,"
BOOK_CSV += "bid_px_00,bid_sz_00,ask_px_00,ask_sz_00\n"


def test_orders_as_text_and_as_integers(tmp_path: Path) -> None:
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


def test_real_orders_and_books(shared: Path) -> None:
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


def test_books(tmp_path: Path) -> None:
    text = BOOK_CSV
    for row in ("T,B,10.5,3,0", "T,A,10,4,0", "C,A,10.5,3,128", "A,B,10,1,4", "T,N,10,9,0", "A,B,10,1,128"):
        text += f"0,2024-01-01T00:00:00Z,2024-01-01 00:00:00+00:00,1,7,{row},10,5,,0\n"
    feed = open_databento_csv(write(tmp_path / "b.csv", text.encode()))
    assert isinstance(feed, BookFeed) and feed.format == "databento-csv-mbp-1"
    books = books_of(feed)
    assert books.bought is not None and books.sold is not None and books.unsided is not None and books.gap is not None
    assert (books.bought.tolist(), books.sold.tolist()) == ([3, 0], [4, 0])
    assert (books.unsided.tolist(), books.gap.tolist()) == ([0, 9], [False, True])
    assert (books.bid_px[:, 0] == 10**10).all() and (books.ask_px == EMPTY_PRICE).all()
    with pytest.raises(DataError, match="10 is no multiple of the tick size 3"):
        list(open_databento_csv(tmp_path / "b.csv", ReadOptions(tick_size=3.0)).chunks)
    unmarked = open_databento_csv(write(tmp_path / "c.csv", text.replace(",128,", ",0,").encode()))
    books = books_of(unmarked)
    assert books.rows == 6 and books.bought is not None and books.bought.tolist() == [3, 0, 0, 0, 0, 0]


def test_which_schema_the_columns_are_of(tmp_path: Path) -> None:
    cells = "0,2024-01-01T00:00:00Z,{ts_event},1,7,{action}B,10.5,3,128,10,5,11,4{more}\n"
    header = BOOK_CSV.strip()
    event_time = "2024-01-01T00:00:00Z"
    trade = {"ts_event": event_time, "action": "T,"}
    cases = {
        "tbbo": (header, trade | {"more": ""}),
        "cmbp-1": (f"{header},bid_pb_00", {"ts_event": event_time, "action": "A,", "more": ",2"}),
        "cbbo-1s": (f"{header},bid_pb_00".replace("action,", ""), {"ts_event": "", "action": "", "more": ",2"}),
        "bbo-1s": (header.replace("action,", ""), {"ts_event": "", "action": "", "more": ""}),
        "bbo-1m": (f"{header},rtype".replace("action,", ""), {"ts_event": "", "action": "", "more": ",196"}),
        "tcbbo": (f"{header},rtype", trade | {"more": ",194"}),
    }
    for schema, (names, fields) in cases.items():
        path = write(tmp_path / f"{schema}.csv", f"{names}\n{cells.format(**fields)}".encode())
        feed = open_databento_csv(path)
        assert (recognise(path), feed.format) == ("databento-csv", f"databento-csv-{schema}")
        assert books_of(feed).ask_px[0, 0] == 11 * 10**9


@pytest.mark.parametrize(
    ("old", "new", "met"),
    [
        ("order_id", "oid", "no column 'order_id'"),
        ("5.510000000", "five", "column 'price'"),
        ("5.510000000", "5.5100000000001", "column 'price'"),
        ("2025-07-17T08:05:03.360842448Z", "yesterday", "column 'ts_recv'"),
        ("2025-07-17T08:05:03.360842448Z", "", "column 'ts_recv' has an empty field"),
        (",A,B,", ",Add,B,", "column 'action': 'Add'; expected one letter"),
        (",A,B,", ",Y,B,", "action 'Y'; expected one of A C M R T F N"),
        (",817597,130,ARL", ",81", "damaged CSV"),
        (",100,0,817597", ",-100,0,817597", "column 'size'"),
        ("130,ARL\n2025", "130,B\n2025", r"several instruments \(ARL = 1108, B = 1108\)"),
        (",160,", ",0,", "records of type 0; expected one of mbo"),
        ("2025-07-17T08:05:03.360842448Z", "1999-07-17T08:05:03Z", None),
        ("2025-07-17T08:05:03.360842448Z", "1970-07-17T08:05:03Z", "ts_recv 17049903000000000 lies in no year"),
    ],
)
def test_errors(tmp_path: Path, old: str, new: str, met: str | None) -> None:
    path = write(tmp_path / "arl.csv", MBO_CSV.replace(old, new).encode())
    if met is None:
        assert len(events_of(open_databento_csv(path))) == 3
        return
    with pytest.raises(DataError, match=met) as caught:
        list(open_databento_csv(path).chunks)
    assert "\n" not in str(caught.value)


def test_a_stock_whose_number_changes_is_one_series(tmp_path: Path) -> None:
    path = write(tmp_path / "arl.csv", MBO_CSV.replace(",1108,A,A", ",1109,A,A").encode())
    assert len(events_of(open_databento_csv(path))) == 3


def test_several_instruments(tmp_path: Path) -> None:
    other = MBO_CSV.split("\n", 1)[1].replace("1108", "9").replace("ARL", "B").replace("817597", "42")
    path = write(tmp_path / "two.csv", (MBO_CSV + other).encode())
    for symbol in ("B", "9"):
        feed = open_databento_csv(path, ReadOptions(symbol=symbol))
        assert events_of(feed)["order_id"].tolist() == [0, 2**64 - 1, 42]
        assert feed.dropped == {"other instrument": 3}
    with pytest.raises(DataError, match=r"no records of 'C' \(has ARL = 1108, B = 9\)"):
        open_databento_csv(path, ReadOptions(symbol="C"))
    sources = find_sources([path])
    assert [source.symbol for source in sources] == ["ARL", "B"]
    assert all(len(events_of(open_source(source))) == 3 for source in sources)


def test_a_number_of_two_symbols_is_never_joined(tmp_path: Path) -> None:
    path = write(tmp_path / "two.csv", (MBO_CSV + MBO_CSV.split("\n", 1)[1].replace("ARL", "B")).encode())
    with pytest.raises(DataError, match=r"1108 is several instruments \(ARL on 2025-07-17 and B on 2025-07-17\)"):
        list(open_databento_csv(path, ReadOptions(symbol="1108")).chunks)
    assert len(events_of(open_databento_csv(path, ReadOptions(symbol="B")))) == 3


def test_a_symbol_that_rolls_is_one_stream_per_contract(tmp_path: Path) -> None:
    rolled = (MBO_CSV + MBO_CSV.split("\n", 1)[1].replace("1108", "9")).replace("ARL", "ES.c.0")
    path = write(tmp_path / "es.csv", rolled.encode())
    assert [source.symbol for source in find_sources([path])] == ["ES.c.0-1108", "ES.c.0-9"]
    with pytest.raises(DataError, match=r"ES.c.0 is several instruments \(ES.c.0-1108 on .*--symbol"):
        list(open_databento_csv(path, ReadOptions(symbol="ES.c.0")).chunks)
    assert len(events_of(open_databento_csv(path, ReadOptions(symbol="ES.c.0-9")))) == 3


def test_prices_that_lost_their_decimals(tmp_path: Path) -> None:
    saved_again = MBO_CSV.replace("5.510000000", "5").replace("21.330000000", "21")
    with pytest.raises(DataError, match=r"prices up to 2\.1e-08; whole numbers are units of 1e-9, .* with a decimal"):
        open_databento_csv(write(tmp_path / "a.csv", saved_again.encode()))
