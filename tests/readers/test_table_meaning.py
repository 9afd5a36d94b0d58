"""Columns that change what the rows of a table mean: honoured, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import ADD, BUY, CLEAR, DEPTH, DEPTH_SNAPSHOT, KIND_MASK, LAST, SELL, SNAPSHOT, TRADE
from nanoarb_jax.readers import columns as read_columns
from nanoarb_jax.readers.feed import BookFeed, ReadOptions
from nanoarb_jax.readers.table import messages
from nanoarb_jax.readers.table.feed import open_table
from support.tables import books_of, events_of, ticks_of, write_table

pytest.importorskip("pyarrow", reason="needs the package pyarrow")

T0 = 1_735_700_000_000_000_000
BOOKS = f"""\
timestamp,symbol,exchange,bid_px_0,bid_sz_0,ask_px_0,ask_sz_0
{T0},BTC,x,100,1,101,2
{T0},ETH,x,10,3,11,4
{T0 + 5},BTC,x,100,2,102,2
{T0 + 6},ETH,x,10,3,12,4
"""
ORDERS = f"""\
timestamp,action,side,price,size,order_id
{T0},A,B,99.5,10,1
{T0},A,A,100.5,10,2
{T0 + 1},A,B,99.0,5,3
{T0 + 2},F,B,99.5,4,1
{T0 + 2},T,A,99.5,4,0
{T0 + 2},C,B,99.5,4,1
{T0 + 3},M,A,101.0,7,2
{T0 + 4},N,N,,,0
{T0 + 5},C,B,99.0,5,3
"""


def refused(path: Path, match: str, **options: Any) -> None:
    with pytest.raises(DataError, match=match) as caught:
        list(open_table(path, ReadOptions(**options)).chunks)
    assert str(caught.value).endswith("; see docs/table.md") and "\n" not in str(caught.value)


def kinds(events: np.ndarray) -> list[int]:
    return [int(ev) & KIND_MASK for ev in events["ev"]]


def test_of_several_instruments_one_is_chosen(tmp_path: Path) -> None:
    path = write_table(tmp_path, BOOKS)
    refused(path, r"several values in column symbol \(BTC, ETH\).*--symbol")
    feed = open_table(path, ReadOptions(symbol="ETH"))
    (books,) = feed.chunks
    assert isinstance(feed, BookFeed) and books.bid_px[:, 0].tolist() == [10, 10]
    assert feed.notes == ["only rows of ETH", "2 rows of other instruments left out"]
    refused(path, "no rows of 'SOL'; it has BTC, ETH", symbol="SOL")
    refused(write_table(tmp_path, BOOKS.replace("symbol,ex", "a,b")), "no column that tells the symbol", symbol="BTC")


def test_a_second_instrument_late_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_columns, "CSV_BLOCK", 256)
    lines = [f"{T0 + i},BTC,x,100,1,101,2" for i in range(50)] + [f"{T0 + 60},ETH,x,10,1,11,2"]
    path = write_table(tmp_path, "\n".join([BOOKS.splitlines()[0], *lines]))
    refused(path, "several values in column symbol")
    assert sum(len(chunk.ts_ns) for chunk in open_table(path, ReadOptions(symbol="ETH")).chunks) == 1  # type: ignore[union-attr]
    assert sum(len(chunk.ts_ns) for chunk in open_table(path, ReadOptions(symbol="BTC")).chunks) == 50  # type: ignore[union-attr]


@pytest.mark.parametrize("column", ["ticker", "product_id", "Instrument", "exchange", "channel"])
@pytest.mark.parametrize("missing", ["", "B"])
def test_other_columns_that_tell_instruments(tmp_path: Path, column: str, missing: str) -> None:
    text = f"timestamp,{column},side,price,size\n{T0},A,buy,1,1\n{T0},A,sell,2,1\n{T0 + 1},{missing},buy,5,1\n"
    path = write_table(tmp_path, text)
    refused(path, f"several values in column {column.lower()} " + (r"\(A, B\)" if missing else r"\(A, an empty cell\)"))
    assert len(events_of(path, symbol="A")[0]) == 2


def test_numbered_instruments_of_parquet_and_a_symbol_on_two_exchanges(tmp_path: Path) -> None:
    both = {"timestamp": [T0, T0, T0], "instrument_id": [7, 7, 8], "symbol": ["A", "A", "A"], "side": ["b"] * 3}
    path = write_table(tmp_path, both | {"price": [1.0, 2, 3], "size": [1, 1, 1]})
    refused(path, r"column instrument_id \(7, 8\)")
    refused(path, r"column instrument_id \(7, 8\)", symbol="A")
    assert events_of(path, symbol="8")[0]["px"].tolist() == [3]


@pytest.mark.parametrize("column", ["action", "kind", "type", "event_type"])
def test_actions_on_orders_are_read(tmp_path: Path, column: str) -> None:
    path = write_table(tmp_path, ORDERS.replace("action", column))
    events, feed = events_of(path)
    assert kinds(events) == [ADD, ADD, ADD, event.FILL, TRADE, event.CANCEL, event.MODIFY, event.CANCEL]
    assert feed.dropped == {"no action": 1} and feed.tick_size == 0.5
    assert [tick[1:] for tick in ticks_of(path)] == [
        ([(99.5, 10)], [(100.5, 10)]),
        ([(99.5, 10), (99.0, 5)], [(100.5, 10)]),
        ([(99.5, 6), (99.0, 5)], [(100.5, 10)]),
        ([(99.5, 6), (99.0, 5)], [(101.0, 7)]),
        ([(99.5, 6)], [(101.0, 7)]),
    ]


def test_orders_in_words_of_others(tmp_path: Path) -> None:
    words = {"A": "insert", "M": "update", "C": "delete", "F": "fill", "T": "trade", "N": "none"}
    text = "".join(
        ",".join([time, words.get(what, what), *rest]) + "\n"
        for time, what, *rest in (line.split(",") for line in ORDERS.splitlines())
    )
    # a deletion is of the whole order
    assert ticks_of(write_table(tmp_path, text))[2][1] == [(99.0, 5)]


def test_orders_that_do_not_say_what_is_done(tmp_path: Path) -> None:
    refused(write_table(tmp_path, ORDERS.replace("action", "a")), "order_id, but no column kind or action")
    refused(
        write_table(tmp_path, ORDERS.replace("order_id", "spread")), "an order without an id .*in a column order_id"
    )
    refused(write_table(tmp_path, ORDERS.replace("order_id", "id")), "column id .*: rename it order_id")
    refused(write_table(tmp_path, ORDERS.replace(",10,1", ",10,")), "an order without an id")
    refused(write_table(tmp_path, ORDERS.replace("A,B", "X,B")), "action: 'x'; expected one of depth, snapshot, trade")
    refused(write_table(tmp_path, ORDERS.replace("A,B", ",B")), "action: ''; expected one of")
    refused(write_table(tmp_path, ORDERS.replace("order_id", "kind")), "both kind and action say what a row does")


LEVELS = f"""\
timestamp,side,price,size,is_snapshot
{T0},bid,99,1,true
{T0},ask,101,1,true
{T0},ask,102,1,true
{T0 + 1},bid,98,2,false
{T0 + 2},ask,101,0,false
{T0 + 9},bid,97,5,true
{T0 + 9},ask,103,5,true
{T0 + 10},bid,96,1,false
"""
BOOKS_OF_LEVELS = [
    ([(99, 1)], [(101, 1), (102, 1)]),
    ([(99, 1), (98, 2)], [(101, 1), (102, 1)]),
    ([(99, 1), (98, 2)], [(102, 1)]),
    ([(97, 5)], [(103, 5)]),
    ([(97, 5), (96, 1)], [(103, 5)]),
]


@pytest.mark.parametrize(("yes", "no"), [("true", "false"), ("True", "False"), ("1", "0"), ("t", ""), ("Y", "n")])
def test_a_later_snapshot_replaces_the_book(tmp_path: Path, yes: str, no: str) -> None:
    path = write_table(tmp_path, LEVELS.replace("true", yes).replace("false", no))
    assert [tick[1:] for tick in ticks_of(path)] == BOOKS_OF_LEVELS
    events, _ = events_of(path)
    assert kinds(events) == [CLEAR, *[DEPTH_SNAPSHOT] * 3, *[DEPTH] * 2, CLEAR, *[DEPTH_SNAPSHOT] * 2, DEPTH]
    assert events["ival"].tolist() == [32, 32, 32, 160, 128, 128, 32, 32, 160, 128]


def test_what_is_no_truth(tmp_path: Path) -> None:
    refused(write_table(tmp_path, LEVELS.replace("true", "maybe")), "is_snapshot: 'maybe'; expected one of true, false")


@pytest.mark.parametrize("size", [64, 300, 10**6])
@pytest.mark.parametrize("gap", [0, 1])
def test_a_feed_of_snapshots_only(tmp_path: Path, size: int, gap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five levels each, of one time or of flagged messages, wherever the file is cut into batches."""
    monkeypatch.setattr(read_columns, "CSV_BLOCK", size)
    rng, rows, expected = np.random.default_rng(0), [], []
    for i in range(40):
        bids, asks = (sorted(rng.choice(30, 5, replace=False).tolist()) for _ in range(2))
        levels = [("buy", 99 - p) for p in bids] + [("sell", 101 + p) for p in asks]
        # times may stand still from one flagged message to the next
        rows += [f"{T0 + gap * i},snapshot,{s},{p},{p % 7 + 1},{128 * (k == 9)}" for k, (s, p) in enumerate(levels)]
        expected.append([[(float(p), p % 7 + 1) for s, p in levels if s == side] for side in ("buy", "sell")])
    path = write_table(tmp_path, "\n".join(["ts_ns,kind,side,price,size,flags", *rows]))
    assert [[*tick[1:]] for tick in ticks_of(path)] == expected


