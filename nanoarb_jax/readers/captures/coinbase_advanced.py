"""`coinbase-advanced`: captures of Coinbase Advanced Trade's websocket, channels `l2_data` and `market_trades`.

A snapshot, then updates. `sequence_num` counts all messages of a connection, of every channel and product: a number
that is missing marks a gap. There are no checksums. A trade's side is the maker's, so the taker's is the other.
Source: https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from nanoarb_jax.market.event import BUY, DEPTH, DEPTH_SNAPSHOT, SELL, TRADE
from nanoarb_jax.readers.captures.feed import EARLIER_TRADE, FOREIGN, Change, Decoder, capture_format
from nanoarb_jax.readers.captures.lines import iso_ns, whole

_CHANNELS = ("l2_data", "market_trades")
_KINDS = {"snapshot": DEPTH_SNAPSHOT, "update": DEPTH}
_SIDES = {"bid": BUY, "offer": SELL}
_TAKERS = {"BUY": SELL, "SELL": BUY}  # by the maker's side


class CoinbaseAdvanced(Decoder):
    """Coinbase's messages."""

    name: ClassVar[str] = "coinbase-advanced"

    def __init__(self) -> None:
        super().__init__()
        self._sequence: int | None = None
        self._gaps = 0  # of the connection
        self._known: dict[str, int] = {}  # how many of them each product's book has told

    def decode(self, message: dict[str, Any], where: str) -> Iterator[Change | str]:
        """A push of one channel; those of other channels count in the sequence, too."""
        sequence = whole(message["sequence_num"]) if "sequence_num" in message else 0
        if "sequence_num" in message:
            self._gaps += self._sequence is not None and sequence != self._sequence + 1
            self._sequence = sequence
        if message.get("channel") not in _CHANNELS or "events" not in message:
            yield FOREIGN
            return
        time = iso_ns(message["timestamp"])
        for event in message["events"]:
            kind = _KINDS[event["type"]]
            if message["channel"] == "l2_data":
                yield self._book(event, kind, time, sequence)
            elif kind == DEPTH_SNAPSHOT:
                yield EARLIER_TRADE
            else:
                for trade in event["trades"]:
                    rows = [(_TAKERS.get(trade.get("side"), 0), trade["price"], trade["size"])]
                    yield Change(str(trade["product_id"]), TRADE, time, rows, sequence)

    def _book(self, event: dict[str, Any], kind: int, time: int, sequence: int) -> Change:
        symbol = str(event["product_id"])
        rows = [(_SIDES[row["side"]], row["price_level"], row["new_quantity"]) for row in event["updates"]]
        lost = kind == DEPTH and self._known.get(symbol, self._gaps) != self._gaps
        self._known[symbol] = self._gaps
        return Change(symbol, kind, time, rows, sequence, lost)


def _is_ours(message: dict[str, Any]) -> bool:
    return message.get("channel") in _CHANNELS and "events" in message


FORMAT = capture_format(CoinbaseAdvanced, _is_ours)
