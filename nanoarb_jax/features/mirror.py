"""Features of the mirrored market, where bid and ask, up and down are swapped: as likely a market as the real one."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.features import flow
from nanoarb_jax.features import lob44 as lob
from nanoarb_jax.market.series import LEVELS

_IMBALANCE = 3


@functools.cache
def mirror_swaps(width: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Where each feature of the mirrored market comes from, and its sign; the first two, which are prices, aside.

    Args:
        width: number of raw features, 44 or 86.

    Raises:
        DataError: another number of features.
    """
    order, sign = np.arange(width), np.ones(width, np.float32)
    pairs = [(lob.BID_SIZES, lob.ASK_SIZES, LEVELS), (lob.BID_SUMS, lob.ASK_SUMS, LEVELS)]
    sign[_IMBALANCE] = -1
    if width == len(flow.FLOW_NAMES):
        pairs += [(flow.BID_GAP, flow.ASK_GAP, LEVELS - 1), (flow.EVENT, flow.EVENT + 2, 2)]
        pairs += [(flow.EVENT + 4, flow.EVENT + 5, 1)]
        sign[[flow.OFFSET, flow.SIGNED, flow.MID_CHANGE, *range(flow.OFI, flow.OFI + LEVELS)]] = -1
    elif width != len(lob.FEATURE_NAMES):
        known = f"{len(lob.FEATURE_NAMES)} (lob44) or {len(flow.FLOW_NAMES)} (flow)"
        raise DataError(f"mirror: {width} features per tick; expected {known}, train others without mirroring")
    for bid, ask, count in pairs:
        order[bid : bid + count], order[ask : ask + count] = np.arange(ask, ask + count), np.arange(bid, bid + count)
    return order, sign


def mirror_features(features: NDArray[np.float32], reference_price: float) -> NDArray[np.float32]:
    """The features of the mirrored market: bid and ask swapped, prices reflected, p -> 2 * reference_price - p.

    Args:
        features: (..., 44) or (..., 86) raw features.
        reference_price: price that stays where it is.

    Returns:
        As many float32; mirroring twice gives the features back.

    Raises:
        DataError: another number of features.
    """
    order, sign = mirror_swaps(features.shape[-1])
    mirrored = features[..., order] * sign
    mirrored[..., :2] = 2.0 * reference_price - features[..., :2].astype(np.float64)
    return mirrored
