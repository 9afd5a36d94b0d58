"""Rows put in order of their times, for files that hold them in another order; all of a file is read first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.series import COLUMNS, BookSeries
from nanoarb_jax.readers.feed import CHUNK

_MANY = 9  # steps back for each step on, at least, where a file is newest first


def time_order(ts_ns: NDArray[np.int64], notes: list[str]) -> NDArray[np.intp]:
    """(n,) the rows in order of time; rows of one time keep their order.

    Where nearly all steps go back, the file is taken to be written newest first, rows of one time included, and is
    turned round before.

    Args:
        ts_ns: (n,) times of the rows.
        notes: how many rows came before an earlier one is added.

    >>> from nanoarb_jax.readers.sorting import time_order
    >>> time_order(np.array([3, 2, 2, 1]), []).tolist(), time_order(np.array([1, 3, 3, 2]), []).tolist()
    ([3, 2, 1, 0], [0, 3, 1, 2])
    """
    steps = np.diff(ts_ns)
    back = int((steps < 0).sum())
    newest_first = back > _MANY * int((steps > 0).sum())
    if back:
        notes.append(f"rows sorted by time ({'newest first' if newest_first else f'{back:,} steps back'} in the file)")
    if newest_first:
        return len(ts_ns) - 1 - np.argsort(ts_ns[::-1], kind="stable")
    return np.argsort(ts_ns, kind="stable")


def sort_events(chunks: Iterable[NDArray[np.void]], notes: list[str]) -> Iterator[NDArray[np.void]]:
    """Events, each a message of its own, in order of the times they were received."""
    parts = list(chunks)
    if parts:
        events = np.concatenate(parts)
        order = time_order(events["local_ts"], notes)
        for start in range(0, len(order), CHUNK):
            yield events[order[start : start + CHUNK]]


def sort_books(chunks: Iterable[BookSeries], notes: list[str]) -> Iterator[BookSeries]:
    """Books in order of time."""
    parts = list(chunks)
    if not parts:
        return
    names = [name for name in COLUMNS if getattr(parts[0], name) is not None]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    order = time_order(columns["ts_ns"], notes)
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        yield parts[0]._replace(**{name: column[rows] for name, column in columns.items()})
