"""Coinbase's snapshot and updates: the independent oracle, the order of files, damaged files."""

from __future__ import annotations

import bisect
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.readers.coinbase import open_coinbase
from nanoarb_jax.readers.feed import ReadOptions
from support.examples import examples

pytest.importorskip("pyarrow", reason="needs the package pyarrow")

BUY, SELL = (side | event.BOTH_SEE for side in (event.BUY, event.SELL))
FILES = {
    "snapshot_bids.csv": "side,price,size\nbuy,99.5,1.0\nbuy,99.25,2\n",
    "snapshot_asks.csv": "side,price,size\nsell,100,3\n",
    "request_log.csv": ",iso,epoch\nrequest end,2018-04-24T04:52:17.094Z,1\nrequest start,2018-04-24T03:52:17.030Z,2\n",
    "l2update_x_2.csv": "side,price,size,time\nsell,100,0.0,2018-04-24T03:52:17.202Z\n",
    "l2update_x_10.csv": "side,price,size,time\nbuy,99.75,0.11244000000000001,2018-04-24T03:53:00.000Z\n",
}
START = 1_524_541_937_030_000_000


def folder(path: Path, **changed: str) -> Path:
    """The small session, with files 3 to 9 empty of rows, and some files changed."""
    path.mkdir(exist_ok=True)
    files = FILES | {f"l2update_x_{k}.csv": "side,price,size,time\n" for k in range(3, 10)}
    for name, text in files.items():
        (path / name).write_text(changed.get(name.split(".")[0], text))
    return path


def test_small_session(tmp_path: Path) -> None:
    feed = open_coinbase([folder(tmp_path / "btc")])
    events = np.concatenate(list(feed.chunks))
    assert (feed.name, feed.format, feed.tick_size, feed.lot_size, feed.dropped) == ("btc", "coinbase", 0.25, 1e-8, {})
    expected = [3 | BUY & ~event.BUY, 4 | BUY, 4 | BUY, 4 | SELL, 1 | SELL, 1 | BUY]
    assert events["ev"].tolist() == expected
    assert (events["exch_ts"] - START).tolist() == [0, 0, 0, 0, 172_000_000, 42_970_000_000]
    assert events["local_ts"].tolist() == events["exch_ts"].tolist()
    assert events["ival"].tolist() == [32, 32, 32, 32 | 128, 128, 128]
    assert events["px"][1:].tolist() == [99.5, 99.25, 100, 100, 99.75]
    assert events["qty"][1:].tolist() == [1, 2, 3, 0, 0.11244000000000001]


def test_files_in_any_order_and_without_the_log(tmp_path: Path) -> None:
    paths = sorted(folder(tmp_path / "btc").iterdir())
    whole = np.concatenate(list(open_coinbase(paths).chunks))
    np.testing.assert_array_equal(np.concatenate(list(open_coinbase(paths[::-1]).chunks)), whole)
    no_log = [path for path in paths if path.stem != "request_log"]
    feed = open_coinbase(no_log, ReadOptions(tick_size=0.01, lot_size=0.1))
    assert (feed.tick_size, feed.lot_size) == (0.01, 0.1)
    assert next(feed.chunks)["exch_ts"].tolist() == [START + 172_000_000] * 4  # the first update's time


