"""Columns of CSV and Parquet files as NumPy arrays, in batches of bounded size, read by pyarrow.

pyarrow reads in batches, from any stream of bytes (so also from xz), and tells exactly which cell is no number; polars,
which hftbacktest brings along, has neither a CSV stream of that kind nor xz. Formats that need exact decimals or times
read their columns as text and convert that.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line
from nanoarb_jax.readers.compression import open_bytes

CSV_BLOCK = 1 << 22  # bytes of text in a batch
LONGEST_HEADER = 1 << 20  # bytes
WORDS = "words"  # the type of a column of few different words

Array = Any  # a pyarrow.Array; pyarrow has no types
Batch = Mapping[str, Array]


def import_pyarrow() -> Any:
    """pyarrow with its readers and what it computes on columns.

    Raises:
        DataError: it is not installed.
    """
    try:
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise DataError("Parquet and CSV files need the package pyarrow; pip install pyarrow") from error
    return pyarrow


@contextmanager
def arrow_errors(met: str, expected: str) -> Iterator[None]:
    """Turn all that pyarrow raises on bytes and cells that are not what they should be into a DataError.

    Args:
        met: the file, and what is wrong with it.
        expected: instead, and what to do.
    """
    try:
        yield
    except DataError:
        raise
    except (import_pyarrow().ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise DataError(f"{met} ({first_line(error)}); {expected}") from error


def csv_names(path: Path, wanted: Collection[str]) -> list[str]:
    """The columns of a CSV file, plain or compressed, by its first line.

    Raises:
        DataError: the file is missing, its first line is no header, or a wanted column is missing.
    """
    import_pyarrow()
    with open_bytes(path) as stream:
        line = stream.readline(LONGEST_HEADER)
    try:
        names = next(csv.reader([line.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not CSV text ({error}); expected a header line with {_listed(wanted)}") from error
    require_columns(path, names, wanted)
    return names


def require_columns(path: Path, names: Collection[str], wanted: Collection[str]) -> None:
    """Check that a file has these columns.

    Raises:
        DataError: one of them is missing.
    """
    missing = [column for column in wanted if column not in names]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r} (has {_listed(names)}); expected {_listed(wanted)}")


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, list(names)[:12])) + (", ..." if len(names) > 12 else "")


def csv_batches(
    path: Path,
    names: Sequence[str],
    types: Mapping[str, str],
    *,
    delimiter: str = ",",
    missing: Sequence[str] | None = None,
) -> Iterator[Batch]:
    """Columns of a CSV file below its header line, about CSV_BLOCK bytes of text at a time; no empty batches.

    Args:
        path: plain or compressed.
        names: of all columns, in order.
        types: pyarrow's name of the type of every column to read, or WORDS.
        delimiter: between cells.
        missing: the words that stand for a missing cell beside the empty one; None: those that pyarrow knows.

    Raises:
        DataError: damaged bytes, a row of another length, or a cell that is not what its column holds.
    """
    arrow = import_pyarrow()
    words = arrow.dictionary(arrow.int32(), arrow.string())
    convert = arrow.csv.ConvertOptions(
        include_columns=list(types),
        column_types={name: words if kind == WORDS else arrow.type_for_alias(kind) for name, kind in types.items()},
        strings_can_be_null=True,
        null_values=None if missing is None else ["", *missing],
    )
    read = arrow.csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK, column_names=list(names))
    parse = arrow.csv.ParseOptions(delimiter=delimiter)
    errors = arrow_errors(f"{path}: damaged CSV, or a cell is not what its column holds", "fetch or write it again")
    with errors, open_bytes(path) as stream:
        stream.readline(LONGEST_HEADER)
        if not stream.peek(1):
            return
        with arrow.csv.open_csv(stream, read_options=read, parse_options=parse, convert_options=convert) as reader:
            for batch in reader:
                if batch.num_rows:
                    yield dict(zip(batch.schema.names, batch.columns, strict=True))


def text_batches(path: Path, names: Sequence[str], wanted: Collection[str]) -> Iterator[Batch]:
    """Text of the wanted columns of a CSV file; empty fields, and nan, are missing."""
    return csv_batches(path, names, dict.fromkeys(wanted, "string"), missing=("nan", "NaN"))


def column_of(path: Path, name: str) -> str:
    """A file's column, for errors."""
    return f"{path}: column {name!r}"


def cast(column: Array, kind: Any, what: str, expected: str) -> Array:
    """A column converted to a type of pyarrow.

    Args:
        what: the file and the column, for the error.
        expected: what every cell should be, for the error.

    Raises:
        DataError: a cell is none.
    """
    with arrow_errors(f"{what}: a cell is not what the column holds", f"expected {expected}"):
        return column.cast(kind)


def require_all(column: Array, what: str) -> None:
    """Check that no cell of a column is missing.

    Raises:
        DataError: one is.
    """
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(
            f"{what} has an empty field, missing in row {row} of its batch; expected a value in every row, "
            "fetch or write the file again"
        )


def floats(column: Array, what: str, *, may_miss: bool = False) -> NDArray[np.float64]:
    """A column of finite numbers, to the nearest; missing ones, where they may be, are NaN.

    Raises:
        DataError: a cell is not a number, is infinite, or is missing.
    """
    arrow = import_pyarrow()
    if arrow.types.is_float32(column.type):
        column = cast(column, arrow.string(), what, "numbers")  # the decimals that were meant: 0.1, not 0.10000000149
    with arrow_errors(f"{what}: a cell is not what the column holds", "expected numbers"):
        column = column.cast(arrow.float64(), safe=False)
    if not may_miss:
        require_all(column, what)
    values = column.to_numpy(zero_copy_only=False)
    bad = np.isinf(values) if may_miss else ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{what} holds {values[row]} in row {row} of its batch; expected numbers, none infinite")
    return values


def integers(column: Array, what: str, dtype: str = "int64", *, missing: int | None = None) -> NDArray[np.integer]:
    """A column of whole numbers of that dtype.

    Args:
        missing: what a missing cell stands for; None: it is an error.

    Raises:
        DataError: a cell is no such number, or is missing.
    """
    whole = cast(column, import_pyarrow().type_for_alias(dtype), what, "whole numbers")
    if missing is None:
        require_all(whole, what)
    return (whole if missing is None else whole.fill_null(missing)).to_numpy(zero_copy_only=False)


def zoned_times(texts: Array, what: str) -> NDArray[np.int64]:
    """Times, in ns since 1970 UTC, of text: ISO 8601 with a zone, or whole ns, of which 2**64 - 1 (none) becomes -1.

    Raises:
        DataError: a time is missing or is none of these.
    """
    arrow = import_pyarrow()
    if len(texts) and (texts[0].as_py() or "").isdigit():
        return integers(texts, what, "uint64").view(np.int64)
    stamps = cast(texts, arrow.timestamp("ns", "UTC"), what, "ISO 8601 times or ns")
    require_all(stamps, what)
    return stamps.cast(arrow.int64()).to_numpy(zero_copy_only=False)


def distinct_words(column: Array, what: str) -> tuple[NDArray[np.int64], list[str]]:
    """A column of few different words: (n,) indices into them, and the words; a missing one is the empty word."""
    arrow = import_pyarrow()
    if not arrow.types.is_dictionary(column.type):
        column = cast(column, arrow.string(), what, "words").dictionary_encode()
    found = cast(column.dictionary, arrow.string(), what, "words").to_pylist()
    missing = len(found)
    indices = column.indices.fill_null(missing).to_numpy(zero_copy_only=False).astype(np.int64)
    return indices, [word or "" for word in found] + [""] * bool(column.null_count)
