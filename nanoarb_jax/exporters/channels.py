"""The channels of the input transforms as quotients of two matrix products, whose factors do not depend on the weights.

    channel = (features and previous features @ numerator) / (|features| @ denominator + offset)

Every factor is 0, a whole number or the weight of a mean, so the products are as exact as the differences that they
stand for. `nanoarb_jax.model.transform` defines the channels and numbers them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.model.transform import LEVELS, PRICE_UNIT

TINY = 1e-12


class Quotients(NamedTuple):
    """How f features of a tick and those of the tick before give g channels.

    Attributes:
        numerator: (2 f, g) float32, rows of the tick's features, then of the previous ones.
        denominator: (f, g) float32.
        offset: (g,) float32 of the denominator.
        logged: (g,) bool, channels that pass through a signed logarithm.
    """

    numerator: np.ndarray
    denominator: np.ndarray
    offset: np.ndarray
    logged: np.ndarray


def quotients(kind: str) -> Quotients:
    """The quotients of an input transform, "lob44" or "flow"."""
    channels = FEATURE_SETS[kind].channels
    now, before, sizes, offset = {"lob44": _lob44, "flow": _flow}[kind]()
    logged = np.isin(np.arange(channels.count), channels.logged)
    return Quotients(np.concatenate([now, before]), sizes, offset, logged)


def _lob44() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Factors of the features, of the previous ones and of the denominator (44, 55), and the offset (55,)."""
    now, before, sizes = np.zeros((3, 44, 55), np.float32)
    offset = np.full(55, TINY, np.float32)
    # channel, feature: returns of microprice and weighted mid, change of the spread, of every quantity
    changes = [(0, 0), (1, 1), (4, 2), *zip(range(35, 55), range(4, 24), strict=True)]
    values = [(3, 2), *zip(range(15, 35), range(4, 24), strict=True)]  # the spread, every quantity
    for channel, feature in changes + values:
        now[feature, channel] = 1
    for channel, feature in changes:
        before[feature, channel] = -1
    now[1, 2], now[0, 2] = 1, -1  # weighted mid above microprice
    sizes[0, :3] = PRICE_UNIT
    offset[3:5] = 1  # the spread counts ticks as it is
    _imbalances(now, sizes, first=5)
    sizes[[33, 43], 15:] = 1 / (2 * LEVELS)  # whole depth of both sides over their levels
    return now, before, sizes, offset


def _flow() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Factors of the features, of the previous ones and of the denominator (101, 50), and the offset (50,)."""
    now, before, sizes = np.zeros((3, 101, 50), np.float32)
    offset = np.ones(50, np.float32)
    # channel: (feature, factor)
    changes = {0: (44, 4), 1: (2, 20)}  # of the microprice, less that of the mid; of the spread
    over_spread_scale = {2: (84, 1), 3: (44, 4), 4: (2, 20), 5: (83, 1000)}
    quantities = {8: (4, 100), 9: (5, 100), 10: (14, 100), 11: (15, 100)}
    order_flow = {12 + level: (45 + level, 1) for level in range(3)}
    outcomes = {19 + i: (86 + i, 1) for i in range(15)}
    events = {44 + event: (75 + event, 1) for event in range(6)}
    others = {6: (85, 1), 7: (81, 1000), 17: (55, 1), 18: (56, 1)}  # spread scale, time, signed volume, volume
    read = changes | over_spread_scale | quantities | order_flow | outcomes | events | others
    for channel, (feature, factor) in read.items():
        now[feature, channel] = factor
    for channel, (feature, factor) in changes.items():
        before[feature, channel] = -factor
    now[84, 0] = 4  # change of the mid
    now[45:50, 15] = now[45:55, 16] = 1  # order flow of several levels together
    sizes[85, :6] = 1
    _imbalances(now, sizes, first=34)
    offset[:6] = offset[34:44] = TINY  # the others are divided by 1
    return now, before, sizes, offset


def _imbalances(now: np.ndarray, sizes: np.ndarray, first: int) -> None:
    """Cumulative imbalance per depth: bid less ask quantity, over both, in the channels from `first` on."""
    for level in range(LEVELS):
        bid, ask, channel = 24 + level, 34 + level, first + level
        now[bid, channel], now[ask, channel] = 1, -1
        sizes[[bid, ask], channel] = 1
