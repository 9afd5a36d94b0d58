"""The scanner of Binance lines against a plain twin on a JSON library: real feeds and generated lines."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.market.event import BBO, BUY, DEPTH, DEPTH_SNAPSHOT, EVENT, SELL, TRADE
from nanoarb_jax.readers.binance import message as of
from nanoarb_jax.readers.binance.scan import scan
from nanoarb_jax.readers.compression import open_bytes
from support.examples import examples

T0 = 1_723_161_253_937_085_768
IDS = ("kind", "local_ts", "exch_ts", "first_id", "last_id", "previous_id", "trade_id")
Read = list[tuple[tuple[int, ...], list[tuple[int, float, float, int, int, int]]]]


def scanned(lines: list[bytes]) -> Read:
    """Messages' kinds, times and ids, each with its events."""
    data = b"".join(line.rstrip(b"\n") + b"\n" for line in lines)
    messages, events = np.zeros(len(lines), of.MESSAGE), np.zeros(len(data) // 10 + 2, EVENT)
    scratch = np.zeros(1, of.LINE_STATE)
    _, count, filled, malformed = scan(np.frombuffer(data, np.uint8), 0, len(data), messages, 0, events, 0, scratch)
    assert (count, malformed) == (len(lines), 0), lines[count]
    fields = events[["ev", "px", "qty", "order_id", "exch_ts", "local_ts"]][:filled].tolist()
    assert not events["ival"].any() and not events["fval"].any()
    spans = messages[["begin", "end"]].tolist()
    return [(ids, fields[slice(*span)]) for ids, span in zip(messages[[*IDS]].tolist(), spans, strict=True)]


def twin(line: bytes) -> tuple[tuple[int, ...], list[tuple[int, float, float, int, int, int]]]:
    """The same by a JSON library."""
    time, _, text = line.partition(b" ")
    whole: dict[str, Any] = json.loads(text)
    message = whole.get("data", whole)
    event, stream = message.get("e"), whole.get("stream", "@").split("@")[1]
    last, number = message.get("lastUpdateId", message.get("u", -1)), message.get("t", -1)
    first, side = message.get("U", -1), {"b": BUY, "a": SELL, "bids": BUY, "asks": SELL}
    kind = of.OTHER
    if event not in (None, "depthUpdate", "trade", "aggTrade", "bookTicker") or stream == "kline_1m":
        pass
    elif "lastUpdateId" in message or "U" in message:
        kind = of.BOOK if "lastUpdateId" in message else of.DIFF
        kind = {"depth5": of.PARTIAL, "rpiDepth": of.RPI}.get(stream, kind)
    elif event == "aggTrade":
        kind, first, last, number = of.AGGREGATE, message["f"], message["l"], message["a"]
    elif "t" in message and {"p", "q"} <= message.keys():
        kind = of.DEAL if message.get("X", "MARKET") == "MARKET" else of.OFF_BOOK
    elif {"u", "b", "B", "a", "A"} <= message.keys():
        kind = of.TICKER
    levels: list[tuple[int, str, str]] = []
    if kind in (of.BOOK, of.DIFF, of.PARTIAL, of.RPI):
        code = DEPTH_SNAPSHOT if kind in (of.BOOK, of.PARTIAL) else DEPTH
        levels = [(code | side[key], *level) for key in message if key in side for level in message[key]]
    elif kind in (of.DEAL, of.OFF_BOOK, of.AGGREGATE):
        levels = [(TRADE | (SELL if message["m"] else BUY), message["p"], message["q"])]
    elif kind == of.TICKER:
        levels = [(BBO | BUY, message["b"], message["B"]), (BBO | SELL, message["a"], message["A"])]
    local, exchange = int(time), 0 if kind == of.OTHER else message.get("T", message.get("E", 0)) * 1_000_000
    ids = (kind, local, exchange, first, last, message.get("pu", -1), number)
    rest = (0 if kind == of.AGGREGATE else max(last, 0), exchange or local, local)
    return ids, [(code, float(px), float(qty), *rest) for code, px, qty in levels]


FEEDS = ["spot/btcusdt_20240808", "usdm/ethusdt_20240718", "cm/btcusd_perp_20240808"]


@pytest.mark.parametrize("feed", FEEDS)
def test_real_lines(shared: Path, feed: str) -> None:
    with open_bytes(shared / "data" / "binance" / f"{feed}.gz") as stream:
        lines = list(islice(stream, 5000))
    read = scanned(lines)
    assert read == [twin(line) for line in lines]
    kinds = {ids[0] for ids, _ in read}
    assert {of.DIFF, of.BOOK, of.DEAL, of.TICKER} <= kinds


def decimals(whole: int, places: int) -> st.SearchStrategy[str]:
    digits = st.text("0123456789", max_size=places)
    return st.builds(lambda n, d: f"{n}.{d}" if d else str(n), st.integers(0, whole), digits)


# up to 2**53 in units of the last decimal: large quantities, many decimals, tiny ones
number = decimals(10**9, 6) | decimals(10**5, 10) | decimals(0, 15) | st.just("1000000000.00000000")
levels = st.lists(st.tuples(number, number).map(list), max_size=4)
ids = st.integers(0, 2**53)
ms = st.just(0) | st.integers(4 * 10**11, 2 * 10**12)
symbol = st.sampled_from(["BTCUSDT", "ETHUSD_PERP"])
times = {"E": ms, "s": symbol}
futures = {**times, "T": ms}


def diff_ids() -> st.SearchStrategy[dict[str, int]]:
    return st.tuples(ids, ids).map(sorted).map(lambda pair: {"U": pair[0], "u": pair[1]})


def merged(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


sides = st.fixed_dictionaries({"b": levels, "a": levels})
diffs = merged(st.just({"e": "depthUpdate"}), diff_ids(), sides, st.fixed_dictionaries(times))
future_diffs = merged(diffs, st.fixed_dictionaries({"T": ms, "pu": ids}))
books = st.fixed_dictionaries({"lastUpdateId": ids, "bids": levels, "asks": levels})
future_books = merged(books, st.fixed_dictionaries({"E": ms, "T": ms}), st.just({"symbol": "X", "pair": "Y"}))
trades = st.fixed_dictionaries(
    {"e": st.just("trade"), **futures, "t": ids, "p": number, "q": number, "m": st.booleans()}
)
spot_trades = merged(trades, st.fixed_dictionaries({"M": st.booleans(), "b": ids, "a": ids}))
future_trades = merged(trades, st.fixed_dictionaries({"X": st.sampled_from(["MARKET", "INSURANCE_FUND", "ADL", "NA"])}))
best = {"u": ids, "s": symbol, "b": number, "B": number, "a": number, "A": number}
aggregated = merged(trades, st.fixed_dictionaries({"e": st.just("aggTrade"), "a": ids, "f": ids, "l": ids}))
tickers = st.fixed_dictionaries(best)
future_tickers = st.fixed_dictionaries({"e": st.just("bookTicker"), **futures, **best, "ps": symbol})
others = st.fixed_dictionaries(
    {"e": st.just("markPriceUpdate"), **futures, "p": number, "P": st.just("-1.5"), "i": number}
)
forms = [diffs, future_diffs, books, future_books, trades, spot_trades, future_trades, aggregated]
forms += [tickers, future_tickers, others]
streams = st.sampled_from(["depth", "depth@0ms", "depth5@100ms", "rpiDepth@500ms", "trade"])


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    message = draw(st.one_of(forms))
    message = {key: message[key] for key in draw(st.permutations(sorted(message)))}
    if draw(st.booleans()):
        message = {"stream": f"btcusdt@{draw(streams)}", "data": message}
    separators = (", ", ": ") if draw(st.booleans()) else (",", ":")
    return f"{T0 + draw(st.integers(0, 10**12))} {json.dumps(message, separators=separators)}".encode()


@settings(max_examples=examples(400))
@given(st.lists(lines(), min_size=1, max_size=5))
def test_generated_lines(made: list[bytes]) -> None:
    read = scanned(made)
    assert read == [twin(line) for line in made]
    # an exchange's time of 0 is none: such a message has the local one
    assert all(event[4] > 0 for _, events in read for event in events)


def test_answers_to_a_subscription() -> None:
    assert scanned([f'{T0} {{"result":null,"id":1}}'.encode()]) == [((of.OTHER, T0, 0, -1, -1, -1, -1), [])]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "x {}",
        f"{T0}{{}}",
        f"{T0} {{",
        f"{T0} {{}}}}",
        f"{T0} []",
        f'{T0} {{"u":1}} {{"u":2}}',
        f'{T0} {{"u" :1}}',
        f'{T0 // 10} {{"u":1}}',
        f'{T0} {{"U":1,"u":2,"b":[],"a":[],"E":{T0 // 10**8}}}',
        f'{T0} {{"u":1.5}}',
        f'{T0} {{"u":nan}}',
        f'{T0} {{"e":"trade\\"","t":1}}',
        f'{T0} {{"u":99999999999999999999}}',
        f'{T0} {{"U":3,"u":2,"b":[],"a":[]}}',
        f'{T0} {{"U":1,"u":2,"b":[]}}',
        f'{T0} {{"U":1,"u":2,"b":[["1"]],"a":[]}}',
        f'{T0} {{"U":1,"u":2,"b":[["1","-2"]],"a":[]}}',
        f'{T0} {{"U":1,"u":2,"b":[["1","2"],"a":[]}}',
        f'{T0} {{"U":1,"u":2,"b":[["","2"]],"a":[]}}',
        f'{T0} {{"U":1,"u":2,"b":[["1.2.3","2"]],"a":[]}}',
        f'{T0} {{"U":1,"u":2,"b":[["1e5","2"]],"a":[]}}',
        f'{T0} {{"U":1,"u":2,"b":[["9007199254740993","2"]],"a":[]}}',
        f'{T0} {{"t":1,"p":".","q":"1","m":true}}',
        f'{T0} {{"e":"trade","t":1,"p":2,"q":"1","m":true}}',
        f'{T0} {{"t":"1","p":"2","q":"1","m":true}}',
    ],
)
def test_malformed_lines(text: str) -> None:
    """Refused, and what was read before stays."""
    good = f'{T0} {{"U":1,"u":2,"b":[["1","2"]],"a":[]}}\n'
    data = np.frombuffer(
        f"\n{good}\r{text}\n{good}".encode() if not text else f"{good}{text}\n{good}".encode(), np.uint8
    )
    messages, events = np.zeros(4, of.MESSAGE), np.zeros(len(data) // 10 + 2, EVENT)
    read = scan(data, 0, len(data), messages, 0, events, 0, np.zeros(1, of.LINE_STATE))
    assert read[1:] == (1, 1, 1)
