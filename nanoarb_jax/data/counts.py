"""Medians and quantiles of long series without holding them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

_MOST_VALUES = 1 << 18


class Counts:
    """How often each integer was met: medians and quantiles without all the values.

    Exact up to _MOST_VALUES distinct values; with more, values keep their leading 14 bits (1 part in 16,000).
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._coarse = False

    def add(self, values: NDArray[np.int64]) -> None:
        self.merge(*np.unique(values, return_counts=True))

    def merge(self, values: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._counts[self._kept(value)] += count
        if len(self._counts) > _MOST_VALUES and not self._coarse:
            self._coarse = True
            exact, self._counts = self._counts, Counter()
            for value, count in exact.items():
                self._counts[self._kept(value)] += count

    def _kept(self, value: int) -> int:
        shift = max(abs(value).bit_length() - 14, 0) if self._coarse else 0
        return value >> shift << shift

    def sorted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Distinct values, ascending, and their counts."""
        values = sorted(self._counts)
        return np.array(values, np.int64), np.array([self._counts[value] for value in values], np.int64)

    def quantile(self, share: float) -> int:
        """Least value that at least this share of all does not exceed."""
        values, counts = self.sorted()
        reached = np.cumsum(counts)
        return int(values[np.searchsorted(reached, share * reached[-1])])

    def median(self) -> float:
        """As `numpy.median` of all values; of none, NaN."""
        values, counts = self.sorted()
        if len(values) == 0:
            return math.nan
        reached, total = np.cumsum(counts), int(counts.sum())
        low, high = np.searchsorted(reached, [(total - 1) // 2, total // 2], side="right")
        return (int(values[low]) + int(values[high])) / 2
