"""Captures of OKX, Kraken and Coinbase: the true book after every message, gaps, checksums, lines that are foreign."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import BUY, KIND_MASK, LAST, MAYBE_BAD_BOOK, SELL, TRADE
from nanoarb_jax.readers.captures.kraken import Kraken
from nanoarb_jax.readers.captures.lines import number, parse_json
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.sources import find_sources, open_source
from support.captures import STEP, T0, Book, Message, copied, lines_of, market, ranked, write
from support.examples import examples

EXCHANGES = ["okx", "kraken", "coinbase-advanced"]
CHECKED = ["okx", "kraken"]
SIZES = ReadOptions(0.1, 1e-8)


def opened(path: Path, options: ReadOptions = SIZES) -> EventFeed:
    source = find_sources([path], options.symbol)[0]
    feed = open_source(source, options)
    assert isinstance(feed, EventFeed)
    return feed


def read(path: Path, options: ReadOptions = SIZES) -> tuple[NDArray[np.void], EventFeed]:
    feed = opened(path, options)
    return np.concatenate(list(feed.chunks)), feed


def a_market(exchange: str, count: int = 60, seed: int = 0) -> list[Message]:
    return list(market(count, seed, depth=10 if exchange == "kraken" else None))


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("seed", range(3))
def test_the_true_book_after_every_message(tmp_path: Path, exchange: str, seed: int) -> None:
    messages = a_market(exchange, 150, seed)
    path = write(tmp_path / "btc_20250101.jsonl", lines_of(exchange, messages))
    events, feed = read(path)
    assert (feed.format, feed.name) == (exchange, "btc_20250101")
    assert feed.dropped == {}
    books = sum(message.kind != "trade" for message in messages)
    assert feed.notes == ([f"checksums: {books} right, 0 wrong"] if exchange in CHECKED else [])
    ends = np.flatnonzero(events["ival"] & 128) + 1
    assert len(ends) == len(messages)
    book, start = OrderBook(tick_size=0.1, lot_size=1e-8), 0
    for i, (message, end) in enumerate(zip(messages, ends, strict=True)):
        book.apply_all(events[start:end])
        assert (events["local_ts"][start:end] == T0 + i * STEP + 3_000_000).all()
        assert (events["exch_ts"][start:end] == T0 + i * STEP).all()
        assert book.depth == (len(message.book["bids"]), len(message.book["asks"]))
        top = book.top(10)
        for side, px, lots in (("bids", top.bid_px, top.bid_lots), ("asks", top.ask_px, top.ask_lots)):
            best = ranked(side, message.book[side])[:10]
            assert [round(ticks / 10, 1) for ticks in px[: len(best)].tolist()] == best
            assert [f"{q / 1e8:.8f}" for q in lots[: len(best)].tolist()] == [message.book[side][p] for p in best]
        start = end
    trades = events[events["ev"] & np.uint64(KIND_MASK) == TRADE]
    told = [(BUY if m.levels[0][0] == "buy" else SELL, m.levels[0][2]) for m in messages if m.kind == "trade"]
    assert [(int(t["ev"]) & (BUY | SELL), f"{t['qty']:.8f}") for t in trades] == told


def test_kraken_s_published_example() -> None:
    """The book and the checksum of Kraken's guide."""
    asks = (
        "45285.2:0.00100000 45286.4:1.54571953 45286.6:1.54571109 45289.6:1.54560911 45290.2:0.15890660 "
        "45291.8:1.54553491 45294.7:0.04454749 45296.1:0.35380000 45297.5:0.09945542 45299.5:0.18772827"
    )
    bids = (
        "45283.5:0.10000000 45283.4:1.54582015 45282.1:0.10000000 45281.0:0.10000000 45280.3:1.54592586 "
        "45279.0:0.07990000 45277.6:0.03310103 45277.5:0.30000000 45277.3:1.54602737 45276.6:0.15445238"
    )
    sides = [[tuple(level.split(":")) for level in side.split()] for side in (bids, asks)]
    kraken = Kraken()
    levels = [[{"price": px, "qty": qty} for px, qty in side] for side in sides]
    data = [{"symbol": "BTC/USD", "bids": levels[0], "asks": levels[1], "checksum": "3310070434"}]
    (change,) = kraken.decode({"channel": "book", "type": "snapshot", "data": data}, "x")
    assert kraken.checksum("BTC/USD", *sides) == 3310070434 == change.checksum


