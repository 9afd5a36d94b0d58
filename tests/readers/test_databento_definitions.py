"""Files beside the data: definitions give tick size and expiry; others are named and left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.feed import EventFeed, Feed
from nanoarb_jax.readers.sources import find_sources, open_source
from support.databento_files import DAY, START, book, books_of, dbn, definition, events_of, header, order, write

MARCH_15 = START + 74 * DAY


def the_feed(folder: Path) -> Feed:
    (source,) = find_sources([folder])
    return open_source(source)


def test_tick_size_and_expiry(tmp_path: Path) -> None:
    write(tmp_path / "es.mbo.dbn", header(), order(1), order(2, price=11_250_000_000))
    rows = [definition(8, "NQH4", 250_000_000), definition(7, "ESH4", 250_000_000, expiry=MARCH_15)]
    write(tmp_path / "es.definition.dbn", header("definition"), *rows)
    feed = the_feed(tmp_path)
    # of 10.25 and 11.25 alone it would be 1
    assert isinstance(feed, EventFeed) and (feed.tick_size, feed.lot_size) == (0.25, 1.0)
    assert feed.notes == ["ESH4: tick size 0.25, expires 2024-03-15, by es.definition.dbn"]


def test_by_number_only_on_the_same_day(tmp_path: Path) -> None:
    rows = [definition(7, "OTHER", 10_000_000, day=-1), definition(7, "ESH4", 250_000_000)]
    write(tmp_path / "es.mbo.dbn", header(names={}), order(1), order(2, price=11_250_000_000))
    write(tmp_path / "es.definition.dbn", header("definition"), *rows)
    assert the_feed(tmp_path).notes == ["ESH4: tick size 0.25, by es.definition.dbn"]


def test_the_definition_that_holds_when_the_data_begin(tmp_path: Path) -> None:
    rows = [definition(7, "ESH4", tick, day) for day, tick in ((5, 10**6), (-3, 10**7), (0, 25 * 10**7), (9, 10**8))]
    write(tmp_path / "es.mbo.dbn", header(), order(1))
    write(tmp_path / "es.definition.dbn", header("definition"), *rows)
    feed = the_feed(tmp_path)
    assert isinstance(feed, EventFeed) and feed.tick_size == 0.25


def test_a_tick_size_that_contradicts_the_prices(tmp_path: Path) -> None:
    write(tmp_path / "es.mbp.dbn", header("mbp-1"), book(1, 10.13, 10.38))
    write(tmp_path / "es.definition.dbn", header("definition"), definition(7, "ESH4", 250_000_000))
    feed = the_feed(tmp_path)
    assert feed.notes[1] == "the definition's tick size contradicts the price 10.13"
    # 10.13 and 10.38 are 25 times 0.01 apart, and their greatest common divisor is 0.01
    assert books_of(feed).tick == 10_000_000


@pytest.mark.parametrize("tick", [0, -1, 2**63 - 1])
def test_a_definition_without_a_tick_size(tmp_path: Path, tick: int) -> None:
    write(tmp_path / "es.mbo.dbn", header(), order(1), order(2, price=10_500_000_000))
    write(tmp_path / "es.definition.dbn", header("definition"), definition(7, "ESH4", tick, expiry=MARCH_15))
    feed = the_feed(tmp_path)
    assert isinstance(feed, EventFeed) and feed.tick_size == 0.25
    assert feed.notes == ["ESH4: no tick size, expires 2024-03-15, by es.definition.dbn"]


def test_as_csv(tmp_path: Path) -> None:
    names = "ts_recv,ts_event,rtype,publisher_id,instrument_id,raw_symbol,min_price_increment,expiration\n"
    cells = "2024-01-01T00:00:00Z,2024-01-01T00:00:00Z,19,1,7,ESH4,0.250000000,2024-03-15T13:30:00Z\n"
    (tmp_path / "es.definition.csv").write_text(names + cells)
    names = "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,price,size,order_id,flags,symbol\n"
    cells = "2024-01-01T00:00:00Z,2024-01-01T00:00:00Z,160,1,7,A,B,10.000000000,5,1,128,ESH4\n"
    (tmp_path / "es.mbo.csv").write_text(names + cells)
    feed = the_feed(tmp_path)
    assert isinstance(feed, EventFeed) and feed.tick_size == 0.25
    assert feed.notes == ["ESH4: tick size 0.25, expires 2024-03-15, by es.definition.csv"]


def test_other_schemas_beside_the_data(tmp_path: Path) -> None:
    write(tmp_path / "es.mbo.dbn", header(), order(1))
    write(tmp_path / "es.status.dbn", header("status"), bytes(dbn.StatusMsg(1, 7, START, START)))
    write(tmp_path / "es.trades.dbn", header("trades"))
    feed = the_feed(tmp_path)
    assert feed.notes == ["left alone beside it: es.status.dbn, es.trades.dbn (no orders or books, and no definitions)"]
    assert len(events_of(feed)) == 1
    with pytest.raises(DataError, match=r"es.status.dbn: no orders or books in it; name the market data"):
        find_sources([tmp_path / "es.status.dbn"])


def test_a_damaged_definition_file(tmp_path: Path) -> None:
    write(tmp_path / "es.mbo.dbn", header(), order(1))
    write(tmp_path / "es.definition.dbn", header("definition"), definition(7, "ESH4", 1)[:99])
    with pytest.raises(DataError, match=r"es.definition.dbn: cut within a record"):
        the_feed(tmp_path)


def test_the_real_folder(shared: Path) -> None:
    sources = find_sources([shared / "data" / "cme_es"])
    assert [len(source.companions) for source in sources] == [3] * 4
    notes = {source.name[:11]: open_source(source).notes for source in sources}
    assert notes["futures_mbp"] == ["ESU4: tick size 0.25, expires 2024-09-20, by futures_definition.dbn.zst"]
    assert notes["orderbooks_"] == ["ESM4: tick size 0.25, expires 2024-06-21, by orderbooks_definition.dbn.zst"]
    assert notes["esh4-glbx-m"] == ["no definition of ESH4 in the files beside it"]