@pytest.mark.parametrize(
    ("file", "text", "met"),
    [
        ("snapshot_bids", "side,price,size\nbid,1,1\n", "side 'bid'; expected 'buy' or 'sell'"),
        ("snapshot_bids", "side,price,size\nbuy,1,inf\n", "column 'size' holds inf"),
        ("snapshot_asks", "price,size\n1,1\n", "no column 'side'"),
        ("snapshot_asks", "", "no column 'side'"),
        ("request_log", "nothing", "no row 'request start'"),
        ("request_log", "request start,soon", "no row 'request start'"),
        ("request_log", "iso\repoch\n", "no row 'request start'"),
        (
            "l2update_x_10",
            "side,price,size,time\nbuy,1,1,2018-04-24T03:52:00.000Z\n",
            "goes back to 2018-04-24T03:52:00",
        ),
        ("l2update_x_10", "side,price,size,time\nbuy,1,1\n", "damaged CSV"),
        ("l2update_x_10", "side,price,size,time\nbuy,1,1,noon\n", "column 'time'"),
        ("l2update_x_10", "side,price,size,time\nbuy,1,,2018-04-24T03:54:00.000Z\n", "'size' has an empty field"),
    ],
)
def test_errors(tmp_path: Path, file: str, text: str, met: str) -> None:
    with pytest.raises(DataError, match=met) as caught:
        list(open_coinbase([folder(tmp_path / "btc", **{file: text})]).chunks)
    assert "\n" not in str(caught.value) and file in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    paths = sorted(folder(tmp_path / "btc").iterdir())
    for gone, met in (
        ("snapshot_asks", "0 files snapshot_asks.csv; expected one"),
        ("l2update_x_5", "update file 5 is missing"),
        ("l2update", r"no files l2update_\*_1.csv"),
    ):
        with pytest.raises(DataError, match=met):
            open_coinbase([path for path in paths if not path.name.startswith(gone)])
    with pytest.raises(DataError, match="two update files have the number 2"):
        open_coinbase([*paths, tmp_path / "l2update_y_2.csv"])
    empty = {side: "side,price,size\n" for side in ("snapshot_bids", "snapshot_asks")}
    with pytest.raises(DataError, match="no levels on either side"):
        open_coinbase([folder(tmp_path / "btc", **empty)])
    untimed = [path for path in sorted(folder(tmp_path / "btc").iterdir()) if path.name != "request_log.csv"]
    (tmp_path / "btc" / "l2update_x_2.csv").write_text("side,price,size,time\n")
    with pytest.raises(DataError, match="no updates"):
        open_coinbase(untimed)


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_units_of_time(tmp_path: Path, unit: int) -> None:
    """Numbers are told apart by their size; they were ns, whatever they counted."""
    stamps = [(START + i * 10**9) // unit for i in (1, 2)]
    rows = "".join(f"buy,{99 + i},1,{stamp}\n" for i, stamp in enumerate(stamps))
    (tmp_path / "a").mkdir()
    feed = open_coinbase([folder(tmp_path / "a", l2update_x_10=f"side,price,size,time\n{rows}")])
    events = np.concatenate(list(feed.chunks))
    assert events["exch_ts"][-2:].tolist() == [stamp * unit for stamp in stamps]
    assert feed.notes == ["only the exchange's times"]


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files(tmp_path: Path, data: st.DataObject) -> None:
    path = folder(tmp_path / "btc")
    victim = path / data.draw(st.sampled_from(sorted(FILES)))
    original = victim.read_bytes()
    if data.draw(st.booleans()):
        original = gzip.compress(original, mtime=0)
    damaged = bytearray(original[: data.draw(st.integers(0, len(original)))])
    for at in data.draw(st.lists(st.integers(0, 8 * len(original) - 1), max_size=3)):
        if at // 8 < len(damaged):
            damaged[at // 8] ^= 1 << at % 8
    victim.write_bytes(damaged)
    try:
        list(open_coinbase([path]).chunks)
    except DataError as error:
        assert "\n" not in str(error)


class Side:
    """One side of a book in a dictionary, with its prices in a sorted list, the best first."""

    def __init__(self, sign: int) -> None:
        self.sign, self.sizes, self.ranks = sign, dict[int, int](), list[int]()

    def apply(self, px: int, sz: int) -> None:
        rank = self.sign * px
        if px not in self.sizes and sz:
            bisect.insort(self.ranks, rank)
        if px in self.sizes and not sz:
            del self.ranks[bisect.bisect_left(self.ranks, rank)]
        self.sizes.pop(px, None)
        if sz:
            self.sizes[px] = sz

    def top(self) -> list[tuple[int, int]]:
        return [(self.sign * rank, self.sizes[self.sign * rank]) for rank in self.ranks[:10]]


def test_every_update_is_a_message(shared: Path) -> None:
    """The books after every update are those that an independent program rebuilt."""
    feed = open_coinbase([shared / "data" / "coinbase_btcusd"])
    chunks = list(feed.chunks)
    assert [len(chunk) for chunk in chunks] == [27_820, *[48_462] * 4] and feed.tick_size == 0.01
    bids, asks = Side(-1), Side(1)
    books: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]] = []
    times = []
    for code, time, px, qty, flags in np.concatenate(chunks)[["ev", "local_ts", "px", "qty", "ival"]][1:].tolist():
        (bids if code & event.BUY else asks).apply(round(px * 100), round(qty * 1e8))
        if flags & event.SNAPSHOT:  # the oracle begins with the first update
            continue
        book = (bids.top(), asks.top())
        if not books or book != books[-1]:
            books.append(book)
            times.append(time)
    oracle = np.load(shared / "data" / "derived_top10" / "coinbase_btcusd_20180424_0352-0452Z.npz")
    np.testing.assert_array_equal(times, oracle["ts_ns"])
    rebuilt = np.array(books)  # (n, side, level, price and size)
    for s, side in enumerate(("bid", "ask")):
        for w, what in enumerate(("px", "sz")):
            np.testing.assert_array_equal(rebuilt[:, s, :, w], oracle[f"{side}_{what}"])
