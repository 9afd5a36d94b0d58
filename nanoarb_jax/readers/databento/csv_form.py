"""`databento-csv`: the CSV form of Databento's records, with times and prices as ISO text and decimals or integers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.columns import csv_names, text_batches
from nanoarb_jax.readers.databento.records import open_records
from nanoarb_jax.readers.databento.symbology import MOST_SERIES
from nanoarb_jax.readers.databento.tabular import IDENTITY, holds_books, instruments_in, read_records, wanted_columns
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions
from nanoarb_jax.readers.format import Format, Head, one_file


def open_databento_csv(path: str | Path, options: ReadOptions = ReadOptions()) -> EventFeed | BookFeed:  # noqa: B008
    """Open a CSV file of any of the schemas of `dbn.open_dbn`; otherwise as there.

    A column `symbol` says row by row which instrument a record is of.

    Raises:
        DataError: the file is missing, damaged or truncated, a column is missing or holds what does not belong there,
            or it holds several instruments of which none is chosen; also while the chunks are read.
    """
    path = Path(path)
    columns = csv_names(path, IDENTITY)
    records = read_records(path, "csv", text_batches(path, columns, wanted_columns(columns)))
    return open_records(records, options)


def _symbols(files: Sequence[Path]) -> Sequence[str]:
    with contextlib.suppress(DataError):  # opening it says so
        columns = csv_names(files[0], IDENTITY)
        wanted = [name for name in ("instrument_id", "symbol") if name in columns]
        return instruments_in(files[0], text_batches(files[0], columns, wanted), MOST_SERIES)
    return ()


def _names(head: Head) -> list[str]:
    return [name.strip('" \ufeff') for name in head.line.decode("utf-8", errors="replace").split(",")]


def _sniff(head: Head) -> bool:
    return {*IDENTITY, "ts_event"} <= set(_names(head))


FORMAT = Format(
    name="databento-csv",
    sniff=_sniff,
    open=one_file(open_databento_csv),
    options=("tick_size", "lot_size", "symbol"),
    is_companion=lambda head: _sniff(head) and not holds_books(_names(head)),
    symbols=_symbols,
)
