"""`kraken`: captures of Kraken's websocket v2, channels `book` and `trade`.

A snapshot, then updates; there are no sequence numbers, only checksums: the CRC32 of the ten best asks, then the ten
best bids, each level's price and quantity without the point and without leading zeros. Their decimals count, so numbers
are read as text; a capture that was written anew without trailing zeros gets them back, as many as any of its numbers
has.
Levels that fall out of the subscribed depth are deleted without a word: here they are deleted by events. A capture
without the answer to its subscription does not say the depth: it is that of a snapshot which holds just as many levels
as can be subscribed to, else nothing is cut; until the checksums show that another depth is right.
Sources: https://docs.kraken.com/api/docs/websocket-v2/book and …/guides/spot-ws-book-v2
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from nanoarb_jax.market.event import BUY, DEPTH, DEPTH_SNAPSHOT, SELL, TRADE
from nanoarb_jax.readers.captures.feed import EARLIER_TRADE, FOREIGN, Change, Decoder, capture_format
from nanoarb_jax.readers.captures.levels import Level
from nanoarb_jax.readers.captures.lines import iso_ns, number, whole

_DEPTHS = (10, 25, 100, 500, 1000)  # that can be subscribed to
_SIDES = {"buy": BUY, "sell": SELL}


class Kraken(Decoder):
    """Kraken's messages."""

    name: ClassVar[str] = "kraken"
    checked_levels: ClassVar[int] = 10

    def __init__(self) -> None:
        super().__init__()
        self._subscribed: dict[str, int] = {}  # depths
        self._most: dict[str, int] = {}  # levels of a side of the latest snapshot
        self._decimals: dict[str, list[int]] = {}  # of prices, and of quantities

    def decode(self, message: dict[str, Any], where: str) -> Iterator[Change | str]:
        """A push of one channel, or the answer to a subscription, which says the depth."""
        channel, kind, data = message.get("channel"), message.get("type"), message.get("data")
        if channel not in ("book", "trade") or not isinstance(data, list):
            self._note_depth(message.get("result"))
            yield FOREIGN
            return
        if kind not in ("snapshot", "update"):
            raise ValueError(f"type {str(kind)[:30]!r}")
        for part in data:
            if channel == "book":
                yield self._book(part, kind == "snapshot")
            elif kind == "snapshot":
                yield EARLIER_TRADE
            else:
                rows = [(_SIDES[part["side"]], part["price"], part["qty"])]
                yield Change(str(part["symbol"]), TRADE, iso_ns(part["timestamp"]), rows)

    def _note_depth(self, result: object) -> None:
        if isinstance(result, dict) and result.get("channel") == "book" and "depth" in result and "symbol" in result:
            self._subscribed[str(result["symbol"])] = whole(result["depth"])

    def _book(self, part: dict[str, Any], snapshot: bool) -> Change:
        symbol = str(part["symbol"])
        sides = ((BUY, part.get("bids", [])), (SELL, part.get("asks", [])))
        rows = [(side, _plain(level["price"]), _plain(level["qty"])) for side, levels in sides for level in levels]
        decimals = self._decimals.setdefault(symbol, [0, 0])
        for _, *level in rows:
            for i, text in enumerate(level):
                decimals[i] = max(decimals[i], len(text.partition(".")[2]))
        if snapshot:
            self._most[symbol] = max(len(levels) for _, levels in sides)
        time = iso_ns(part["timestamp"]) if "timestamp" in part else None
        kind = DEPTH_SNAPSHOT if snapshot else DEPTH
        return Change(symbol, kind, time, rows, checksum=whole(part["checksum"]) if "checksum" in part else None)

    def depths(self, symbol: str) -> Sequence[int | None]:
        """As subscribed, else all that hold the snapshot: the one that it fills, none, then from the deepest."""
        most, subscribed = self._most[symbol], self._subscribed.get(symbol, 0)
        if subscribed in _DEPTHS and subscribed >= most:
            return (subscribed,)
        deeper = [depth for depth in reversed(_DEPTHS) if depth > most]
        return [*([most] if most in _DEPTHS else []), None, *deeper]

    def checksum(self, symbol: str, bids: list[Level], asks: list[Level]) -> int:
        """As Kraken documents it."""
        decimals = self._decimals[symbol]
        return zlib.crc32(
            "".join(_digits(*of) for level in asks + bids for of in zip(level, decimals, strict=True)).encode()
        )


def _plain(text: object) -> str:
    """A number without an exponent."""
    number(text)
    return format(Decimal(str(text)), "f") if "e" in str(text).lower() else str(text)


def _digits(text: str, decimals: int) -> str:
    """A number's digits from the first that is not 0, with so many decimals."""
    whole_part, _, fraction = text.partition(".")
    return (whole_part + fraction.ljust(decimals, "0")).lstrip("0")


def _is_ours(message: dict[str, Any]) -> bool:
    data = message.get("data")
    part = data[0] if isinstance(data, list) and data else None
    return message.get("channel") in ("book", "trade") and isinstance(part, dict) and "symbol" in part


FORMAT = capture_format(Kraken, _is_ours)
