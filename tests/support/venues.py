"""Small markets for backtests. Importing it needs hftbacktest."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.exchange_day import exchange_day
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.serving.live import LivePredictor
from nanoarb_jax.simulation.market import synthetic_events
from nanoarb_jax.trading.backtest.exchange import ExchangeSettings
from nanoarb_jax.trading.backtest.run import Venue

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "nano"
INSTRUMENT = Instrument(0.25, 1.0, 9.0, 1.0)


class SmallMarket(NamedTuple):
    """Events and the exchange that runs on them."""

    events: NDArray[np.void]
    venue: Venue


@cache
def _events(count: int, seed: int, level: Literal["l2", "l3"]) -> NDArray[np.void]:
    return synthetic_events(count, seed, level=level)


def small_market(count: int = 6_000, seed: int = 3, level: Literal["l2", "l3"] = "l2", **settings: Any) -> SmallMarket:
    """A synthetic market at an exchange with these settings."""
    events = _events(count, seed, level)
    return SmallMarket(events, Venue(exchange_day(events, "synthetic"), 0.25, 1.0, ExchangeSettings(**settings)))


@cache
def _predictor() -> LivePredictor:
    return LivePredictor.load(CHECKPOINT, INSTRUMENT)


def fresh_predictor() -> LivePredictor:
    """The shipped nano on the synthetic market, before its first event."""
    live = _predictor()
    live.reset()
    return live
