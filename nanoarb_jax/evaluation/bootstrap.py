"""How sure are the figures? Block bootstrap over time, and over instruments, paired between judges.

Ticks that follow each other, and labels that overlap, say much the same: resampling single rows would promise far too
much. Whole blocks of rows are drawn instead (circular block bootstrap, Politis and Romano 1992), the same ones for
every judge, so that what the judges share cancels in their differences. Such intervals speak of other hours of the same
series. Those over instruments speak of other instruments as well: there instruments are drawn with replacement first,
each with all of its series, and blocks of rows within them. τ and temperature stay as chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.evaluation.metrics import CLASSES, f1_of_confusions, mcc_of_confusions

RESAMPLES = 2_000
FIGURES = ("mcc", "macro_f1", "log_loss")  # that are resampled; of probabilities and decisions as they are judged
LEVEL = 0.95
LEAST_BLOCKS = 4  # of a series too short for its block length: else every resample would be the series itself


def block_length(horizon: int) -> int:
    """Rows in a block: labels stay dependent for one horizon, features and books for somewhat longer."""
    return max(2 * horizon, 100)


def resampled_figures(
    labels: NDArray[np.int64],
    decisions: NDArray[np.int64],
    losses: NDArray[np.float64],
    block: int,
    seed: Sequence[int],
) -> NDArray[np.float64]:
    """`FIGURES` of every judge on every resample of one series and horizon.

    Args:
        labels: (n,) in time order.
        decisions: (j, n), a row per judge.
        losses: (j, n), -log p of the label.
        block: rows drawn together; at most a quarter of n, on fewer rows intervals come out too narrow.
        seed: the draws depend on it and on n alone, so they are the same for all judges.

    Returns:
        (RESAMPLES, j, len(FIGURES)).
    """
    judges, rows = decisions.shape
    block = min(block, -(-rows // LEAST_BLOCKS))
    starts = np.random.default_rng(seed).integers(rows, size=(-(-rows // block), RESAMPLES))
    cells = np.eye(CLASSES**2, dtype=np.int32)[CLASSES * labels + decisions]  # (j, n, cells)
    cell_sums, loss_sums = _running_sums(cells, block), _running_sums(losses, block)
    counts, loss = np.zeros((RESAMPLES, judges, CLASSES**2), np.int64), np.zeros((RESAMPLES, judges))
    last = rows - (len(starts) - 1) * block  # the last block is cut, so that a resample has n rows
    for i, start in enumerate(starts):
        stop = start + (last if i + 1 == len(starts) else block)
        counts += cell_sums[stop] - cell_sums[start]
        loss += loss_sums[stop] - loss_sums[start]
    confusions = counts.reshape(RESAMPLES, judges, CLASSES, CLASSES)
    return np.stack([mcc_of_confusions(confusions), f1_of_confusions(confusions).mean(axis=-1), loss / rows], axis=-1)


def _running_sums(of: NDArray[Any], block: int) -> NDArray[Any]:
    """(j, n, …) summed up row by row from 0, (n + block + 1, j, …); after the last row come the first ones again."""
    around = np.concatenate([np.zeros_like(of[:, :1]), of, of[:, :block]], axis=1)
    return np.ascontiguousarray(np.moveaxis(np.cumsum(around, axis=1, dtype=of.dtype), 1, 0))


def over_instruments(samples: NDArray[np.float64], instruments: Sequence[str]) -> NDArray[np.float64] | None:
    """Means over series on resamples of instruments, of which each is drawn with all of its series.

    Args:
        samples: (r, s, …) figures of each series on resamples of its rows. An instrument that is drawn more than once
            is given another of them each time.
        instruments: of the s series.

    Returns:
        (r, …), every series that was drawn weighing the same; None where there is one instrument, which says nothing of
        others.
    """
    names = list(dict.fromkeys(instruments))
    if len(names) < 2:
        return None
    of_instrument = np.array([names.index(name) for name in instruments])
    sums = np.stack([samples[:, of_instrument == i].sum(axis=1) for i in range(len(names))], axis=1)  # (r, i, …)
    rng, size = np.random.default_rng(len(names)), (len(samples), len(names))
    drawn, resample = rng.integers(len(names), size=size), rng.integers(len(samples), size=size)
    series = np.bincount(of_instrument)[drawn].sum(axis=1)
    return sums[resample, drawn].sum(axis=1) / series.reshape(-1, *(1,) * (sums.ndim - 2))


def interval(samples: NDArray[np.float64]) -> list[float]:
    """The middle LEVEL of (r,) resampled figures, by percentiles."""
    tail = 50 * (1 - LEVEL)
    return [float(edge) for edge in np.percentile(samples, [tail, 100 - tail])]


def paired(
    difference: float, samples: NDArray[np.float64], over: NDArray[np.float64] | None, instruments: int
) -> dict[str, float | None]:
    """A difference between two judges with intervals and two-sided p-values, over blocks and over instruments.

    A p-value is twice the share of resamples in which the sign is not that of the difference, by the rule
    (1 + k) / (1 + r), which never promises 0. Over instruments it is at least 2^(1 - instruments), what as many tosses
    of a coin that fall alike would give: three instruments that agree are no proof.

    Args:
        difference: as measured.
        samples: (r,) of resamples of blocks.
        over: (r,) of resamples of instruments and blocks, or None.
        instruments: how many there are.

    Returns:
        "difference", "low", "high", "p_value", and "low_instruments", "high_instruments", "p_value_instruments", which
        are None without `over`.
    """
    low, high = interval(samples)
    found: dict[str, float | None] = {"difference": difference, "low": low, "high": high, "p_value": _p_value(samples)}
    if over is None:
        return found | dict.fromkeys(("low_instruments", "high_instruments", "p_value_instruments"))
    low, high = interval(over)
    least = 2.0 ** (1 - instruments)
    return found | {"low_instruments": low, "high_instruments": high, "p_value_instruments": max(_p_value(over), least)}


def _p_value(samples: NDArray[np.float64]) -> float:
    tails = [(1 + int(count)) / (1 + len(samples)) for count in ((samples <= 0).sum(), (samples >= 0).sum())]
    return min(1.0, 2 * min(tails))
