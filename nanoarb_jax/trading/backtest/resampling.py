"""How sure are means of results that follow each other? They are not independent, and are not treated as such.

Round trips come as a series: whole blocks of neighbours are drawn (circular block bootstrap, Politis and Romano 1992).
Markouts come at times: those of fills that are closer to each other than the time that a markout looks ahead share part
of their future. Errors of their means are clustered by blocks of time, within which anything may depend on anything
(Liang and Zeger 1986).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.evaluation.bootstrap import LEAST_BLOCKS, RESAMPLES, interval

LEAST_RESULTS = 10  # of fewer, no interval is given
LEAST_BLOCK_NS = 10_000_000_000
_AT_ONCE = 2_000_000  # resampled values in memory


def length_of_blocks(results: int) -> int:
    """Results that are drawn together: the cube root of their number, the order that is best (Hall et al. 1995).

    >>> from nanoarb_jax.trading.backtest.resampling import length_of_blocks
    >>> [length_of_blocks(results) for results in (10, 100, 1000)]
    [2, 5, 10]
    """
    return max(1, min(round(results ** (1 / 3)), results // LEAST_BLOCKS))


def mean_and_median(values: NDArray[np.float64], seed: int = 0) -> dict[str, float | None]:
    """Mean and median of a series of results, with block-bootstrap 95 % intervals.

    Args:
        values: (n,) in time order.
        seed: of the draws.

    Returns:
        "mean", "low", "high", "median", "median_low", "median_high". All are None without results; the limits are None
        of fewer than `LEAST_RESULTS`.

    >>> from nanoarb_jax.trading.backtest.resampling import mean_and_median
    >>> found = mean_and_median(np.arange(100.0))
    >>> found["mean"], found["low"] < 49.5 < found["high"]
    (49.5, True)
    """
    names = ("mean", "low", "high", "median", "median_low", "median_high")
    found: dict[str, float | None] = dict.fromkeys(names)
    if not len(values):
        return found
    found |= {"mean": float(values.mean()), "median": float(np.median(values))}
    if len(values) < LEAST_RESULTS:
        return found
    means, medians = _resampled(values, np.random.default_rng(seed))
    limits = [*interval(means), *interval(medians)]
    return found | dict(zip(("low", "high", "median_low", "median_high"), limits, strict=True))


def _resampled(values: NDArray[np.float64], rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    """(RESAMPLES,) means and medians of series of the same length, put together of blocks."""
    rows, block = len(values), length_of_blocks(len(values))
    means, medians = np.empty(RESAMPLES), np.empty(RESAMPLES)
    step = max(1, _AT_ONCE // rows)
    for first in range(0, RESAMPLES, step):
        part = slice(first, min(first + step, RESAMPLES))
        starts = rng.integers(rows, size=(part.stop - first, -(-rows // block), 1))
        drawn = values[((starts + np.arange(block)) % rows).reshape(len(starts), -1)[:, :rows]]
        means[part], medians[part] = drawn.mean(axis=1), np.median(drawn, axis=1)
    return means, medians


def block_ns(ahead_ns: int) -> int:
    """Length of the blocks of time by which errors are clustered, for values that look a time ahead.

    Twice that time, so that few pairs that share a future lie in different blocks; at least `LEAST_BLOCK_NS`, since
    markets stay alike for some seconds.
    """
    return max(2 * ahead_ns, LEAST_BLOCK_NS)


def clustered_means(
    values: NDArray[np.float64], times_ns: NDArray[np.int64], ahead_ns: int, bins: NDArray[np.int64], count: int
) -> dict[str, list[Any]]:
    """Means per bin, with standard errors clustered by blocks of time.

    Args:
        values: (n,).
        times_ns: (n,) when each was begun.
        ahead_ns: how far each looks ahead, see `block_ns`.
        bins: (n,) which of the bins each is in.
        count: of bins.

    Returns:
        Lists with an entry per bin: "mean" (None without values), "error" (None of fewer than two blocks; of few blocks
        it is itself uncertain), "counted" (values), "blocks" (with values).
    """
    blocks = (times_ns - times_ns.min()) // block_ns(ahead_ns) if len(values) else np.zeros(0, np.int64)
    width = int(blocks.max()) + 1 if len(values) else 1
    keys, shape = bins * width + blocks, (count, width)
    number = np.bincount(keys, minlength=count * width).reshape(shape)
    total = np.bincount(keys, weights=values, minlength=count * width).reshape(shape)
    counted, filled = number.sum(axis=1), (number > 0).sum(axis=1)
    mean = total.sum(axis=1) / np.maximum(counted, 1)
    spread = ((total - number * mean[:, None]) ** 2).sum(axis=1)
    error = np.sqrt(spread * filled / np.maximum(filled - 1, 1)) / np.maximum(counted, 1)
    return {
        "mean": [float(one) if n else None for one, n in zip(mean, counted, strict=True)],
        "error": [float(one) if n > 1 else None for one, n in zip(error, filled, strict=True)],
        "counted": counted.tolist(),
        "blocks": filled.tolist(),
    }
