"""How sure are the figures? Circular block bootstrap over time, paired between judges.

Ticks that follow each other, and labels that overlap, say much the same: resampling single rows would promise far too
much. Whole blocks of rows are drawn instead (Politis and Romano 1992), the same ones for every judge, so that what the
judges share cancels in their differences. Intervals speak of other hours of the same series; tau and temperature stay
as chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.evaluation.metrics import CLASSES, mcc_of_confusions

RESAMPLES = 2_000
LEVEL = 0.95
LEAST_BLOCKS = 4  # of a series too short for its block length: else every resample would be the series itself


def block_length(horizon: int) -> int:
    """Rows in a block: labels stay dependent for one horizon, features and books for somewhat longer."""
    return max(2 * horizon, 100)


def resampled_mcc(
    labels: NDArray[np.int64], decisions: NDArray[np.int64], block: int, seed: Sequence[int]
) -> NDArray[np.float64]:
    """MCC of every judge on every resample of one series and horizon.

    Args:
        labels: (n,) in time order.
        decisions: (j, n), a row per judge.
        block: rows drawn together; at most a quarter of n, on fewer rows intervals come out too narrow.
        seed: the draws depend on it and on n alone, so they are the same for all judges.

    Returns:
        (RESAMPLES, j).
    """
    judges, rows = decisions.shape
    block = min(block, -(-rows // LEAST_BLOCKS))
    starts = np.random.default_rng(seed).integers(rows, size=(-(-rows // block), RESAMPLES))
    cells = np.eye(CLASSES**2, dtype=np.int32)[CLASSES * labels + decisions]  # (j, n, cells)
    around = np.concatenate([np.zeros_like(cells[:, :1]), cells, cells[:, :block]], axis=1)  # the end meets the start
    sums = np.ascontiguousarray(np.cumsum(around, axis=1).transpose(1, 0, 2), dtype=np.int32)
    counts = np.zeros((RESAMPLES, judges, CLASSES**2), np.int64)
    last = rows - (len(starts) - 1) * block  # the last block is cut, so that a resample has n rows
    for i, start in enumerate(starts):
        length = last if i + 1 == len(starts) else block
        counts += sums[start + length] - sums[start]
    return mcc_of_confusions(counts.reshape(RESAMPLES, judges, CLASSES, CLASSES))


def interval(samples: NDArray[np.float64]) -> list[float]:
    """The middle LEVEL of (r,) resampled figures, by percentiles."""
    tail = 50 * (1 - LEVEL)
    return [float(edge) for edge in np.percentile(samples, [tail, 100 - tail])]


def paired(difference: float, samples: NDArray[np.float64]) -> dict[str, float]:
    """A difference between two judges with its interval and two-sided p-value.

    The p-value is twice the share of resamples in which the sign is not that of the difference, by the rule
    (1 + k) / (1 + r), which never promises 0.

    Args:
        difference: as measured.
        samples: (r,) of the resamples.
    """
    low, high = interval(samples)
    tails = [(1 + int(count)) / (1 + len(samples)) for count in ((samples <= 0).sum(), (samples >= 0).sum())]
    return {"difference": difference, "low": low, "high": high, "p_value": min(1.0, 2 * min(tails))}
