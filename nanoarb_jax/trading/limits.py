"""Limits that hold for every strategy: the backtest's loop enforces them, whatever the strategy wants."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nanoarb_jax.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """When a strategy is stopped, and how much it may hold.

    Args:
        max_position: Largest position, long or short, that fills of all working orders may lead to.
        max_drawdown: Fall of the equity from its highest value that ends trading for good; in the account's currency.
        stale_ms: Time without a message after which all orders are withdrawn, until data come again; in ms.

    Raises:
        ConfigError: a limit that is not a number above 0.
    """

    max_position: float = math.inf
    max_drawdown: float = math.inf
    stale_ms: float = math.inf

    def __post_init__(self) -> None:
        for name in ("max_position", "max_drawdown", "stale_ms"):
            value = getattr(self, name)
            if not value > 0:
                raise ConfigError(f"limits.{name}={value!r}: expected a number above 0")
