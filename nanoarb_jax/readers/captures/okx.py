"""`okx`: captures of OKX's websocket (API v5), channels `books`, `books-l2-tbt`, `books50-l2-tbt`, `trades`.

A snapshot, then updates whose `prevSeqId` is the `seqId` before. The checksum is the CRC32, as a signed number, of the
best 25 levels of both sides by turns, `bid price:bid quantity:ask price:ask quantity:…`; where one side ends, the other
goes on. Since 23 June 2026 OKX sends 0 in its place, which is taken for none: sequence numbers then prove alone.
Source: https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, ClassVar

from nanoarb_jax.market.event import BUY, DEPTH, DEPTH_SNAPSHOT, SELL, TRADE
from nanoarb_jax.readers.captures.feed import FOREIGN, Change, Decoder, capture_format
from nanoarb_jax.readers.captures.levels import Level
from nanoarb_jax.readers.captures.lines import whole

_BOOKS = ("books", "books-l2-tbt", "books50-l2-tbt")
_SMALL_BOOKS = ("books5", "bbo-tbt")
_TRADES = ("trades", "trades-all")
_KINDS = {"snapshot": DEPTH_SNAPSHOT, "update": DEPTH}
_SIDES = {"buy": BUY, "sell": SELL}


class Okx(Decoder):
    """OKX's messages; of several channels that hold the same, the one with the most messages at the beginning is read.

    Where there is no channel of updates, one of small books is read, each of which is whole.
    """

    name: ClassVar[str] = "okx"
    checked_levels: ClassVar[int] = 25

    def __init__(self) -> None:
        super().__init__()
        self._channels: dict[tuple[str, bool], str] = {}
        self._sequence: dict[str, int] = {}

    def look_ahead(self, messages: Iterable[dict[str, Any]]) -> None:
        """Choose the channels."""
        counts: Counter[tuple[str, str]] = Counter()
        begun: set[tuple[str, str]] = set()  # channels with a snapshot; updates alone make no book
        for message in messages:
            arg = message.get("arg")
            if isinstance(arg, dict) and isinstance(message.get("data"), list):
                key = str(arg.get("instId")), str(arg.get("channel"))
                counts[key] += 1
                begun |= {key} if message.get("action") == "snapshot" else set()
        for symbol in {symbol for symbol, _ in counts}:
            for group, trades in ((_BOOKS, False), (_SMALL_BOOKS, False), (_TRADES, True)):
                met = [channel for its, channel in counts if its == symbol and channel in group]
                if met:  # of equals the first that came
                    ranks = {its: ((symbol, its) in begun, counts[symbol, its]) for its in met}
                    self._channels.setdefault((symbol, trades), max(met, key=ranks.__getitem__))
        small = {channel for channel in self._channels.values() if channel in _SMALL_BOOKS}
        self.notes += [f"books of the channel {channel}, whole at every message" for channel in sorted(small)]

    def decode(self, message: dict[str, Any], where: str) -> Iterator[Change | str]:
        """A push of one channel."""
        arg, data = message.get("arg"), message.get("data")
        channel = arg.get("channel") if isinstance(arg, dict) else None
        if channel not in (*_BOOKS, *_SMALL_BOOKS, *_TRADES) or not isinstance(data, list):
            yield FOREIGN
            return
        symbol = str(message["arg"]["instId"])
        key = symbol, channel in _TRADES
        chosen = self._channels.get(key, "") if channel in _SMALL_BOOKS else self._channels.setdefault(key, channel)
        if chosen != channel:
            yield f"another channel of the same ({channel})"
            return
        for part in data:
            yield self._trade(symbol, part, where) if channel in _TRADES else self._book(symbol, message, part, where)

    def _trade(self, symbol: str, part: dict[str, Any], where: str) -> Change:
        rows = [(_SIDES[part["side"]], part["px"], part["sz"])]
        return Change(symbol, TRADE, self.clock.to_ns(str(whole(part["ts"])), where), rows)

    def _book(self, symbol: str, message: dict[str, Any], part: dict[str, Any], where: str) -> Change:
        small = message["arg"]["channel"] in _SMALL_BOOKS
        kind = DEPTH_SNAPSHOT if small else _KINDS[message["action"]]
        rows = [(BUY, level[0], level[1]) for level in part["bids"]]
        rows += [(SELL, level[0], level[1]) for level in part["asks"]]
        sequence = whole(part.get("seqId", "0"))
        before, last = part.get("prevSeqId"), self._sequence.get(symbol)
        lost = kind == DEPTH and None not in (before, last) and whole(before) != last
        self._sequence[symbol] = sequence
        checksum = whole(part.get("checksum") or "0") or None
        return Change(symbol, kind, self.clock.to_ns(str(whole(part["ts"])), where), rows, sequence, lost, checksum)

    def checksum(self, symbol: str, bids: list[Level], asks: list[Level]) -> int:
        """As OKX documents it.

        >>> import zlib
        >>> from nanoarb_jax.readers.captures.okx import Okx
        >>> both = [("3366.1", "7")], [("3366.8", "9"), ("3368", "8")]
        >>> Okx().checksum("", *both) == zlib.crc32(b"3366.1:7:3366.8:9:3368:8")
        True
        """
        turns = zip_longest(bids, asks, fillvalue=())
        return zlib.crc32(":".join(text for turn in turns for level in turn for text in level).encode())


def _is_ours(message: dict[str, Any]) -> bool:
    arg = message.get("arg")
    known = isinstance(arg, dict) and arg.get("channel") in (*_BOOKS, *_SMALL_BOOKS, *_TRADES) and "instId" in arg
    return known and "instType" not in message["arg"]  # Bitget's messages have one


FORMAT = capture_format(Okx, _is_ours)
