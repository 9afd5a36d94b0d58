"""Which format a file has, and which files are one series: on all of the real data, and on small ones."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import BUY, DEPTH, EVENT
from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions
from nanoarb_jax.readers.sources import FORMATS, find_sources, open_source, recognise
from nanoarb_jax.simulation.market import synthetic_books, synthetic_events
from support.examples import examples

pyarrow = pytest.importorskip("pyarrow", reason="needs the package pyarrow")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs the package pyarrow")

Found = list[tuple[str, str, list[str]]]

_COINBASE = [f"l2update_15min_{k}.csv.xz" for k in (1, 2, 3, 4)]
_COINBASE += ["request_log.csv.xz", "snapshot_asks.csv.xz", "snapshot_bids.csv.xz"]
_ALONE = {  # folders where every file is a series: format, names without their endings
    "cme_es": (
        "databento-dbn",
        ".dbn.zst",
        [
            "esh4-glbx-mdp3-20231224.mbo",
            "esh4-glbx-mdp3-20231225.mbo",
            "futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02",
            "orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02",
        ],
    ),
    "databento_tiny": (
        "databento-dbn",
        ".dbn.zst",
        [f"test_data.{schema}" for schema in ("mbo", "mbp-1", "mbp-10")],
    ),
    "nasdaq_arl": ("databento-csv", ".csv.xz", ["mbo", "mbp"]),
    "bitstamp_btcusd_2015": ("bitstamp", ".csv.bz2", ["orders_24h"]),
}
FOLDERS: dict[str, Found] = {
    **{folder: [(n, kind, [n + end]) for n in names] for folder, (kind, end, names) in _ALONE.items()},
    "coinbase_btcusd": [("coinbase_btcusd", "coinbase", _COINBASE)],
    "lobster": [
        (
            "AAPL_2012-06-21_first1000_orderbook_10",
            "lobster",
            ["AAPL_2012-06-21_first1000_orderbook_10.csv.xz", "AAPL_2012-06-21_first1000_message_10.csv.xz"],
        ),
        (
            "AMZN_2012-06-21_34200000_57600000_orderbook_1",
            "lobster",
            ["AMZN_2012-06-21_34200000_57600000_orderbook_1.csv.xz"],
        ),
    ],
    **{
        f"binance/{market}": [
            (f"{s}_2024080{days[-1]}", "binance", [f"{s}_2024080{k}.gz" for k in days]) for s in series
        ]
        for market, series, days in (
            ("spot", ["btcusdt", "ethusdt"], (8, 9)),
            ("cm", ["btcusd_perp", "ethusd_perp"], (8, 9)),
        )
    },
    "binance/usdm": [
        (f"{s}_{days[-1]}", "binance", [f"{s}_{day}.gz" for day in days])
        for s in ("btcusdt", "ethusdt")
        for days in ((20240718, 20240719), (20240808,))  # a hole of three weeks: two series
    ],
}


def found(*paths: Path) -> Found:
    return [(source.name, source.format, [file.name for file in source.files]) for source in find_sources(paths)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_folders(shared: Path, folder: str) -> None:
    assert found(shared / "data" / folder) == FOLDERS[folder]


def test_real_books(shared: Path) -> None:
    folder = shared / "data" / "derived_top10"
    assert found(folder) == [(path.stem, "book-npz", [path.name]) for path in sorted(folder.glob("*.npz"))]
    (source,) = find_sources([folder / "binance_spot_btcusdt_20240809.npz"])
    feed = open_source(source._replace(name="another"))
    assert isinstance(feed, BookFeed) and feed.name == "another"
    assert sum(books.rows for books in feed.chunks) == 6103


def test_several_folders_at_once(shared: Path) -> None:
    """Spot and USD-M have series of one name: both get their folder's."""
    names = [source.name for source in find_sources([shared / "data" / "binance" / m for m in ("spot", "usdm")])]
    assert names == [
        "btcusdt_20240809",
        "ethusdt_20240809",
        "btcusdt_20240719",
        "btcusdt_20240808",
        "ethusdt_20240719",
        "ethusdt_20240808",
    ]
    same = [shared / "data" / "binance" / m / "btcusdt_20240808.gz" for m in ("spot", "usdm")]
    assert [source.name for source in find_sources(same)] == ["spot_btcusdt_20240808", "usdm_btcusdt_20240808"]


LINE = '1723161253937085768 {"stream":"x"}\n'


