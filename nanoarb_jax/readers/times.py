"""Units of time: times are ns since 1970 UTC inside, and files count them in s, ms, µs or ns."""

from __future__ import annotations

import numpy as np

from nanoarb_jax.errors import DataError

NS_PER_UNIT = {"ns": 1, "µs": 10**3, "ms": 10**6, "s": 10**9}
# plausible times lie between 1980 and 2100; counted in two units, these spans do not overlap
EARLIEST_S, LATEST_S = 315_532_800, 4_102_444_800


def unit_of_time(time: float, what: str) -> str:
    """The unit that a time since 1970 UTC is counted in, told by its size: in one unit alone it lies in 1980 to 2100.

    Args:
        time: one time of a file or message, above 0.
        what: the file and the field, for the error.

    Returns:
        A key of NS_PER_UNIT.

    Raises:
        DataError: in no unit the time lies between 1980 and 2100.

    >>> from nanoarb_jax.readers.times import unit_of_time
    >>> unit_of_time(1735700000123, "example"), unit_of_time(1735700000.123, "example")
    ('ms', 's')
    """
    for unit, ns in NS_PER_UNIT.items():
        if EARLIEST_S * 10**9 <= time * ns < LATEST_S * 10**9:
            return unit
    raise DataError(
        f"{what}: time {time:.17g} lies between 1980 and 2100 in no unit (s, ms, µs or ns since 1970 UTC); check the "
        "file's times, and convert them"
    )


def plausible(ts_ns: np.ndarray) -> np.ndarray:
    """(n,) bool: which times, ns since 1970 UTC, lie between 1980 and 2100."""
    return (ts_ns >= EARLIEST_S * 10**9) & (ts_ns < LATEST_S * 10**9)
