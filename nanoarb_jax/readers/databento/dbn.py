"""`databento-dbn`: Databento's binary encoding (DBN v1 to v3, https://databento.com/docs/standards-and-conventions)."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.databento.decode import (
    decode,
    is_dbn,
    read_symbology,
    record_batches,
    schema_in,
    split_header,
)
from nanoarb_jax.readers.databento.layout import SCHEMAS
from nanoarb_jax.readers.databento.records import open_records
from nanoarb_jax.readers.databento.select import Batch, Records, several_instruments
from nanoarb_jax.readers.databento.symbology import MOST_SERIES, Symbology, label_rows, labels_in, listed, symbol_of
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions
from nanoarb_jax.readers.format import Format, Head, one_file


class _File(NamedTuple):
    records: Records
    symbology: Symbology


def open_dbn(path: str | Path, options: ReadOptions = ReadOptions()) -> EventFeed | BookFeed:  # noqa: B008
    """Open a DBN file, compressed or not, of the schema mbo (events) or one of price levels or best prices (books).

    Which instrument a record is of, the header's mappings say for every day. Rows of a snapshot are dated by when they
    were received. There is one book for each row where an event ends (record flag LAST); `bought` and `sold` are what
    takers traded since the book before. Only the header and the first records are read here, the others as the chunks
    are asked for. `lot_size` is 1 where not given: quantities are whole contracts or shares. The tick size is that of
    the definition, where a file of `options.definitions` has it.

    Raises:
        DataError: the file is missing, damaged, truncated, of another schema, or holds several instruments of which
            none is chosen; also while the chunks are read.
    """
    file = _open(Path(path), options.symbol)
    _check_symbol(file, options.symbol)
    return open_records(file.records, options)


def _open(path: Path, wanted: str | None) -> _File:
    metadata, decoded = split_header(path, decode(path))
    schema = str(metadata.schema)
    if schema not in SCHEMAS:
        met = "records of several schemas" if metadata.schema is None else f"schema {schema!r}"
        raise DataError(f"{path}: {met}; expected one of {', '.join(SCHEMAS)}, fetch the data again with one of these")
    dropped: Counter[str] = Counter()
    labels: dict[str, int] = {}
    symbology = read_symbology(path, metadata, wanted)
    batches = _labelled(record_batches(decoded, schema, dropped), symbology, labels)
    return _File(Records(path, f"databento-{schema}", schema, labels, batches, dropped, []), symbology)


def _labelled(batches: Iterator[NDArray[np.void]], symbology: Symbology, labels: dict[str, int]) -> Iterator[Batch]:
    for rows in batches:
        yield Batch(rows, label_rows(rows["instrument_id"], rows["ts_recv"], symbology, labels))


def _check_symbol(file: _File, wanted: str | None) -> None:
    """Refuse, before the records are read, what the header shows to be none or several.

    Raises:
        DataError: it does.
    """
    has = labels_in(file.symbology)
    path = file.records.path
    if wanted is None:
        if len(has) > 1:
            raise several_instruments(path, has)
        return
    same = {name: numbers for name, numbers in has.items() if wanted in (name, symbol_of(name))}
    if len(same) > 1:
        remedy = "choose one of these with symbol, on the command line --symbol"
        raise DataError(f"{path}: {wanted} is several contracts ({listed(same)}), never joined into one; {remedy}")
    if has and not same and not (wanted.isdecimal() and int(wanted) in file.symbology):
        remedy = "choose one of these with symbol, on the command line --symbol"
        raise DataError(f"{path}: no symbol {wanted!r} (has {listed(has)}); {remedy}")


def _symbols(files: Sequence[Path]) -> Sequence[str]:
    """The instruments that a file has records of, where it may hold several.

    None where they are too many, or the file is damaged: then opening it says so.
    """
    with contextlib.suppress(DataError):
        file = _open(files[0], None)
        if len(labels_in(file.symbology)) != 1:
            labels = file.records.labels
            if all(len(labels) <= MOST_SERIES for _ in file.records.batches):
                return sorted(name for name in labels if name)
    return ()


def _is_companion(head: Head) -> bool:
    schema = schema_in(head.start)
    return schema is not None and schema not in SCHEMAS


FORMAT = Format(
    name="databento-dbn",
    sniff=lambda head: is_dbn(head.start),
    open=one_file(open_dbn),
    options=("tick_size", "lot_size", "symbol"),
    is_companion=_is_companion,
    symbols=_symbols,
)
