"""An axis in clock time, from microseconds to years."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_DAY_S = 86_400
_STEPS_S = (
    *(digit * 10.0**power for power in range(-9, 0) for digit in (1, 2, 5)),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, _DAY_S),
)


def tick_step(span_s: float, most: int = 9) -> float:
    """The smallest round step of a clock, in s, of which there are at most that many in a span.

    >>> from nanoarb_jax.reports.clock_axis import tick_step
    >>> tick_step(344), tick_step(6 * 3600), tick_step(0.0031)
    (60, 3600, 0.0005)
    """
    for step in _STEPS_S:
        if span_s <= most * step:
            return step
    return math.ceil(span_s / most / _DAY_S) * _DAY_S


def clock_label(second: float, step: float, midnight: np.datetime64) -> str:
    """A time of day as precise as the step asks for; at midnight, or in steps of days, the date.

    Args:
        second: since midnight.
        step: between the labels, in s.
        midnight: of the day that `second` counts from.
    """
    digits = max(0, math.ceil(-math.log10(step) - 1e-9)) if step < 1 else 0
    unit = 10**digits
    whole, part = divmod(round(second * unit), unit)
    days, rest = divmod(whole, _DAY_S)
    date = midnight + np.timedelta64(days, "D")
    if step >= _DAY_S or (days and rest == 0 and part == 0):
        return str(date)
    time = f"{rest // 3600:02d}:{rest // 60 % 60:02d}"
    if step < 60:
        time += f":{rest % 60:02d}"
    return f"{time}.{part:0{digits}d}" if digits else time


def label_clock(axis: Any, low: float, high: float, midnight: np.datetime64) -> None:
    """Ticks, labels and name of an x axis whose values are seconds since a midnight, UTC.

    Args:
        axis: a matplotlib axis.
        low, high: its limits.
        midnight: of the first day, to the day.
    """
    step = tick_step(high - low)
    if step < 0.01:  # the labels are longer
        step = tick_step(high - low, 5)
    at = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step
    axis.set_ticks(at, [clock_label(second, step, midnight) for second in at])
    last = midnight + np.timedelta64(int(high // _DAY_S), "D")
    days = f"{midnight}" if last == midnight else f"{midnight} to {last}"
    axis.set_label_text(f"time (UTC), {days}")