def days(folder: Path, *names: str) -> list[list[str]]:
    for name in names:
        (folder / name).write_text(LINE)
    return [files for _, _, files in found(folder)]


def test_days_that_follow_each_other(tmp_path: Path) -> None:
    files = ["a_20231231", "a_20240101.gz", "a_20240103", "a_20240229", "a_20240301", "b-2024-02-28", "b_2024-02-29"]
    expected = [files[:2], [files[2]], files[3:5], files[5:]]
    assert days(tmp_path, *files) == expected
    # whatever the order they are named in, and once each
    (tmp_path / "more").mkdir()
    paths = [tmp_path / name for name in (*files[::-1], *files)]
    assert sorted(group for _, _, group in found(*paths)) == sorted(expected)


def test_names_without_a_day(tmp_path: Path) -> None:
    files = ["a", "a_2024", "a_20240230", "a_20240231", "a_99999999", "x20240101"]
    assert days(tmp_path, *files) == [[name] for name in files]


def test_same_names(tmp_path: Path) -> None:
    for folder in ("spot", "usdm"):
        (tmp_path / folder).mkdir()
        days(tmp_path / folder, "a", "b")
    both = [name for name, _, _ in found(tmp_path / "spot", tmp_path / "usdm" / "a")]
    assert both == ["spot_a", "b", "usdm_a"]
    (tmp_path / "spot" / "a.gz").write_text(LINE)
    with pytest.raises(DataError, match=r"2 sources are called 'spot_a'; rename one"):
        found(tmp_path / "spot")
    # the same file named twice is one
    assert len(found(tmp_path / "usdm", tmp_path / "usdm" / "a")) == 2


def test_lobster_pairs(tmp_path: Path) -> None:
    names = [f"A_2012-06-21_{kind}_1.csv" for kind in ("orderbook", "message")]
    for name in names:
        (tmp_path / name).write_text("1,2,3,4\n")
    (tmp_path / "B_2012-06-21_orderbook_1.csv").write_text("1,2,3,4\n")
    pair, alone = ("A_2012-06-21_orderbook_1", "lobster", names), "B_2012-06-21_orderbook_1"
    assert found(tmp_path) == [pair, (alone, "lobster", [f"{alone}.csv"])]
    assert found(*(tmp_path / name for name in names[::-1])) == [pair]
    assert found(tmp_path / names[1]) == [pair]
    (tmp_path / names[0]).unlink()
    with pytest.raises(DataError, match=r"no A_2012-06-21_orderbook_1.csv beside it; LOBSTER messages need their"):
        found(tmp_path / names[1])


