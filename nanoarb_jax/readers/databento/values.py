"""Cells of Databento's CSV and Parquet columns as the integers of its records: times in ns, prices in 1e-9, letters."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.columns import (
    Array,
    cast,
    distinct_words,
    import_pyarrow,
    integers,
    require_all,
    zoned_times,
)
from nanoarb_jax.readers.time_columns import find_form, read_times

_NANO = 10**9
_EXACT = 2**50 / _NANO  # below this price, the product of a double and 1e9 is less than 0.5 off
_DECIMALS = (27, 9)  # digits, of which after the point


def times(column: Array, what: str, may_miss: bool = False) -> NDArray[np.int64]:
    """(n,) ns since 1970 UTC of ISO 8601 text with a zone, whole ns, or timestamps; -1 where there is none.

    Args:
        may_miss: whether a cell may be empty; a whole number of 2**64 - 1, Databento's undefined time, always may.

    Raises:
        DataError: a cell is no time, or is empty.
    """
    arrow = import_pyarrow()
    if may_miss and column.null_count:
        known = column.drop_null()
        found = np.full(len(column), -1, np.int64)
        if len(known):
            found[column.is_valid().to_numpy(zero_copy_only=False)] = times(known, what)
        return found
    if arrow.types.is_string(column.type):
        return zoned_times(column, what)
    if arrow.types.is_uint64(column.type):
        return integers(column, what, "uint64").view(np.int64)
    return read_times(column, find_form(column, what), what) if len(column) else np.zeros(0, np.int64)


def is_decimal(columns: Iterable[Array]) -> bool | None:
    """Whether prices told as text have a decimal point, or are integers of 1e-9; None: all of them are missing."""
    arrow = import_pyarrow()
    texts = [column for column in columns if arrow.types.is_string(column.type)]
    if all(column.null_count == len(column) for column in texts):
        return None
    found = (arrow.compute.any(arrow.compute.match_substring_regex(column, "[.eE]")).as_py() for column in texts)
    return any(bool(met) for met in found)


def prices(column: Array, what: str, decimal: bool) -> NDArray[np.integer]:
    """(n,) prices in units of 1e-9; EMPTY_PRICE where missing.

    Decimals are converted exactly, never through binary fractions; doubles to the nearest 1e-9.

    Args:
        column: integers of 1e-9, decimals, doubles, or text.
        decimal: of text, whether it tells decimals.

    Raises:
        DataError: a cell is no price.
    """
    types = import_pyarrow().types
    if types.is_integer(column.type) or (types.is_string(column.type) and not decimal):
        return integers(column, what, missing=EMPTY_PRICE)
    if types.is_floating(column.type):
        values = column.fill_null(np.nan).to_numpy(zero_copy_only=False)
        if types.is_float64(column.type) and not (np.abs(values) >= _EXACT).any():
            absent = np.isnan(values)
            return np.where(absent, EMPTY_PRICE, np.rint(np.where(absent, 0, values) * _NANO).astype(np.int64))
        column = _without_nan(column)
    return _exact_prices(column, what)


def _without_nan(column: Array) -> Array:
    """The shortest decimals of floats, which are those that were meant; NaN is missing."""
    arrow = import_pyarrow()
    absent = arrow.compute.is_nan(column).fill_null(True)
    texts = column.cast(arrow.string())
    return arrow.compute.if_else(absent, arrow.scalar(None, arrow.string()), texts)


def _exact_prices(column: Array, what: str) -> NDArray[np.int64]:
    arrow = import_pyarrow()
    exact = cast(column, arrow.decimal128(*_DECIMALS), what, "numbers of at most 9 decimals")
    scaled = arrow.compute.multiply(exact, arrow.scalar(_NANO, arrow.decimal128(10, 0)))
    whole = cast(scaled, arrow.int64(), what, "numbers below 9e9")
    return whole.fill_null(EMPTY_PRICE).to_numpy(zero_copy_only=False)


def letters(column: Array, what: str) -> NDArray[np.uint8]:
    """(n,) the codes of a column of single letters.

    Raises:
        DataError: a cell is empty, or not one letter.
    """
    require_all(column, what)
    indices, words = distinct_words(column, what)
    wrong = [word for word in words if len(word) != 1 or not word.isascii()]
    if wrong:
        raise DataError(f"{what}: {wrong[0]!r}; expected one letter, fetch the file again")
    return np.array([ord(word) for word in words], np.uint8)[indices]
