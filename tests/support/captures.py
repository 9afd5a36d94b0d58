"""A random market told in the words of several exchanges, with the book as it truly is after every message."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

T0 = 1_735_700_000_000_000_000  # ns
STEP = 50_000_000

Book = dict[str, dict[float, str]]  # side, price, quantity as text


class Message(NamedTuple):
    """One step of the market: levels that changed, or a trade, and the book after it."""

    kind: str  # "snapshot", "update" or "trade"
    levels: list[tuple[str, float, str]]  # side "bids" or "asks", price, quantity as text
    book: Book


def quantity(rng: random.Random) -> str:
    return f"{rng.randint(1, 99_999_999) / 10**8:.8f}"


def market(messages: int, seed: int = 0, depth: int | None = None, levels: int = 30) -> Iterator[Message]:
    """A book whose levels change around 60,000; one of `depth` levels forgets what falls out of them."""
    rng = random.Random(seed)
    prices = {
        "bids": [round(60000 - i / 10, 1) for i in range(60)],
        "asks": [round(60000.1 + i / 10, 1) for i in range(60)],
    }
    book: Book = {side: {px: quantity(rng) for px in prices[side][: min(depth or levels, levels)]} for side in prices}
    yield Message("snapshot", [(side, px, qty) for side in book for px, qty in book[side].items()], copied(book))
    for _ in range(messages):
        if rng.random() < 0.2:
            yield Message("trade", [(rng.choice(["buy", "sell"]), 60000.0, quantity(rng))], copied(book))
            continue
        changes = []
        for _ in range(rng.randint(1, 4)):
            side = rng.choice(["bids", "asks"])
            px = rng.choice(prices[side])
            if rng.random() < 0.4 and px in book[side] and len(book[side]) > 2:
                changes.append((side, px, "0.00000000"))
                del book[side][px]
            else:
                changes.append((side, px, quantity(rng)))
                book[side][px] = changes[-1][2]
        if depth:
            for side, levels_ in book.items():
                for px in ranked(side, levels_)[depth:]:
                    del levels_[px]
        yield Message("update", changes, copied(book))


def copied(book: Book) -> Book:
    return {side: dict(levels) for side, levels in book.items()}


def ranked(side: str, levels: dict[float, str]) -> list[float]:
    return sorted(levels, reverse=side == "bids")


def iso(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ns % 10**9:09d}Z"


def okx_checksum(book: Book) -> int:
    """CRC32 of bid and ask by turns, 25 levels, signed."""
    fields = []
    for i in range(25):
        for side in ("bids", "asks"):
            best = ranked(side, book[side])
            if i < len(best):
                fields += [str(best[i]), book[side][best[i]]]
    value = zlib.crc32(":".join(fields).encode())
    return value - 2**32 if value >= 2**31 else value


def kraken_checksum(book: Book) -> int:
    """CRC32 of ten asks and ten bids, digits without point and leading zeros."""
    text = ""
    for side in ("asks", "bids"):
        for px in ranked(side, book[side])[:10]:
            for field in (f"{px:.1f}", book[side][px]):
                text += field.replace(".", "").lstrip("0")
    return zlib.crc32(text.encode())


def okx_line(message: Message, i: int, symbol: str = "BTC-USDT") -> str:
    ts = str((T0 + i * STEP) // 10**6)
    if message.kind == "trade":
        side, px, qty = message.levels[0]
        data = {"instId": symbol, "tradeId": str(i), "px": str(px), "sz": qty, "side": side, "ts": ts}
        return json.dumps({"arg": {"channel": "trades", "instId": symbol}, "data": [data]})
    sides = {
        side: [[str(px), qty, "0", "1"] for s, px, qty in message.levels if s == side] for side in ("asks", "bids")
    }
    data = {**sides, "ts": ts, "checksum": okx_checksum(message.book)}
    return json.dumps({"arg": {"channel": "books", "instId": symbol}, "action": message.kind, "data": [data]})


def kraken_line(message: Message, i: int, symbol: str = "BTC/USD") -> str:
    if message.kind == "trade":
        side, px, qty = message.levels[0]
        data = f'{{"symbol":"{symbol}","side":"{side}","price":{px},"qty":{qty},"timestamp":"{iso(T0 + i * STEP)}"}}'
        return f'{{"channel":"trade","type":"update","data":[{data}]}}'
    sides = ",".join(
        f'"{side}":['
        + ",".join(f'{{"price":{px:.1f},"qty":{qty}}}' for s, px, qty in message.levels if s == side)
        + "]"
        for side in ("bids", "asks")
    )
    tail = f'"checksum":{kraken_checksum(message.book)},"timestamp":"{iso(T0 + i * STEP)}"'
    return f'{{"channel":"book","type":"{message.kind}","data":[{{"symbol":"{symbol}",{sides},{tail}}}]}}'


def coinbase_line(message: Message, i: int, symbol: str = "BTC-USD") -> str:
    time = iso(T0 + i * STEP)
    if message.kind == "trade":
        side, px, qty = message.levels[0]
        maker = "SELL" if side == "buy" else "BUY"
        trade = {"trade_id": str(i), "product_id": symbol, "price": str(px), "size": qty, "side": maker, "time": time}
        channel, event = "market_trades", {"type": "update", "trades": [trade]}
    else:
        words = {"bids": "bid", "asks": "offer"}
        updates = [
            {"side": words[side], "event_time": time, "price_level": str(px), "new_quantity": qty}
            for side, px, qty in message.levels
        ]
        channel, event = "l2_data", {"type": message.kind, "product_id": symbol, "updates": updates}
    return json.dumps({"channel": channel, "timestamp": time, "sequence_num": i, "events": [event]})


LINES = {"okx": okx_line, "kraken": kraken_line, "coinbase-advanced": coinbase_line}


def numbered(lines: list[str]) -> list[str]:
    """OKX's lines with the numbers that chain them."""
    last, out = -1, []
    for i, line in enumerate(lines):
        message = json.loads(line)
        if "action" in message:
            message["data"][0] |= {"prevSeqId": -1 if message["action"] == "snapshot" else last, "seqId": 10 + 7 * i}
            last = 10 + 7 * i
        out.append(json.dumps(message))
    return out


def lines_of(exchange: str, messages: list[Message], symbol: str | None = None) -> list[str]:
    """The messages as the exchange sends them."""
    given = {"symbol": symbol} if symbol else {}
    lines = [LINES[exchange](message, i, **given) for i, message in enumerate(messages)]
    return numbered(lines) if exchange == "okx" else lines


def write(path: Path, lines: list[str], unit: int = 1) -> Path:
    """The lines of a capture, received 3 ms after they were sent; local times in units of `unit` ns."""
    text = "".join(f"{(T0 + i * STEP + 3_000_000) // unit} {line}\n" for i, line in enumerate(lines))
    path.write_text(text)
    return path
