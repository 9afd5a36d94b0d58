"""What hftbacktest's converters read: the true book after every message of a market made here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import BOTH_SEE, EVENT, EXCH_EVENT, LOCAL_EVENT
from nanoarb_jax.readers.converted.event_order import order_events
from support.captures import STEP, T0, Message, market, ranked, write
from support.converted import (
    LATE,
    LINES,
    MS,
    SIZES,
    US,
    bybit_line,
    check,
    history_files,
    hyperliquid_line,
    read,
    tardis_files,
    tardis_rows,
    whole,
    with_snapshot,
)
from support.examples import examples

pytest.importorskip("hftbacktest")


@pytest.mark.parametrize("exchange", LINES)
def test_captures(tmp_path: Path, exchange: str, capfd: pytest.CaptureFixture[str]) -> None:
    messages = with_snapshot(list(market(60, 3)))
    lines = [LINES[exchange](message, i) for i, message in enumerate(messages)]
    events, feed = read([write(tmp_path / "a.jsonl", lines)])
    if exchange == "mexc":  # float64 cannot hold such times exactly
        events["local_ts"] = T0 + np.rint((events["local_ts"] - T0 - LATE) / STEP).astype(np.int64) * STEP + LATE
    if exchange == "hyperliquid":
        changed = [
            i for i, m in enumerate(messages) if m.kind == "trade" or i == 0 or top20(m) != top20(previous(messages, i))
        ]
        assert set(((events["local_ts"] - T0) // STEP).tolist()) == set(changed)
    else:
        check(events, messages)
    assert feed.format == exchange and feed.dropped == {}
    assert "sequence numbers are not checked" in feed.notes
    assert capfd.readouterr().out == ""


def previous(messages: list[Message], i: int) -> Message:
    return next(m for m in messages[i - 1 :: -1] if m.kind != "trade")


def top20(message: Message) -> list:
    return [(px, message.book[side][px]) for side in ("bids", "asks") for px in ranked(side, message.book[side])[:20]]


def test_hyperliquid_s_books(tmp_path: Path) -> None:
    messages = [m for m in market(60, 4) if m.kind != "trade"]
    messages = [m for i, m in enumerate(messages) if i == 0 or top20(m) != top20(messages[i - 1])]
    events, _ = read([write(tmp_path / "a.jsonl", [hyperliquid_line(m, i) for i, m in enumerate(messages)])])
    check(events, messages)


def test_bybit_s_deepest_book_is_read(tmp_path: Path) -> None:
    messages = [m for m in market(40) if m.kind != "trade"]
    lines = [bybit_line(message, i) for i, message in enumerate(messages)]
    best = [bybit_line(Message("snapshot", whole(m.book)[:1], m.book), i, depth=1) for i, m in enumerate(messages)]
    path = write(tmp_path / "a.jsonl", [line for pair in zip(best, lines, strict=True) for line in pair])
    events, feed = read([path])
    assert feed.dropped == {"shallower book (1 levels)": len(messages)}
    alone, _ = read([write(tmp_path / "b.jsonl", lines)])
    np.testing.assert_array_equal(events["px"], alone["px"])


@pytest.mark.parametrize("exchange", LINES)
def test_one_instrument_of_several(tmp_path: Path, exchange: str) -> None:
    messages = list(market(20))
    lines = [LINES[exchange](m, i, symbol=symbol) for i, m in enumerate(messages) for symbol in ("AAA", "BBB")]
    path = write(tmp_path / "a.jsonl", lines)
    with pytest.raises(DataError, match="messages of AAA and of BBB; choose one"):
        read([path])
    _, feed = read([path], SIZES._replace(symbol="bbb"))
    assert feed.dropped == {"another symbol": len(messages)}


@pytest.mark.parametrize("unit", [MS, US])
def test_binance_s_history(tmp_path: Path, unit: int, capfd: pytest.CaptureFixture[str]) -> None:
    messages = with_snapshot(list(market(60, 2)))
    history_files(tmp_path, messages, unit)
    events, feed = read([tmp_path])
    check(events, messages, late=0)
    assert (feed.name, feed.format) == ("BTCUSDT_2025-01-01", "binance-history")
    assert feed.notes[1:] == ["no local times, the exchange's stand for them", "update ids are not checked"]
    assert capfd.readouterr().out == ""
    with pytest.raises(DataError, match="trades alone"):
        read([tmp_path / "BTCUSDT-trades-2025-01-01.csv"])


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["tardis", "history", *LINES]), st.data())
def test_mutated_files(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    messages = list(market(6, 1, depth=3))
    folder = tmp_path / "fuzz"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    if kind == "tardis":
        path = tardis_files(folder, *tardis_rows(messages), name="x_{}_2025-01-01_B.csv")[0]
    elif kind == "history":
        history_files(folder, messages)
        path = folder / "BTCUSDT_T_DEPTH_2025-01-01_depth_snap.csv"
    else:
        path = write(folder / "a.jsonl", [LINES[kind](m, i) for i, m in enumerate(messages)])
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 2))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(1, len(raw)))])
    try:
        read([path])
    except DataError as error:
        assert "\n" not in str(error)


_MANY_TIMES = """
import sys
from pathlib import Path

