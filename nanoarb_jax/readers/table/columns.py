"""Columns of Parquet and CSV files, as NumPy arrays, in batches of bounded size.

pyarrow reads both formats in batches, from any stream of bytes (so also from xz), and tells exactly which cell is no
number; polars, which hftbacktest brings along, has neither a CSV stream of that kind nor xz.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import CHUNK

_PARQUET = b"PAR1"
_CSV_BLOCK = 1 << 22  # bytes of text
_LONGEST_HEADER = 1 << 20  # bytes
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_ZONE = re.compile(r"(Z|[+-]\d\d(:?\d\d)?)$")
# of CSV columns; times stay text until it is seen what they are, and every other column is a number
_TEXT = ("ts_ns", "timestamp", "exch_ts", "side", "kind")
_WHOLE = {"order_id": "uint64", "flags": "int64"}


Array = Any  # a pyarrow.Array; pyarrow has no types


class Header(NamedTuple):
    """What a file holds.

    Attributes:
        columns: {name in lower case without blanks around it: name in the file}.
        parquet: or CSV.
        delimiter: of CSV.
    """

    columns: dict[str, str]
    parquet: bool
    delimiter: str


def _arrow() -> Any:
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise DataError("Parquet and CSV tables need the package pyarrow; pip install pyarrow") from error
    return pyarrow


@contextmanager
def arrow_errors(what: str) -> Iterator[None]:
    """Turn all that pyarrow raises on bytes and cells that are not what they should be into a DataError."""
    try:
        yield
    except DataError:
        raise
    except (_arrow().ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{what}: damaged, or a cell is not what its column holds ({reason})") from error


def read_header(path: Path) -> Header:
    """Names of a file's columns.

    Raises:
        DataError: the file is missing, empty or damaged, or is named .parquet and is none.
    """
    with open_bytes(path) as file:
        parquet = file.peek(4).startswith(_PARQUET)
        line = b"" if parquet else file.readline(_LONGEST_HEADER)
        more = parquet or bool(file.peek(1))
    if parquet:
        arrow = _arrow()
        with arrow_errors(str(path)), path.open("rb") as file:
            names = arrow.parquet.ParquetFile(file).schema_arrow.names
        return Header({name.strip().lower(): name for name in names}, True, "")
    if ".parquet" in path.suffixes or ".pq" in path.suffixes:
        raise DataError(f"{path}: not a Parquet file (no PAR1 at its start); write it again")
    text = line.decode("utf-8-sig", errors="replace").strip()
    if not text:
        raise DataError(f"{path}: no header line; expected Parquet or CSV with named columns")
    if not more:
        raise DataError(f"{path}: no rows below its header; expected at least one")
    delimiter = max(",;\t", key=text.count)
    try:
        names = next(csv.reader([text.replace("\0", "")], delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{path}: no header line ({error}); expected Parquet or CSV with named columns") from error
    return Header({name.strip().lower(): name for name in names}, False, delimiter)


def read_batches(path: Path, header: Header, columns: Sequence[str]) -> Iterator[dict[str, Array]]:
    """These columns, about CHUNK rows at a time, by their names in lower case; no empty batches.

    Raises:
        DataError: damaged bytes, or a CSV cell that is not what its column holds.
    """
    arrow = _arrow()
    names = [header.columns[column] for column in columns]
    with arrow_errors(str(path)):
        if header.parquet:
            with path.open("rb") as raw:
                parquet = arrow.parquet.ParquetFile(raw, page_checksum_verification=True)
                for batch in parquet.iter_batches(CHUNK, columns=names, use_threads=False):
                    if batch.num_rows:
                        yield {column: batch.column(name) for column, name in zip(columns, names, strict=True)}
            return
        types = {
            header.columns[column]: arrow.string()
            if column in _TEXT
            else arrow.type_for_alias(_WHOLE.get(column, "double"))
            for column in columns
        }
        with (
            open_bytes(path) as file,
            arrow.csv.open_csv(
                file,
                read_options=arrow.csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK),
                parse_options=arrow.csv.ParseOptions(delimiter=header.delimiter),
                convert_options=arrow.csv.ConvertOptions(
                    include_columns=names, column_types=types, strings_can_be_null=True
                ),
            ) as reader,
        ):
            for batch in reader:
                if batch.num_rows:
                    yield {column: batch.column(name) for column, name in zip(columns, names, strict=True)}


def floats(column: Array, what: str) -> NDArray[np.float64]:
    """A column of numbers; missing ones are NaN.

    Raises:
        DataError: a cell is not a number, or is infinite.
    """
    arrow = _arrow()
    with arrow_errors(what):
        if arrow.types.is_float32(column.type):
            column = column.cast(arrow.string())  # the decimals that were meant: 0.1, not 0.10000000149
        values = column.cast(arrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    if np.isinf(values).any():
        raise DataError(f"{what}: infinite in row {int(np.argmax(np.isinf(values)))} of its batch; expected a number")
    return values


def integers(column: Array, what: str, dtype: str = "int64") -> NDArray:
    """A column of whole numbers; missing ones are 0.

    Raises:
        DataError: a cell is no whole number of that dtype.
    """
    arrow = _arrow()
    with arrow_errors(what):
        return column.cast(arrow.type_for_alias(dtype)).fill_null(0).to_numpy(zero_copy_only=False)


def times(column: Array, what: str) -> NDArray[np.int64]:
    """A column of times, in ns since 1970 UTC: whole ns, timestamps, or ISO 8601 text; UTC where no zone is given.

    Raises:
        DataError: a time is missing or is none of these.
    """
    arrow = _arrow()
    types = arrow.types
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"{what}: missing in row {row} of its batch; expected a time in every row")
    with arrow_errors(what):
        if types.is_string(column.type) or types.is_large_string(column.type):
            first = column[0].as_py().strip()
            if _DATE.match(first):
                column = column.cast(arrow.timestamp("ns", "UTC" if _ZONE.search(first[10:]) else None))
        if types.is_timestamp(column.type):
            column = column.cast(arrow.timestamp("ns", column.type.tz))
        elif not (types.is_integer(column.type) or types.is_string(column.type) or types.is_large_string(column.type)):
            raise DataError(f"{what}: {column.type}; expected whole ns since 1970 UTC, timestamps or ISO 8601 text")
        return column.cast(arrow.int64()).to_numpy(zero_copy_only=False)


def words(column: Array, codes: dict[str, int], what: str) -> NDArray[np.int64]:
    """A column of words as their codes; missing ones are the code of the empty word.

    Raises:
        DataError: a word without a code.
    """
    arrow = _arrow()
    with arrow_errors(what):
        encoded = column.cast(arrow.string()).fill_null("").dictionary_encode()
        found = [word.strip().lower() for word in encoded.dictionary.to_pylist()]
        indices = encoded.indices.to_numpy(zero_copy_only=False)
    unknown = [word for word in found if word not in codes]
    if unknown:
        raise DataError(f"{what}: {unknown[0]!r}; expected one of {', '.join(word for word in codes if word)}")
    return np.array([codes[word] for word in found], np.int64)[indices]
