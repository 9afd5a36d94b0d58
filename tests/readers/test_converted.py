"""What hftbacktest's converters read: the true book after every message of a market made here."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import BOTH_SEE, BUY, EVENT, EXCH_EVENT, KIND_MASK, LAST, LOCAL_EVENT, SELL, TRADE
from nanoarb_jax.readers.converted.event_order import order_events
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.sources import find_sources, open_source
from support.captures import STEP, T0, Book, Message, market, ranked, write
from support.examples import examples

pytest.importorskip("hftbacktest")
SIZES = ReadOptions(0.1, 1e-8)
US, MS = 1_000, 1_000_000
LATE = 3 * MS  # between the exchange and the receiver


def read(paths: Sequence[Path], options: ReadOptions = SIZES) -> tuple[NDArray[np.void], EventFeed]:
    (source,) = find_sources(paths, options.symbol)
    feed = open_source(source, options)
    assert isinstance(feed, EventFeed)
    return np.concatenate(list(feed.chunks)), feed


def check(events: NDArray[np.void], messages: list[Message], late: int = LATE, levels: int = 10) -> None:
    """The book, as it is received, after every message."""
    seen = events[events["ev"] & np.uint64(LOCAL_EVENT) != 0]
    ends = np.flatnonzero(seen["ival"] & LAST) + 1
    assert len(ends) == len(messages)
    book, start = OrderBook(tick_size=0.1, lot_size=1e-8), 0
    for i, (message, end) in enumerate(zip(messages, ends, strict=True)):
        book.apply_all(seen[start:end])
        assert (seen["local_ts"][start:end] == T0 + i * STEP + late).all()
        top = book.top(levels)
        for side, px, lots in (("bids", top.bid_px, top.bid_lots), ("asks", top.ask_px, top.ask_lots)):
            best = ranked(side, message.book[side])[:levels]
            assert [round(ticks / 10, 1) for ticks in px[: len(best)].tolist()] == best
            assert [f"{q / 1e8:.8f}" for q in lots[: len(best)].tolist()] == [message.book[side][p] for p in best]
        start = end
    trades = seen[seen["ev"] & np.uint64(KIND_MASK) == TRADE]
    told = [(BUY if m.levels[0][0] == "buy" else SELL, m.levels[0][2]) for m in messages if m.kind == "trade"]
    assert [(int(t["ev"]) & (BUY | SELL), f"{t['qty']:.8f}") for t in trades] == told
    assert not any(n for kind, n in book.anomalies.items() if kind not in ("one_sided", "locked"))


def whole(book: Book) -> list[tuple[str, float, str]]:
    return [(side, px, book[side][px]) for side in book for px in ranked(side, book[side])]


def with_snapshot(messages: list[Message]) -> list[Message]:
    """A snapshot in the middle of another book: the market went on while nobody listened."""
    other = list(market(30, 99))[-1]
    return [
        *messages,
        Message("snapshot", whole(other.book), other.book),
        Message(
            "update",
            [("bids", 60000.0, "1.00000000")],
            {**other.book, "bids": {**other.book["bids"], 60000.0: "1.00000000"}},
        ),
    ]


def tardis_rows(messages: list[Message], symbol: str = "BTCUSDT", unit: int = US) -> tuple[list[list], list[list]]:
    book, trades = [], []
    for i, message in enumerate(messages):
        times = [(T0 + i * STEP) // unit, (T0 + i * STEP + LATE) // unit]
        for side, px, qty in message.levels:
            if message.kind == "trade":
                trades.append(["x", symbol, *times, i, side, px, qty])
            else:
                book.append(["x", symbol, *times, str(message.kind == "snapshot").lower(), side[:3], px, qty])
    return book, trades


def tardis_files(
    folder: Path, book: list[list], trades: list[list], name: str = "x_{}_2025-01-01_BTCUSDT.csv.gz"
) -> list[Path]:
    headers = {
        "incremental_book_L2": "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount",
        "trades": "exchange,symbol,timestamp,local_timestamp,id,side,price,amount",
    }
    paths = []
    for (kind, header), rows in zip(headers.items(), (book, trades), strict=True):
        path = folder / name.format(kind)
        text = "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
        paths.append(path)
    return paths


def test_tardis(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    messages = with_snapshot(list(market(60)))
    book, trades = tardis_files(tmp_path, *tardis_rows(messages))
    for named in ([book, trades], [tmp_path], [book]):  # a book file finds its trades
        events, feed = read(named)
        check(events, messages)
        assert (feed.name, feed.format, dict(feed.dropped)) == ("x_2025-01-01_BTCUSDT", "tardis", {})
        assert feed.notes == ["converted by hftbacktest, which reads files whole"]
    assert capfd.readouterr().out == ""
    with pytest.raises(DataError, match="trades alone; expected incremental_book_L2"):
        read([trades])


def test_tardis_shifts_and_cuts_are_told(tmp_path: Path) -> None:
    """A local time before the exchange's shifts all; a snapshot that ends the file is left out by the converter."""
    messages = list(market(20))
    book, trades = tardis_rows(messages)
    for row in trades + book:
        row[3] = row[2] - 2_000
    ending, _ = tardis_rows([messages[0]])
    for row in ending:
        row[2], row[3] = row[2] + 10**9, row[3] + 10**9
    events, feed = read(tardis_files(tmp_path, book + ending, trades)[:1])
    check(events, messages, late=0)
    assert feed.notes[1] == "local times are 2,000,000 ns later than in the file, where one lay before the exchange's"
    assert feed.dropped == {"level of a snapshot that ends the file": 60}


