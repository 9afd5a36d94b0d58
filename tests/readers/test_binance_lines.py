"""Lines in any layout and any unit of time: what they say is the same, and what is no book or trade is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.binance import blocks
from nanoarb_jax.readers.format import read_head
from nanoarb_jax.readers.sources import FORMATS
from support.binance_lines import T0, aggregate, diff, line, named, partial, read, snapshot, trade, write
from support.examples import examples

BINANCE = FORMATS["binance"]
SPOT = [
    snapshot(0, 10),
    *[diff(k, 10 + k, 10 + k, [(100 - k / 2, k)], [(101, k % 2)]) for k in range(1, 8)],
    trade(8, 1),
    aggregate(9, 1, 1, 1),
    line(10, u=17, s="ABC", b="99.50", B="1.000", a="100.50", A="2.000"),
    partial(11, 20, [(100, 1)], [(101, 2)]),
    diff(12, 18, 18, [(99, 4)], []),
]
COMBINED = [SPOT[0], *(named("abc@depth@100ms" if "depthUpdate" in text else "abc@trade", text) for text in SPOT[1:10])]
FOREIGN = [
    f'{T0} {{"result":null,"id":1}}',
    f'{T0} {{"code":-1121,"msg":"Invalid symbol."}}',
    f'{T0} {{"stream":"!markPrice@arr@1s","data":[{{"e":"markPriceUpdate","E":1735700000000,"s":"XYZ","p":"1.5"}}]}}',
    f'{T0} [{{"e":"24hrTicker","s":"ABC","c":"1"}}]',
    f'{T0} {{"e":"forceOrder","E":1,"o":{{"s":"ABC","S":"SELL","q":"1","p":"2","T":5,"b":[1],"t":3}}}}',
    f'{T0} {{"e":"executionReport","s":"ABC","t":-1,"p":"1","q":"2","m":false,"C":"\\u00fc"}}',
    f'{T0} {{"error":{{"code":1,"msg":"\\"quoted\\""}},"id":null}}',
    f'{T0} {{"b":[{{"x":[]}}],"a":1.5e3}}',
    f"{T0} null",
    f'{T0} "text"',
]


def relaid(text: str, change: Any, **layout: Any) -> str:
    """A line whose message is changed and dumped anew."""
    time, _, message = text.partition(" ")
    whole = json.loads(message)
    inner = change(whole.get("data", whole))
    return f"{time} {json.dumps({**whole, 'data': inner} if 'data' in whole else inner, **layout)}"


def numbers(message: dict[str, Any]) -> dict[str, Any]:
    """Prices and quantities as numbers, ids as strings."""
    levels = {
        key: [[float(px), float(qty)] for px, qty in message[key]] for key in message if isinstance(message[key], list)
    }
    sizes = {key: float(message[key]) for key in ("p", "q") if key in message}
    ids = {
        key: str(message[key])
        for key in ("U", "u", "t", "a", "f", "l", "pu", "E", "lastUpdateId")
        if isinstance(message.get(key), int)
    }
    return {**message, **levels, **sizes, **ids}


def longer(message: dict[str, Any]) -> dict[str, Any]:
    """Levels of three elements, as spot's were until 2019."""
    return {
        key: [[*level, []] for level in value] if isinstance(value, list) else value for key, value in message.items()
    }


def answer(text: str) -> str:
    """As a request over the WebSocket API is answered."""
    return text.replace(" {", ' {"id":1,"status":200,"rateLimits":[{"x":1}],"result":{', 1) + "}"


LAYOUTS: dict[str, Any] = {
    "blanks": lambda text: relaid(text, dict),
    "more blanks": lambda text: relaid(text, dict, separators=(" ,\t", " : ")),
    "numbers": lambda text: relaid(text, numbers),
    "third element": lambda text: relaid(text, longer, separators=(",", ":")),
    "escapes": lambda text: text.replace("ABC", "\\u0041BC").replace('"s"', '"\\u0073"'),
    "more keys": lambda text: relaid(
        text, lambda m: {**m, "new": {"x": [1, -2.5]}, "none": None}, separators=(",", ":")
    ),
    "API answer": lambda text: text if '"stream"' in text else answer(text),
    "blanks around": lambda text: "  " + text.replace(" ", "\t", 1) + " \r",
    "CRLF": lambda text: text + "\r",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("usual", [SPOT, COMBINED], ids=["plain", "combined"])
def test_layouts(tmp_path: Path, layout: str, usual: list[str]) -> None:
    """Any valid JSON says the same."""
    expected, clean = read(write(tmp_path, *usual), symbol="ABC")
    path = write(tmp_path, *map(LAYOUTS[layout], usual), name="other")
    events, feed = read(path, symbol="ABC")
    assert events.tobytes() == expected.tobytes() and feed.dropped == clean.dropped
    assert BINANCE.sniff(read_head(path))


def test_foreign_messages(tmp_path: Path) -> None:
    """Left out and counted, also as the first line; a byte order mark and blank lines are nothing."""
    expected, _ = read(write(tmp_path, *SPOT[:9]))
    path = write(tmp_path, *FOREIGN, "", *SPOT[:5], *FOREIGN, "\r", *SPOT[5:9], *FOREIGN, name="other")
    path.write_bytes(blocks.BOM + path.read_bytes())
    events, feed = read(path)
    assert events.tobytes() == expected.tobytes() and feed.dropped == {"foreign message": 3 * len(FOREIGN)}
    assert BINANCE.sniff(read_head(path))
    for other in ('{"channel":"book","data":[]}', '{"topic":"orderbook.50.BTCUSDT","ts":1735700000000,"data":{"u":1}}'):
        assert not BINANCE.sniff(read_head(write(tmp_path, f"{T0} {other}", name="alien")))


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        f"{T0}",
        f'{T0} {{"e":"trade",',
        f'{SPOT[1]} {{"a":1}}',
        f'{{"U":1}} {T0}',
        f'{T0} {{"e":"depthUpdate","U":3,"u":2,"b":[],"a":[]}}',
        f'{T0} {{"e":"depthUpdate","U":1,"u":2,"b":[["1","-2"]],"a":[]}}',
        f'{T0} {{"e":"depthUpdate","U":1,"u":2,"b":[["1"]],"a":[]}}',
        f'{T0} {{"e":"depthUpdate","U":1.5,"u":2,"b":[["1",null]],"a":[]}}',
        f'{T0} {{"lastUpdateId":1,"bids":[["1","x"]],"asks":[]}}',
        f'{T0} {{"e":"trade","t":1,"p":"NaN","q":"1"}}',
    ],
)
def test_what_is_no_json_or_no_such_book_is_named(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, *SPOT[:3], *FOREIGN, text, *SPOT[3:])
    with pytest.raises(
        DataError, match=rf"{path.name}, line {4 + len(FOREIGN)}: .* \.\.\. is malformed; expected"
    ) as caught:
        read(path)
    assert text[:20] in str(caught.value) and "\n" not in str(caught.value)