def test_kraken_s_numbers_without_trailing_zeros(tmp_path: Path) -> None:
    """A capture that a JSON library wrote anew."""
    lines = [json.dumps(json.loads(line)) for line in lines_of("kraken", a_market("kraken"))]
    assert any("e-0" in line for line in [*lines, "e-0"])
    _, feed = read(write(tmp_path / "a.jsonl", lines))
    assert feed.notes[-1].endswith(" right, 0 wrong")


def test_kraken_s_subscribed_depth(tmp_path: Path) -> None:
    """A thin book in a subscription of 25 levels is not cut at 10."""
    messages = list(market(40, 5, depth=25, levels=9))
    answer = {"method": "subscribe", "result": {"channel": "book", "depth": 25, "symbol": "BTC/USD"}, "success": True}
    lines = lines_of("kraken", messages)
    events, feed = read(write(tmp_path / "a.jsonl", [json.dumps(answer), *lines]))
    assert feed.notes[-1].endswith(" right, 0 wrong") and feed.dropped == {"foreign message": 1}
    book = OrderBook(tick_size=0.1, lot_size=1e-8)
    book.apply_all(events)
    assert book.depth == (len(messages[-1].book["bids"]), len(messages[-1].book["asks"]))


@pytest.mark.parametrize("depth", [10, 25, 100])
@pytest.mark.parametrize("levels", [3, 8, 10, 24, 25])
def test_kraken_s_depth_that_nothing_says(tmp_path: Path, depth: int, levels: int) -> None:
    """The snapshot of a thin book fits several depths: the best ten levels are right after every message."""
    messages = list(market(400, 7, depth=depth, levels=levels))
    events, feed = read(write(tmp_path / "a.jsonl", lines_of("kraken", messages)))
    assert feed.notes[-1].endswith(" right, 0 wrong") and not (events["ival"] & MAYBE_BAD_BOOK).any()
    book, start = OrderBook(tick_size=0.1, lot_size=1e-8), 0
    ends = np.flatnonzero(events["ival"] & 128) + 1
    for message, end in zip(messages, ends, strict=True):
        book.apply_all(events[start:end])
        top = book.top(10)
        for side, px, lots in (("bids", top.bid_px, top.bid_lots), ("asks", top.ask_px, top.ask_lots)):
            best = ranked(side, message.book[side])[:10]
            assert [round(ticks / 10, 1) for ticks in px[: len(best)].tolist()] == best
            assert [f"{q / 1e8:.8f}" for q in lots[: len(best)].tolist()] == [message.book[side][p] for p in best]
        start = end


def test_a_thin_book_of_kraken_grows_and_shrinks(tmp_path: Path) -> None:
    """25 levels, of which the snapshot holds 8: levels 11 to 20 are there when the better ones go."""
    book: Book = {"bids": {60000.0 - i: "1.00000000" for i in range(8)}, "asks": {60001.0: "1.00000000"}}
    messages = [Message("snapshot", [(side, px, qty) for side in book for px, qty in book[side].items()], copied(book))]
    for px, qty in [(60000.0 - i, "2.00000000") for i in range(8, 20)] + [(60000.0 - i, "0") for i in range(15)]:
        if qty == "0":
            del book["bids"][px]
        else:
            book["bids"][px] = qty
        messages.append(Message("update", [("bids", px, qty)], copied(book)))
    events, feed = read(write(tmp_path / "a.jsonl", lines_of("kraken", messages)))
    assert feed.notes == [f"checksums: {len(messages)} right, 0 wrong"]
    built = OrderBook(tick_size=0.1, lot_size=1e-8)
    built.apply_all(events)
    assert built.depth == (5, 1)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_lost_message_is_a_gap(tmp_path: Path, exchange: str) -> None:
    """By the sequence at once, by the checksum behind the next update; a snapshot mends it."""
    messages = [m for m in a_market(exchange, 40) if m.kind != "trade"]
    lines = lines_of(exchange, [*messages, Message("snapshot", snapshot_of(messages[-1]), messages[-1].book)])
    del lines[10]
    events, feed = read(write(tmp_path / "a.jsonl", lines))
    ends = np.flatnonzero(events["ival"] & 128)
    bad = np.flatnonzero(events["ival"] & MAYBE_BAD_BOOK)
    assert len(bad) == 1
    assert int(np.searchsorted(ends, bad[0])) == (11 if exchange == "kraken" else 10)
    if exchange in CHECKED:
        wrong, right = (1, 11) if exchange == "kraken" else (0, 11)
        after = len(messages) - 1 - 10 - wrong
        assert feed.notes == [f"checksums: {right} right, {wrong} wrong, {after} after a gap not compared"]
    book = OrderBook(tick_size=0.1, lot_size=1e-8)
    book.apply_all(events)
    assert book.anomalies["gap"] == 1
    assert book.depth == (len(messages[-1].book["bids"]), len(messages[-1].book["asks"]))