def test_tardis_files_of_several_symbols(tmp_path: Path) -> None:
    messages, others = list(market(20)), list(market(20, 7))
    rows = [mine + theirs for mine, theirs in zip(tardis_rows(messages), tardis_rows(others, "ETHUSDT"), strict=True)]
    files = tardis_files(tmp_path, *rows)
    with pytest.raises(
        DataError, match=r"several symbols \(BTCUSDT, ETHUSDT\); choose one, on the command line --symbol"
    ):
        read(files)
    events, _ = read(files, SIZES._replace(symbol="BTCUSDT"))
    check(events, messages)


@pytest.mark.parametrize(
    ("column", "cell", "text"),
    [
        (2, 1_735_700_000_000, "is not in µs"),
        (4, "maybe", "is_snapshot 'maybe'"),
        (5, "up", "side 'up'"),
        (6, "x", "price"),
        (7, "", "amount"),
        (1, "", "symbol"),
    ],
)
def test_tardis_cells(tmp_path: Path, column: int, cell: object, text: str) -> None:
    book, trades = tardis_rows(list(market(20)))
    book[9][column] = cell
    with pytest.raises(DataError, match=text) as caught:
        read(tardis_files(tmp_path, book, trades)[:1])
    assert "\n" not in str(caught.value)


def test_without_hftbacktest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tardis_files(tmp_path, *tardis_rows(list(market(5))))
    monkeypatch.setitem(sys.modules, "hftbacktest.data.utils.tardis", None)
    with pytest.raises(DataError, match=r"pip install 'nanoarb-jax\[backtest\]'"):
        read(files)


