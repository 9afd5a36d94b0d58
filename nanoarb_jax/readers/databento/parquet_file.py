"""Parquet files of Databento's records, as its client's `to_parquet` writes them: their columns, in batches."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nanoarb_jax.readers.columns import Batch, arrow_errors, import_pyarrow
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import CHUNK
from nanoarb_jax.readers.format import PARQUET


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A pyarrow ParquetFile; one in an archive, or compressed as a whole, is held in memory, since it is not seekable.

    Raises:
        DataError: no such file, or it is damaged.
    """
    arrow = import_pyarrow()
    with arrow_errors(f"{path}: damaged Parquet", "write or fetch it again"):
        plain = path.is_file() and _begins_as_parquet(path)
        with path.open("rb") if plain else io.BytesIO(open_bytes(path).read()) as file:
            yield arrow.parquet.ParquetFile(file, page_checksum_verification=True)


def _begins_as_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(PARQUET)) == PARQUET


def parquet_names(path: Path) -> list[str]:
    """The columns of a Parquet file.

    Raises:
        DataError: it is damaged.
    """
    with _opened(path) as parquet:
        return list(parquet.schema_arrow.names)


def parquet_batches(path: Path, wanted: Collection[str]) -> Iterator[Batch]:
    """These columns, CHUNK rows at a time at most; no empty batches.

    Raises:
        DataError: the file is damaged; also while batches are read.
    """
    with _opened(path) as parquet:
        for batch in parquet.iter_batches(CHUNK, columns=list(wanted), use_threads=False):
            if batch.num_rows:
                yield dict(zip(batch.schema.names, batch.columns, strict=True))
