"""Trades on the price: the best prices of the book and every fill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nanoarb_jax.errors import DataError
from nanoarb_jax.reports.charts.decimation import MOST, kept, thinned
from nanoarb_jax.reports.charts.palette import BLUE, GREY, ORANGE
from nanoarb_jax.reports.charts.parts import Floats, Trace, axis, figure, floats, line, milliseconds, time_axis
from nanoarb_jax.reports.charts.registry import Figure, chart

FILL = ("time_ns", "price", "side", "qty", "maker")
KINDS = (  # side, maker, name, symbol, colour
    (1, 0, "buy, taker", "triangle-up", BLUE),
    (1, 1, "buy, maker", "triangle-up-open", BLUE),
    (-1, 0, "sell, taker", "triangle-down", ORANGE),
    (-1, 1, "sell, maker", "triangle-down-open", ORANGE),
)


@chart("trades", needs=("time_ns", "bid", "ask", "fills"))
def trades(data: Mapping[str, Any]) -> Figure:
    """Best bid and ask, and the fills: buys point up, sells down; filled symbols took, open ones rested in the book.

    The book is drawn with fewer points than there are; those before and after each fill are always among them, so that
    fills lie on the prices that they met, however far one zooms in.

    Args:
        data: `time_ns` (n,) in order; `bid`, `ask` (n,) prices; `fills` {`time_ns`, `price`, `side` (1 buy, -1 sell),
            `qty`, `maker` (1 maker, 0 taker), `confidence` (may be missing), each (k,)}.
    """
    time_ns, bid, ask = floats(data, "trades", "time_ns", "bid", "ask")
    missing = [key for key in FILL if key not in data["fills"]]
    if missing:
        raise DataError(f"chart 'trades', 'fills': no {', '.join(missing)}; expected {', '.join(FILL)}")
    fills = dict(zip(FILL, floats(data["fills"], "trades", *FILL), strict=True))
    fills["confidence"] = np.full(len(fills["qty"]), np.nan)
    if data["fills"].get("confidence") is not None:
        fills["confidence"] = floats(data["fills"], "trades", "time_ns", "confidence")[1]
    shown = thinned(len(fills["qty"]))
    fills = {key: values[shown] for key, values in fills.items()}
    met = _around(time_ns, fills["time_ns"])
    pen: dict[str, Any] = {"shape": "hv", "width": 1.2}
    traces = [
        line(milliseconds(time_ns[rows]), price[rows], name, GREY, **pen, dash=dash)
        for price, name, dash in ((ask, "best ask", "solid"), (bid, "best bid", "dot"))
        for rows in [np.union1d(kept(price), met)]
    ]
    traces += [one for kind in KINDS for one in _fills(fills, *kind)]
    return figure(traces, time_axis(), axis("price"), height=480, hovermode="closest")


def _around(time_ns: Floats, fills_ns: Floats) -> np.ndarray:
    """Rows of the book just before and just after fills, of MOST // 2 fills at most."""
    after = np.searchsorted(time_ns, fills_ns[thinned(len(fills_ns), MOST // 2)], side="right")
    rows = np.unique(np.concatenate([after - 1, after]))
    return rows[(rows >= 0) & (rows < len(time_ns))]


def _fills(fills: dict[str, Floats], side: int, maker: int, name: str, symbol: str, colour: str) -> list[Trace]:
    rows = np.flatnonzero((np.sign(fills["side"]) == side) & ((fills["maker"] != 0) == maker))
    if not len(rows):
        return []
    words = [_words(fills["qty"][row], fills["confidence"][row]) for row in rows]
    marker = {"symbol": symbol, "color": colour, "size": 10, "line": {"color": colour, "width": 1.5}}
    return [
        {
            "type": "scatter", "mode": "markers", "x": milliseconds(fills["time_ns"][rows]), "y": fills["price"][rows],
            "name": name, "marker": marker, "text": words,
            "hovertemplate": "%{x|%H:%M:%S.%L}<br>price %{y}<br>%{text}",
        }
    ]  # fmt: skip


def _words(qty: float, confidence: float) -> str:
    known = "" if np.isnan(confidence) else f"<br>confidence {confidence:.1%}"
    return f"quantity {qty:g}{known}"
