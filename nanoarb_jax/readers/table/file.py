"""Tables as files: Parquet, or CSV with a header line; names of their columns, and batches of rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.columns import LONGEST_HEADER, Batch, arrow_errors, csv_batches, import_pyarrow
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import CHUNK
from nanoarb_jax.readers.format import PARQUET

# types of CSV columns: times stay text until it is seen what they are, and every column not listed is a number
_TYPES = dict.fromkeys(("ts_ns", "timestamp", "exch_ts", "side", "kind"), "string")
_TYPES |= {"order_id": "uint64", "flags": "int64"}


class Header(NamedTuple):
    """The columns of a table.

    Attributes:
        names: of all columns, as the file spells them, in order.
        columns: {name in lower case without blanks around it: name in the file}.
        parquet: or CSV.
        delimiter: of CSV.
    """

    names: list[str]
    columns: dict[str, str]
    parquet: bool
    delimiter: str


def read_header(path: Path) -> Header:
    """Names of a file's columns.

    Raises:
        DataError: the file is missing, empty or damaged, or is named .parquet and is none.
    """
    with open_bytes(path) as file:
        parquet = file.peek(4).startswith(PARQUET)
        line = b"" if parquet else file.readline(LONGEST_HEADER)
        more = parquet or bool(file.peek(1))
    if parquet:
        arrow = import_pyarrow()
        with arrow_errors(f"{path}: damaged Parquet", "write or fetch it again"), path.open("rb") as file:
            return _header(arrow.parquet.ParquetFile(file).schema_arrow.names, True, "")
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
    return _header(names, False, delimiter)


def _header(names: list[str], parquet: bool, delimiter: str) -> Header:
    return Header(names, {name.strip().lower(): name for name in names}, parquet, delimiter)


def read_batches(path: Path, header: Header, columns: Sequence[str]) -> Iterator[Batch]:
    """These columns, about CHUNK rows at a time, by their names in lower case; no empty batches.

    Raises:
        DataError: damaged bytes, or a CSV cell that is not what its column holds.
    """
    spelt = {column: header.columns[column] for column in columns}
    if header.parquet:
        batches = _parquet_batches(path, list(spelt.values()))
    else:
        types = {name: _TYPES.get(column, "double") for column, name in spelt.items()}
        batches = csv_batches(path, header.names, types, delimiter=header.delimiter)
    for batch in batches:
        yield {column: batch[name] for column, name in spelt.items()}


def _parquet_batches(path: Path, names: list[str]) -> Iterator[Batch]:
    arrow = import_pyarrow()
    with arrow_errors(f"{path}: damaged Parquet", "write or fetch it again"), path.open("rb") as raw:
        parquet = arrow.parquet.ParquetFile(raw, page_checksum_verification=True)
        for batch in parquet.iter_batches(CHUNK, columns=names, use_threads=False):
            if batch.num_rows:
                yield {name: batch.column(name) for name in names}