UNKNOWN = {
    "text": b"no market data\n",
    "empty": b"",
    "blank": b"\n\n",
    "json": b'{"a": 1}\n',
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for content in (UNKNOWN[name], gzip.compress(UNKNOWN[name])):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not recognised \(.*\); expected one of book-npz, ") as caught:
            recognise(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "deeper").mkdir()
    (tmp_path / "folder" / ".hidden").write_text(LINE)
    with pytest.raises(DataError, match="only folders in it, name these"):
        found(tmp_path)
    with pytest.raises(DataError, match="only folders in it, name these"):
        found(tmp_path / "folder")
    with pytest.raises(DataError, match="a folder without files"):
        found(tmp_path / "folder" / "deeper")
    with pytest.raises(DataError, match="no such file or folder"):
        found(tmp_path / "folder" / ".hidden", tmp_path / "none")
    with pytest.raises(DataError, match="no sources; name at least one"):
        find_sources([])


def books(rows: int = 3) -> BookSeries:
    level = np.arange(10) + np.zeros((rows, 1), np.int64)
    size = np.full((rows, 10), 5)
    return BookSeries(np.arange(rows), 100 - level, size, 101 + level, size, 4.0, 1.0, 1, "mine")


def mixed(folder: Path) -> dict[str, str]:
    """A small file of nearly every format: what each should be recognised as."""
    write_book_npz(folder / "a.npz", books())
    events = np.zeros(2, EVENT)
    events["ev"], events["px"], events["local_ts"] = DEPTH | BUY, [10, 10.25], 10**18
    np.savez(folder / "b.npz", data=events)
    np.save(folder / "c.npy", events)
    texts = {
        "d.gz": ("binance", LINE),
        "e.csv": ("databento-csv", "ts_recv,ts_event,rtype,publisher_id,instrument_id,order_id\n"),
        "f.csv": ("bitstamp", "id,timestamp,exchange.timestamp,price\n"),
        "G_2012-06-21_orderbook_1.csv": ("lobster", "5859400,200,5853300,18\n"),
        "h.txt": ("fi2010", "  1.0e+00" * 12 + "\n"),
        "i.csv": ("table", "ts_ns,bid_px_0\n1,2\n"),
        "j.parquet": ("table", "PAR1"),
        "k.dbn": ("databento-dbn", "DBN\3"),
        "snapshot_bids.csv": ("coinbase", "side,price,size\n"),
        "okx.jsonl": ("okx", '1735700000 {"arg":{"channel":"books","instId":"A"},"data":[]}\n'),
        "m.jsonl": ("kraken", '1735700000 {"channel":"book","data":[{"symbol":"A"}]}\n'),
        "n.jsonl": ("coinbase-advanced", '1735700000 {"channel":"l2_data","events":[]}\n'),
        "o.jsonl": ("bybit", '1735700000 {"topic":"orderbook.1.A","type":"delta","ts":1,"data":{}}\n'),
        "p.jsonl": ("hyperliquid", '1735700000 {"channel":"l2Book","data":{"coin":"A","time":1,"levels":[[],[]]}}\n'),
        "q.jsonl": ("mexc", '1735700000 {"c":"spot@public.limit.depth.v3.api@A","d":{},"s":"A","t":1}\n'),
        "r.csv": ("tardis", "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"),
        "s.csv": (
            "tardis-books",
            "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount\n",
        ),
        "t.csv": ("binance-history", "symbol,timestamp,side,update_type,price,qty\n"),
    }
    for name, (_, text) in texts.items():
        (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    columns = {name: [1] for name in ("ts_event", "publisher_id", "instrument_id", "order_id")}
    parquet.write_table(pyarrow.table(columns), folder / "z.parquet")
    numpy = {"z.parquet": "databento-parquet", "a.npz": "book-npz", "b.npz": "hftbacktest", "c.npy": "hftbacktest"}
    return numpy | {name: kind for name, (kind, _) in texts.items()}


def test_a_folder_of_many_formats(tmp_path: Path) -> None:
    expected = mixed(tmp_path)
    assert set(expected.values()) == set(FORMATS)
    assert {path.name: recognise(path) for path in tmp_path.iterdir()} == expected
    assert {files[0]: kind for _, kind, files in found(tmp_path)} == expected
    by_name = {source.name: source for source in find_sources([tmp_path])}
    feed = open_source(by_name["b"])
    assert isinstance(feed, EventFeed) and (feed.name, feed.tick_size) == ("b", 0.25)
    for name in expected:  # names say nothing where the bytes do
        if not name.startswith("G_"):
            shutil.copy(tmp_path / name, tmp_path / "renamed")
            assert recognise(tmp_path / "renamed") == expected[name]


@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files(tmp_path: Path, data: st.DataObject) -> None:
    """Any bytes: a format, or one clear error; opening it likewise."""
    folder = tmp_path / "whole"
    if not folder.exists():
        folder.mkdir()
        mixed(folder)
    path = data.draw(st.sampled_from(sorted(p for p in folder.iterdir() if p.suffix != ".parquet")))
    content = path.read_bytes()
    damaged = bytearray(content[: data.draw(st.integers(0, len(content)))])
    for bit in data.draw(st.lists(st.integers(0, 8 * len(content) - 1), max_size=3)):
        if bit // 8 < len(damaged):
            damaged[bit // 8] ^= 1 << bit % 8
    victim = tmp_path / path.name
    victim.write_bytes(damaged)
    try:
        assert recognise(victim) in FORMATS
        for source in find_sources([victim]):
            list(open_source(source).chunks)
    except DataError as error:
        assert "\n" not in str(error)


def test_options_that_do_not_apply_are_refused(tmp_path: Path) -> None:
    write_book_npz(tmp_path / "a.npz", synthetic_books(50, 0))
    (source,) = find_sources([tmp_path / "a.npz"])
    for name, value in (("tick_size", 7.0), ("lot_size", 1.0), ("symbol", "ES")):
        with pytest.raises(DataError, match="does not apply to book-npz files"):
            open_source(source, ReadOptions(**{name: value}))
    np.save(tmp_path / "e.npy", synthetic_events(1_000, 0))
    (events,) = find_sources([tmp_path / "e.npy"])
    with pytest.raises(DataError, match="--tick-size 0: expected a number above 0"):
        open_source(events, ReadOptions(tick_size=0))
