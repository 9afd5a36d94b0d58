"""Columns of times: numbers in any unit, ISO 8601 text or timestamps, to ns since 1970 UTC."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.columns import Array, cast, import_pyarrow, require_all
from nanoarb_jax.readers.times import NS_PER_UNIT, plausible, unit_of_time

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_ZONE = re.compile(r"(Z|[+-]\d\d(:?\d\d)?)$")
_EXPECTED = "times: ISO 8601, or a number of s, ms, µs or ns since 1970 UTC"


class TimeForm(NamedTuple):
    """How a column tells times; its first batch says so, and the others must agree.

    Attributes:
        unit: a key of NS_PER_UNIT, where the column holds numbers; None: ISO 8601 text or timestamps.
        since_1970: whether every time must lie between 1980 and 2100; False: ns since any moment.
        zoned: whether text or timestamps tell their zone.
    """

    unit: str | None
    since_1970: bool = True
    zoned: bool = True

    @property
    def notes(self) -> list[str]:
        """What was recognised that is not as it is inside."""
        if not self.since_1970:
            return ["times do not count from 1970"]
        if not self.zoned:
            return ["times have no zone and are taken for UTC"]
        return [f"times are in {self.unit}"] if self.unit not in (None, "ns") else []


def find_form(column: Array, what: str) -> TimeForm:
    """The form of a column of times, by its first cell.

    Args:
        what: the file and the column, for the error.

    Raises:
        DataError: no cell at all, or one that is no time between 1980 and 2100.
    """
    types = import_pyarrow().types
    if types.is_float32(column.type) or types.is_float16(column.type):
        raise DataError(f"{what}: times of type {column.type}, which tells no seconds; write them as int64 or float64")
    first = first_time(column, what)
    return calendar_form(column, first) if isinstance(first, str) else TimeForm(unit_of_time(first, what))


def calendar_form(column: Array, first: str) -> TimeForm:
    """The form of a column of text or timestamps, of which the first is given as text."""
    if import_pyarrow().types.is_timestamp(column.type):
        return TimeForm(None, zoned=column.type.tz is not None)
    return TimeForm(None, zoned=_ZONE.search(first[10:]) is not None)


def first_time(column: Array, what: str) -> float | str:
    """The first time of a column: a number, or text where the column holds ISO 8601 text or timestamps.

    Raises:
        DataError: no cell, or one that is neither.
    """
    column = _plain(column)
    require_all(column[:1], what)
    cell = column[0]
    text = str(cell.as_py() if not import_pyarrow().types.is_timestamp(column.type) else cell).strip()
    if import_pyarrow().types.is_timestamp(column.type) or (_is_text(column) and _DATE.match(text)):
        return text
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f"{what}: {text[:40]!r} ({column.type}); expected {_EXPECTED}") from error


def read_times(column: Array, form: TimeForm, what: str) -> NDArray[np.int64]:
    """(n,) times, ns since 1970 UTC; UTC where the text gives no zone.

    Decimals of text count to the ns, those of float64 to the µs: more does not fit into one.

    Raises:
        DataError: a time is missing, is of another form or unit than the first, or lies outside 1980 to 2100.

    >>> import pyarrow as pa
    >>> from nanoarb_jax.readers.time_columns import find_form, read_times
    >>> seconds = pa.array(["1735700000.000000123"])
    >>> read_times(seconds, find_form(seconds, "example"), "example").tolist()
    [1735700000000000123]
    """
    column = _plain(column)
    require_all(column, what)
    ts_ns = _calendar_times(column, what) if form.unit is None else _counted_times(column, form.unit, what)
    bad = ~plausible(ts_ns)
    if form.since_1970 and bad.any():
        row = int(np.argmax(bad))
        unit = "" if form.unit is None else f", counted in {form.unit} as the first one is"
        raise DataError(
            f"{what}: {str(column[row])[:40]} is no time between 1980 and 2100{unit}; write all times in one unit, "
            "since 1970 UTC"
        )
    return ts_ns


def _plain(column: Array) -> Array:
    """Text as pyarrow can convert it, whatever the writer's encoding of text."""
    arrow = import_pyarrow()
    types = arrow.types
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_large_string(column.type) or types.is_string_view(column.type):
        column = column.cast(arrow.string())
    return column


def _is_text(column: Array) -> bool:
    return bool(import_pyarrow().types.is_string(column.type))


def _calendar_times(column: Array, what: str) -> NDArray[np.int64]:
    arrow = import_pyarrow()
    if _is_text(column):
        column = arrow.compute.utf8_trim_whitespace(column)
        zone = "UTC" if _ZONE.search(column[0].as_py()[10:]) else None
        column = cast(column, arrow.timestamp("ns", zone), what, _EXPECTED)
    if arrow.types.is_timestamp(column.type):
        column = cast(column, arrow.timestamp("ns", column.type.tz), what, _EXPECTED)
    return cast(column, arrow.int64(), what, _EXPECTED).to_numpy(zero_copy_only=False)


def _counted_times(column: Array, unit: str, what: str) -> NDArray[np.int64]:
    arrow = import_pyarrow()
    ns = NS_PER_UNIT[unit]
    if arrow.types.is_floating(column.type):
        return _rounded_times(cast(column, arrow.float64(), what, _EXPECTED).to_numpy(zero_copy_only=False), ns)
    if arrow.types.is_decimal(column.type):
        column = cast(column, arrow.string(), what, _EXPECTED)
    if _is_text(column):
        try:
            column = column.cast(arrow.int64())
        except arrow.ArrowInvalid:
            return _decimal_times(column, ns, what)
    counts = cast(column, arrow.int64(), what, _EXPECTED).to_numpy(zero_copy_only=False)
    most = np.iinfo(np.int64).max // ns
    return np.clip(counts, -most, most) * ns  # what is cut lies in no plausible year


def _rounded_times(counts: NDArray[np.float64], ns: int) -> NDArray[np.int64]:
    """float64 times to the nearest µs, or to what a unit of less than that holds."""
    most = float(2**62 // ns)
    counts = np.clip(np.nan_to_num(counts, nan=0.0), -most, most)
    whole = np.floor(counts)
    parts = max(ns // 1000, 1)  # of a unit that are kept
    return whole.astype(np.int64) * ns + np.rint((counts - whole) * parts).astype(np.int64) * (ns // parts)


def _decimal_times(column: Array, ns: int, what: str) -> NDArray[np.int64]:
    """Text with decimals, exactly: as decimals of as many places as the unit has digits of ns, they are ns."""
    arrow = import_pyarrow()
    text = arrow.compute.utf8_trim_whitespace(column)
    decimals = cast(text, arrow.decimal128(38, len(str(ns)) - 1), what, _EXPECTED)
    halves = np.frombuffer(decimals.buffers()[1], np.int64).reshape(-1, 2)  # of 128 bits, the low one first
    low, high = halves[decimals.offset : decimals.offset + len(decimals)].T
    return np.where(high == low >> 63, low, 0)  # what needs more than 64 bits lies in no plausible year
