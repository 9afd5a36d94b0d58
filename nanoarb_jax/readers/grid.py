"""Prices and quantities as files give them, in decimals, put on the integer grid of a series."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import finer_step

_LARGEST = 2.0**62  # in units; below EMPTY_PRICE, and sums of two still fit
_OFF_GRID = 1e-6  # largest rounding error, in units, that still counts as on the grid; it grows beyond 1e9 units


def price_scale(tick_size: float, what: str) -> tuple[float, int]:
    """The coarsest decimal unit that holds a whole number of ticks: price units per 1 of price, and units per tick.

    Raises:
        DataError: a tick size that is not a positive number of at most twelve decimals.

    >>> from nanoarb_jax.readers.grid import price_scale
    >>> price_scale(0.25, "example")
    (100.0, 25)
    """
    if math.isfinite(tick_size) and tick_size > 0:
        for decimals in range(13):
            units = tick_size * 10.0**decimals
            if units >= 0.5 and abs(units - round(units)) <= 1e-9 * units:
                return 10.0**decimals, round(units)
    raise DataError(f"{what}: tick size {tick_size}; expected a positive number of at most twelve decimals")


def per_one(unit: float) -> float:
    """How many units make 1: its reciprocal, exactly whole where a rounded decimal such as 1e-8 stands for that.

    >>> from nanoarb_jax.readers.grid import per_one
    >>> per_one(1e-5)
    100000.0
    """
    return float(round(1 / unit)) if math.isclose(1 / unit, round(1 / unit), rel_tol=1e-12) else 1 / unit


def on_grid(
    values: NDArray[np.float64], unit: float, what: str, option: str | None, factor: int = 1
) -> NDArray[np.int64]:
    """Values in whole units, times a factor.

    Args:
        values: prices or quantities, any shape, all finite.
        unit: the step of the grid, e.g. the tick size.
        what: the file and the kind of value, for the error.
        option: to advise, e.g. "tick_size"; None: values between the steps are rounded.
        factor: of the result, e.g. price units per tick.

    Raises:
        DataError: a value too large for 64 bits, or off the grid where an option is named.
    """
    units = values * per_one(unit)  # dividing by a decimal below 1 is less exact
    large = np.abs(units) >= _LARGEST / factor
    if large.any():
        raise DataError(f"{what} {values[large][0]:.17g} is too large for steps of {unit}; check the file's units")
    whole = np.rint(units)
    off = np.abs(units - whole) > np.maximum(_OFF_GRID, np.abs(units) * 1e-15)
    if option is not None and off.any():
        value = float(values[off][0])
        raise DataError(
            f"{what} {value!r} is no multiple of {unit}; give a finer {option}, on the command line "
            f"--{option.replace('_', '-')} {finer_step(value)} or another that it fits"
        )
    return whole.astype(np.int64) * factor
