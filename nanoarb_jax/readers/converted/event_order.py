"""Events in the order of both clocks, in the place of hftbacktest's own `correct_event_order`.

hftbacktest 2.4's reads past the end of its index as soon as all events are in the order of receipt while some are left
in the exchange's, and takes what lies there for a row: it ends the interpreter or not, by chance. Two files that are
read one behind the other are enough, or a local time that goes back.
Source: https://hftbacktest.readthedocs.io/en/latest/data.html
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.event import EXCH_EVENT, LOCAL_EVENT


def order_events(
    data: NDArray[np.void], sorted_exch_index: NDArray[np.int64], sorted_local_index: NDArray[np.int64]
) -> NDArray[np.void]:
    """The events so that those valid at the exchange, and those valid at the receiver, are each in their clock's order.

    Args:
        data: (n,) events.
        sorted_exch_index: (n,) rows in the order of the exchange's times, by a stable sort.
        sorted_local_index: (n,) rows in the order of the local times, by a stable sort.

    Returns:
        (n to 2n,) events; one is told twice, once for each place, where the two orders differ.
    """
    rows, flags = np.empty(2 * len(data), np.int64), np.empty(2 * len(data), np.uint64)
    times = (np.ascontiguousarray(data[name]) for name in ("exch_ts", "local_ts"))
    count = _merge(*times, sorted_exch_index, sorted_local_index, rows, flags)
    events = data[rows[:count]]
    events["ev"] |= flags[:count]
    return events


@compiled
def _merge(
    exch_ts: NDArray[np.int64],
    local_ts: NDArray[np.int64],
    by_exch: NDArray[np.int64],
    by_local: NDArray[np.int64],
    rows: NDArray[np.int64],
    flags: NDArray[np.uint64],
) -> int:
    """Fill rows and flags of the events; returns how many."""
    count, i, j = 0, 0, 0
    while i < len(by_exch) or j < len(by_local):
        at_exch = i < len(by_exch)
        at_local = j < len(by_local)
        if at_exch and at_local:
            a, b = by_exch[i], by_local[j]
            if exch_ts[a] != exch_ts[b]:
                at_exch = exch_ts[a] < exch_ts[b]
                at_local = not at_exch
            elif local_ts[a] != local_ts[b]:
                at_exch = local_ts[a] < local_ts[b]
                at_local = not at_exch
        rows[count] = by_exch[i] if at_exch else by_local[j]
        flags[count] = np.uint64((EXCH_EVENT if at_exch else 0) | (LOCAL_EVENT if at_local else 0))
        i += at_exch
        j += at_local
        count += 1
    return count
