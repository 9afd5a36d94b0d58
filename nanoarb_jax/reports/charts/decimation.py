"""Fewer points of a long line, so that a browser draws it quickly and no peak is lost."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST = 5_000  # points of one line


def kept(values: ArrayLike, most: int = MOST) -> NDArray[np.int64]:
    """Rows of a line to draw: the lowest and the highest of each of equally long parts, the first and the last.

    Where values are missing, the first missing one of each part is kept too, so that the line has its gap.

    Args:
        values: (n,) float, NaN where there is none.
        most: rows to keep, at least 8.

    Returns:
        (m,) rows in order, m ≤ max(most, 0); all of them where n ≤ most.

    >>> from nanoarb_jax.reports.charts.decimation import kept
    >>> line = np.zeros(1000)
    >>> line[123] = 5.0
    >>> rows = kept(line, most=20)
    >>> len(rows) <= 20 and 123 in rows
    True
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n <= most:
        return np.arange(n)
    missing = np.isnan(values)
    a_part = 3 if missing.any() else 2  # rows kept of each part
    length = -(-n // ((most - 2) // a_part))
    starts = np.arange(0, n, length)
    parts = np.full((len(starts), length), np.nan)
    parts.flat[:n] = values
    rows = [np.array([0, n - 1])]
    for fill, pick in ((np.inf, np.argmin), (-np.inf, np.argmax)):
        rows.append(starts + pick(np.where(np.isnan(parts), fill, parts), axis=1))
    if a_part == 3:
        gaps = np.zeros(parts.shape, dtype=bool)
        gaps.flat[:n] = missing
        rows.append((starts + np.argmax(gaps, axis=1))[gaps.any(axis=1)])
    return np.unique(np.concatenate(rows))


def thinned(n: int, most: int = MOST) -> NDArray[np.int64]:
    """Rows of n points that are equally far from each other, at most so many: for points that are no line.

    >>> from nanoarb_jax.reports.charts.decimation import thinned
    >>> thinned(10, most=4).tolist()
    [0, 3, 6, 9]
    """
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)) if n else np.arange(0)
