"""A strategy that takes: it crosses the spread where the model is sure enough, or where the move pays for its costs."""

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
from nanoarb_jax.trading.contract import Moment, Quotes, Strategy
from nanoarb_jax.trading.forecast import DOWN, UP, class_moves, class_probability, expected_move, horizon_weights

ROUNDING = 1e-9  # of sums of quantities, relative
LONG_AGO = -(2**62)  # a tick before any, from which differences do not overflow


@dataclass(frozen=True)
class TakerSettings:
    """When the taker enters and leaves the market.

    Args:
        horizon: Horizon in ticks whose prediction is traded on; None: the shortest of the model.
        weights: Weights of all horizons of the model in the signal, in place of one horizon.
        threshold: Least probability of up or down to enter on, where there is no calibration table.
        least_edge_ticks: Least expected move after costs to enter on, in ticks, where there is a calibration table.
        taker_fee: Fee as a share of the value that is traded, each way; 0.0005 is 5 basis points.
        order_qty: Quantity of each entry, in the instrument's units.
        max_position: Largest position, long or short; None: that of one entry.
        cool_down_ticks: Ticks after an exit without a new entry.
        hold_ticks: Ticks after which a position is closed; None: the longest horizon that has weight in the signal.
        take_profit_ticks: Gain in ticks at which a position is closed; None: at none. Gain and loss are measured from
            the price of the entry to the best price at which the position can be closed.
        stop_ticks: Loss in ticks at which a position is closed; None: at none. It begins with the spread.

    Raises:
        ConfigError: a setting that is out of range or contradicts another.
    """

    horizon: int | None = None
    weights: tuple[float, ...] = ()
    threshold: float = 0.6
    least_edge_ticks: float = 0.0
    taker_fee: float = 0.0
    order_qty: float = 1.0
    max_position: float | None = None
    cool_down_ticks: int = 0
    hold_ticks: int | None = None
    take_profit_ticks: float | None = None
    stop_ticks: float | None = None

    def __post_init__(self) -> None:
        check_types("taker", self)
        check_signal("taker", self.horizon, self.weights)
        require(0 < self.threshold <= 1, "taker.threshold", self.threshold, "a probability above 0, e.g. 0.6")
        require(abs(self.taker_fee) < 1, "taker.taker_fee", self.taker_fee, "a share of the value, e.g. 0.0005")
        check_quantities("taker", self.order_qty, self.max_position)
        require(self.cool_down_ticks >= 0, "taker.cool_down_ticks", self.cool_down_ticks, "ticks, 0 or more")
        held = self.hold_ticks
        require(held is None or held >= 1, "taker.hold_ticks", held, "None or ticks, 1 or more")
        for name in ("take_profit_ticks", "stop_ticks"):
            value = getattr(self, name)
            require(value is None or value > 0, f"taker.{name}", value, "None or more than 0")


class TakerNumbers(NamedTuple):
    """`TakerSettings` as `decide_taker` reads them: nothing left to be resolved, infinity for what is off.

    Attributes:
        weights: (h,) of the horizons, which sum to 1.
        moves_ticks: (h, 3) expected move by horizon and class; zeros without a calibration table.
        by_move: whether there is such a table.
        threshold … stop_ticks: see `TakerSettings`.
    """

    weights: NDArray[np.float64]
    moves_ticks: NDArray[np.float64]
    by_move: bool
    threshold: float
    least_edge_ticks: float
    taker_fee: float
    order_qty: float
    max_position: float
    cool_down_ticks: int
    hold_ticks: int
    take_profit_ticks: float
    stop_ticks: float


class TakerState(NamedTuple):
    """What the taker remembers.

    Attributes:
        position: at the tick before.
        closed_tick: when it was last seen to have become flat.
    """

    position: float
    closed_tick: int


@compiled
def taker_signal(settings: TakerNumbers, moment: Moment) -> int:
    """1: be long, -1: be short, 0: neither.

    By expected move, a round trip costs the half spread now, the half spread to come back, which is taken to be as wide
    as now, and the fees of both ways.
    """
    if settings.by_move:
        expected = expected_move(moment.probabilities, settings.weights, settings.moves_ticks)
        fees = settings.taker_fee * (moment.ask_ticks + moment.bid_ticks)
        least = settings.least_edge_ticks + (moment.ask_ticks - moment.bid_ticks) + fees
        rises, falls = expected > least and expected >= 0, -expected > least and expected <= 0
    else:
        up = class_probability(moment.probabilities, settings.weights, UP)
        down = class_probability(moment.probabilities, settings.weights, DOWN)
        rises, falls = up >= settings.threshold and up > down, down >= settings.threshold and down > up
    return int(rises) - int(falls)


