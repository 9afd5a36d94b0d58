"""Times that were rounded: they make one message of rows that are many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import BUY, KIND_MASK, SELL
from nanoarb_jax.readers.table.events import Rows

_FEWEST_ROWS = 20  # of updates, which tell whether times are rounded
_MOST_OF_ONE_TIME = 0.5  # share of the updates
_MOST_REPEATED = 0.1  # share of the updates of one time that are about a level or an order of a row before
_ROWS_OF_A_TIME = 2  # on average, where times of whole seconds are worth a note
_SECOND = 10**9


def check_times(rows: Rows, notes: list[str], what: str) -> None:
    """Check that times tell the messages of updates apart; snapshots and trades may be many of one time.

    A file may begin with a whole book of one time, without saying so: it has each level or order once.

    Args:
        rows: the first ones of a table whose messages are told apart by times.
        notes: a note is added where the times are whole seconds of several rows.
        what: the file, for the error.

    Raises:
        DataError: most updates have one time, and more than one update is about the same level.
    """
    kind = rows.events["ev"] & KIND_MASK
    updates = rows.events[~rows.restated & (kind != event.TRADE) & (kind != event.CLEAR)]
    if len(updates) <= _FEWEST_ROWS:
        return
    times, at, counts = np.unique(updates["local_ts"], return_inverse=True, return_counts=True)
    most = int(np.argmax(counts))
    follows = bool((rows.events["local_ts"][rows.restated] == times[most]).any())
    of_one = updates[at == most]
    repeated = 1 - _different(of_one) / len(of_one) > _MOST_REPEATED
    if counts[most] > _MOST_OF_ONE_TIME * len(updates) and (repeated or follows):
        raise DataError(
            f"{what}: {counts[most]:,} of {len(updates):,} updates have the same time, {times[most]} ns, and rows of "
            "one time are one message: the times seem to be rounded; write them with all their digits"
        )
    if len(updates) > _ROWS_OF_A_TIME * len(times) and not (times % _SECOND).any():
        notes.append("times are whole seconds, and the rows of one second are one message")


def _different(updates: NDArray[np.void]) -> int:
    """How many levels and orders updates are about."""
    keys = np.stack([updates["ev"] & (BUY | SELL), updates["px"].view(np.int64), updates["order_id"].view(np.int64)])
    of_order = updates["order_id"] != 0
    keys[:2, of_order] = 0
    return int(np.unique(keys, axis=1).shape[1])
