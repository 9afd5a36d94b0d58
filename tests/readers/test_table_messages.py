"""Messages of tables: snapshots over several times, stray flags, rounded times."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers import columns as read_columns
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.table.feed import open_table
from support.tables import events_of, ticks_of, write_table

pa = pytest.importorskip("pyarrow", reason="needs the package pyarrow")

T0 = 1_735_723_800_000
HEADER = "timestamp,is_snapshot,side,price,size\n"


def row(ms: int, snapshot: int, side: str, price: float, size: float) -> str:
    return f"{T0 + ms},{snapshot},{side},{price},{size}\n"


def refused(path: Path, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        list(open_table(path, ReadOptions()).chunks)
    assert str(caught.value).endswith("; see docs/table.md") and "\n" not in str(caught.value)


ONE_BY_ONE = {
    "side by side": [("buy", 100 - i) for i in range(5)] + [("sell", 101 + i) for i in range(5)],
    "level by level": [level for i in range(5) for level in (("buy", 100 - i), ("sell", 101 + i))],
    "unsorted": [("buy", 98), ("sell", 103), ("sell", 101), ("buy", 100), ("buy", 99), ("sell", 102), ("buy", 97)],
}


@pytest.mark.parametrize(
    ("order", "per_time"),  # two rows a time, level by level, are quotes of one level each
    [("side by side", 1), ("side by side", 2), ("side by side", 4), ("level by level", 1), ("level by level", 4)],
)
@pytest.mark.parametrize("size", [100, 10**6])
def test_a_snapshot_over_several_times(
    tmp_path: Path, order: str, per_time: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_columns, "CSV_BLOCK", size)
    levels, text, expected = ONE_BY_ONE[order], HEADER, []
    for again in range(6):
        start, qty = 100 * again, again + 1.0
        text += "".join(row(start + i // per_time, 1, s, p, qty) for i, (s, p) in enumerate(levels))
        text += row(start + 50, 0, "buy", 97, 9)
        sides = [
            sorted(((float(p), qty) for s, p in levels if s == side), reverse=side == "buy") for side in ("buy", "sell")
        ]
        expected.append(sides)
        expected.append([[(p, 9.0 if p == 97 else q) for p, q in sides[0]], sides[1]])
    assert [[*tick[1:]] for tick in ticks_of(write_table(tmp_path, text))] == expected


def test_a_snapshot_one_row_a_time_in_any_order_with_trades_between(tmp_path: Path) -> None:
    rows = [f"{T0 + i},snapshot,{s},{p},1\n" for i, (s, p) in enumerate(ONE_BY_ONE["unsorted"])]
    rows.insert(3, f"{T0 + 2},trade,buy,101,1\n")
    (tick,) = ticks_of(write_table(tmp_path, "timestamp,kind,side,price,size\n" + "".join(rows)))
    assert len(tick[1]) == 4 and len(tick[2]) == 3


def test_snapshots_only_whatever_the_prices_do(tmp_path: Path) -> None:
    """Books of one time each, which rise and fall by more than all their levels, and of one level."""
    rng = np.random.default_rng(0)
    for depth in (1, 2, 5):
        mids = 1000 + np.cumsum(rng.integers(-20, 21, 50))
        text = HEADER
        for i, mid in enumerate(mids):
            text += "".join(row(i, 1, "buy", mid - 1 - k, 1) + row(i, 1, "sell", mid + 1 + k, 1) for k in range(depth))
        ticks = ticks_of(write_table(tmp_path, text))
        assert [(bids[0][0], asks[0][0], len(bids), len(asks)) for _, bids, asks in ticks] == [
            (mid - 1, mid + 1, depth, depth) for mid in mids
        ]


def test_snapshots_of_one_side_after_another(tmp_path: Path) -> None:
    """Two levels of a side a time: each pair of sides is a book."""
    text = HEADER
    for i in range(10):
        text += "".join(row(2 * i, 1, "buy", 100 - 9 * i - k, 1) for k in (0, 1))
        text += "".join(row(2 * i + 1, 1, "sell", 102 - 9 * i + k, 1) for k in (0, 1))
    ticks = ticks_of(write_table(tmp_path, text))
    assert [(bids[0][0], asks[0][0], len(bids + asks)) for _, bids, asks in ticks] == [
        (100 - 9 * i, 102 - 9 * i, 4) for i in range(10)
    ]


def test_a_snapshot_of_orders_over_several_times(tmp_path: Path) -> None:
    text = "timestamp,action,is_snapshot,side,price,size,order_id\n"
    for again in range(3):
        for i in range(12):
            side, price = ("B", 100 - i % 4) if i % 3 else ("A", 101 + i % 4)
            text += f"{T0 + 100 * again + i // 3},A,1,{side},{price},1,{i + 1}\n"
    ticks = ticks_of(write_table(tmp_path, text))
    assert len(ticks) == 3 and all(sum(q for _, q in bids + asks) == 12 for _, bids, asks in ticks)


@pytest.mark.parametrize("ended", [1, 20])
def test_stray_flags(tmp_path: Path, ended: int) -> None:
    text = HEADER.replace("size", "size,flags")
    text += "".join(
        row(i, 0, "buy", 100 - i % 3, i % 4).strip() + f",{128 * (i % (300 // ended) == 9)}\n" for i in range(300)
    )
    refused(write_table(tmp_path, text), f"flags end {ended} messages .128. in rows of 300 times")
    often = text.replace(",0\n", ",128\n")
    assert len(events_of(write_table(tmp_path, often))[0]) == 300


def test_rounded_times(tmp_path: Path) -> None:
    book = row(0, 1, "buy", 100, 1) + row(0, 1, "sell", 101, 1)
    repeated = "".join(row(5, 0, "buy", 100 - i % 3, 1 + i) for i in range(30))
    refused(write_table(tmp_path, HEADER + book + repeated), "30 of 30 updates have the same time.*seem to be rounded")
    after_book = "".join(row(0, 0, "buy", 100 - i, 1 + i) for i in range(30))
    refused(write_table(tmp_path, HEADER + book + after_book), "30 of 30 updates have the same time")
    later = "".join(row(6 + i, 0, "buy", 90, 1 + i) for i in range(20))
    refused(write_table(tmp_path, HEADER + repeated + later), "30 of 50 updates have the same time")


def test_whole_books_of_one_time_are_no_rounded_times(tmp_path: Path) -> None:
    levels = "".join(row(0, 0, "buy", 100 - i, 1) + row(0, 0, "sell", 101 + i, 1) for i in range(200))
    later = "".join(row(1 + i, 0, "buy", 90, 1 + i) for i in range(20))
    assert len(events_of(write_table(tmp_path, HEADER + levels + later))[0]) == 420
    orders = "".join(f"{T0},A,B,{100 - i % 3},1,{i + 1}\n" for i in range(100))
    assert len(events_of(write_table(tmp_path, "timestamp,action,side,price,size,order_id\n" + orders))[0]) == 100


def test_whole_seconds_are_noted(tmp_path: Path) -> None:
    text = HEADER + "".join(row(1000 * (i // 10), 0, "buy", 100 - i % 3, i % 4) for i in range(300))
    assert (
        "times are whole seconds, and the rows of one second are one message"
        in events_of(write_table(tmp_path, text))[1].notes
    )


def test_times_of_single_precision_and_of_decimals(tmp_path: Path) -> None:
    rest = {"side": ["buy", "sell"], "price": [1.0, 2.0], "size": [1, 1]}
    for kind in (pa.float32(), pa.float16()):
        refused(
            write_table(tmp_path, {"timestamp": pa.array([1.7, 1.7], pa.float32()).cast(kind), **rest}), "times of type"
        )
    exact = pa.array([Decimal("1735723800.000000123"), Decimal("1735723800.5")], pa.decimal128(38, 9))
    events, _ = events_of(write_table(tmp_path, {"timestamp": exact, **rest}))
    assert events["local_ts"].tolist() == [1_735_723_800_000_000_123, 1_735_723_800_500_000_000]


def test_errors_name_the_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = row(0, 1, "buy", 100, 3) + row(0, 1, "sell", 101, 3)
    refused(
        write_table(tmp_path, HEADER + rows + row(1, 0, "sell", 1e15, 1) + row(2, 0, "sell", 101.001, 1)),
        "price 1000000000000000.0 is more",
    )
    refused(write_table(tmp_path, HEADER + rows + row(1, 0, "sell", 101.0000000001, 1)), "price 101.0000000001, beside")
    monkeypatch.setattr(read_columns, "CSV_BLOCK", 100)
    late = "".join(row(1 + i, 0, "buy", 100 - i % 3, 1) for i in range(40)) + row(90, 0, "sell", 101.25, 1)
    refused(
        write_table(tmp_path, HEADER + rows + late), "price 101.25 is no multiple of 1.0.*--tick-size 0.01 or another"
    )


def test_levels_from_the_worst_to_the_best(tmp_path: Path) -> None:
    header = "timestamp,bid_px_0,bid_sz_0,ask_px_0,ask_sz_0,bid_px_1,bid_sz_1,ask_px_1,ask_sz_1\n"
    reversed_ = "".join(f"{T0 + i},98,1,102,1,99,2,101,1\n" for i in range(30))
    refused(
        write_table(tmp_path, header + reversed_), "from the worst to the best; bid_px_0 and ask_px_0 must be the best"
    )
    empty = "".join(f"{T0 + i},98,1,102,1,99,0,101,0\n" for i in range(30))
    assert len(list(open_table(write_table(tmp_path, header + empty), ReadOptions()).chunks)) == 1
