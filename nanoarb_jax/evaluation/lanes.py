"""How sessions of unlike length are laid into lanes that are scored side by side: one after the other, not padded.

A lane takes up the next session where the last one ended, and its state starts anew there. So all lanes are busy until
nearly the end, one shape of input serves all calls, and the work is about the sum of all rows instead of the number of
sessions times the longest.

>>> from nanoarb_jax.evaluation.lanes import lay_out
>>> lay_out([900, 300, 500], lanes=2, chunk=300).session.tolist()  # (calls, lanes); -1: the lane has nothing to do
[[0, 2], [0, 2], [0, 1]]
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_LANES = 64
# Rows of a call. On a CPU what a call computes should fit into the cache: `nano` scores a million rows a second in
# calls of 8 x 512, and 270,000 in calls of 64 x 512.
CALL_ROWS = 4_096
CHUNKS = (64, 512)  # least and most rows of a lane in a call


class LanePlan(NamedTuple):
    """What each lane is shown at each call: `chunk` rows of a session, fewer at its end. All arrays (calls, lanes)."""

    session: NDArray[np.int64]  # -1: nothing
    first: NDArray[np.int64]  # row of the session; at 0 the lane's state starts anew


def choose_shape(lengths: Sequence[int]) -> tuple[int, int]:
    """Lanes, and rows of a lane in a call, that keep all lanes busy until the longest session is done.

    Args:
        lengths: rows of each session.
    """
    lanes = min(max(sum(lengths) // max(max(lengths), 1), 1), MOST_LANES)
    return lanes, int(np.clip(CALL_ROWS // lanes, *CHUNKS))


def lay_out(lengths: Sequence[int], lanes: int, chunk: int) -> LanePlan:
    """Lay sessions into lanes, the longest first, each into the lane that has the least to do so far.

    That needs at most a third more calls than the best choice does (Graham 1969).

    Args:
        lengths: rows of each session.
        lanes: as many columns.
        chunk: rows of a lane in a call; a session begins a chunk of its own.
    """
    calls = [-(-length // chunk) for length in lengths]
    ends = [(0, lane) for lane in range(lanes)]
    places: list[tuple[int, int, int]] = []  # (session, lane, first call)
    for session in sorted(range(len(calls)), key=lambda i: -calls[i]):
        end, lane = ends[0]
        heapq.heapreplace(ends, (end + calls[session], lane))
        places.append((session, lane, end))
    shape = (max(end for end, _ in ends), lanes)
    plan = LanePlan(np.full(shape, -1), np.zeros(shape, np.int64))
    for session, lane, begin in places:
        at = slice(begin, begin + calls[session])
        plan.session[at, lane] = session
        plan.first[at, lane] = chunk * np.arange(calls[session])
    return plan