def test_a_snapshot_of_one_side_replaces_that_side(tmp_path: Path) -> None:
    text = f"""\
timestamp,kind,side,price,size
{T0},snapshot,buy,99,1
{T0},snapshot,sell,101,1
{T0 + 1},depth,sell,103,1
{T0 + 2},snapshot,buy,98,1
{T0 + 3},clear,,,
{T0 + 3},snapshot,buy,97,1
{T0 + 4},snapshot,sell,104,1
{T0 + 5},clear,sell,,
{T0 + 5},depth,sell,105,1
"""
    ticks = ticks_of(write_table(tmp_path, text))
    assert [(bids[0][0], asks[0][0], len(bids + asks)) for _, bids, asks in ticks] == [
        (99, 101, 2),
        (99, 101, 3),
        (98, 101, 3),
        (97, 104, 2),
        (97, 105, 2),
    ]


def test_a_snapshot_of_orders(tmp_path: Path) -> None:
    header, *rows = ORDERS.splitlines()
    flags = ["is_snapshot", "1", "1", *["0"] * 6, "0"]
    again = [f"{T0 + 9},A,B,90,1,8,1", f"{T0 + 9},A,A,91,1,9,1"]
    text = "\n".join([*(f"{line},{flag}" for line, flag in zip([header, *rows], flags, strict=True)), *again])
    events, _ = events_of(write_table(tmp_path, text))
    assert kinds(events)[:3] == [CLEAR, ADD, ADD] and events["ival"][1] == SNAPSHOT
    assert ticks_of(write_table(tmp_path, text))[-1][1:] == ([(90, 1)], [(91, 1)])


