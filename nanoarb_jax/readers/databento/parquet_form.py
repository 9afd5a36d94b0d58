"""`databento-parquet`: Databento's records in Parquet, as its client's `DBNStore.to_parquet` writes them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.columns import require_columns
from nanoarb_jax.readers.databento.parquet_file import parquet_batches, parquet_names
from nanoarb_jax.readers.databento.records import open_records
from nanoarb_jax.readers.databento.symbology import MOST_SERIES
from nanoarb_jax.readers.databento.tabular import IDENTITY, holds_books, instruments_in, read_records, wanted_columns
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions
from nanoarb_jax.readers.format import Format, Head, one_file


def open_databento_parquet(
    path: str | Path,
    options: ReadOptions = ReadOptions(),  # noqa: B008
) -> EventFeed | BookFeed:
    """Open a Parquet file of any of the schemas of `dbn.open_dbn`; otherwise as `csv_form.open_databento_csv`.

    Prices are doubles, each rounded to the nearest 1e-9, integers of 1e-9, or decimals; times are timestamps or whole
    ns.

    Raises:
        DataError: as there.
    """
    path = Path(path)
    columns = parquet_names(path)
    require_columns(path, columns, IDENTITY)
    records = read_records(path, "parquet", parquet_batches(path, wanted_columns(columns)))
    return open_records(records, options)


def _symbols(files: Sequence[Path]) -> Sequence[str]:
    with contextlib.suppress(DataError):  # opening it says so
        wanted = [name for name in ("instrument_id", "symbol") if name in parquet_names(files[0])]
        return instruments_in(files[0], parquet_batches(files[0], wanted), MOST_SERIES)
    return ()


def _names(head: Head) -> list[str]:
    """The columns of a Parquet file; none of any other, or of one that is damaged."""
    try:
        return parquet_names(head.path) if head.is_parquet else []
    except DataError:
        return []


def _sniff(head: Head) -> bool:
    return {*IDENTITY, "ts_event"} <= set(_names(head))


FORMAT = Format(
    name="databento-parquet",
    sniff=_sniff,
    open=one_file(open_databento_parquet),
    options=("tick_size", "lot_size", "symbol"),
    is_companion=lambda head: _sniff(head) and not holds_books(_names(head)),
    symbols=_symbols,
)
