"""Recorded features as they would be had other quantities and spreads been usual, without the books they came from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import feature_set_of
from nanoarb_jax.features.flow import (
    MID_CHANGE,
    OFI,
    OUTCOMES,
    SIGNED,
    SPREAD_SCALE,
    VOLUME,
    VPIN,
    flow_memory,
    start_session,
    vpin,
)
from nanoarb_jax.features.lob44 import BID_SIZES, FEATURE_NAMES, IMBALANCE, SPREAD
from nanoarb_jax.features.outcomes import outcome_row
from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.series import LEVELS

_QUANTITIES = [*range(BID_SIZES, len(FEATURE_NAMES))]
_FLOW_QUANTITIES = [*_QUANTITIES, *range(OFI, OFI + LEVELS), SIGNED, VOLUME]


def rescale(
    features: NDArray[np.float32], ts_ns: NDArray[np.int64], ratio: float, spread_scale: float, session_gap_ns: int
) -> NDArray[np.float32]:
    """The features of a stream in other scales.

    They equal those made from the books to the rounding of float32; VPIN, whose buckets are filled anew with volumes
    that were rounded, to 1e-5. What followed books like each one is counted anew.

    Args:
        features: (n, f) of one of the feature sets, from the first row of a series on.
        ts_ns: (n,) times.
        ratio: quantity scale that they have, over the one that they are to have.
        spread_scale: that they are to have, in ticks.
        session_gap_ns: a longer time between two ticks begins another session.

    Raises:
        DataError: another number of features.
    """
    found = feature_set_of(features.shape[1])
    if found is None:
        raise DataError(f"rescale: {features.shape[1]} features per tick; expected those of a feature set")
    scaled = np.array(features, np.float32)
    quantities = _FLOW_QUANTITIES if found.name == "flow" else _QUANTITIES
    scaled[:, quantities] = features[:, quantities] * np.float64(ratio)
    if found.name == "flow":
        scaled[:, SPREAD_SCALE] = spread_scale
        _fill_anew(np.ascontiguousarray(ts_ns), scaled, session_gap_ns, flow_memory())
    return scaled


@compiled
def _fill_anew(ts_ns, features, session_gap_ns, memory):  # type: ignore[no-untyped-def]
    """Fill in what depends on the scales otherwise than by a factor: VPIN, and what followed books like each one."""
    running, mid = memory.running[0], 0.0
    for i in range(features.shape[0]):
        row = features[i]
        if i > 0 and ts_ns[i] - ts_ns[i - 1] > session_gap_ns:
            start_session(memory)
        signed, volume = np.float64(row[SIGNED]), np.float64(row[VOLUME])
        row[VPIN] = vpin((volume + signed) / 2, (volume - signed) / 2, memory.ring, running)
        mid += row[MID_CHANGE]
        scale, out = row[SPREAD_SCALE], row[OUTCOMES:]
        outcome_row(running.ticks, mid, row[IMBALANCE], row[SPREAD], row[OFI], scale, memory.outcomes, out)
        running.ticks += 1