def snapshot_of(message: Message) -> list[tuple[str, float, str]]:
    return [(side, px, qty) for side in message.book for px, qty in message.book[side].items()]


@pytest.mark.parametrize("exchange", CHECKED)
def test_a_wrong_checksum_is_counted_and_marks_a_gap(tmp_path: Path, exchange: str) -> None:
    messages = [m for m in a_market(exchange, 20) if m.kind != "trade"]
    lines = lines_of(exchange, messages)
    message = json.loads(lines[5])
    message["data"][0]["checksum"] ^= 1
    lines[5] = json.dumps(message) if exchange == "okx" else lines[5].replace('"checksum":', '"checksum":1')
    events, feed = read(write(tmp_path / "a.jsonl", lines))
    assert feed.notes == [f"checksums: 5 right, 1 wrong, {len(messages) - 6} after a gap not compared"]
    bad = np.flatnonzero(events["ival"] & MAYBE_BAD_BOOK)
    assert np.searchsorted(np.flatnonzero(events["ival"] & 128), bad).tolist() == [6]


def test_okx_since_it_sends_no_checksums(tmp_path: Path) -> None:
    """Since 2026 the field is 0; sequence numbers prove alone. A push without changes keeps its number."""
    lines = lines_of("okx", [m for m in a_market("okx", 20) if m.kind != "trade"])
    messages = [json.loads(line) for line in lines]
    for message in messages:
        message["data"][0]["checksum"] = 0
    idle = {**messages[4], "data": [{**messages[4]["data"][0], "bids": [], "asks": []}]}
    idle["data"][0]["prevSeqId"] = idle["data"][0]["seqId"]
    messages.insert(5, idle)
    events, feed = read(write(tmp_path / "a.jsonl", [json.dumps(message) for message in messages]))
    assert feed.notes == ["no checksums were sent"]
    assert not (events["ival"] & MAYBE_BAD_BOOK).any()


def test_okx_channels_that_hold_the_same(tmp_path: Path) -> None:
    lines = lines_of("okx", a_market("okx", 30))
    both = [copy for line in lines for copy in (line, line.replace('"books"', '"books-l2-tbt"'))]
    small = lines[0].replace('"books"', '"books5"').replace('"action": "snapshot", ', "")
    both = [copy for line in both for copy in (line, small)]
    both = [line.replace('"trades"', '"trades-all"') if i % 4 == 2 else line for i, line in enumerate(both)]
    events, feed = read(write(tmp_path / "both.jsonl", both))
    alone, _ = read(write(tmp_path / "alone.jsonl", lines))
    names = ["ev", "px", "qty", "exch_ts", "ival"]
    assert events[names].tolist() == alone[names].tolist() or np.array_equal(events["px"], alone["px"], equal_nan=True)
    assert feed.dropped["another channel of the same (books-l2-tbt)"] > 0
    assert feed.dropped["another channel of the same (books5)"] == len(lines) * 2


