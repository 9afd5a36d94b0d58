"""Files of a made market as the exchanges write them that hftbacktest's converters read, and the true book."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import BUY, KIND_MASK, LAST, LOCAL_EVENT, SELL, TRADE
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.sources import find_sources, open_source
from support.captures import STEP, T0, Book, Message, market, ranked

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
