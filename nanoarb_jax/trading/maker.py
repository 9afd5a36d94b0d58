"""A strategy that makes: quotes around the mid that the model expects, skewed against the position.

The quotes are, in ticks,

    fair        = mid + E[move]
    reservation = fair - risk_aversion · position / order_qty
    bid, ask    = reservation -+ half_spread_ticks, rounded outward, never at or through the best opposite price

Of Avellaneda & Stoikov, "High-frequency trading in a limit order book" (Quantitative Finance 8(3), 2008), this uses the
reservation price that is linear in the inventory, s - q γ σ² (T - t). `risk_aversion` is the whole factor γ σ² (T - t)
for an inventory of one order: constant, as for a horizon that moves along. Left out are its dependence on volatility
and on the time that is left, and the optimal spread γ σ² (T - t) + (2/γ) ln(1 + γ/k) of a fill intensity that falls
exponentially with the distance from the mid: the half spread is a setting.

Of Cartea, Jaimungal & Ricci, "Buy low, sell high: a high frequency trading perspective" (SIAM Journal on Financial
Mathematics 5(1), 2014), this uses that both quotes move with a predicted drift of the mid, their short-term alpha, here
the model's expected move. Left out are their mutually exciting arrivals of orders, the fill probabilities that depend
on them, and the solution of the control problem, from which they get depths and inventory penalty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarb_jax.config.checks import check_types, require
from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.trading.checks import check_quantities, check_signal
from nanoarb_jax.trading.contract import NO_QUOTES, Moment, Quotes, Strategy
from nanoarb_jax.trading.forecast import DOWN, UP, class_moves, class_probability, expected_move, horizon_weights

ROUNDING = 1e-9  # of sums of quantities, relative
LONG_AGO = -(2**62)  # a tick before any, from which differences do not overflow
ORDERS_HELD = 5  # largest position in orders, where the settings do not say it


@dataclass(frozen=True)
class MakerSettings:
    """Where the maker quotes.

    Args:
        horizon: Horizon in ticks whose prediction is quoted on; None: the shortest of the model.
        weights: Weights of all horizons of the model in the forecast, in place of one horizon.
        signal_ticks: Move in ticks that a certain up stands for, where there is no calibration table.
        half_spread_ticks: Distance of each quote from the reservation price, in ticks.
        risk_aversion: Ticks that the quotes are moved for each order's quantity held, against the position.
        pull_threshold: Probability of a move against a quote at which it is cancelled.
        pull_ticks: Ticks that a cancelled side stays away after the forecast has turned back.
        requote_ticks: Least change of the wanted price that moves a quote, in ticks. Until then it keeps its place in
            the queue.
        order_qty: Quantity of each quote, in the instrument's units.
        max_position: Largest position, long or short; None: that of five quotes.

    Raises:
        ConfigError: a setting that is out of range or contradicts another.
    """

    horizon: int | None = None
    weights: tuple[float, ...] = ()
    signal_ticks: float = 1.0
    half_spread_ticks: float = 1.0
    risk_aversion: float = 0.5
    pull_threshold: float = 0.6
    pull_ticks: int = 0
    requote_ticks: int = 1
    order_qty: float = 1.0
    max_position: float | None = None

    def __post_init__(self) -> None:
        check_types("maker", self)
        check_signal("maker", self.horizon, self.weights)
        for name in ("signal_ticks", "risk_aversion", "pull_ticks"):
            require(getattr(self, name) >= 0, f"maker.{name}", getattr(self, name), "0 or more")
        require(self.half_spread_ticks > 0, "maker.half_spread_ticks", self.half_spread_ticks, "more than 0")
        require(0 < self.pull_threshold <= 1, "maker.pull_threshold", self.pull_threshold, "a probability above 0")
        require(self.requote_ticks >= 1, "maker.requote_ticks", self.requote_ticks, "ticks, 1 or more")
        check_quantities("maker", self.order_qty, self.max_position)


class MakerNumbers(NamedTuple):
    """`MakerSettings` as `decide_maker` reads them.

    Attributes:
        weights: (h,) of the horizons, which sum to 1.
        moves_ticks: (h, 3) expected move by horizon and class.
        half_spread_ticks … max_position: see `MakerSettings`.
    """

    weights: NDArray[np.float64]
    moves_ticks: NDArray[np.float64]
    half_spread_ticks: float
    risk_aversion: float
    pull_threshold: float
    pull_ticks: int
    requote_ticks: int
    order_qty: float
    max_position: float


class MakerState(NamedTuple):
    """What the maker remembers: the last ticks at which the forecast was against its bid and against its ask."""

    falling_tick: int
    rising_tick: int


@compiled
def wanted_prices(settings: MakerNumbers, moment: Moment) -> tuple[int, int]:
    """Bid and ask in ticks, before what rests already is considered."""
    move = expected_move(moment.probabilities, settings.weights, settings.moves_ticks)
    fair = 0.5 * (moment.bid_ticks + moment.ask_ticks) + move
    reservation = fair - settings.risk_aversion * moment.position / settings.order_qty
    bid = min(math.floor(reservation - settings.half_spread_ticks), moment.ask_ticks - 1)
    ask = max(math.ceil(reservation + settings.half_spread_ticks), moment.bid_ticks + 1)
    return bid, max(ask, bid + 1)


@compiled
def kept_price(wanted: int, working: int, qty: float, requote_ticks: int) -> int:
    """The price of the order that works if the wanted one is near to it, so that it keeps its place in the queue."""
    return working if qty > 0.0 and abs(wanted - working) < requote_ticks else wanted


@compiled
def quantity(settings: MakerNumbers, held: float, kept: bool, working_qty: float) -> float:
    """Of a quote, 0 if its fill would exceed the largest position; an order that is kept, keeps what is left of it.

    Args:
        settings: of the strategy.
        held: position on the side of the quote: negative where the quote reduces it.
        kept: whether the order that works stays.
        working_qty: of that order.
    """
    qty = working_qty if kept else settings.order_qty
    return qty if held + qty <= settings.max_position * (1.0 + ROUNDING) else 0.0


@compiled
def decide_maker(settings: MakerNumbers, state: MakerState, moment: Moment) -> tuple[Quotes, MakerState]:
    """The orders of the maker; see `contract.Strategy`, and above for their prices."""
    if not moment.ready:
        return NO_QUOTES, state
    down = class_probability(moment.probabilities, settings.weights, DOWN)
    up = class_probability(moment.probabilities, settings.weights, UP)
    falling_tick = moment.tick if down >= settings.pull_threshold else state.falling_tick
    rising_tick = moment.tick if up >= settings.pull_threshold else state.rising_tick
    new_bid, new_ask = wanted_prices(settings, moment)
    bid = kept_price(new_bid, moment.buy_ticks, moment.buy_qty, settings.requote_ticks)
    ask = kept_price(new_ask, moment.sell_ticks, moment.sell_qty, settings.requote_ticks)
    bid = bid if bid < moment.ask_ticks else new_bid
    ask = ask if ask > moment.bid_ticks else new_ask
    if bid >= ask:  # of two that were kept, or one of them
        bid, ask = new_bid, new_ask
    kept_buy, kept_sell = bid == moment.buy_ticks, ask == moment.sell_ticks
    buy_qty = quantity(settings, moment.position, kept_buy and moment.buy_qty > 0.0, moment.buy_qty)
    sell_qty = quantity(settings, -moment.position, kept_sell and moment.sell_qty > 0.0, moment.sell_qty)
    if moment.tick - falling_tick <= settings.pull_ticks:
        buy_qty = 0.0
    if moment.tick - rising_tick <= settings.pull_ticks:
        sell_qty = 0.0
    return Quotes(bid, buy_qty, ask, sell_qty, False), MakerState(falling_tick, rising_tick)


def maker(settings: MakerSettings, horizons: Sequence[int], moves_ticks: ArrayLike | None = None) -> Strategy:
    """The maker for a model.

    Args:
        settings: of the strategy.
        horizons: (h,) of the model, in ticks, ascending.
        moves_ticks: (h, 3) expected move by horizon and class, of `calibration.Calibration`. None: `signal_ticks` down
            and up at every horizon, and 0 for neutral.

    Raises:
        ConfigError: settings or moves that do not fit the model's horizons.

    >>> from nanoarb_jax.trading.maker import MakerSettings, maker
    >>> maker(MakerSettings(signal_ticks=2.0), horizons=(10, 50)).settings.moves_ticks.tolist()
    [[-2.0, 0.0, 2.0], [-2.0, 0.0, 2.0]]
    """
    signal, limit = settings.signal_ticks, settings.max_position
    moves = [[-signal, 0.0, signal]] * len(horizons) if moves_ticks is None else moves_ticks
    numbers = MakerNumbers(
        weights=horizon_weights("maker", settings.horizon, settings.weights, horizons),
        moves_ticks=class_moves(moves, horizons),
        half_spread_ticks=float(settings.half_spread_ticks),
        risk_aversion=float(settings.risk_aversion),
        pull_threshold=float(settings.pull_threshold),
        pull_ticks=settings.pull_ticks,
        requote_ticks=settings.requote_ticks,
        order_qty=float(settings.order_qty),
        max_position=float(ORDERS_HELD * settings.order_qty if limit is None else limit),
    )
    return Strategy(decide_maker, numbers, MakerState(LONG_AGO, LONG_AGO), "maker")