TRADES = f"""\
timestamp,symbol,side,size,price,tickDirection
{T0},X,Sell,3900,60000.0,ZeroPlusTick
{T0 + 1},X,Buy,3100,60000.5,ZeroPlusTick
"""


@pytest.mark.parametrize(
    "mark", ["trdMatchID", "trade_id", "tradeId", "is_buyer_maker", "grossValue", "taker_side", "agg_trade_id"]
)
def test_trades_alone_make_no_book(tmp_path: Path, mark: str) -> None:
    refused(write_table(tmp_path, TRADES.replace("tickDirection", mark)), f"a table of trades .*{mark.lower()}")
    # also where the columns are not those of events
    refused(write_table(tmp_path, TRADES.replace("tickDirection", mark).replace("side,", "x,")), "a table of trades")
    both = TRADES.replace("tickDirection", f"{mark},kind").replace("ZeroPlusTick", "1,trade")
    events, feed = events_of(write_table(tmp_path, both))
    assert kinds(events) == [TRADE, TRADE] and feed.notes[-1] == "trades alone, of which no book can be made"


def test_rows_that_look_like_trades(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    mid = 1000 + np.cumsum(rng.integers(-1, 2, 300))
    bought = rng.random(300) < 0.5
    content = {
        "timestamp": T0 + np.arange(300),
        "side": np.where(bought, "buy", "sell"),
        "size": rng.integers(1, 9, 300),
    }
    refused(write_table(tmp_path, content | {"price": mid + bought}), "look like trades .* by a column kind")
    said = content | {"price": mid + bought, "kind": ["depth"] * 300}
    assert len(events_of(write_table(tmp_path, said))[0]) == 300
    # depth whose levels are never deleted is only doubted
    events, feed = events_of(write_table(tmp_path, content | {"price": np.where(bought, mid - 5, mid + 5)}))
    assert len(events) == 300 and feed.notes == [
        "no level is ever deleted (size 0): are its rows depth, not quotes or trades?"
    ]


@pytest.mark.parametrize(
    ("column", "match"),
    [
        ("delta", "sizes may be changes"),
        ("size_delta", "sizes may be changes"),
        ("is_deleted", "the size 0"),
        ("oid", "name the column of orders' ids order_id"),
        ("order_type", "limit orders never rest"),
        ("level", "give rows that tell whole books the kind snapshot"),
        ("reset", "which rows clear the book"),
        ("update", "update: 'p'; expected one of depth"),
        ("type", "type: 'p'; expected one of depth"),
    ],
)
def test_columns_that_change_the_meaning_are_refused(tmp_path: Path, column: str, match: str) -> None:
    refused(write_table(tmp_path, f"timestamp,side,price,size,{column}\n{T0},buy,1,1,p\n"), match)
    if column != "level":
        return
    assert (
        len(events_of(write_table(tmp_path, f"timestamp,side,price,size,kind,level\n{T0},buy,1,1,depth,0\n"))[0]) == 1
    )


def test_other_columns_are_ignored_and_named(tmp_path: Path) -> None:
    text = "timestamp,side,price,size,note,Count,\n" + f"{T0},buy,1,0,a,3,\n"
    assert events_of(write_table(tmp_path, text))[1].notes == ["columns not read: note, count, (no name)"]
    many = {f"c{i}": [0] for i in range(20)}
    _, feed = events_of(write_table(tmp_path, {"timestamp": [T0], "side": ["b"], "price": [1.5], "size": [0], **many}))
    assert feed.notes[0].startswith("columns not read: c0, c1, ") and feed.notes[0].endswith("c11, …")
    refused(write_table(tmp_path, f"timestamp,side,price,size,Price\n{T0},buy,1,1,2\n"), "2 columns are called 'price'")


def test_levels_of_changes_in_words_of_others(tmp_path: Path) -> None:
    text = f"""\
symbol,timestamp,side,update_type,price,size
X,{T0},b,snap,99,1
X,{T0},a,snap,101,1
X,{T0 + 1},b,set,98,1
X,{T0 + 2},b,delete,99,1
"""
    assert [tick[1][0] for tick in ticks_of(write_table(tmp_path, text))] == [(99, 1), (99, 1), (98, 1)]
    refused(write_table(tmp_path, text.replace("size", "qty")), "without size here.*if they are these, name qty size")


def test_a_message_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_MOST_ROWS", 99)
    content = {"timestamp": np.full(100, T0), "side": ["b"] * 100, "price": np.arange(100.0), "size": np.ones(100)}
    refused(write_table(tmp_path, content), "more than 99 rows from time .* without the end of a message")
    assert events_of(write_table(tmp_path, content | {"timestamp": T0 + np.arange(100) // 99}))[0]["ival"][98] == LAST


def test_sides(tmp_path: Path) -> None:
    path = write_table(tmp_path, f"timestamp,side,price,size,kind\n{T0},BID,1,1,\n{T0}, ask ,2,1,\n{T0},N,2,1,trade\n")
    assert [int(ev) & (BUY | SELL) for ev in events_of(path)[0]["ev"]] == [BUY, SELL, 0]
    assert (
        books_of(write_table(tmp_path, f"ts_ns,bid_px_0,bid_sz_0,ask_px_0,ask_sz_0,action\n{T0},1,1,2,1,A\n")).rows == 1
    )
