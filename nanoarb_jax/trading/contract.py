"""What a strategy is: one function from what is known at a tick to the orders that are wanted, in Python and compiled.

    quotes, state = decide(settings, state, moment)

`decide` says which orders it wants to have, not what is to be sent: the backtest compares that with the orders that
work, cancels what is not wanted any more and sends what is missing. The same function runs inside the compiled loop and
in Python (`decide.py_func`), so it uses only what numba compiles: numbers, tuples, arrays and `NO_QUOTES`.
"""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Moment(NamedTuple):
    """What is known when the prediction of a tick is there.

    Prices are in ticks, of the best levels of the tick's own book; quantities are in the instrument's units. Orders and
    position are those that the strategy knows of: it has not heard yet of fills whose responses are on their way.

    Attributes:
        tick: number of the tick since the beginning of the backtest.
        ts_ns: when the tick was received, ns since 1970 UTC.
        ready: whether the model has warmed up; predictions before that are not to be traded on.
        bid_ticks, ask_ticks: best prices.
        bid_qty, ask_qty: at the best prices.
        probabilities: (h, 3) float32, of down, neutral and up at every horizon; not to be changed.
        position: long > 0, short < 0.
        entry_ticks: average price at which the open position was entered; 0 where there is none.
        opened_ns, opened_tick: when the position was opened, since when it has not been flat; 0 where it is.
        buy_ticks, buy_qty: the buy order that works or is on its way; quantity 0: there is none.
        sell_ticks, sell_qty: the sell order.
    """

    tick: int
    ts_ns: int
    ready: bool
    bid_ticks: int
    ask_ticks: int
    bid_qty: float
    ask_qty: float
    probabilities: NDArray[np.float32]
    position: float
    entry_ticks: float
    opened_ns: int
    opened_tick: int
    buy_ticks: int
    buy_qty: float
    sell_ticks: int
    sell_qty: float


class Quotes(NamedTuple):
    """The orders that are wanted: one on each side at most.

    Attributes:
        buy_ticks, sell_ticks: limit prices.
        buy_qty, sell_qty: quantities, 0: no order is wanted on this side, and one that rests there is cancelled.
        take: True: the orders take what the book offers at these prices or better at once, and the rest is void
            (immediate or cancel). False: they rest in the book and never take (post only).
    """

    buy_ticks: int
    buy_qty: float
    sell_ticks: int
    sell_qty: float
    take: bool


NO_QUOTES = Quotes(0, 0.0, 0, 0.0, False)


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A strategy with its settings, ready for a backtest.

    Args:
        decide: `(settings, state, moment) -> (quotes, state)`, plain or compiled by numba. It must not depend on
            anything else, and must return a state of the same types as it was given.
        settings: frozen dataclass or NamedTuple of numbers, tuples of numbers and arrays, by the names that `decide`
            reads.
        state: NamedTuple of numbers to begin with; `()` where nothing is remembered.
        name: for tables and charts.
    """

    decide: Callable[..., Any]
    settings: Any
    state: tuple[Any, ...] = ()
    name: str = "strategy"


def as_tuple(settings: Any) -> Any:
    """Settings in the form that compiled code reads: a NamedTuple with the fields of a dataclass.

    Fields of text are left out, since compiled code has no use for them.

    >>> from nanoarb_jax.trading.contract import as_tuple
    >>> from nanoarb_jax.trading.limits import Limits
    >>> as_tuple(Limits(max_position=2.0)).max_position
    2.0
    """
    if not dataclasses.is_dataclass(settings):
        return settings
    values = {one.name: getattr(settings, one.name) for one in dataclasses.fields(settings)}
    values = {name: value for name, value in values.items() if not isinstance(value, str)}
    return _tuple_type(type(settings).__name__, tuple(values))(**values)


@cache
def _tuple_type(name: str, fields: tuple[str, ...]) -> Any:
    return namedtuple(f"{name}Numbers", fields)  # made of a dataclass's fields