import numpy as np

from nanoarb_jax.readers.sources import find_sources, open_source

random = np.random.default_rng(0)
for _ in range(int(sys.argv[2])):
    junk = [random.bytes(int(random.integers(1, 200_000))) for _ in range(20)]  # so that memory is not all zeros
    list(open_source(find_sources([Path(sys.argv[1])])[0]).chunks)
"""


@pytest.mark.parametrize("exchange", ["bybit", "tardis", "tardis with trades"])
def test_the_last_local_times_go_back(tmp_path: Path, exchange: str) -> None:
    """hftbacktest's own ordering of such events reads beyond its arrays and may end the interpreter."""
    messages = list(market(8, 1, depth=3))
    last, back = len(messages) - 1, (3, 2, 1)
    if exchange == "bybit":
        path = write(tmp_path / "a.jsonl", [bybit_line(m, i) for i, m in enumerate(messages)])
        line = bybit_line(Message("update", [("bids", 59990.0, "1")], messages[-1].book), last)
        with path.open("a") as file:
            file.writelines(f"{T0 + last * STEP + LATE + ms * MS} {line}\n" for ms in back)
        notes = ["2 local times go back, events are put in the order of these times"]
    else:
        book, trades = tardis_rows(messages)
        time = (T0 + last * STEP) // US
        for ms in back if exchange == "tardis" else (1,):
            book.append(["x", "BTCUSDT", time, time + 10_000 + 1000 * ms, "false", "bid", 59990.0, "1"])
        if exchange == "tardis":
            trades, notes = [], ["2 local times go back, events are put in the order of these times"]
        else:  # each file is in order; trades, read first, come before levels of the same exchange time
            trades.append(["x", "BTCUSDT", time, time + 20_000, 99, "buy", 60000.0, "1"])
            notes = []
        path = tardis_files(tmp_path, book, trades)[0]
    done = subprocess.run([sys.executable, "-c", _MANY_TIMES, str(path), "60"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    events, feed = read([path])
    assert [note for note in feed.notes if "go back" in note] == notes
    for time, place in (("exch_ts", EXCH_EVENT), ("local_ts", LOCAL_EVENT)):
        assert (np.diff(events[time][events["ev"] & np.uint64(place) != 0]) >= 0).all()


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_events_in_the_order_of_both_clocks(times: list[tuple[int, int]]) -> None:
    """Each event once for each place, in the place's order, and told once where both orders allow it."""
    data = np.zeros(len(times), EVENT)
    data["exch_ts"], data["local_ts"] = np.array(times, np.int64).reshape(-1, 2).T
    data["order_id"] = np.arange(len(times))
    orders = {name: np.argsort(data[name], kind="stable") for name in ("exch_ts", "local_ts")}
    events = order_events(data, orders["exch_ts"], orders["local_ts"])
    for name, place in (("exch_ts", EXCH_EVENT), ("local_ts", LOCAL_EVENT)):
        assert events["order_id"][events["ev"] & np.uint64(place) != 0].tolist() == orders[name].tolist()
    assert (events["ev"] & np.uint64(BOTH_SEE) != 0).all()
    if (orders["exch_ts"] == orders["local_ts"]).all():
        assert len(events) == len(data)
