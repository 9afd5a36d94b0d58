"""`databento-csv`: the CSV form of Databento's records, with times and prices as ISO text and decimals or as integers.

Columns are those of the records, see `records.py`; other columns, such as a table's index, are ignored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.columns import (
    Array,
    Batch,
    cast,
    column_of,
    csv_names,
    distinct_words,
    import_pyarrow,
    integers,
    require_all,
    require_columns,
    text_batches,
    zoned_times,
)
from nanoarb_jax.readers.databento.records import RECORDS, Records, open_records
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions
from nanoarb_jax.readers.format import Format, Head, one_file

_INTEGERS = {"publisher_id": "uint16", "instrument_id": "uint32", "size": "uint32", "flags": "uint8"}
_COMMON = ("ts_recv", "ts_event", *_INTEGERS, "action", "side", "price")
_LEVEL = re.compile(r"(bid|ask)_(?P<what>px|sz)_(?P<level>\d\d)")
_NANO = 10**9


def open_databento_csv(path: str | Path, options: ReadOptions = ReadOptions()) -> EventFeed | BookFeed:  # noqa: B008
    """Open a CSV file of the schema mbo (events), mbp-1 or mbp-10 (books); otherwise as `dbn.open_dbn`.

    Raises:
        DataError: the file is missing, damaged or truncated, a column is missing or holds what does not belong there,
            or it holds several instruments of which none is chosen; also while the chunks are read.
    """
    path = Path(path)
    columns = csv_names(path, _COMMON)
    levels = [f"{side}_{what}_{level:02}" for level in range(10) for side in ("bid", "ask") for what in ("px", "sz")]
    if "bid_px_01" in columns:
        schema, more = "mbp-10", levels
    elif "bid_px_00" in columns:
        schema, more = "mbp-1", levels[:4]
    else:
        schema, more = "mbo", ["order_id"]
    require_columns(path, columns, more)
    wanted = [*_COMMON, *more, *(["symbol"] if "symbol" in columns else [])]
    names: dict[int, str] = {}
    batches = _record_batches(path, schema, text_batches(path, columns, wanted), names)
    return open_records(Records(path, f"databento-csv-{schema}", schema, names, batches, Counter()), options)


def _record_batches(
    path: Path, schema: str, batches: Iterator[Batch], names: dict[int, str]
) -> Iterator[NDArray[np.void]]:
    """Records of batches of text; the symbols that are met are added to `names`."""
    decimal: bool | None = None  # prices are decimals, or integers of 1e-9; None: no price met yet
    for columns in batches:
        decimal = _has_decimals(columns) if decimal is None else decimal
        records = _records(path, schema, columns, bool(decimal))
        if "symbol" in columns:
            _learn_symbols(path, records["instrument_id"], columns["symbol"], names)
        yield records


def _has_decimals(columns: Batch) -> bool | None:
    """Whether prices have a decimal point; None: every price is missing."""
    compute = import_pyarrow().compute
    prices = [column for name, column in columns.items() if name == "price" or "_px_" in name]
    if all(column.null_count == len(column) for column in prices):
        return None
    return any(compute.any(compute.match_substring(column, ".")).as_py() for column in prices)


def _records(path: Path, schema: str, columns: Batch, decimal: bool) -> NDArray[np.void]:
    records = np.zeros(len(columns["price"]), RECORDS[schema])
    for field in ("ts_recv", "ts_event"):
        records[field] = zoned_times(columns[field], column_of(path, field))
    for field, dtype in _INTEGERS.items():
        records[field] = integers(columns[field], column_of(path, field), dtype)
    for field in ("action", "side"):
        records[field] = _letters(path, columns[field], field)
    records["price"] = _prices(path, columns["price"], "price", decimal)
    if schema == "mbo":
        records["order_id"] = integers(columns["order_id"], column_of(path, "order_id"), "uint64")
    for name, column in columns.items():
        if match := _LEVEL.fullmatch(name):
            values = (
                _prices(path, column, name, decimal)
                if match["what"] == "px"
                else integers(column, column_of(path, name), "uint32")
            )
            records["levels"][name[:6]][:, int(match["level"])] = values
    return records


def _letters(path: Path, column: Array, name: str) -> NDArray[np.uint8]:
    """(n,) the codes of a column of single letters."""
    require_all(column, column_of(path, name))
    indices, letters = distinct_words(column, column_of(path, name))
    wrong = [letter for letter in letters if len(letter) != 1 or not letter.isascii()]
    if wrong:
        raise DataError(f"{path}: {name} {wrong[0]!r}; expected one letter, fetch the file again")
    return np.array([ord(letter) for letter in letters], np.uint8)[indices]


def _prices(path: Path, column: Array, name: str, decimal: bool) -> NDArray[np.integer]:
    """(n,) prices in units of 1e-9, exactly: never through binary fractions; EMPTY_PRICE where missing."""
    what = column_of(path, name)
    if not decimal:
        return integers(column, what, missing=EMPTY_PRICE)
    arrow = import_pyarrow()
    exact = cast(column, arrow.decimal128(20, 9), what, "numbers of at most 9 decimals")
    scaled = arrow.compute.multiply(exact, arrow.scalar(_NANO, arrow.decimal128(10, 0)))
    whole = cast(scaled, arrow.int64(), what, "numbers below 9e9")
    return whole.fill_null(EMPTY_PRICE).to_numpy(zero_copy_only=False)


def _learn_symbols(path: Path, ids: NDArray[np.uint32], symbols: Array, names: dict[int, str]) -> None:
    indices, texts = distinct_words(symbols, column_of(path, "symbol"))
    pairs = np.unique(ids.astype(np.int64) * len(texts) + indices)
    for number, which in zip((pairs // len(texts)).tolist(), (pairs % len(texts)).tolist(), strict=True):
        if texts[which]:
            names[number] = texts[which]


def _sniff(head: Head) -> bool:
    return b"publisher_id" in head.line and b"rtype" in head.line


FORMAT = Format(
    name="databento-csv",
    sniff=_sniff,
    open=one_file(open_databento_csv),
    options=("tick_size", "lot_size", "symbol"),
)
