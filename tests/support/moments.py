"""Moments for strategies: chosen ones, and any that a market could give."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from nanoarb_jax.trading.contract import Moment

HORIZONS = (10, 50, 100)


def probabilities(down: float, up: float) -> np.ndarray:
    """The same at every horizon."""
    return np.tile(np.array([down, 1.0 - down - up, up], np.float32), (len(HORIZONS), 1))


def moment(**fields: Any) -> Moment:
    """Flat, no orders, sure of nothing, at a spread of 1 tick; with the fields given."""
    usual = Moment(
        tick=1_000, ts_ns=0, ready=True, bid_ticks=100, ask_ticks=101, bid_qty=1.0, ask_qty=1.0,
        probabilities=probabilities(0.2, 0.2), position=0.0, entry_ticks=0.0, opened_ns=0, opened_tick=0,
        buy_ticks=0, buy_qty=0.0, sell_ticks=0, sell_qty=0.0,
    )  # fmt: skip
    return usual._replace(**fields)


@st.composite
def moments(draw: st.DrawFn, most: float = 4.0) -> Moment:
    """Any, with a position of at most `most` and orders of quantities that the position leaves room for."""
    shares = np.array(draw(st.lists(st.integers(1, 99), min_size=9, max_size=9)), np.float32).reshape(3, 3)
    bid = draw(st.integers(50, 150))
    position = draw(st.integers(int(-2 * most), int(2 * most))) / 2
    opened = draw(st.integers(0, 1_000)) if position else 0
    room = {"buy": max(most - position, 0.0), "sell": max(most + position, 0.0)}
    working = {side: min(draw(st.sampled_from([0.0, 0.5, 1.0])), room[side]) for side in room}
    return moment(
        ready=draw(st.booleans()),
        bid_ticks=bid,
        ask_ticks=bid + draw(st.integers(1, 4)),
        probabilities=shares / shares.sum(axis=1, keepdims=True),
        position=position,
        entry_ticks=float(draw(st.integers(60, 140))) if position else 0.0,
        opened_tick=opened,
        buy_ticks=draw(st.integers(45, 155)) if working["buy"] else 0,
        buy_qty=working["buy"],
        sell_ticks=draw(st.integers(45, 155)) if working["sell"] else 0,
        sell_qty=working["sell"],
    )
