"""What followed books like this one: how often the mid went up, stayed or went down, counted on the series' own past.

An instrument shows by itself how much its book tells of the next moves. Two descriptions sort every tick into a cell:

    imbalance   quantity at the best bid against the best ask, in nine steps; and whether the spread is wide
    flow        order flow imbalance of the last ticks, in seven steps; and whether the mid last moved up or down

Ten, 50 and 100 ticks later the move of the mid is known, up or down if it reaches the spread scale; it is counted in
the cell of the tick where it began, and in the mirrored cell with the opposite direction, so that nothing is learnt of
a trend. Older counts fade. Features are odds in the cell of the present tick, drawn towards those of all cells where it
has few counts. Only moves that are over are counted, so no feature looks ahead. Such an encoding of a category by the
mean outcome in its past is known as (ordered) target encoding (Prokhorenkova et al. 2018).

Odds of a against b are written as (a - b) / min(a, b): 0 where they are even, 2 where a is three times as likely, -2
where b is. The sign(x) · log(1 + |x|) that a model makes of it is log(a / b).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.compiled import compiled, internal

TICKS = (10, 50, 100)  # how far ahead outcomes are counted
RING = 128  # more ticks than the longest of them
CELLS = 21
SPAN = 30_000.0  # ticks over which counts fade
RECENT_SPAN = 300.0  # ticks over which recent outcomes fade
DRAWN = 20.0  # a cell with so many counts is drawn half-way to all cells
NAMES: tuple[str, ...] = (
    *(f"{kind}_{what}_{ticks}" for what in ("imbalance", "flow") for kind in ("lean", "still") for ticks in TICKS),
    *(f"recently_still_{ticks}" for ticks in TICKS),
)
_IMBALANCES = (0.1, 0.4, 0.7, 0.9)
_WIDE = 2.01  # spread scales: a spread above the usual one
_FLOWS = (0.055, 0.43, 1.6)  # mean order flow imbalance, in quantity scales
_FLOW_TICKS = 5.0
_REACHED = 1.0 - 1e-9
_GROWTH = 1.0 / (1.0 - 1.0 / SPAN)
_RECENT = 1.0 / RECENT_SPAN
_LARGEST = 1e100  # weight of the newest outcome before all are scaled down

RUNNING_OUTCOMES = np.dtype([("flow", "f8"), ("direction", "i8"), ("mid_ticks", "f8"), ("grown", "f8")], align=True)


class OutcomeMemory(NamedTuple):
    """What `outcome_row` keeps of earlier ticks; changed in place. Zeros before the first.

    Attributes:
        mids: (128,) float64, of the latest ticks of the session, in ticks.
        cells: (128, 4) int64, of these ticks: by imbalance and its mirror image, by flow and its mirror image.
        counts: (2, 3, 21, 3) float64, by description, horizon, cell and outcome (down, still, up). A new outcome weighs
            more than the one before, instead of all others less.
        totals: (3, 2) float64, of all cells together: down or up, which are as many, and still.
        recent: (3, 2) float64, outcomes of the latest ticks that stayed, and that moved.
        running: (1,) record: mean order flow of the last ticks, direction of the last move (-1, 0, 1), the mid of the
            tick before, and how much a new outcome weighs (`grown`).
    """

    mids: NDArray[np.float64]
    cells: NDArray[np.int64]
    counts: NDArray[np.float64]
    totals: NDArray[np.float64]
    recent: NDArray[np.float64]
    running: NDArray[np.void]


def outcome_memory() -> OutcomeMemory:
    """Before the first tick."""
    horizons = len(TICKS)
    return OutcomeMemory(
        np.zeros(RING),
        np.zeros((RING, 4), np.int64),
        np.zeros((2, horizons, CELLS, 3)),
        np.zeros((horizons, 2)),
        np.zeros((horizons, 2)),
        np.zeros(1, RUNNING_OUTCOMES),
    )


@internal
def _step_of(value, edges):  # type: ignore[no-untyped-def]
    """Which step a value falls into, -k … k for k edges; that of -value is the negative."""
    size, step = abs(value), 0
    for edge in edges:
        if size > edge:
            step += 1
    return step if value > 0 else -step


@internal
def _fade(memory):  # type: ignore[no-untyped-def]
    """Make the next outcomes weigh more than all before; returns their weight."""
    running = memory.running[0]
    if running.grown == 0.0:
        running.grown = 1.0
    running.grown *= _GROWTH
    if running.grown > _LARGEST:
        for h in range(len(TICKS)):
            memory.totals[h, 0] /= running.grown
            memory.totals[h, 1] /= running.grown
            for i in range(3):
                for cell in range(CELLS):
                    memory.counts[0, h, cell, i] /= running.grown
                    memory.counts[1, h, cell, i] /= running.grown
        running.grown = 1.0
    return running.grown


@internal
def _learn(tick, memory, scale, weight):  # type: ignore[no-untyped-def]
    """Count the moves that this tick of the session ends, each in its cell and its mirror image in the mirrored one."""
    now, reached = memory.mids[tick % RING], _REACHED * scale
    for h in range(len(TICKS)):
        if tick < TICKS[h]:
            return
        began = (tick - TICKS[h]) % RING
        move = now - memory.mids[began]
        outcome = 2 if move >= reached else (0 if move <= -reached else 1)
        for description in range(2):
            memory.counts[description, h, memory.cells[began, 2 * description], outcome] += weight
            memory.counts[description, h, memory.cells[began, 2 * description + 1], 2 - outcome] += weight
        if outcome == 1:
            memory.totals[h, 1] += 2.0 * weight
        else:
            memory.totals[h, 0] += weight
        recent = memory.recent[h]
        for i in range(2):
            recent[i] -= recent[i] * _RECENT
        recent[0 if outcome == 1 else 1] += 1.0


@internal
def _odds(a, b):  # type: ignore[no-untyped-def]
    """Of a against b, as the module writes them; both above 0, since a part of a count is added to each."""
    return (a - b) / min(a, b)


@internal
def _cell_odds(counts, directional, still, out, h):  # type: ignore[no-untyped-def]
    """Write the odds of up against down and of still against moved in a cell, `len(TICKS)` apart.

    Args:
        counts: (3,), of the cell.
        directional, still: counts that are added, of down and up each, and of still.
    """
    down, up, still = counts[0] + directional, counts[2] + directional, counts[1] + still
    out[h] = _odds(up, down)
    out[h + len(TICKS)] = _odds(still, down + up)


@compiled
def outcome_row(tick, mid, imbalance, spread, order_flow, scale, memory, out):  # type: ignore[no-untyped-def]
    """Write the 15 features of the next tick.

    Args:
        tick: int, of the session, from 0 on; 0 begins one: moves do not reach across, counts stay.
        mid: float, in ticks.
        imbalance: float, (bid - ask) / (bid + ask) of the quantities at the best prices.
        spread: float, in ticks.
        order_flow: float, order flow imbalance at the best prices, in quantity scales.
        scale: float, spread scale, in ticks.
        memory: `OutcomeMemory` after the previous tick; changed.
        out: (15,), overwritten.
    """
    running = memory.running[0]
    if tick == 0:
        running.flow, running.direction, running.mid_ticks = 0.0, 0, mid
    running.flow += (order_flow - running.flow) / _FLOW_TICKS
    if mid != running.mid_ticks:
        running.direction = 1 if mid > running.mid_ticks else -1
    running.mid_ticks = mid
    steep, flowing = _step_of(imbalance, _IMBALANCES), _step_of(running.flow, _FLOWS)
    wide, slot = 9 if spread > _WIDE * scale else 0, tick % RING
    memory.mids[slot] = mid
    cells = memory.cells[slot]
    cells[0], cells[1] = wide + 4 + steep, wide + 4 - steep
    cells[2], cells[3] = 3 * (3 + flowing) + 1 + running.direction, 3 * (3 - flowing) + 1 - running.direction
    weight = _fade(memory)
    _learn(tick, memory, scale, weight)
    for h in range(len(TICKS)):
        total, recent = memory.totals[h], memory.recent[h]
        # shrinkage: DRAWN counts with the frequencies of all cells, in which one of each kind stands before the first
        drawn = DRAWN * weight / (2.0 * total[0] + total[1] + 3.0 * weight)
        directional, still = drawn * (total[0] + weight), drawn * (total[1] + weight)
        _cell_odds(memory.counts[0, h, cells[0]], directional, still, out, h)
        _cell_odds(memory.counts[1, h, cells[2]], directional, still, out, h + 2 * len(TICKS))
        out[h + 4 * len(TICKS)] = _odds(recent[0] + 1.0, recent[1] + 1.0)
