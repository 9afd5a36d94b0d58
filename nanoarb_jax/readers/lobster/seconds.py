"""Times of LOBSTER's message files: seconds after midnight with nanoseconds behind the point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError

_DAY_NS = 86_400 * 10**9


def parse_seconds(text: NDArray[np.str_], what: str = "times", first: int = 0) -> NDArray[np.int64]:
    """Seconds after midnight, as decimals, in ns: digit by digit, because a float64 has no room for them.

    Args:
        text: (n,) such as "34200.004241176"; decimals after the ninth are rounded.
        what, first: the file and its row, for the error.

    Raises:
        DataError: not a plain decimal number, or a day or more.

    >>> from nanoarb_jax.readers.lobster.seconds import parse_seconds
    >>> parse_seconds(np.array(["34200.004241176", "0.1"])).tolist()
    [34200004241176, 100000000]
    """
    rows = len(text)
    chars = np.ascontiguousarray(text).view(np.uint32).reshape(rows, -1)  # code points, padded with 0
    ns, decimals = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    dots, digits = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    bad, ended = np.zeros(rows, bool), np.zeros(rows, bool)
    for char in chars.T:
        digit = (char >= ord("0")) & (char <= ord("9"))
        value = char.astype(np.int64) - ord("0")
        bad |= ~digit & (char != ord(".")) & (char != 0) | (ended & (char != 0))
        ended |= char == 0
        ns = np.where(digit & (decimals < 9), ns * 10 + value, ns) + (digit & (decimals == 9) & (value >= 5))
        decimals += digit & (dots > 0)
        digits += digit & (dots == 0)
        dots += char == ord(".")
    bad |= (dots > 1) | (digits == 0) | (digits > 5)
    ns *= 10 ** np.maximum(9 - decimals, 0)
    bad |= ns >= _DAY_NS
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{what}, row {first + row}: time {str(text[row])!r}; expected seconds after midnight")
    return ns
