"""The steps of a table's prices and sizes: given, or those that its first rows lie on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.feed import ReadOptions, infer_lot_size, infer_tick_size


class Steps(NamedTuple):
    """The steps of prices and sizes.

    Attributes:
        tick_size: price of one tick.
        lot_size: the smallest quantity kept apart.
        lot_option: to advise where a size lies between lots; None: sizes are rounded, since the lot size was inferred.
    """

    tick_size: float
    lot_size: float
    lot_option: str | None


def measure_steps(px: NDArray[np.float64], qty: NDArray[np.float64], options: ReadOptions, what: str) -> Steps:
    """The steps that are given, or else those that prices and sizes lie on.

    Args:
        px: prices of levels and orders, any shape; those that are not finite are ignored.
        qty: sizes, any shape.
        what: the file, for the error.

    Raises:
        DataError: a lot size that is too small, no prices, or prices on no grid.
    """
    tick_size, lot_size = options.tick_size, options.lot_size
    if tick_size is None:
        tick_size = infer_tick_size(px, what)
    if lot_size is None:
        return Steps(tick_size, infer_lot_size(qty, what), None)
    if not 1e-12 <= lot_size < np.inf:
        raise DataError(f"{what}: lot size {lot_size}; expected a positive number, 1e-12 or more")
    return Steps(tick_size, lot_size, "lot_size")
