"""What can be wrong with a feed or a book: kinds of anomalies, their counters, and what is done about each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError

Policy = Literal["keep", "skip", "resync", "raise", "heal"]
KEEP, SKIP, RESYNC, RAISE, HEAL = range(5)
_POLICIES: tuple[Policy, ...] = ("keep", "skip", "resync", "raise", "heal")


class Anomaly(IntEnum):
    """Kinds, each with a counter in `OrderBook.anomalies`. The first three are seen at the end of a message."""

    CROSSED = 0  # best bid above best ask
    LOCKED = 1  # best bid equal to best ask
    ONE_SIDED = 2  # no bid or no ask
    UNKNOWN_ORDER = 3  # cancel, modify or fill of an order that is not there
    DUPLICATE_ORDER = 4  # an order id that is there already
    OVER_CANCEL = 5  # more cancelled or filled than the order holds
    GAP = 6  # the feed says that messages before this one are lost
    BACKWARDS = 7  # earlier than an event before it
    INVALID = 8  # unknown kind, no side, a price off the tick grid, a quantity below 0, of less than a lot or too large
    UNSYNCED = 9  # an event while waiting for the next snapshot
    INCOMPLETE = 10  # the book began without a snapshot, and none has come: what rested before is not known
    STALE = 11  # a level that was never told to be gone, and that `heal` removed


# a locked book of orders is valid; a message that comes late is applied, and its tick takes the latest time before it
_DEFAULTS: dict[Anomaly, Policy] = {
    Anomaly.CROSSED: "heal",
    Anomaly.LOCKED: "heal",
    Anomaly.ONE_SIDED: "skip",
    Anomaly.UNKNOWN_ORDER: "keep",
    Anomaly.DUPLICATE_ORDER: "skip",
    Anomaly.OVER_CANCEL: "keep",
    Anomaly.GAP: "resync",
    Anomaly.BACKWARDS: "keep",
    Anomaly.INVALID: "raise",
    Anomaly.UNSYNCED: "skip",
    Anomaly.INCOMPLETE: "keep",
    Anomaly.STALE: "keep",
}
# of feeds that are read from files, and live: only whoever makes a book by hand knows that it began empty
FEED_DEFAULTS: dict[str, Policy] = {"incomplete": "skip"}
_USUAL: tuple[Policy, ...] = ("keep", "skip", "resync", "raise")
_ALLOWED: dict[Anomaly, tuple[Policy, ...]] = {
    Anomaly.CROSSED: ("heal", "skip", "resync", "raise"),
    Anomaly.LOCKED: ("heal", *_USUAL),
    Anomaly.ONE_SIDED: ("skip", "raise"),
    Anomaly.UNSYNCED: ("skip", "raise"),
    Anomaly.INCOMPLETE: ("keep", "skip", "raise"),
    Anomaly.STALE: ("keep", "raise"),
}


def policies(chosen: Policy | Mapping[str, Policy] | None = None) -> NDArray[np.int8]:
    """Policy of every kind as numbers, (kinds,) int8.

    keep: counted, and applied as far as it can be (an invalid event, or the cancel of an unknown order, changes
    nothing). skip: counted and left out: the event is not applied, the invalid book is no tick. resync: counted, the
    book is emptied and waits for the next snapshot. raise: a `DataError` that names the event. heal: levels that a
    newer level of the other side, or trades, show to be gone are removed, see `book/healing.py`.

    Args:
        chosen: {kind in lower case: policy}, which replaces the default of that kind, or one policy for all kinds that
            allow it (an invalid book is never a tick: `crossed` cannot be kept, `one_sided` and `unsynced` can only be
            skipped or raised).

    Raises:
        DataError: an unknown kind or policy.

    >>> from nanoarb_jax.market.anomaly import RAISE, Anomaly, policies
    >>> int(policies({"gap": "raise"})[Anomaly.GAP]) == RAISE
    True
    """
    table = dict(_DEFAULTS)
    if isinstance(chosen, str):
        chosen = {kind.name.lower(): chosen for kind in Anomaly if chosen in _ALLOWED.get(kind, (chosen,))}
    for name, policy in (chosen or {}).items():
        if name.upper() not in Anomaly.__members__:
            known = ", ".join(kind.name.lower() for kind in Anomaly)
            raise DataError(f"policy {name}={policy}: no such anomaly; expected one of {known}")
        kind = Anomaly[name.upper()]
        allowed = _ALLOWED.get(kind, _USUAL)
        if policy not in allowed:
            raise DataError(f"policy {name}={policy}: expected one of {', '.join(allowed)}")
        table[kind] = policy
    return np.array([_POLICIES.index(table[kind]) for kind in Anomaly], np.int8)
