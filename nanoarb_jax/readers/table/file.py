"""Tables as files: Parquet, or CSV with a header line; names of their columns, and batches of rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.archives import archive_of
from nanoarb_jax.readers.columns import LONGEST_HEADER, Batch, arrow_errors, csv_batches, import_pyarrow
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import CHUNK
from nanoarb_jax.readers.format import PARQUET

_DECIMAL_COMMA = re.compile(r'"?[-+]?\d+,\d+"?')


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
        DataError: the file is missing, empty or damaged, is named .parquet and is none, or has decimal commas.
    """
    with open_bytes(path) as file:
        parquet = file.peek(4).startswith(PARQUET)
        line, row = (b"", b"") if parquet else (file.readline(LONGEST_HEADER), file.readline(LONGEST_HEADER))
    if parquet:
        with _open_parquet(path) as opened:
            return _header(opened.schema_arrow.names, True, "")
    if ".parquet" in path.suffixes or ".pq" in path.suffixes:
        raise DataError(f"{path}: not a Parquet file (no PAR1 at its start); write it again")
    text = line.decode("utf-8-sig", errors="replace").strip()
    if not text:
        raise DataError(f"{path}: no header line; expected Parquet or CSV with named columns")
    if not row:
        raise DataError(f"{path}: no rows below its header; expected at least one")
    delimiter = max(",;\t", key=text.count)
    try:
        names = next(csv.reader([text.replace("\0", "")], delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{path}: no header line ({error}); expected Parquet or CSV with named columns") from error
    _check_decimals(path, row.decode("utf-8", errors="replace"), delimiter)
    return _header(names, False, delimiter)


def _header(names: list[str], parquet: bool, delimiter: str) -> Header:
    return Header(names, {name.strip().lower(): name for name in names}, parquet, delimiter)


def _check_decimals(path: Path, row: str, delimiter: str) -> None:
    """Refuse decimal commas, which files have whose columns are divided by something else."""
    cells = [] if delimiter == "," else row.split(delimiter)
    comma = next((cell.strip() for cell in cells if _DECIMAL_COMMA.fullmatch(cell.strip())), None)
    if comma is not None:
        raise DataError(f"{path}: a decimal comma ({comma}); write the file with decimal points")


def check_unique(path: Path, header: Header, columns: Mapping[str, str]) -> None:
    """Check that each of the columns to read is there once.

    Raises:
        DataError: two columns have a name that differs at most in case and blanks.
    """
    spelt = [name.strip().lower() for name in header.names]
    twice = next((name for name in columns if spelt.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: {spelt.count(twice)} columns are called {twice!r}; keep one of them")


def read_batches(path: Path, header: Header, columns: Mapping[str, str]) -> Iterator[Batch]:
    """These columns, about CHUNK rows at a time, by their names in lower case; no empty batches.

    Args:
        columns: {name in lower case: its type in CSV, see `csv_batches`}.

    Raises:
        DataError: damaged bytes, or a CSV cell that is not what its column holds.
    """
    spelt = {column: header.columns[column] for column in columns}
    if header.parquet:
        batches = _parquet_batches(path, list(spelt.values()))
    else:
        types = {name: columns[column] for column, name in spelt.items()}
        batches = csv_batches(path, header.names, types, delimiter=header.delimiter)
    for batch in batches:
        yield {column: batch[name] for column, name in spelt.items()}


def _parquet_batches(path: Path, names: list[str]) -> Iterator[Batch]:
    with _open_parquet(path) as parquet:
        for batch in parquet.iter_batches(CHUNK, columns=names, use_threads=False):
            if batch.num_rows:
                yield {name: batch.column(name) for name in names}


@contextmanager
def _open_parquet(path: Path) -> Iterator:
    """A Parquet file; one that is compressed once more, or lies in an archive, is read into memory."""
    arrow = import_pyarrow()
    with arrow_errors(f"{path}: damaged Parquet", "write or fetch it again"), _seekable(path) as raw:
        yield arrow.parquet.ParquetFile(raw, page_checksum_verification=True)


def _seekable(path: Path) -> IO[bytes]:
    if archive_of(path) is None:
        file = path.open("rb")
        if file.read(len(PARQUET)) == PARQUET:
            return file
        file.close()
    with open_bytes(path) as stream:
        return io.BytesIO(stream.read())