@compiled
def must_close(settings: TakerNumbers, moment: Moment, signal: int) -> bool:
    """Whether an open position is to be closed: by time, gain, loss, or a signal against it."""
    if moment.position > 0:
        side, gain = 1, moment.bid_ticks - moment.entry_ticks
    else:
        side, gain = -1, moment.entry_ticks - moment.ask_ticks
    late = moment.tick - moment.opened_tick >= settings.hold_ticks
    return late or gain >= settings.take_profit_ticks or -gain >= settings.stop_ticks or signal == -side


@compiled
def decide_taker(settings: TakerNumbers, state: TakerState, moment: Moment) -> tuple[Quotes, TakerState]:
    """The orders of the taker; see `contract.Strategy`.

    Orders on their way stay wanted as they are. While there is any, no entry is sent; while there is one that closes,
    no second one. A closing order is for the whole position.
    """
    buy_ticks, buy_qty, sell_ticks, sell_qty = moment.buy_ticks, moment.buy_qty, moment.sell_ticks, moment.sell_qty
    position, closed_tick = moment.position, state.closed_tick
    if position == 0.0 and state.position != 0.0:
        closed_tick = moment.tick
    signal = taker_signal(settings, moment) if moment.ready else 0
    if position != 0.0 and must_close(settings, moment, signal):
        if position > 0.0 and sell_qty == 0.0:
            sell_ticks, sell_qty = moment.bid_ticks, position
        elif position < 0.0 and buy_qty == 0.0:
            buy_ticks, buy_qty = moment.ask_ticks, -position
    elif signal != 0 and signal * position >= 0.0 and buy_qty == 0.0 and sell_qty == 0.0:
        fits = abs(position) + settings.order_qty <= settings.max_position * (1.0 + ROUNDING)
        if fits and moment.tick - closed_tick >= settings.cool_down_ticks:
            if signal > 0:
                buy_ticks, buy_qty = moment.ask_ticks, settings.order_qty
            else:
                sell_ticks, sell_qty = moment.bid_ticks, settings.order_qty
    return Quotes(buy_ticks, buy_qty, sell_ticks, sell_qty, True), TakerState(position, closed_tick)


def taker(settings: TakerSettings, horizons: Sequence[int], moves_ticks: ArrayLike | None = None) -> Strategy:
    """The taker for a model.

    Args:
        settings: of the strategy.
        horizons: (h,) of the model, in ticks, ascending.
        moves_ticks: (h, 3) expected move by horizon and class, of `calibration.Calibration`: entries are then decided
            by the expected move after costs. None: by `threshold`.

    Raises:
        ConfigError: settings or moves that do not fit the model's horizons.

    >>> from nanoarb_jax.trading.taker import TakerSettings, taker
    >>> strategy = taker(TakerSettings(horizon=50, threshold=0.7), horizons=(10, 50, 100))
    >>> strategy.name, strategy.settings.hold_ticks, strategy.settings.take_profit_ticks
    ('taker', 50, inf)
    """
    weights = horizon_weights("taker", settings.horizon, settings.weights, horizons)
    longest = max(ticks for ticks, weight in zip(horizons, weights, strict=True) if weight > 0)
    limit, gain, loss = settings.max_position, settings.take_profit_ticks, settings.stop_ticks
    numbers = TakerNumbers(
        weights=weights,
        moves_ticks=np.zeros((len(horizons), 3)) if moves_ticks is None else class_moves(moves_ticks, horizons),
        by_move=moves_ticks is not None,
        threshold=float(settings.threshold),
        least_edge_ticks=float(settings.least_edge_ticks),
        taker_fee=float(settings.taker_fee),
        order_qty=float(settings.order_qty),
        max_position=float(settings.order_qty if limit is None else limit),
        cool_down_ticks=settings.cool_down_ticks,
        hold_ticks=longest if settings.hold_ticks is None else settings.hold_ticks,
        take_profit_ticks=math.inf if gain is None else float(gain),
        stop_ticks=math.inf if loss is None else float(loss),
    )
    return Strategy(decide_taker, numbers, TakerState(0.0, LONG_AGO), "taker")
