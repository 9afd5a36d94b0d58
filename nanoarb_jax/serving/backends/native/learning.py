"""What a live state learns of its own predictions: `nanoarb_jax.adaptation.online` in the bytes of a live state.

The room for it is opened by `begin_learning`; a state without such room learns nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.adaptation.online import INPUTS, LabelMemory, Recalibration, learn_tick, new_recalibration
from nanoarb_jax.features.live_state import add_learning_room, open_learning_room, opening
from nanoarb_jax.market.compiled import internal

LEARNING = np.dtype(
    [
        ("horizons", "i8"),  # how many
        ("waiting", "i8"),  # room for ticks that wait for their labels
        ("seen", "i8"),  # ticks of the session since learning began
        ("forgetting", "f8"),
    ]
)
_BYTES = LEARNING.itemsize
_WEIGHTS, _COVARIANCE = 8 * INPUTS * 3, 8 * INPUTS * (INPUTS + 1) // 2  # bytes of a horizon


class Learning(NamedTuple):
    """The arrays in the bytes for what is learnt.

    Attributes:
        record: (1,) LEARNING.
        memory: what is learnt.
        waiting: what waits for its labels.
    """

    record: NDArray[np.void]
    memory: Recalibration
    waiting: LabelMemory


@opening
def open_learning(learnt):  # type: ignore[no-untyped-def]
    """The `Learning` in (bytes,) uint8, whose record is filled in."""
    record = learnt[:_BYTES].view(LEARNING)
    h, ticks = record[0]["horizons"], record[0]["waiting"]
    covariance = _BYTES + h * _WEIGHTS
    turn = covariance + h * _COVARIANCE
    horizons, thresholds, mids = turn + 8 * h, turn + 16 * h, turn + 24 * h
    log_probs = mids + 8 * ticks
    return Learning(
        record,
        Recalibration(
            learnt[_BYTES:covariance].view(np.float64).reshape(h, INPUTS, 3),
            learnt[covariance:turn].view(np.float64).reshape(h, INPUTS * (INPUTS + 1) // 2),
            learnt[turn:horizons].view(np.int64),
        ),
        LabelMemory(
            learnt[mids:log_probs].view(np.float64),
            learnt[log_probs : log_probs + 24 * ticks * h].view(np.float64).reshape(ticks, h, 3),
            learnt[horizons:thresholds].view(np.int64),
            learnt[thresholds:mids].view(np.float64),
        ),
    )


def begin_learning(
    state: NDArray[np.uint8], horizons: Sequence[int], forgetting: float, threshold_ticks: Sequence[float]
) -> NDArray[np.uint8]:
    """The same live state, which learns from its next tick on; what it learnt before is forgotten.

    Args:
        state: (bytes,) uint8, not used any more.
        horizons: h horizons of the model, in ticks.
        forgetting: of `check_forgetting`.
        threshold_ticks: h least moves of the mid that are up or down, in ticks.
    """
    h, ticks = len(horizons), max(horizons) + 1
    block = add_learning_room(state, _BYTES + h * (_WEIGHTS + _COVARIANCE + 24) + ticks * (8 + 24 * h))
    learnt = open_learning_room(block).learnt
    learnt[:_BYTES].view(LEARNING)[0] = (h, ticks, 0, forgetting)
    learning: Learning = open_learning(learnt)
    for array, fresh in zip(learning.memory, new_recalibration(h), strict=True):
        array[:] = fresh
    learning.waiting.horizons[:], learning.waiting.threshold_ticks[:] = horizons, threshold_ticks
    return block


@internal
def learn(state, probabilities):  # type: ignore[no-untyped-def]
    """Learn from the latest tick of a state with room for it, and recalibrate its probabilities.

    In a new session the ticks that wait for labels are dropped; what was learnt stays.

    Args:
        state: (bytes,) uint8 of a live state; changed.
        probabilities: (h, 3) float32, the model's; overwritten by the recalibrated ones.
    """
    room = open_learning_room(state)
    learning = open_learning(room.learnt)
    record, top = learning.record[0], room.top
    if room.header[0].ticks == 1:
        record.seen = 0
    mid = 0.5 * (top[0, 0] + top[2, 0])
    learn_tick(record.seen, mid, record.forgetting, learning.memory, learning.waiting, probabilities)
    record.seen += 1
