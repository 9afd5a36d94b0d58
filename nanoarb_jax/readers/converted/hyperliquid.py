"""`hyperliquid`: captures of Hyperliquid's websocket, channels `l2Book` and `trades`.

Every `l2Book` message is the whole book of 20 levels a side; the converter makes changes of them, which need the tick
size. Its prices have five significant digits, so that their grid grows with the price.
Source: https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.event import DEPTH, DEPTH_SNAPSHOT, KIND_MASK
from nanoarb_jax.readers.captures.lines import whole
from nanoarb_jax.readers.converted.captures import Copied, Exchange, Told, capture_format
from nanoarb_jax.readers.feed import ReadOptions, infer_lot_size, infer_tick_size


def _read(message: dict[str, Any]) -> Told | None:
    channel, data = message.get("channel"), message.get("data")
    if channel == "l2Book" and isinstance(data, dict):
        whole(data["time"])
        bids, asks = data["levels"]
        levels = [*bids, *asks]
        prices, quantities = ([level[key] for level in levels] for key in ("px", "sz"))
        return Told(str(data["coin"]), max(len(bids), len(asks), 1), prices, quantities)
    if channel == "trades" and isinstance(data, list) and data:
        for trade in data:
            whole(trade["time"])
        coins = {str(trade["coin"]) for trade in data}
        if len(coins) > 1:
            raise ValueError("trades of several coins in a message")
        return Told(coins.pop(), 0, [trade["px"] for trade in data], [trade["sz"] for trade in data])
    return None


def _convert(module: Any, copied: Copied, options: ReadOptions) -> NDArray[np.void]:
    tick_size = options.tick_size or infer_tick_size(np.array(list(copied.prices)), "hyperliquid")
    lot_size = options.lot_size or infer_lot_size(np.array(list(copied.quantities)), "hyperliquid")
    # each message deletes at most the levels of the one before
    events = module.convert(
        str(copied.path), tick_size, lot_size, num_levels=copied.depth, buffer_size=2 * copied.events
    )
    return _begun(events)


def _begun(events: NDArray[np.void]) -> NDArray[np.void]:
    """The first book is told as what it is, a snapshot."""
    kinds = events["ev"] & np.uint64(KIND_MASK)
    levels = np.flatnonzero(kinds == DEPTH)
    if len(levels):
        first = events[levels[0]]
        same = (events["exch_ts"] == first["exch_ts"]) & (events["local_ts"] == first["local_ts"]) & (kinds == DEPTH)
        events["ev"][same] += np.uint64(DEPTH_SNAPSHOT - DEPTH)
    return events


FORMAT = capture_format(Exchange("hyperliquid", "hyperliquid", _read, _convert))