def test_tardis_books(tmp_path: Path) -> None:
    messages = [m for m in market(40) if len(m.book["bids"]) > 25 < len(m.book["asks"])]
    path = tmp_path / "x_book_snapshot_25_2025-01-01_BTCUSDT.csv"
    fields = [f"{side}[{i}].{what}" for i in range(25) for side in ("asks", "bids") for what in ("price", "amount")]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["exchange", "symbol", "timestamp", "local_timestamp", *fields])
        for i, message in enumerate(messages):
            levels = {}
            for side in ("asks", "bids"):
                for k, px in enumerate(ranked(side, message.book[side])[:25]):
                    levels |= {f"{side}[{k}].price": px, f"{side}[{k}].amount": message.book[side][px]}
            times = [(T0 + i * STEP) // US, (T0 + i * STEP + LATE) // US]
            writer.writerow(["x", "BTCUSDT", *times, *(levels[name] for name in fields)])
    (source,) = find_sources([path])
    books, report = read_books(source, DataConfig())
    assert report.format == "tardis-books" and books.tick_size == 0.1
    ours = {int(ts): row for row, ts in enumerate(books.ts_ns)}
    assert len(ours) > 10
    for i, message in enumerate(messages):
        row = ours.get(T0 + i * STEP + LATE)
        if row is None:  # the clock saw no change
            continue
        for side, px, lots in (("bids", books.bid_px, books.bid_lots), ("asks", books.ask_px, books.ask_lots)):
            best = ranked(side, message.book[side])[:10]
            assert [round(p / books.px_scale, 1) for p in px[row].tolist()] == best
            told = [f"{q / books.lots_per_unit:.8f}" for q in lots[row].tolist()]
            assert told == [message.book[side][p] for p in best]
    exchange, _ = read_books(source, DataConfig(timestamps="exchange"))
    assert (exchange.ts_ns == books.ts_ns - LATE).all()
    path.write_text(path.read_text().replace(str(T0 // US), str(T0 // MS), 1))
    with pytest.raises(DataError, match="is not in µs"):
        read_books(source, DataConfig(timestamps="exchange"))


def bybit_line(message: Message, i: int, depth: int = 50, symbol: str = "BTCUSDT") -> str:
    ts = (T0 + i * STEP) // MS
    if message.kind == "trade":
        side, px, qty = message.levels[0]
        data = [{"T": ts, "s": symbol, "S": side.title(), "v": qty, "p": str(px), "i": "x", "BT": False}]
        return json.dumps({"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": ts, "data": data})
    levels = {
        key: [[str(px), qty] for s, px, qty in message.levels if s == side]
        for key, side in (("b", "bids"), ("a", "asks"))
    }
    kind = "snapshot" if message.kind == "snapshot" else "delta"
    return json.dumps(
        {
            "topic": f"orderbook.{depth}.{symbol}",
            "type": kind,
            "ts": ts,
            "data": {"s": symbol, **levels, "u": i, "seq": i},
            "cts": ts,
        }
    )


def hyperliquid_line(message: Message, i: int, symbol: str = "BTC") -> str:
    ms = (T0 + i * STEP) // MS
    if message.kind == "trade":
        side, px, qty = message.levels[0]
        return json.dumps(
            {
                "channel": "trades",
                "data": [
                    {
                        "coin": symbol,
                        "side": "B" if side == "buy" else "A",
                        "px": str(px),
                        "sz": qty,
                        "time": ms,
                        "tid": i,
                    }
                ],
            }
        )
    levels = [
        [{"px": str(px), "sz": message.book[side][px], "n": 1} for px in ranked(side, message.book[side])[:20]]
        for side in ("bids", "asks")
    ]
    return json.dumps({"channel": "l2Book", "data": {"coin": symbol, "time": ms, "levels": levels}})


def mexc_line(message: Message, i: int, symbol: str = "BTCUSDT") -> str:
    ms = (T0 + i * STEP) // MS
    if message.kind == "trade":
        side, px, qty = message.levels[0]
        channel, data = "deals", {"deals": [{"p": str(px), "v": qty, "S": 1 if side == "buy" else 2, "t": ms}]}
    else:
        channel = "limit.depth" if message.kind == "snapshot" else "increase.depth"
        data = {
            side: [{"p": str(px), "v": qty} for s, px, qty in message.levels if s == side] for side in ("bids", "asks")
        }
    return json.dumps({"c": f"spot@public.{channel}.v3.api@{symbol}", "d": data, "s": symbol, "t": ms})


LINES = {"bybit": bybit_line, "hyperliquid": hyperliquid_line, "mexc": mexc_line}


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


def history_files(folder: Path, messages: list[Message], unit: int = MS) -> None:
    rows: dict[str, list[list]] = {"snap": [], "set": [], "trade": []}
    for i, message in enumerate(messages):
        time = (T0 + i * STEP) // unit
        for side, px, qty in message.levels:
            if message.kind == "trade":
                rows["trade"].append([i, px, qty, 1, time, str(side == "sell").lower()])
            else:
                kind = "snap" if message.kind == "snapshot" else "set"
                rows[kind].append(["BTCUSDT", time, i, i, i, side[0], kind, px, qty])
    header = [
        "symbol",
        "timestamp",
        "trans_id",
        "first_update_id",
        "last_update_id",
        "side",
        "update_type",
        "price",
        "qty",
    ]
    names = {
        "snap": "BTCUSDT_T_DEPTH_2025-01-01_depth_snap.csv",
        "set": "BTCUSDT_T_DEPTH_2025-01-01_depth_update.csv",
        "trade": "BTCUSDT-trades-2025-01-01.csv",
    }
    for kind, name in names.items():
        with (folder / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                header if kind != "trade" else ["id", "price", "qty", "quote_qty", "time", "is_buyer_maker"]
            )
            writer.writerows(rows[kind])


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
