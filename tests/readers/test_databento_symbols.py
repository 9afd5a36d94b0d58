"""Which instrument a record is of: numbers by day, rolls, several instruments in one file, and advice that helps."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.databento.dbn import open_dbn
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import find_sources, open_source
from support.databento_files import DAY, START, events_of, header, order, write

# ZZZT has number 38 on the first day, which is AAPL's on the second; AAPL has 32 on the first
REUSED = {"ZZZT": [(0, 1, "38")], "AAPL": [(0, 1, "32"), (1, 2, "38")]}
CHEAP, DEAR = 20_000_000_000, 180_000_000_000


def two_days(path: Path, names: dict = REUSED, **more: str) -> Path:
    rows = [
        order(1, instrument=38, price=CHEAP),
        order(2, instrument=32, price=DEAR),
        order(3, instrument=38, price=CHEAP + 10**7),
        # midnight itself is the second day's: a span ends before its last day
        order(4, instrument=38, price=DEAR, ts_recv=START + DAY),
        order(5, instrument=38, price=DEAR + 10**7, day=1),
    ]
    return write(path, header(names=names, **more), *rows)


def test_a_number_is_another_stocks_on_another_day(tmp_path: Path) -> None:
    path = two_days(tmp_path / "xnas.mbo.dbn")
    for _ in range(3):
        cheap = events_of(open_dbn(path, ReadOptions(symbol="ZZZT")))
        assert cheap["px"].tolist() == [20.0, 20.01]
    feed = open_dbn(path, ReadOptions(symbol="AAPL"))  # one series, though its number changes
    assert events_of(feed)["px"].tolist() == [180.0, 180.0, 180.01]
    assert feed.dropped == {"other instrument": 2}


def test_without_a_symbol_every_instrument_is_a_series(tmp_path: Path) -> None:
    two_days(tmp_path / "xnas.mbo.dbn")
    sources = find_sources([tmp_path])
    assert [(source.name, source.symbol) for source in sources] == [
        ("xnas.mbo-AAPL", "AAPL"),
        ("xnas.mbo-ZZZT", "ZZZT"),
    ]
    assert [len(events_of(open_source(source))) for source in sources] == [3, 2]
    (one,) = find_sources([tmp_path], "ZZZT")
    assert (one.name, one.symbol) == ("xnas.mbo", None)


def test_a_number_as_symbol(tmp_path: Path) -> None:
    path = two_days(tmp_path / "xnas.mbo.dbn")
    feed = open_dbn(path, ReadOptions(symbol="32"))
    assert events_of(feed)["px"].tolist() == [180.0] and feed.notes == ["number 32 is AAPL (2024-01-01)"]
    with pytest.raises(DataError) as caught:
        list(open_dbn(path, ReadOptions(symbol="38")).chunks)
    assert "38 is several instruments (ZZZT on 2024-01-01 and AAPL on 2024-01-02)" in str(caught.value)
    for advised in ("ZZZT", "AAPL"):  # what the error names can be given
        assert len(events_of(open_dbn(path, ReadOptions(symbol=advised))))


@pytest.mark.parametrize(("stype", "symbol"), [("continuous", "ES.c.0"), ("parent", "ES.FUT")])
def test_a_roll_is_one_stream_per_contract(tmp_path: Path, stype: str, symbol: str) -> None:
    path = two_days(tmp_path / "es.mbo.dbn", {symbol: [(0, 1, "38"), (0, 1, "32"), (1, 2, "38")]}, stype_in=stype)
    sources = find_sources([tmp_path])
    assert [source.symbol for source in sources] == [f"{symbol}-32", f"{symbol}-38"]
    assert [len(events_of(open_source(source))) for source in sources] == [1, 4]
    with pytest.raises(DataError, match=rf"{re.escape(symbol)} is several contracts \(.*-32 = 32, .*-38 = 38\)"):
        open_dbn(path, ReadOptions(symbol=symbol))
    assert len(events_of(open_dbn(path, ReadOptions(symbol="32")))) == 1


def test_days_that_the_header_does_not_know(tmp_path: Path) -> None:
    path = two_days(tmp_path / "x.dbn", {"ZZZT": [(0, 1, "38")]})
    feed = open_dbn(path)
    assert events_of(feed)["px"].tolist() == [20.0, 20.01]
    assert feed.dropped == {"instrument number without a symbol on its day": 3}
    path = write(tmp_path / "none.dbn", header(), order(1, day=9), order(2, day=9))
    with pytest.raises(DataError, match=r"no record has a symbol on its day \(instrument numbers 7\); give the number"):
        open_dbn(path)
    feed = open_dbn(path, ReadOptions(symbol="7"))
    assert len(events_of(feed)) == 2 and feed.notes == ["number 7 is without a symbol (2024-01-10)"]


def test_without_mappings_numbers_are_the_instruments(tmp_path: Path) -> None:
    path = two_days(tmp_path / "x.dbn", {})
    with pytest.raises(DataError, match=r"several instruments \(32, 38\)"):
        list(open_dbn(path).chunks)
    assert [source.symbol for source in find_sources([path])] == ["32", "38"]
    alone = write(tmp_path / "alone.dbn", header(names={}), order(1), order(2))
    assert [source.symbol for source in find_sources([alone])] == ["7"]
    assert len(events_of(open_dbn(alone))) == 2


def test_two_names_of_one_contract(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dbn", header(names={"ES.c.0": "7", "ES.v.0": "7"}), order(1), order(2))
    for symbol in ("ES.c.0", "ES.v.0", "ES.v.0-7", "7"):
        assert len(events_of(open_dbn(path, ReadOptions(symbol=symbol)))) == 2


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
    one = write(tmp_path / "one.dbn", header(names=names), order(1))
    with pytest.raises(DataError, match="no records of 'NQ/H4'"):
        open_dbn(one, ReadOptions(symbol="NQ/H4"))
    assert [source.symbol for source in find_sources([one])] == ["ESH4"]  # of those that it has records of


def test_too_many_instruments_for_a_series_each(tmp_path: Path) -> None:
    names = {f"S{k:03}": str(k) for k in range(1, 102)}
    path = write(tmp_path / "all.dbn", header(names=names), *(order(k, instrument=k) for k in range(1, 102)))
    (source,) = find_sources([path])
    with pytest.raises(DataError, match=r"several instruments \(S001 = 1, .*, \.\.\.\); expected one, choose it"):
        open_source(source)


def test_one_instrument_at_two_venues(tmp_path: Path) -> None:
    path = write(tmp_path / "venues.dbn", header(), order(1), order(2, publisher=39))
    with pytest.raises(DataError, match=r"one instrument at several venues \(publishers 1 and 39\).*split the file"):
        open_dbn(path)


def test_the_day_of_a_record_is_the_utc_date_it_was_received(tmp_path: Path) -> None:
    late = order(1, instrument=38, price=CHEAP, ts_recv=START + DAY, ts_event=START + DAY - 1)
    path = write(tmp_path / "x.dbn", header(names=REUSED), late)
    assert np.isclose(events_of(open_dbn(path, ReadOptions(symbol="AAPL")))["px"], 20.0).all()


def test_a_header_that_maps_numbers_to_symbols(tmp_path: Path) -> None:
    names = {"38": [(0, 1, "ZZZT"), (1, 2, "AAPL")], "32": [(0, 1, "AAPL")]}
    path = two_days(tmp_path / "x.dbn", names, stype_in="instrument_id", stype_out="raw_symbol")
    assert events_of(open_dbn(path, ReadOptions(symbol="ZZZT")))["px"].tolist() == [20.0, 20.01]
    assert len(events_of(open_dbn(path, ReadOptions(symbol="AAPL")))) == 3


def test_a_symbol_of_digits_is_not_taken_for_a_number(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dbn", header(names={"700": "7", "7": "8"}), order(1), order(2, instrument=8))
    assert events_of(open_dbn(path, ReadOptions(symbol="700")))["order_id"].tolist() == [1]
    with pytest.raises(DataError, match=r"7 is several instruments \(700 on 2024-01-01 and 7 on 2024-01-01\)"):
        list(open_dbn(path, ReadOptions(symbol="7")).chunks)
