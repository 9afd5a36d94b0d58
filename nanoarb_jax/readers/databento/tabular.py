"""Databento's records as columns, of CSV or of Parquet: which schema they are of, and the records they give.

Columns are those of the records, see `layout.py`; other columns, such as a table's index, are ignored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.columns import Array, column_of, distinct_words, import_pyarrow, integers, require_columns
from nanoarb_jax.readers.columns import Batch as Columns
from nanoarb_jax.readers.databento.layout import SCHEMAS
from nanoarb_jax.readers.databento.select import Batch, Records
from nanoarb_jax.readers.databento.symbology import label, label_rows
from nanoarb_jax.readers.databento.values import is_decimal, letters, prices, times

_LEVEL = re.compile(r"(bid|ask)_(?P<what>px|sz)_(?P<level>\d\d)")
_TIMES = ("ts_recv", "ts_event")
_INTEGERS = {"publisher_id": "uint16", "instrument_id": "uint32", "size": "uint32", "flags": "uint8"}
_LETTERS = ("action", "side")
_TOP = [f"{side}_{what}_00" for side in ("bid", "ask") for what in ("px", "sz")]
_LEVELS = [f"{side}_{what}_{level:02}" for level in range(10) for side in ("bid", "ask") for what in ("px", "sz")]
_OPTIONAL = ("rtype", "order_id", "symbol", "bid_pb_00")
IDENTITY = ("publisher_id", "instrument_id")  # columns that no other maker's tables have


def holds_books(columns: Collection[str]) -> bool:
    """Whether these columns of Databento's are those of orders or books."""
    return "order_id" in columns or set(_TOP) <= set(columns)


def wanted_columns(columns: Collection[str]) -> list[str]:
    """Those that are read, of all columns of a file."""
    known = (*_TIMES, *_INTEGERS, *_LETTERS, "price", *_OPTIONAL, *_LEVELS)
    return [name for name in known if name in columns]


def read_records(path: Path, form: str, batches: Iterator[Columns]) -> Records:
    """The records of a file's columns.

    Args:
        path: of the file.
        form: "csv" or "parquet".
        batches: of the columns of `wanted_columns`; cells are typed, or text.

    Raises:
        DataError: no rows, a column is missing; also while batches are read: a cell is not what its column holds.
    """
    first = next(batches, None)
    if first is None:
        raise DataError(f"{path}: no records; expected at least one, check the time span that was fetched")
    schema = _schema(path, first)
    require_columns(path, first, _required(schema))
    labels: dict[str, int] = {}
    labelled = _labelled(path, schema, chain([first], batches), labels)
    return Records(path, f"databento-{form}-{schema}", schema, labels, labelled, Counter(), [])


def _schema(path: Path, columns: Columns) -> str:
    """As the record type of the first row says; of older tables, without one, as the columns say."""
    if "rtype" in columns:
        rtype = int(integers(columns["rtype"].slice(0, 1), column_of(path, "rtype"))[0])
        known = {schema.rtype: name for name, schema in SCHEMAS.items()}
        name = known.get(rtype)
        if name is None:
            raise DataError(
                f"{path}: records of type {rtype}; expected one of {', '.join(SCHEMAS)}, fetch one of these"
            )
    else:
        name = _schema_by_columns(columns)
    if name == "mbp-1" and _only_trades(columns):
        return "tbbo"
    return name


def _schema_by_columns(columns: Columns) -> str:
    if "bid_px_00" not in columns:
        return "mbo"
    if "bid_pb_00" in columns:
        return "cmbp-1" if "action" in columns else "cbbo-1s"
    if "action" not in columns:
        return "bbo-1s"
    return "mbp-10" if "bid_px_01" in columns else "mbp-1"


def _only_trades(columns: Columns) -> bool:
    """Whether every row of the first batch is a trade: so it is with tbbo, whose other columns are those of mbp-1."""
    if "action" not in columns:
        return False
    words = columns["action"].cast(import_pyarrow().string()).unique().to_pylist()
    return words == ["T"]


def _required(schema: str) -> list[str]:
    orders = ["order_id", "price"] if schema == "mbo" else []
    levels = _LEVELS if schema == "mbp-10" else [] if schema == "mbo" else _TOP
    letter = ["side"] if SCHEMAS[schema].rows == "samples" else [*_LETTERS]
    return ["ts_recv", "ts_event", *_INTEGERS, *letter, *orders, *levels]


def _labelled(path: Path, schema: str, batches: Iterator[Columns], labels: dict[str, int]) -> Iterator[Batch]:
    decimal: bool | None = None  # of prices as text; None: no price met yet
    for columns in batches:
        used = [column for name, column in columns.items() if name == "price" or "_px_" in name]
        decimal = is_decimal(used) if decimal is None else decimal
        rows = _rows(path, schema, columns, bool(decimal))
        yield Batch(rows, _labels(path, rows, columns, labels))


def _rows(path: Path, schema: str, columns: Columns, decimal: bool) -> NDArray[np.void]:
    rows = np.zeros(len(columns["ts_recv"]), SCHEMAS[schema].record)
    for name in _required(schema):
        column, what = columns[name], column_of(path, name)
        if match := _LEVEL.fullmatch(name):
            price = match["what"] == "px"
            values = prices(column, what, decimal) if price else integers(column, what, "uint32", missing=0)
            rows["levels"][name[:6]][:, int(match["level"])] = values
        elif name == "price":
            rows[name] = prices(column, what, decimal)
        elif name in _TIMES:
            rows[name] = times(column, what, may_miss=name == "ts_event")
        elif name in _LETTERS:
            rows[name] = letters(column, what)
        else:
            rows[name] = integers(column, what, _INTEGERS.get(name, "uint64"))
    return rows


def _labels(path: Path, rows: NDArray[np.void], columns: Columns, labels: dict[str, int]) -> NDArray[np.int32]:
    """(n,) indices of the rows' labels: their symbols, row by row, or their numbers where there is no such column."""
    numbers = rows["instrument_id"]
    if "symbol" not in columns:
        return label_rows(numbers, rows["ts_recv"], {}, labels)
    return _label_symbols(path, numbers, columns["symbol"], labels)


def _label_symbols(
    path: Path, numbers: NDArray[np.integer], column: Array, labels: dict[str, int]
) -> NDArray[np.int32]:
    indices, symbols = distinct_words(column, column_of(path, "symbol"))
    keys, inverse = np.unique(indices << 32 | numbers.astype(np.int64), return_inverse=True)
    names = [label(symbols[key >> 32], key & 0xFFFFFFFF) for key in keys.tolist()]
    return np.array([labels.setdefault(name, len(labels)) for name in names], np.int32)[inverse]


def instruments_in(path: Path, batches: Iterator[Columns], most: int) -> list[str]:
    """The instruments of a file, by its columns `instrument_id` and, where it has one, `symbol`.

    None where there are more than `most`, or one without a symbol, which needs no choice.

    Raises:
        DataError: a damaged file.
    """
    labels: dict[str, int] = {}
    for columns in batches:
        numbers = integers(columns["instrument_id"], column_of(path, "instrument_id"), "uint32")
        if "symbol" in columns:
            _label_symbols(path, numbers, columns["symbol"], labels)
        else:
            label_rows(numbers, np.zeros(len(numbers), np.int64), {}, labels)
        if len(labels) > most:
            return []
    named = sorted(name for name in labels if name)
    return named if len(named) > 1 else []