def test_coinbase_counts_all_messages_of_the_connection(tmp_path: Path) -> None:
    """A heartbeat that is missing is a message that is missing; one that is there is foreign."""
    messages = a_market("coinbase-advanced", 10)
    lines = lines_of("coinbase-advanced", messages)
    heartbeat = json.dumps({"channel": "heartbeats", "sequence_num": 4, "events": [{"heartbeat_counter": 1}]})
    after = [json.dumps({**json.loads(line), "sequence_num": i}) for i, line in enumerate(lines[4:], 5)]
    events, feed = read(write(tmp_path / "a.jsonl", [*lines[:4], heartbeat, *after]))
    assert feed.dropped == {"foreign message": 1} and not (events["ival"] & MAYBE_BAD_BOOK).any()
    events, _ = read(write(tmp_path / "b.jsonl", [*lines[:4], *after]))
    assert (events["ival"] & MAYBE_BAD_BOOK != 0).sum() == 1


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_one_instrument_of_several(tmp_path: Path, exchange: str) -> None:
    first, second = (lines_of(exchange, a_market(exchange, 20, seed), name) for seed, name in ((1, "A-B"), (2, "C-D")))
    if exchange == "coinbase-advanced":  # one connection counts both
        mixed = [
            json.dumps({**json.loads(line), "sequence_num": i})
            for i, line in enumerate(sum(zip(first, second, strict=True), ()))
        ]
    else:
        mixed = list(sum(zip(first, second, strict=True), ()))
    path = write(tmp_path / "both.jsonl", mixed)
    with pytest.raises(DataError, match=r"A-B and of C-D; choose one .* --symbol"):
        read(path)
    for name, lines in (("a-b", first), ("C-D", second)):
        events, feed = read(path, SIZES._replace(symbol=name))
        alone, _ = read(write(tmp_path / "alone.jsonl", lines))
        for field in ("ev", "px", "qty", "ival"):
            np.testing.assert_array_equal(events[field], alone[field])
        assert feed.dropped == {"another symbol": len(lines)}
    with pytest.raises(DataError, match=r"no snapshot of E-F.*another symbol"):
        read(path, SIZES._replace(symbol="E-F"))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_lines_that_are_no_market_data(tmp_path: Path, exchange: str) -> None:
    lines = lines_of(exchange, a_market(exchange, 20))
    answers = ['{"event":"subscribe"}', '{"event":"error","msg":"x","code":"1"}', "[]", '[{"a":1},2]', "{}"]
    odd = [lines[0], *answers, f"[{lines[1]}]", *lines[2:]]
    path = write(tmp_path / "a.jsonl", odd)
    plain, _ = read(write(tmp_path / "b.jsonl", lines))
    text = path.read_text().replace(" {", "  { ", 3)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\n\n" + text.splitlines()[-1].encode()[:50])
    events, feed = read(path)
    assert feed.dropped == {"foreign message": 5, "truncated last line": 1}
    np.testing.assert_array_equal(events["px"], plain["px"])
    path.write_text(text + "this is no JSON\n" + text)
    with pytest.raises(
        DataError, match=rf"{exchange} .*a.jsonl, line {len(odd) + 1}: 'this is no JSON' ... is malformed"
    ):
        read(path)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_updates_before_the_snapshot(tmp_path: Path, exchange: str) -> None:
    lines = lines_of(exchange, a_market(exchange, 20))
    _, feed = read(write(tmp_path / "a.jsonl", [*lines[3:6], *lines]))
    assert feed.dropped == {"before the first snapshot": 3}
    with pytest.raises(DataError, match=r"no snapshot of .*; put the file that holds it before this one"):
        read(write(tmp_path / "b.jsonl", lines[3:]))


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize(("unit", "name"), [(10**3, "µs"), (10**6, "ms"), (10**9, "s")])
def test_units_of_local_times(tmp_path: Path, exchange: str, unit: int, name: str) -> None:
    events, feed = read(write(tmp_path / "a.jsonl", lines_of(exchange, a_market(exchange, 20)), unit))
    assert feed.notes[0] == f"local times are in {name}"
    assert int(events["local_ts"][0]) == (T0 + 3_000_000) // unit * unit
    path = tmp_path / "a.jsonl"
    path.write_text(path.read_text().replace(f"{T0 // unit}"[:5], "99999", 1))
    with pytest.raises(DataError, match=r"line 1, local time: time 99999\d+ lies between 1980 and 2100 in no unit"):
        read(path)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_consecutive_days_are_one_feed(tmp_path: Path, exchange: str) -> None:
    lines = lines_of(exchange, a_market(exchange, 20))
    text = write(tmp_path / "all.jsonl", lines).read_text().splitlines(keepends=True)
    whole, _ = read(tmp_path / "all.jsonl")
    folder = tmp_path / "days"
    folder.mkdir()
    (folder / "btc_20250101.jsonl").write_text("".join(text[:9]))
    (folder / "btc_20250102.jsonl").write_text("".join(text[9:]))
    (source,) = find_sources([folder])
    events = np.concatenate(list(open_source(source, SIZES).chunks))  # type: ignore[arg-type]
    assert events.tobytes() == whole.tobytes()


