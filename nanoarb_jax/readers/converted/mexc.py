"""`mexc`: captures of MEXC's spot websocket (API v3, JSON), channels `limit.depth`, `increase.depth`, `deals`.

A `limit.depth` message is the best 5, 10 or 20 levels; `increase.depth` messages change single levels.
Source: https://mexcdevelop.github.io/apidocs/spot_v3_en/#websocket-market-streams
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.readers.captures.lines import whole
from nanoarb_jax.readers.converted.captures import Copied, Exchange, Told, capture_format
from nanoarb_jax.readers.feed import ReadOptions

_BOOKS = ("spot@public.increase.depth.v3.api", "spot@public.limit.depth.v3.api")
_DEALS = "spot@public.deals.v3.api"


def _read(message: dict[str, Any]) -> Told | None:
    channel, data = message.get("c"), message.get("d")
    if not isinstance(channel, str) or not isinstance(data, dict):
        return None
    if channel.startswith(_BOOKS):
        whole(message["t"])
        levels = [*data.get("bids", []), *data.get("asks", [])]
        prices, quantities = ([level[key] for level in levels] for key in ("p", "v"))
        return Told(str(message["s"]), 1, prices, quantities)
    if channel.startswith(_DEALS):
        deals = data["deals"]
        whole(message["t"])
        for deal in deals:
            whole(deal["t"])
        return Told(str(message["s"]), 0, [deal["p"] for deal in deals], [deal["v"] for deal in deals])
    return None


def _convert(module: Any, copied: Copied, options: ReadOptions) -> NDArray[np.void]:
    return module.convert(str(copied.path), buffer_size=copied.events)


_NOTE = "the converter rounds times to 256 ns"
FORMAT = capture_format(Exchange("mexc", "mexc", _read, _convert, notes=(_NOTE,)))
