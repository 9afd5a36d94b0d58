"""Databento's records in Parquet, in the layout of its client's `to_parquet`: every way to tell prices and times."""

from __future__ import annotations

import gzip
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.databento.parquet_form import open_databento_parquet
from nanoarb_jax.readers.databento.values import prices
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.sources import find_sources, open_source, recognise
from support.databento_files import START, books_of, events_of

pa = pytest.importorskip("pyarrow", reason="needs the package pyarrow")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs the package pyarrow")


def orders(n: int = 4, **more: Any) -> dict[str, Any]:
    """Columns of mbo, with timestamps and prices as doubles."""
    stamps = pa.array(START + np.arange(n) * 1000, pa.timestamp("ns", "UTC"))
    return {
        "ts_recv": stamps,
        "ts_event": stamps,
        "rtype": pa.array([160] * n, pa.uint8()),
        "publisher_id": pa.array([1] * n, pa.uint16()),
        "instrument_id": pa.array([7] * n, pa.uint32()),
        "action": ["R"] + ["A"] * (n - 1),
        "side": ["N"] + ["B", "A", "B"] * n,
        "price": pa.array([None, 0.1, 0.3, -0.7], pa.float64()),
        "size": pa.array([0, 1, 2, 3], pa.uint32()),
        "channel_id": pa.array([0] * n, pa.uint8()),
        "order_id": pa.array([0, 1, 2, 2**64 - 1], pa.uint64()),
        "flags": pa.array([8, 128, 128, 128], pa.uint8()),
        "symbol": ["ESH4"] * n,
    } | more


def write_table(path: Path, columns: dict[str, Any]) -> Path:
    n = len(columns["ts_event"])
    parquet.write_table(pa.table({name: column[:n] for name, column in columns.items()}), path)
    return path


FIXED = pa.array([EMPTY_PRICE, 100_000_000, 300_000_000, -700_000_000], pa.int64())
WAYS: dict[str, dict[str, Any]] = {
    "doubles": {},
    "nan": {"price": pa.array([float("nan"), 0.1, 0.3, -0.7])},
    "integers": {"price": FIXED},
    "decimals": {"price": pa.array([None, *map(Decimal, ("0.1", "0.3", "-0.7"))], pa.decimal128(18, 9))},
    "floats of 32 bits": {"price": pa.array([None, 0.1, 0.3, -0.7], pa.float32())},
    "text": {"price": [None, "0.1", "0.3", "-0.7"]},
    "whole ns": {name: pa.array(START + np.arange(4) * 1000, pa.uint64()) for name in ("ts_recv", "ts_event")},
    "words in a dictionary": {name: pa.array(orders()[name][:4]).dictionary_encode() for name in ("action", "symbol")},
}


@pytest.mark.parametrize("way", WAYS)
def test_orders(tmp_path: Path, way: str) -> None:
    path = write_table(tmp_path / "es.parquet", orders(**WAYS[way]))
    assert recognise(path) == "databento-parquet"
    (source,) = find_sources([path])
    feed = open_source(source)
    events = events_of(feed)
    assert isinstance(feed, EventFeed) and (feed.format, feed.tick_size) == ("databento-parquet-mbo", 0.1)
    assert np.isnan(events["px"][0]) and events["px"][1:].tolist() == [0.1, 0.3, -0.7]
    assert (events["local_ts"] - START).tolist() == [0, 1000, 2000, 3000] and events["order_id"][3] == 2**64 - 1


@given(st.integers(-(10**18), 10**18))
def test_a_double_is_the_price_that_was_meant(price: int) -> None:
    """Exactly, as long as a double of fifteen digits can tell it."""
    digits = 10 ** max(0, len(str(abs(price))) - 15)
    price = price // digits * digits
    met = prices(pa.array([float(Decimal(price).scaleb(-9)), None]), "price", False)
    assert met.tolist() == [price, EMPTY_PRICE]


def test_books(tmp_path: Path) -> None:
    columns = orders() | {"rtype": pa.array([1] * 4, pa.uint8()), "action": ["A", "T", "T", "A"], "side": list("BNBA")}
    columns |= {"bid_px_00": [1.0, 1.1, 1.1, None], "ask_px_00": [1.2, 1.2, 1.3, 1.2]}
    columns |= {name: pa.array([1, 1, 1, 0], pa.uint32()) for name in ("bid_sz_00", "ask_sz_00")}
    feed = open_databento_parquet(write_table(tmp_path / "es.parquet", columns))
    books = books_of(feed)
    assert feed.format == "databento-parquet-mbp-1" and books.tick_size == 0.1
    assert books.bought is not None and books.unsided is not None
    assert (books.bought.tolist(), books.unsided.tolist()) == ([0, 2, 0], [1, 0, 0])
    assert books.bid_px[-1, 0] == EMPTY_PRICE


def test_several_instruments(tmp_path: Path) -> None:
    columns = orders(symbol=["ESH4", "ESH4", "ESM4", "ESM4"], instrument_id=pa.array([7, 7, 8, 8], pa.uint32()))
    path = write_table(tmp_path / "es.parquet", columns)
    sources = find_sources([path])
    assert [source.symbol for source in sources] == ["ESH4", "ESM4"]
    assert [len(events_of(open_source(source))) for source in sources] == [2, 2]
    with pytest.raises(DataError, match=r"several instruments \(ESH4 = 7, ESM4 = 8\)"):
        open_databento_parquet(path)
    assert len(events_of(open_databento_parquet(path, ReadOptions(symbol="8")))) == 2


def test_in_an_archive_or_compressed_as_a_whole(tmp_path: Path) -> None:
    data = write_table(tmp_path / "es.parquet", orders()).read_bytes()
    (tmp_path / "es.parquet.gz").write_bytes(gzip.compress(data))
    with zipfile.ZipFile(tmp_path / "es.zip", "w") as archive:
        archive.writestr("es.parquet", data)
    for name in ("es.parquet.gz", "es.zip"):
        (source,) = find_sources([tmp_path / name])
        assert source.format == "databento-parquet" and len(events_of(open_source(source))) == 4


@pytest.mark.parametrize(
    ("change", "met"),
    [
        ({"action": None}, "no column 'action'"),
        ({"price": ["a", "b", "c", "d"]}, "column 'price'"),
        ({"size": [-1, 0, 0, 0]}, "column 'size'"),
        ({"ts_recv": [1, 2, 3, 4]}, "column 'ts_recv': time 1 lies between 1980 and 2100 in no unit"),
        ({"side": ["N", "BA", "A", "B"]}, "column 'side': 'BA'; expected one letter"),
        ({"price": pa.array([None, 1e300, 1.0, 1.0])}, "column 'price'"),
        ({"price": pa.array([None, float("inf"), 1.0, 1.0])}, "column 'price'"),
    ],
)
def test_errors(tmp_path: Path, change: dict[str, Any], met: str) -> None:
    columns = {name: column for name, column in orders(**change).items() if column is not None}
    with pytest.raises(DataError, match=met) as caught:
        list(open_databento_parquet(write_table(tmp_path / "es.parquet", columns)).chunks)
    assert "\n" not in str(caught.value)


def test_a_table_of_another_maker_is_left_to_the_others(tmp_path: Path) -> None:
    columns = {name: column for name, column in orders().items() if name != "publisher_id"}
    assert recognise(write_table(tmp_path / "t.parquet", columns)) == "table"
