"""Bitstamp's orders: the small file by hand, damaged ones, and the real day, whose defects are counted."""

from __future__ import annotations

import bz2
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.book.state import empty_state
from nanoarb_jax.market.clocks.clock import TickClock
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.event import BOTH_SEE, BUY, LAST, SELL
from nanoarb_jax.market.series import EMPTY_PRICE, validate_books
from nanoarb_jax.readers.bitstamp import open_bitstamp
from nanoarb_jax.readers.book_npz import read_book_npz
from nanoarb_jax.readers.feed import ReadOptions
from support.series import joined

pytest.importorskip("pyarrow", reason="needs the package pyarrow")

HEADER = "id,timestamp,exchange.timestamp,price,volume,action,direction"
ROWS = (
    "7,1430438404518,1430438404000,236.47,200000000,created,bid",
    "8,1430438404519,1430438340000,236.50,100000000,created,ask",
    "7,1430438404635,1430438404000,236.47,178855669,changed,bid",
    "8,1430438404637,1430438340000,236.50,100000000,deleted,ask",
)


def written(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_small_file(tmp_path: Path) -> None:
    feed = open_bitstamp(written(tmp_path / "orders_24h.csv", *ROWS))
    assert (feed.name, feed.format, feed.tick_size, feed.lot_size) == ("orders_24h", "bitstamp", 0.01, 1e-8)
    clear, *chunks = feed.chunks  # of the whole book: a log begins with nothing
    assert clear["ev"].tolist() == [event.CLEAR | BOTH_SEE] and feed.notes[0].startswith("begins without a snapshot")
    events = np.concatenate(chunks)
    assert clear["local_ts"] == events["local_ts"][0]
    kinds = [event.ADD | BUY, event.ADD | SELL, event.MODIFY | BUY, event.CANCEL | SELL]
    assert events["ev"].tolist() == [kind | BOTH_SEE for kind in kinds]
    assert events["local_ts"][0] == 1430438404518_000_000 and events["exch_ts"][1] == 1430438340000_000_000
    assert events["order_id"].tolist() == [7, 8, 7, 8] and (events["ival"] == LAST).all()
    book = OrderBook(feed.tick_size, feed.lot_size)
    assert [book.apply(e) for e in events] == [False, True, True, False]
    assert book.order(7) == ("bid", 236.47, pytest.approx(1.78855669)) and book.depth == (1, 0)
    assert book.top(1).bid_lots[0] == 178_855_669
    feed = open_bitstamp(tmp_path / "orders_24h.csv", ReadOptions(tick_size=0.05, lot_size=0.1))
    assert (feed.tick_size, feed.lot_size) == (0.05, 0.1)


@pytest.mark.parametrize(
    ("row", "met"),
    [
        ("9,1430438404518,1430438404000,236.47,2,filled,bid", "action 'filled'; expected one of 'created'"),
        ("9,1430438404518,1430438404000,236.47,2,created,buy", "direction 'buy'; expected one of 'bid', 'ask'"),
        ("9,1430438404518,1430438404000,236.47,2,created,", "'direction' has an empty field"),
        ("-9,1430438404518,1430438404000,236.47,2,created,bid", "column 'id'"),
        ("9,soon,1430438404000,236.47,2,created,bid", "column 'timestamp'"),
        ("9,1430438404518,1430438404000,dear,2,created,bid", "column 'price'"),
        ("9,1430438404518,1430438404000,inf,2,created,bid", "column 'price' holds inf"),
        ("9,1430438404518,1430438404000,236.47,0.5,created,bid", "'volume' holds 0.5; expected whole volumes, in 1e-8"),
        ("9,1430438404518,1430438404000,236.47", "damaged CSV"),
    ],
)
def test_damaged_rows(tmp_path: Path, row: str, met: str) -> None:
    with pytest.raises(DataError, match=met):
        list(open_bitstamp(written(tmp_path / "x.csv", *ROWS, row)).chunks)


@pytest.mark.parametrize(("unit", "per_ms"), [("s", 0.001), ("µs", 1000), ("ns", 10**6)])
def test_other_units_of_time_are_recognised(tmp_path: Path, unit: str, per_ms: float) -> None:
    def recount(row: str) -> str:
        number, received, *rest = row.split(",")
        return ",".join([number, f"{int(received) * per_ms:.3f}" if per_ms < 1 else f"{int(received) * per_ms}", *rest])

    feed = open_bitstamp(written(tmp_path / "x.csv", *map(recount, ROWS)))
    events = np.concatenate(list(feed.chunks))
    assert events["local_ts"][0] == 1430438404518_000_000 and events["exch_ts"][0] == 1430438404000_000_000
    assert feed.notes[1:] == [f"timestamp: times are in {unit}"]
    with pytest.raises(DataError, match="no time between 1980 and 2100, counted in ms"):
        list(open_bitstamp(written(tmp_path / "y.csv", *ROWS, recount(ROWS[0]))).chunks)


def test_newest_first(tmp_path: Path) -> None:
    whole = np.concatenate(list(open_bitstamp(written(tmp_path / "x.csv", *ROWS)).chunks))
    feed = open_bitstamp(written(tmp_path / "y.csv", *ROWS[::-1]), ReadOptions(sort=True))
    np.testing.assert_array_equal(np.concatenate(list(feed.chunks)), whole)
    assert feed.notes[1:] == ["rows sorted by time (newest first in the file)"]


def test_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_bitstamp(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no column 'action'"):
        open_bitstamp(written(tmp_path / "x.csv", header=HEADER.replace("action", "deed")))
    assert list(open_bitstamp(written(tmp_path / "y.csv")).chunks) == []
    packed = tmp_path / "z.csv.bz2"
    packed.write_bytes(bz2.compress("\n".join([HEADER, *ROWS * 3000]).encode())[:-200])
    with pytest.raises(DataError, match="damaged or truncated"):
        list(open_bitstamp(packed).chunks)


def test_what_is_told_of_an_order_that_is_gone(tmp_path: Path) -> None:
    # the deletion came first: the order must not rest for ever
    late = [ROWS[0].replace("created", action) for action in ("deleted", "created", "changed")]
    feed = open_bitstamp(written(tmp_path / "x.csv", *late, *ROWS[1:2]))
    kinds = [event.CANCEL | BUY | BOTH_SEE, event.ADD | SELL | BOTH_SEE]
    assert np.concatenate(list(feed.chunks))["ev"].tolist() == [event.CLEAR | BOTH_SEE, *kinds]
    assert feed.dropped == {"told after the order's deletion": 2}


def test_a_change_of_an_order_that_was_never_created(tmp_path: Path) -> None:
    feed = open_bitstamp(written(tmp_path / "x.csv", *ROWS[1:]))
    kinds = [event.CLEAR, event.ADD | SELL, event.CANCEL | SELL]
    assert np.concatenate(list(feed.chunks))["ev"].tolist() == [kind | BOTH_SEE for kind in kinds]
    assert feed.dropped == {"change of an order that was never created": 1}


@pytest.fixture(scope="module")
def day(shared: Path) -> NDArray:
    feed = open_bitstamp(shared / "data/bitstamp_btcusd_2015/orders_24h.csv.bz2")
    events = np.concatenate(list(feed.chunks))
    assert feed.dropped == {"told after the order's deletion": 13, "change of an order that was never created": 32}
    assert len(events) == 242_480
    return events


def test_the_defects_of_the_real_day_are_counted(day: NDArray) -> None:
    # with the 13 rows that are dropped, 116,683 messages would leave it crossed
    book = OrderBook(0.01)
    book.apply_all(day)
    counted = {kind: count for kind, count in book.anomalies.items() if count}
    assert counted == {"crossed": 5_654, "locked": 1_934, "one_sided": 9, "unknown_order": 527}
    assert book.state.meta[0]["messages"] == len(day) - 1  # the clear ends none
    with pytest.raises(DataError, match="crossed"):
        OrderBook(0.01, policy={"crossed": "raise"}).apply_all(day)


@pytest.mark.parametrize(("kind", "least"), [("book", 70_000), ("time", 800_000)])
def test_its_ticks_are_valid(day: NDArray, kind: str, least: int) -> None:
    clock = TickClock(kind)  # type: ignore[arg-type]
    books = joined(list(tick_chunks([day], empty_state(0.01, 1e-8), clock, "bitstamp")))
    assert books is not None and books.rows > least
    validate_books(books)


def test_the_level_2_snapshots_of_that_day_are_nearly_this_book(shared: Path, day: NDArray) -> None:
    # They come from another channel, 2 s apart and received at times of their own, and hold the orders from before
    # the file's first row, which no row tells: so not all of them can be made of these rows.
    snapshots = read_book_npz(shared / "data/derived_top10/bitstamp_btcusd_20150501_L2snapshots.npz")
    assert np.isin(snapshots.ts_ns, day["local_ts"]).sum() < 100
    until = np.searchsorted(day["local_ts"], snapshots.ts_ns, side="right")
    book, found, same, at = OrderBook(0.01), [], [], 0
    for i in range(0, snapshots.rows, 50):
        book.apply_all(day[at : until[i]])
        at, top = until[i], book.top(400)
        same.append(top.bid_px[0] == snapshots.bid_px[i, 0] and top.ask_px[0] == snapshots.ask_px[i, 0])
        ours = {*zip(top.bid_px.tolist(), top.bid_lots.tolist(), strict=True)}
        theirs = zip(snapshots.bid_px[i].tolist(), snapshots.bid_lots[i].tolist(), strict=True)
        found += [level in ours for level in theirs if level[0] != EMPTY_PRICE]
    assert len(same) == 512 and sum(same) == 501  # both best prices
    assert np.mean(found) > 0.85
