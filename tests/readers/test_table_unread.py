"""Columns of tables under names that nobody knows: refused where their cells may change what rows mean."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nanoarb_jax as nj
from nanoarb_jax.errors import DataError
from nanoarb_jax.readers import columns as read_columns
from nanoarb_jax.readers.feed import BookFeed, ReadOptions
from nanoarb_jax.readers.table.feed import open_table
from support.tables import books_of, events_of, write_table

pytest.importorskip("pyarrow", reason="needs the package pyarrow")

T0 = 1_735_723_800_000
ROWS = 60


def levels(**more: Any) -> dict[str, Any]:
    """Levels that are set, changed and deleted, with more columns."""
    i = np.arange(ROWS)
    side = np.where(i % 2, "buy", "sell")
    price = np.where(i % 2, 99.0 - i % 5, 101.0 + i % 7)
    return {"timestamp": T0 + i, "side": side, "price": price, "size": (i * 7) % 5, **more}


def books(**more: Any) -> dict[str, Any]:
    i = np.arange(ROWS)
    return {"timestamp": T0 + i, "bid_px_0": 99.0 - i % 3, "bid_sz_0": i + 1, "ask_px_0": 101.0, "ask_sz_0": 3} | more


def csv(content: dict[str, Any]) -> str:
    columns = [np.broadcast_to(np.asarray(column), ROWS).tolist() for column in content.values()]
    return "\n".join([",".join(content), *(",".join(map(str, row)) for row in zip(*columns, strict=True))])


def turns(*values: Any) -> list[Any]:
    """These values in turn, but not in step with the sides."""
    return list(islice(cycle([value for value in values for _ in range(3)]), ROWS))


def refused(path: Path, match: str, **options: Any) -> None:
    with pytest.raises(DataError, match=match) as caught:
        list(open_table(path, ReadOptions(**options)).chunks)
    assert str(caught.value).endswith("; see docs/table.md") and "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["cmd", "verb", "entry_type", "foo", "num_orders", "order_status", "note"])
@pytest.mark.parametrize("values", [("new", "change", "delete"), ("INSERT", "Update"), ("A", "M", "C"), ("", "delete")])
def test_words_of_actions(tmp_path: Path, column: str, values: tuple[str, ...]) -> None:
    path = write_table(tmp_path, csv(levels(**{column: turns(*values)})))
    refused(path, rf"column {column} \(.*\) is not read, and may say what a row does: rename it kind if it does")
    with pytest.raises(DataError, match=f"column {column}"):
        nj.read_events(path)


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 1), (True, False), (0.0, 1.0), (1, -1), (26000, 26009)])
@pytest.mark.parametrize("parquet", [True, False])
def test_few_numbers(tmp_path: Path, values: tuple[Any, ...], parquet: bool) -> None:
    content = levels(foo=turns(*values))
    refused(write_table(tmp_path, content if parquet else csv(content)), "column foo .* may say what a row does")
    # on trades alone they change nothing
    trades = content | {"kind": ["trade"] * ROWS}
    assert len(events_of(write_table(tmp_path, trades))[0]) == ROWS


def test_codes_that_only_rise(tmp_path: Path) -> None:
    refused(write_table(tmp_path, csv(levels(foo=[0] * 30 + [1] * 20 + [2] * 10))), "column foo .* may say")


@pytest.mark.parametrize("column", ["code", "source", "leg", "quote", "level"])
def test_names_of_instruments(tmp_path: Path, column: str) -> None:
    names = {column: turns("BTCUSD", "ETHUSD")}
    kinds = {"kind": ["depth"] * ROWS}
    refused(write_table(tmp_path, csv(levels(**kinds, **names))), rf"column {column} .* rename it symbol .*--symbol")
    refused(write_table(tmp_path, csv(books(**names))), rf"column {column} .* rename it symbol and choose one")
    assert len(events_of(write_table(tmp_path, csv(levels(**{column: "BTCUSD"}, kind="depth"))))[0]) == ROWS
    assert books_of(write_table(tmp_path, csv(books(**{column: "BTCUSD"})))).rows == ROWS


@pytest.mark.parametrize("column", ["sym", "asset", "exch", "expiry", "product_code"])
def test_more_names_of_what_a_series_is_of(tmp_path: Path, column: str) -> None:
    path = write_table(tmp_path, csv(books(**{column: turns("A", "B")})))
    refused(path, f"several values in column {column}")
    assert books_of(path, symbol="A").rows == 30


def test_numbers_of_instruments(tmp_path: Path) -> None:
    refused(write_table(tmp_path, csv(books(stock_id=turns(26000, 26009)))), "column stock_id .* instruments")
    refused(write_table(tmp_path, csv(levels(seriesid=turns(*range(9))))), "column seriesid .* instruments apart")


@pytest.mark.parametrize("column", ["is_valid", "valid", "status", "market_state", "bid_valid"])
def test_rows_that_are_not_good(tmp_path: Path, column: str) -> None:
    for content in (levels, books):
        refused(write_table(tmp_path, csv(content(**{column: turns(1, 0)}))), f"column {column} .* which rows are good")
    assert books_of(write_table(tmp_path, csv(books(**{column: 1})))).rows == ROWS


ORDERS = f"""\
timestamp,type,side,price,size,COLUMN
{T0},clear,,,,
{T0},insert,buy,100,3,17
{T0},insert,buy,100,2,12
{T0},insert,sell,101,3,14
{T0 + 10},delete,buy,100,2,12
"""


@pytest.mark.parametrize("column", ["id", "uuid", "ref", "seq_id", "foo", "order"])
@pytest.mark.parametrize("prefix", ["", "x-"])
def test_ids_of_orders(tmp_path: Path, column: str, prefix: str) -> None:
    text = ORDERS.replace("COLUMN", column)
    for number in ("17", "12", "14"):
        text = text.replace(f",{number}\n", f",{prefix}{number}\n")
    refused(write_table(tmp_path, text), f"column {column} .* looks like ids of orders: rename it order_id")
    refused(write_table(tmp_path, ORDERS.replace("COLUMN", "order_no")), "name the column of orders' ids order_id")


def test_what_comes_later_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_columns, "CSV_BLOCK", 400)
    path = write_table(tmp_path, csv(books(valid=[1] * 50 + [0] * 10)))
    refused(path, r"column valid \(0, 1\)")
    refused(write_table(tmp_path, csv(books(leg=["A"] * 50 + ["B"] * 10))), "column leg")
    refused(write_table(tmp_path, csv(levels(foo=["change"] * 50 + ["delete"] * 10))), "column foo")
    feed = open_table(write_table(tmp_path, csv(books(foo=1))), ReadOptions())
    assert isinstance(feed, BookFeed) and sum(chunk.rows for chunk in feed.chunks) == ROWS


HONEST = {
    "seq": np.arange(ROWS),
    "sequence": np.arange(ROWS) // 3,
    "update_id": 5_000_000 + np.arange(ROWS) // 10,
    "last_update_id": np.arange(ROWS),
    "date": "2025-01-01",
    "trading_day": turns("2025-01-01", "2025-01-02"),
    "sent_at": [f"2025-01-01T09:30:{i % 60:02d}Z" for i in range(ROWS)],
    "venue": "XNAS",
    "producer": "abc",
    "one": 1,
    "spread": turns(1.0, 2.0),
    "mid": turns(100.0, 100.5),
    "imbalance": np.arange(ROWS) / ROWS,
    "latency_us": turns(7, 9, 12),
    "comment": turns("ok", "late"),
    "empty": "",
    "hash": [f"{i * 7919 % 10007:x}" for i in range(ROWS)],
    "": np.arange(ROWS),
}


@pytest.mark.parametrize("column", [*HONEST])
def test_harmless_columns_of_both(tmp_path: Path, column: str) -> None:
    more = {column: HONEST[column]}
    assert books_of(write_table(tmp_path, csv(books(**more)))).rows == ROWS
    _, feed = events_of(write_table(tmp_path, csv(levels(**more))))
    assert column == "venue" or any(f"columns not read: {column or '(no name)'}" == note for note in feed.notes)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("num_orders_0", turns(1, 2, 3)),
        ("bid_ct_00", turns(1, 2)),
        ("action", turns("A", "C", "M")),
        ("side", turns("A", "B", "N")),
        ("rtype", turns(1, 10)),
        ("label", turns(-1, 0, 1)),
        ("is_trade", turns("true", "false")),
        ("update_id", np.arange(ROWS) // 3),
    ],
)
def test_harmless_columns_of_books(tmp_path: Path, column: str, values: Any) -> None:
    assert books_of(write_table(tmp_path, csv(books(**{column: values})))).rows == ROWS


def test_columns_that_say_again_what_is_read(tmp_path: Path) -> None:
    content = levels()
    bought, gone = content["side"] == "buy", content["size"] == 0
    more = {
        "is_bid": bought.astype(int),
        "bs": np.where(bought, "B", "S"),
        "how": np.where(gone, "delete", "change"),
        "num_orders": turns(1, 2),
        "level": turns(0, 1, 2),
        "buyer_is_maker": [True, False] * 30,
    }
    path = write_table(tmp_path, csv(content | more | {"kind": "depth"}))
    assert len(events_of(path)[0]) == ROWS


def test_columns_of_trades_among_levels(tmp_path: Path) -> None:
    rows = [f"{T0 + i},depth,buy,{100 - i % 3},1,,,\n" for i in range(40)]
    rows += [f"{T0 + 50 + i},trade,buy,100,1,{i // 2},{'xy'[i % 2]},{i % 2}\n" for i in range(20)]
    path = write_table(tmp_path, "timestamp,kind,side,price,size,trade_id,condition,maker\n" + "".join(rows))
    assert len(events_of(path)[0]) == 60
