"""The mirrored market, where bid and ask, up and down are swapped: as likely a market as the real one.

Every feature of it is a feature of the real market, perhaps with the other sign; the first two features, which are
prices, are reflected instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.features import flow, lob44, outcomes
from nanoarb_jax.market.series import LEVELS


class Mirror(NamedTuple):
    """How the f features of the mirrored market follow from those of the real one.

    Attributes:
        order: (f,) int, the feature that each one is taken from.
        sign: (f,) float32, 1 or -1.
    """

    order: NDArray[np.intp]
    sign: NDArray[np.float32]


def _mirror(features: int, swapped: Sequence[tuple[int, int, int]], negated: Sequence[int]) -> Mirror:
    """`swapped`: (first of the bid's features, first of the ask's, how many); `negated`: features that change sign."""
    order, sign = np.arange(features), np.ones(features, np.float32)
    for bid, ask, count in swapped:
        order[bid : bid + count], order[ask : ask + count] = np.arange(ask, ask + count), np.arange(bid, bid + count)
    sign[list(negated)] = -1
    return Mirror(order, sign)


_QUANTITIES = [(lob44.BID_SIZES, lob44.ASK_SIZES, LEVELS), (lob44.BID_SUMS, lob44.ASK_SUMS, LEVELS)]
_FLOWS = [
    (flow.BID_GAP, flow.ASK_GAP, LEVELS - 1),
    (flow.HAPPENED, flow.HAPPENED + 2, 2),
    (flow.HAPPENED + 4, flow.HAPPENED + 5, 1),
]
_LEANS = [flow.OUTCOMES + i for i, name in enumerate(outcomes.NAMES) if name.startswith("lean")]
_SIGNED = [flow.OFFSET, flow.SIGNED, flow.MID_CHANGE, *range(flow.OFI, flow.OFI + LEVELS), *_LEANS]

LOB44_MIRROR = _mirror(len(lob44.FEATURE_NAMES), _QUANTITIES, [lob44.IMBALANCE])
FLOW_MIRROR = _mirror(len(flow.FLOW_NAMES), [*_QUANTITIES, *_FLOWS], [lob44.IMBALANCE, *_SIGNED])
