"""The feature sets by name: names of the features, how books give them, what a model makes of them, their mirror."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.features.flow import FLOW_NAMES, flow, flow_memory
from nanoarb_jax.features.lob44 import FEATURE_NAMES, SESSION_GAP_NS, lob44
from nanoarb_jax.features.mirror import FLOW_MIRROR, LOB44_MIRROR, Mirror
from nanoarb_jax.market.series import BookSeries


@dataclass(frozen=True)
class Channels:
    """Numbers of the input channels that a model's first stage makes of a feature set, in two kinds.

    `nanoarb_jax.model.transform` defines the channels; the compiled step and the exporter compute one kind after the
    other.

    Args:
        logged: those that pass through a signed logarithm.
        plain: the others.
    """

    logged: tuple[int, ...]
    plain: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.logged) + len(self.plain)


@dataclass(frozen=True)
class FeatureSet:
    """One feature set.

    Args:
        name: of the set.
        names: of its features, in order.
        rows: `(books, quantity_scale, memory, spread_scale=…, session_gap_ns=…)` → (n, f) float32 features of recorded
            books.
        new_memory: what `rows` keeps of earlier books, before the first one.
        channels: that a model makes of the features.
        mirror: the features of the mirrored market in terms of these.
    """

    name: Literal["lob44", "flow"]
    names: tuple[str, ...]
    rows: Callable[..., NDArray[np.float32]]
    new_memory: Callable[[], Any]
    channels: Channels
    mirror: Mirror

    @property
    def hash(self) -> str:
        """See `names_hash`."""
        return names_hash(self.names)


def names_hash(names: Sequence[str]) -> str:
    """16 hex digits that change when a feature is renamed, moved, added or removed."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _lob44_rows(
    books: BookSeries,
    quantity_scale: float,
    memory: None = None,
    *,
    spread_scale: float = 1.0,
    session_gap_ns: int = SESSION_GAP_NS,
) -> NDArray[np.float32]:
    """`lob44` with the signature of `FeatureSet.rows`; what concerns other ticks or moves is not used."""
    return lob44(books, quantity_scale)


FEATURE_SETS: dict[str, FeatureSet] = {
    one.name: one
    for one in (
        FeatureSet(
            "lob44",
            FEATURE_NAMES,
            _lob44_rows,
            lambda: None,
            Channels(logged=(*range(15, 55), *range(5)), plain=tuple(range(5, 15))),
            LOB44_MIRROR,
        ),
        FeatureSet(
            "flow",
            FLOW_NAMES,
            flow,
            flow_memory,
            Channels(logged=tuple(range(34)), plain=tuple(range(34, 50))),
            FLOW_MIRROR,
        ),
    )
}


def feature_set_of(features: int) -> FeatureSet | None:
    """The feature set that has so many features per tick; None where none of ours does.

    >>> from nanoarb_jax.features.feature_set import feature_set_of
    >>> [one and one.name for one in map(feature_set_of, (44, 101, 10))]
    ['lob44', 'flow', None]
    """
    return next((one for one in FEATURE_SETS.values() if len(one.names) == features), None)


def mirror_of(features: int) -> Mirror:
    """The mirror of the feature set that has so many features per tick.

    Raises:
        DataError: no feature set has.
    """
    found = feature_set_of(features)
    if found is None:
        known = " or ".join(f"{len(one.names)} ({one.name})" for one in FEATURE_SETS.values())
        raise DataError(f"mirror: {features} features per tick; expected {known}, train others without mirroring")
    return found.mirror


def mirror_features(features: NDArray[np.float32], reference_price: float) -> NDArray[np.float32]:
    """The features of the mirrored market: bid and ask swapped, prices reflected, p -> 2 * reference_price - p.

    Args:
        features: (..., f) raw features of one of the feature sets.
        reference_price: price that stays where it is.

    Returns:
        As many float32; mirroring twice gives the features back.

    Raises:
        DataError: another number of features.
    """
    order, sign = mirror_of(features.shape[-1])
    mirrored = features[..., order] * sign
    mirrored[..., :2] = 2.0 * reference_price - features[..., :2].astype(np.float64)
    return mirrored
