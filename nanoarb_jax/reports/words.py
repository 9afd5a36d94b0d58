"""Figures in words, for texts and labels."""

from __future__ import annotations

import math


def duration(ns: float | None) -> str:
    """Three digits and a unit.

    >>> from nanoarb_jax.reports.words import duration
    >>> [duration(ns) for ns in (0, 45.41, 28_300, 12_700_000, 3e10, 7_200e9, None)]
    ['0', '45.4 ns', '28.3 µs', '12.7 ms', '30 s', '7,200 s', '–']
    """
    if ns is None or not math.isfinite(ns):
        return "–"
    if ns == 0:
        return "0"
    for unit, size in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)):
        if abs(ns) < 999.5 * size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns / 1e9:,.0f} s"


def brief(value: float) -> str:
    """Four digits, thousands apart, for a sentence.

    >>> from nanoarb_jax.reports.words import brief
    >>> brief(-10.61412), brief(123_456.7), brief(0.000123456)
    ('−10.61', '123,457', '0.0001235')
    """
    return (f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:,.4g}").replace("-", "−")


def share(of: float | None) -> str:
    """A share as per cent.

    >>> from nanoarb_jax.reports.words import share
    >>> share(0.1234), share(None)
    ('12.3 %', '–')
    """
    return "–" if of is None or not math.isfinite(of) else f"{100 * of:.1f} %"