NS = {"ns": 1, "µs": 10**3, "ms": 10**6, "s": 10**9}


def dated(text: str, unit: str, *, decimals: bool = False) -> str:
    time, _, message = text.partition(" ")
    text = f"{int(time) // NS[unit]}.{int(time) % NS[unit]:0{len(str(NS[unit])) - 1}}"[: -3 if unit == "s" else None]
    return f"{text} {message}" if decimals else f"{int(time) // NS[unit]} {message}"


@pytest.mark.parametrize("unit", NS)
@pytest.mark.parametrize("decimals", [False, True])
def test_units_of_local_times(tmp_path: Path, unit: str, decimals: bool) -> None:
    path = write(tmp_path, *(dated(text, unit, decimals=decimals) for text in SPOT[:9]))
    events, feed = read(path)
    expected, _ = read(write(tmp_path, *SPOT[:9], name="ns"))
    step = NS[unit] if not decimals else 1000 if unit == "s" else 1
    assert events["local_ts"].tolist() == (expected["local_ts"] // step * step).tolist()
    events["local_ts"], expected["local_ts"] = 0, 0
    assert events[5:].tobytes() == expected[5:].tobytes()  # the snapshot has no time of the exchange
    assert feed.notes == ([] if unit == "ns" else [f"local times are in {unit}"])
    assert BINANCE.sniff(read_head(path))


@pytest.mark.parametrize("unit", ["ns", "µs", "s"])
def test_units_of_the_exchanges_times(tmp_path: Path, unit: str) -> None:
    def change(message: dict[str, Any]) -> dict[str, Any]:
        return {key: value * 10**6 // NS[unit] if key in ("E", "T") else value for key, value in message.items()}

    for layout in ({"separators": (",", ":")}, {"separators": (" ,", ":")}):
        events, feed = read(write(tmp_path, *(relaid(text, change, **layout) for text in SPOT[:9])))
        expected, _ = read(write(tmp_path, *SPOT[:9]))
        told = expected["exch_ts"] != expected["local_ts"]
        np.testing.assert_array_equal(events["exch_ts"][told], expected["exch_ts"][told] // NS[unit] * NS[unit])
        assert feed.notes == [f"exchange times are in {unit}"]


def test_a_change_of_units_is_told(tmp_path: Path) -> None:
    lines = [*SPOT[:4], *(dated(text, "µs") for text in SPOT[4:9])]
    events, feed = read(write(tmp_path, *lines))
    assert (np.diff(events["local_ts"]) >= 0).all() and feed.notes == ["local times are in ns and µs"]


@pytest.mark.parametrize("time", [f"{T0 // 10}", "123456789"])
def test_times_that_are_plausible_in_no_unit(tmp_path: Path, time: str) -> None:
    """The local time of any line, and the exchange's of a book or trade."""
    with pytest.raises(DataError, match=r"line 2: local time: time .* lies between 1980 and 2100 in no unit"):
        read(write(tmp_path, SPOT[0], f"{time} {{}}", SPOT[1]))
    wrong = SPOT[1].replace('"E":', '"E":1')
    with pytest.raises(DataError, match=r"line 2: time of the exchange: time .* in no unit \(s, ms, µs or ns"):
        read(write(tmp_path, SPOT[0], wrong, SPOT[1]))
    assert read(write(tmp_path, SPOT[0], wrong.replace("depthUpdate", "kline")))[1].dropped == {"foreign message": 1}


@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_captures(tmp_path: Path, data: st.DataObject) -> None:
    """Cut, damaged, shuffled, repeated and foreign lines of every layout: events, or one line that names the file."""
    usual = data.draw(st.sampled_from([SPOT, COMBINED]))
    layout = data.draw(st.sampled_from([str, *LAYOUTS.values()]))
    lines = data.draw(st.lists(st.sampled_from([*map(layout, usual), *FOREIGN]), max_size=30))
    raw = bytearray("\n".join([layout(usual[0]), *lines]).encode()[: data.draw(st.integers(0, 4000))])
    for at, bit in data.draw(st.lists(st.tuples(st.integers(0, 3999), st.integers(0, 7)), max_size=3)):
        if at < len(raw):
            raw[at] ^= 1 << bit
    path = tmp_path / "abc"
    path.write_bytes(raw)
    try:
        events, feed = read(path)
    except DataError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        assert len(events) + sum(feed.dropped.values()) > 0
