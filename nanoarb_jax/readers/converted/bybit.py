"""`bybit`: captures of Bybit's websocket (API v5), topics `orderbook.N.SYMBOL` and `publicTrade.SYMBOL`.

Of several depths N, the deepest is read. A snapshot is the whole book of its topic.
Source: https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.readers.captures.lines import whole
from nanoarb_jax.readers.converted.captures import Copied, Exchange, Told, capture_format
from nanoarb_jax.readers.feed import ReadOptions

_BOOK = re.compile(r"orderbook\.(\d{1,4})\.(\S+)")


def _read(message: dict[str, Any]) -> Told | None:
    topic, data = message.get("topic"), message.get("data")
    if not isinstance(topic, str) or data is None:
        return None
    match = _BOOK.fullmatch(topic)
    if match:
        whole(message["ts"])
        if message["type"] not in ("snapshot", "delta"):
            raise ValueError(f"type {str(message['type'])[:30]!r}")
        levels = [*data.get("b", []), *data.get("a", [])]
        prices, quantities = ([level[i] for level in levels] for i in (0, 1))
        if any(len(level) != 2 for level in levels):
            raise ValueError("a level is not a price and a quantity")
        return Told(match[2], int(match[1]), prices, quantities)
    if topic.startswith("publicTrade."):
        for trade in data:
            whole(trade["T"])
        return Told(topic.partition(".")[2], 0, [trade["p"] for trade in data], [trade["v"] for trade in data])
    return None


def _convert(module: Any, copied: Copied, options: ReadOptions) -> NDArray[np.void]:
    return module.convert_depth(str(copied.path), buffer_size=copied.events, single_depth_level=copied.depth)


FORMAT = capture_format(Exchange("bybit", "bybit", _read, _convert, whole_snapshots=True, several_books=True))
