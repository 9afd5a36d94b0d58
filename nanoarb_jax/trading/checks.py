"""Checks of settings that strategies share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nanoarb_jax.config.checks import require


def check_signal(table: str, horizon: int | None, weights: Sequence[float]) -> None:
    """Refuse what no model could have: horizons below 1, weights that are none, and both together.

    Raises:
        SettingError: see above.
    """
    require(horizon is None or horizon >= 1, f"{table}.horizon", horizon, "None or ticks, 1 or more")
    fits = isinstance(weights, tuple) and all(_is_weight(one) for one in weights)
    require(fits and (not weights or sum(weights) > 0), f"{table}.weights", weights, "numbers from 0 on, not all 0")
    require(horizon is None or not weights, f"{table}.horizon", horizon, "None where weights are given, leave one out")


def check_quantities(table: str, order_qty: float, max_position: float | None) -> None:
    """Refuse an order quantity that is none, and a largest position that no order fits into.

    Raises:
        SettingError: see above.
    """
    require(order_qty > 0, f"{table}.order_qty", order_qty, "more than 0")
    fits = max_position is None or max_position >= order_qty
    require(fits, f"{table}.max_position", max_position, f"None or at least order_qty, {order_qty!r}")


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