@pytest.mark.parametrize("text", ["1e400", "nan", "", "1_0", "0x1", "1" * 400, None, True, [1]])
def test_no_numbers(text: object) -> None:
    with pytest.raises(ValueError):
        number(text)


def test_deep_json() -> None:
    with pytest.raises(ValueError):
        parse_json(b"[" * 100_000)


TOKENS = ["null", '"x"', "-1", "[]", "{}", "1e999", '""', "true", "NaN", "[[]]", '{"a":1}', "9" * 40]


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(EXCHANGES), st.data())
def test_mutated_captures(tmp_path: Path, exchange: str, data: st.DataObject) -> None:
    """A value, a byte or the end is changed: an error of ours in one line, or events."""
    lines = lines_of(exchange, list(market(6, 1, depth=3)))
    text = "".join(f"{T0 + i * STEP} {line}\n" for i, line in enumerate(lines))
    if data.draw(st.booleans()):
        message = json.loads(lines[data.draw(st.integers(0, 3))])
        at, key, parent = message, None, None
        while isinstance(at, dict | list) and at and data.draw(st.integers(0, 5)):
            parent, key = at, data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else list(range(len(at)))))
            at = parent[key]
        if parent is not None:
            parent[key] = "@@"
        changed = json.dumps(message if parent is not None else "@@").replace(
            '"@@"', data.draw(st.sampled_from(TOKENS))
        )
        row = data.draw(st.integers(0, 3))
        text = "".join(f"{T0 + i * STEP} {changed if i == row else line}\n" for i, line in enumerate(lines))
    raw = bytearray(text.encode())
    for _ in range(data.draw(st.integers(0, 2))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzz.jsonl"
    path.write_bytes(raw[: data.draw(st.integers(1, len(raw)))])
    try:
        read(path)
    except DataError as error:
        assert "\n" not in str(error)


def okx_line(k: int, channel: str, action: str | None = "update") -> str:
    data = {"asks": [["101", "5", "0", "1"]], "bids": [["100", str(k + 1), "0", "1"]], "ts": str(1_735_700_000_000 + k)}
    more = {} if action is None else {"action": action}
    ids = {"seqId": k, "prevSeqId": k - 1 if action == "update" else -1}
    message = {"arg": {"channel": channel, "instId": "BTC-USDT"}, **more, "data": [data | ids]}
    return f"{1_735_700_000_000_000_000 + k * 10**6} {json.dumps(message)}\n"


def test_okx_reads_the_channel_that_holds_the_book(tmp_path: Path) -> None:
    """The one with the most lines of those that begin with a snapshot; small books only where they are alone."""
    updates = [okx_line(k, "books") for k in range(2, 40)]
    stopped = [okx_line(0, "books50-l2-tbt", "snapshot"), okx_line(1, "books", "snapshot"), *updates]
    no_snapshot = [okx_line(1, "books50-l2-tbt", "snapshot"), okx_line(2, "books50-l2-tbt"), *updates]
    small = [okx_line(k, "books5", None) for k in range(9)]
    for lines, messages, notes in (
        (stopped, 39, []),
        (no_snapshot, 2, []),
        (small, 9, ["books of the channel books5, whole at every message"]),
        ([*small, *stopped], 39, []),
    ):
        path = tmp_path / "okx.txt"
        path.write_text("".join(lines))
        feed = open_source(find_sources([path])[0])
        events = np.concatenate(list(feed.chunks))
        assert (events["ival"] & LAST > 0).sum() == messages
        assert feed.notes == [*notes, "no checksums were sent"]


def test_a_note_on_many_foreign_messages(tmp_path: Path) -> None:
    path = tmp_path / "okx.txt"
    foreign = ['1735700000000000000 {"e":"kline"}\n'] * 10
    path.write_text(
        "".join([okx_line(0, "books", "snapshot"), *[okx_line(k, "books") for k in range(1, 10)], *foreign])
    )
    feed = open_source(find_sources([path])[0])
    assert len(list(feed.chunks)) == 1
    assert '50 % of the messages are foreign, the first begins {"e":"kline"}' in feed.notes
