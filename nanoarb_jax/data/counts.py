"""Medians and quantiles of long series without holding them."""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MOST_VALUES = 1 << 18


class ValueCounts(NamedTuple):
    """The distinct values of a series of integers, and how often each occurs.

    Attributes:
        values: (m,) int64, ascending.
        counts: (m,) int64.
    """

    values: NDArray[np.int64]
    counts: NDArray[np.int64]

    def quantile(self, share: float) -> int:
        """Least value that at least this share of the series does not exceed (numpy's "inverted_cdf")."""
        reached = np.cumsum(self.counts)
        return int(self.values[np.searchsorted(reached, share * reached[-1])])

    def median(self) -> float:
        """As `numpy.median` of the series; NaN if it is empty."""
        if len(self.values) == 0:
            return math.nan
        reached, total = np.cumsum(self.counts), int(self.counts.sum())
        low, high = np.searchsorted(reached, [(total - 1) // 2, total // 2], side="right")
        return (int(self.values[low]) + int(self.values[high])) / 2


def count_values(values: NDArray[np.int64]) -> ValueCounts:
    """Of values (n,) in any order."""
    return ValueCounts(*np.unique(values, return_counts=True))


class Counts:
    """`ValueCounts` of a series that arrives in blocks, in bounded memory.

    Exact up to _MOST_VALUES distinct values; with more, values keep their leading 14 bits (1 part in 16,000).
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._coarse = False

    def add(self, values: NDArray[np.int64]) -> None:
        """Count the values (n,) of one block."""
        self.merge(count_values(values))

    def merge(self, block: ValueCounts) -> None:
        """Add the counts of one block."""
        for value, count in zip(block.values.tolist(), block.counts.tolist(), strict=True):
            self._counts[self._kept(value)] += count
        if len(self._counts) > _MOST_VALUES and not self._coarse:
            self._coarse = True
            exact, self._counts = self._counts, Counter()
            for value, count in exact.items():
                self._counts[self._kept(value)] += count

    def _kept(self, value: int) -> int:
        shift = max(abs(value).bit_length() - 14, 0) if self._coarse else 0
        return value >> shift << shift

    def sorted(self) -> ValueCounts:
        """The counts of all blocks so far."""
        values = sorted(self._counts)
        return ValueCounts(np.array(values, np.int64), np.array([self._counts[value] for value in values], np.int64))
