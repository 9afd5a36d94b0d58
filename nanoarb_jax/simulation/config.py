"""Settings of the synthetic market and its presets."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.market.series import LEVELS

Preset = Literal["shallow", "es", "crypto"]
KINDS = 3  # of orders per side: limit order, cancellation, market order
MAX_DEPTH = 64

# How much a limit order, cancellation, market order (rows) excites each of them (columns), on its own side of the book
# and on the other. Fast: a burst of all kinds, replies included. Slow: only what moves the price the same way, as
# traders split large orders and others follow them.
_PATTERNS = {
    "fast": (
        np.array([[2.0, 2.0, 0.0], [2.0, 1.0, 0.0], [1.0, 1.0, 2.0]]),
        np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [1.5, 0.0, 0.0]]),
    ),
    "slow": (
        np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 2.0, 1.0]]),
        np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]),
    ),
}


def _radius(matrix: NDArray[np.float64]) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


@dataclasses.dataclass(frozen=True)
class MarketConfig:
    """A synthetic market; the defaults are the preset "shallow", whose price moves every few orders.

    Attributes:
        tick_size: price of one tick.
        lot_size: quantity of one lot; the sizes below are in lots.
        start_ticks: first best bid, in ticks; at least 1,000, to stay well above zero. Market orders pull back to it.
        pull: relative change of the rate of spontaneous market orders per relative distance from `start_ticks`.
        latency_ns: from the exchange to the receiver.
        depth: price ticks a side that orders rest on and that the feed publishes.
        reach_ticks: limit and cancel intensities fall by exp(-1 / reach_ticks) per tick behind the best price.
        queue_lots: reference size of a queue: there limit, cancel and market intensities are at their base rates.
        reaction: how strongly they depend on the queue, 0 (not at all) or more; multipliers stay below 1 + reaction.
        occupancy: probability that a price tick is quoted when it comes into view at the far end of the book.
        order_lots: mean size of a limit or market order.
        cancel_lots: mean size of a cancellation, cut at what is there.
        size_power: sizes are a power of an exponential: 1 geometric, more means heavier tails.
        limit_rate, cancel_rate, market_rate: spontaneous orders per second and side, at reference queues.
        improve_rate: orders per second into a spread wider than one tick, per inner tick up to four.
        improve_lots: their mean size.
        fast_decay, slow_decay: of excitation, per second.
        fast_excitation, slow_excitation: orders that one order brings about on average, soon and later, at queues of
            the reference size (the spectral radius of the excitation).

    Raises:
        ConfigError: a value out of range, or orders that bring about more than one order each on average.

    >>> from nanoarb_jax.simulation.config import MarketConfig
    >>> MarketConfig.preset("es").branching_ratio < 1
    True
    """

    tick_size: float = 0.25
    lot_size: float = 1.0
    start_ticks: int = 20_000
    pull: float = 4.0
    latency_ns: int = 1_000_000
    depth: int = 20
    reach_ticks: float = 3.0
    queue_lots: float = 9.0
    reaction: float = 0.4
    occupancy: float = 1.0
    order_lots: float = 4.0
    cancel_lots: float = 4.0
    size_power: float = 1.0
    limit_rate: float = 4.0
    cancel_rate: float = 3.0
    market_rate: float = 0.8
    improve_rate: float = 100.0
    improve_lots: float = 4.0
    fast_decay: float = 60.0
    slow_decay: float = 0.5
    fast_excitation: float = 0.1
    slow_excitation: float = 0.6

    def __post_init__(self) -> None:
        for name in ("tick_size", "lot_size", "reach_ticks", "queue_lots", "fast_decay", "slow_decay"):
            self._require(name, 0 < getattr(self, name) < math.inf, "a finite number above 0")
        for name in ("limit_rate", "cancel_rate", "market_rate", "improve_rate"):
            self._require(name, 0 < getattr(self, name) < math.inf, "orders per second, above 0")
        for name in ("fast_excitation", "slow_excitation"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "orders per order, 0 or more")
        self._require("pull", 0 <= self.pull < math.inf, "0 or more")
        self._require("reaction", 0 <= self.reaction < math.inf, "0 or more")
        self._require("latency_ns", self.latency_ns >= 0, "0 or more")
        self._require("start_ticks", self.start_ticks >= 1_000, "at least 1000")
        self._require("depth", LEVELS <= self.depth <= MAX_DEPTH, f"{LEVELS} to {MAX_DEPTH}")
        self._require("occupancy", 0 < self.occupancy <= 1, "above 0, at most 1")
        for name in ("order_lots", "cancel_lots", "improve_lots"):
            self._require(name, 1 <= getattr(self, name) < math.inf, "at least 1")
        self._require("size_power", 0 < self.size_power <= 4, "above 0, at most 4")
        if not self.branching_ratio < 1:
            raise ConfigError(
                f"market.branching_ratio={self.branching_ratio:.3f}: expected below 1, or orders multiply without "
                "end; lower fast_excitation, slow_excitation or reaction"
            )

    def _require(self, name: str, right: bool, expected: str) -> None:
        if not right:
            raise ConfigError(f"market.{name}={getattr(self, name)}: expected {expected}")

    def excitation(self, speed: Literal["fast", "slow"]) -> NDArray[np.float64]:
        """(6, 6) children per order; kinds of bids first, then of asks."""
        same, cross = _PATTERNS[speed]
        pattern = np.block([[same, cross], [cross, same]])
        return pattern / _radius(pattern) * getattr(self, f"{speed}_excitation")

    @property
    def branching_ratio(self) -> float:
        """Bound of the mean number of orders that one order brings about directly, whatever the queues are.

        The spectral radius of the excitation at the largest multipliers. Below 1 every burst ends.
        """
        children = (1.0 + self.reaction) * (self.excitation("fast") + self.excitation("slow"))
        return _radius(children)

    @classmethod
    def preset(cls, name: Preset) -> MarketConfig:
        """A market by name.

        Args:
            name: "shallow", small queues, made for learning and tests; "es", like the E-mini S&P 500 future: tick
                0.25, deep queues, a spread of one tick nearly always; "crypto", like a perpetual swap: tick 0.1, lots
                of 0.001, gaps between levels, wider spreads, bursts.

        Raises:
            ConfigError: no such preset.
        """
        if name not in PRESETS:
            raise ConfigError(f"market preset {name!r}: expected one of {', '.join(get_args(Preset))}")
        return PRESETS[name]


PRESETS: dict[str, MarketConfig] = {
    "shallow": MarketConfig(),
    "es": MarketConfig(
        queue_lots=120.0,
        order_lots=10.0,
        cancel_lots=10.0,
        size_power=1.5,
        reach_ticks=4.0,
        limit_rate=3.0,
        cancel_rate=3.0,
        market_rate=0.4,
        improve_rate=300.0,
        improve_lots=40.0,
        slow_decay=0.2,
        fast_excitation=0.2,
        slow_excitation=0.55,
    ),
    "crypto": MarketConfig(
        tick_size=0.1,
        lot_size=0.001,
        start_ticks=600_000,
        latency_ns=5_000_000,
        depth=48,
        reach_ticks=12.0,
        queue_lots=300.0,
        reaction=0.3,
        occupancy=0.7,
        order_lots=300.0,
        cancel_lots=1_500.0,
        size_power=1.5,
        limit_rate=8.0,
        cancel_rate=12.0,
        market_rate=0.8,
        improve_rate=8.0,
        improve_lots=300.0,
        fast_decay=100.0,
        slow_decay=0.3,
        fast_excitation=0.35,
        slow_excitation=0.5,
    ),
}
