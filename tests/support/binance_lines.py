"""Lines as a collector of Binance feeds writes them, and the events read from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.readers.binance.feed import open_binance
from nanoarb_jax.readers.feed import EventFeed, ReadOptions

T0 = 1_723_161_253_937_085_768
SIZES = ReadOptions(tick_size=0.5, lot_size=0.001)
Levels = list[tuple[float, float]]


def line(ms: float, **message: Any) -> str:
    return f"{T0 + round(ms * 1e6)} {json.dumps(message, separators=(',', ':'))}"


def named(stream: str, text: str) -> str:
    """A line as combined streams give it: with the stream's name."""
    time, _, message = text.partition(" ")
    return f'{time} {{"stream":"{stream}","data":{message}}}'


def texts(levels: Levels) -> list[list[str]]:
    return [[f"{px:.2f}", f"{qty:.8f}"] for px, qty in levels]


def diff(ms: float, first: int, last: int, bids: Levels, asks: Levels, pu: int | None = None, s: str = "ABC") -> str:
    more = {} if pu is None else {"pu": pu}
    ids = {"E": 1_723_161_255_000 + int(ms), "s": s, "U": first, "u": last}
    return line(ms, e="depthUpdate", **ids, **more, b=texts(bids), a=texts(asks))


def snapshot(ms: float, last: int, bids: Levels | None = None, asks: Levels | None = None, **more: str) -> str:
    bids, asks = ([(100, 1), (99.5, 2)] if bids is None else bids), ([(100.5, 3)] if asks is None else asks)
    return line(ms, lastUpdateId=last, **more, bids=texts(bids), asks=texts(asks))


def trade(ms: float, number: int, *, sell: bool = False, **more: str) -> str:
    return line(
        ms,
        e="trade",
        E=1_723_161_255_000,
        T=1_723_161_255_000,
        **{"s": "ABC", "t": number, "p": "100.00", "q": "0.5"} | more,
        m=sell,
    )


def partial(
    ms: float, last: int, bids: Levels, asks: Levels, *, futures: bool = False, stream: str | None = "abc@depth5@100ms"
) -> str:
    """A partial book, which has the fields of a snapshot in spot and of a diff in futures."""
    text = diff(ms, last, last, bids, asks, last - 1) if futures else snapshot(ms, last, bids, asks)
    return text if stream is None else named(stream, text)


def aggregate(ms: float, number: int, first: int, last: int, **more: str) -> str:
    ids = {"E": 1_723_161_255_000, "s": "ABC", "a": number, "f": first, "l": last}
    return line(ms, e="aggTrade", **ids, T=1_723_161_255_000, **{"p": "100.00", "q": "0.5"} | more, m=False)


def write(folder: Path, *lines: str, name: str = "abc_20240101") -> Path:
    path = folder / name
    path.write_text("".join(f"{text}\n" for text in lines))
    return path


def read(*files: Path, symbol: str | None = None, **more: bool) -> tuple[NDArray[np.void], EventFeed]:
    feed = open_binance(files, SIZES._replace(symbol=symbol), **more)
    return np.concatenate(list(feed.chunks)), feed
