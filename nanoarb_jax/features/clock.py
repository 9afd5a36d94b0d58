"""The tick clock of what a model reads."""

from __future__ import annotations

from nanoarb_jax.config import InputSpec
from nanoarb_jax.market.clocks.clock import TickClock


def tick_clock(spec: InputSpec) -> TickClock:
    """The clock that makes the ticks.

    >>> from nanoarb_jax.features.clock import tick_clock
    >>> tick_clock(nj.InputSpec(clock="bbo")).levels
    1
    """
    if spec.clock in ("trade", "time"):
        return TickClock(spec.clock, interval_ns=round(spec.clock_interval_ms * 1e6))
    return TickClock("book", levels=1 if spec.clock == "bbo" else spec.clock_levels)
