"""`databento`: Databento's binary encoding (DBN v1 to v3, https://databento.com/docs/standards-and-conventions).

The library `databento_dbn` reads the header, finds the records and upgrades old versions; its objects' bytes are then
seen through a NumPy record dtype, which is five times as fast as asking each object for its fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.databento.records import RECORDS, Records, count, listed, open_records
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions
from nanoarb_jax.readers.format import Format, Head, one_file

if TYPE_CHECKING:
    from databento_dbn import Metadata

_PIECE = 1 << 22  # bytes decoded at a time: 75,000 orders, or 11,000 ten-level books


def open_dbn(path: str | Path, options: ReadOptions = ReadOptions()) -> EventFeed | BookFeed:  # noqa: B008
    """Open a DBN file, compressed or not, of the schema mbo (events), mbp-1 or mbp-10 (books).

    Rows of a snapshot are dated by when they were received. There is one book for each row where an event ends (record
    flag LAST); `bought` and `sold` are what takers traded since the book before. Only the header and the first records
    are read here, the others as the chunks are asked for. `lot_size` is 1 where not given: quantities are whole
    contracts or shares.

    Raises:
        DataError: the file is missing, damaged, truncated, of another schema, or holds several instruments of which
            none is chosen; also while the chunks are read.
    """
    path = Path(path)
    decoded = _decode(path)
    metadata, records = _header(path, decoded)
    schema = str(metadata.schema)
    if schema not in RECORDS:
        met = "records of several schemas" if metadata.schema is None else f"schema {schema!r}"
        raise DataError(f"{path}: {met}; expected one of {', '.join(RECORDS)}, fetch the data again with one of these")
    dropped: Counter[str] = Counter()
    names = _instrument_names(path, metadata)
    if options.symbol is not None and names and options.symbol not in {*names.values(), *map(str, names)}:
        has = listed(names, names)
        remedy = "choose one of these with symbol, on the command line --symbol"
        raise DataError(f"{path}: no symbol {options.symbol!r} (has {has}); {remedy}")
    batches = _batches(records, decoded, schema, dropped)
    return open_records(Records(path, f"databento-{schema}", schema, names, batches, dropped), options)


def _decode(path: Path) -> Iterator[list[Any]]:
    """The library's objects, piece by piece; the first of all is the metadata."""
    try:
        from databento_dbn import DBNDecoder, DBNError, VersionUpgradePolicy
    except ImportError as error:
        raise DataError(f"{path}: DBN needs the package databento-dbn; pip install databento-dbn") from error
    policy: Any = VersionUpgradePolicy.UPGRADE_TO_V3  # its stub says int
    decoder = DBNDecoder(upgrade_policy=policy)
    at = 0
    with open_bytes(path) as stream:
        while piece := stream.read(_PIECE):
            try:
                decoder.write(piece)
                objects = decoder.decode()
            except BaseException as error:
                # some damage makes the library panic, which is no Exception
                if not isinstance(error, DBNError) and type(error).__name__ != "PanicException":
                    raise
                where = f"between bytes {at} and {at + len(piece)} of the uncompressed data"
                raise DataError(f"{path}: damaged or not DBN {where} ({first_line(error)}); fetch it again") from error
            at += len(piece)
            yield objects
    left = len(decoder.buffer())
    if left:
        raise DataError(f"{path}: cut within a record, {left} bytes after byte {at - left}; fetch it again")


def _header(path: Path, decoded: Iterator[list[Any]]) -> tuple[Metadata, list[Any]]:
    """The metadata and the records that came with it."""
    for objects in decoded:
        if objects:  # none yet: the header is longer than a piece
            return objects[0], objects[1:]
    raise DataError(f"{path}: no DBN header, the file is empty; fetch it again")


def _instrument_names(path: Path, metadata: Metadata) -> dict[int, str]:
    """Symbols by instrument id; the header maps one to the other over spans of days, in either direction."""
    names = {}
    to_number, from_number = (str(kind) == "instrument_id" for kind in (metadata.stype_out, metadata.stype_in))
    try:
        for asked, spans in metadata.mappings.items():
            for span in spans:
                if to_number and span["symbol"].isdigit():
                    names[int(span["symbol"])] = asked
                elif from_number and asked.isdigit():
                    names[int(asked)] = span["symbol"]
    except Exception as error:  # the library converts dates and text only now
        raise DataError(f"{path}: damaged symbol mappings in the header ({error}); fetch it again") from error
    return names


def _batches(
    records: list[Any], decoded: Iterator[list[Any]], schema: str, dropped: Counter[str]
) -> Iterator[NDArray[np.void]]:
    import databento_dbn

    kinds: dict[str, Any] = {
        "mbo": databento_dbn.MBOMsg,
        "mbp-1": databento_dbn.MBP1Msg,
        "mbp-10": databento_dbn.MBP10Msg,
    }
    kind, dtype = kinds[schema], RECORDS[schema]
    while True:
        wanted = [record for record in records if type(record) is kind]
        count(dropped, "other kind of record", len(records) - len(wanted))
        if wanted:
            # a live gateway's sending time may follow the record: left out
            joined = b"".join([bytes(record)[: dtype.itemsize] for record in wanted])
            yield np.frombuffer(joined, dtype)
        following = next(decoded, None)
        if following is None:
            return
        records = following


def _sniff(head: Head) -> bool:
    return head.start.startswith(b"DBN")


FORMAT = Format(
    name="databento-dbn", sniff=_sniff, open=one_file(open_dbn), options=("tick_size", "lot_size", "symbol")
)
