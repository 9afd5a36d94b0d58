"""DBN files, decoded by the library `databento_dbn`, piece by piece.

The library reads the header, finds the records and upgrades old versions; its objects' bytes are then seen through a
NumPy record dtype, which is five times as fast as asking each object for its fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.databento.layout import SCHEMAS
from nanoarb_jax.readers.databento.symbology import Span, Symbology, days_since_1970, symbol_of

if TYPE_CHECKING:
    from databento_dbn import Metadata

_PIECE = 1 << 22  # bytes decoded at a time: 75,000 orders, or 11,000 ten-level books
_MAGIC = b"DBN"
_SCHEMA_AT = 24  # in the header: magic, version, length (4 bytes), name of the dataset (16)
# by their numbers in the header
_SCHEMA_NAMES = (
    *("mbo", "mbp-1", "mbp-10", "tbbo", "trades", "ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d", "definition"),
    *("statistics", "status", "imbalance", "ohlcv-eod", "cmbp-1", "cbbo-1s", "cbbo-1m", "tcbbo", "bbo-1s", "bbo-1m"),
)


def is_dbn(start: bytes) -> bool:
    """Whether a file that begins like this is a DBN file."""
    return start.startswith(_MAGIC)


def schema_in(start: bytes) -> str | None:
    """The schema that a DBN file's first bytes name, told without the library; None: not DBN, or none of the known.

    >>> from nanoarb_jax.readers.databento.decode import schema_in
    >>> schema_in(b"DBN" + bytes(21) + bytes([9, 0]))
    'definition'
    """
    number = int.from_bytes(start[_SCHEMA_AT : _SCHEMA_AT + 2], "little")
    known = is_dbn(start) and len(start) >= _SCHEMA_AT + 2 and number < len(_SCHEMA_NAMES)
    return _SCHEMA_NAMES[number] if known else None


@contextmanager
def library_errors(met: str) -> Iterator[None]:
    """Turn all that the library raises on damaged bytes into a DataError.

    Args:
        met: the file, and what is wrong with it.
    """
    try:
        yield
    except DataError:
        raise
    except BaseException as error:
        # some damage makes the library panic, which is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(f"{met} ({first_line(error)}); fetch it again") from error


def decode(path: Path) -> Iterator[list[Any]]:
    """The library's objects, piece by piece; the first of all is the metadata.

    Raises:
        DataError: the library is missing, or the file is missing, damaged or truncated.
    """
    try:
        from databento_dbn import DBNDecoder, VersionUpgradePolicy
    except ImportError as error:
        raise DataError(f"{path}: DBN needs the package databento-dbn; pip install databento-dbn") from error
    policy: Any = VersionUpgradePolicy.UPGRADE_TO_V3  # its stub says int
    decoder = DBNDecoder(upgrade_policy=policy)
    at = 0
    with open_bytes(path) as stream:
        while piece := stream.read(_PIECE):
            where = f"between bytes {at} and {at + len(piece)} of the uncompressed data"
            with library_errors(f"{path}: damaged or not DBN {where}"):
                decoder.write(piece)
                objects = decoder.decode()
            at += len(piece)
            yield objects
    left = len(decoder.buffer())
    if left:
        raise DataError(f"{path}: cut within a record, {left} bytes after byte {at - left}; fetch it again")


def split_header(path: Path, decoded: Iterator[list[Any]]) -> tuple[Metadata, Iterator[list[Any]]]:
    """The metadata, and the records that follow.

    Raises:
        DataError: the file is empty.
    """
    for objects in decoded:
        if objects:  # none yet: the header is longer than a piece
            return objects[0], _with_first(objects[1:], decoded)
    raise DataError(f"{path}: no DBN header, the file is empty; fetch it again")


def _with_first(records: list[Any], decoded: Iterator[list[Any]]) -> Iterator[list[Any]]:
    yield records
    yield from decoded


def read_symbology(path: Path, metadata: Metadata, wanted: str | None) -> Symbology:
    """The symbols of the header by instrument number; it maps one to the other over spans of days, in either direction.

    Where a number has two symbols on one day, such as ES.c.0 and ES.v.0, the wanted one holds, else the first by name.

    Raises:
        DataError: damaged mappings.
    """
    found: dict[int, list[Span]] = {}
    to_number, from_number = (str(kind) == "instrument_id" for kind in (metadata.stype_out, metadata.stype_in))
    # the library converts dates and text only now
    with library_errors(f"{path}: damaged symbol mappings in the header"):
        for asked, spans in metadata.mappings.items():
            for span in spans:
                number, symbol = (span["symbol"], asked) if to_number else (asked, span["symbol"])
                if (to_number or from_number) and number.isdecimal() and symbol:
                    first, end = (days_since_1970(span[name]) for name in ("start_date", "end_date"))
                    found.setdefault(int(number), []).append(Span(first, end, symbol))
    asked_for = symbol_of(wanted or "")
    for known in found.values():
        known.sort(key=lambda span: (span.symbol != asked_for, span.symbol, span.first))
    return found


def record_batches(decoded: Iterator[list[Any]], schema: str, dropped: Counter[str]) -> Iterator[NDArray[np.void]]:
    """(n,) arrays of the schema's records; records of other kinds are counted and left out. No array is empty."""
    import databento_dbn

    kind, dtype = getattr(databento_dbn, SCHEMAS[schema].message), SCHEMAS[schema].record
    for records in decoded:
        wanted = [record for record in records if type(record) is kind]
        if len(wanted) < len(records):
            dropped["other kind of record"] += len(records) - len(wanted)
        if wanted:
            # a live gateway's sending time may follow the record: left out
            joined = b"".join([bytes(record)[: dtype.itemsize] for record in wanted])
            yield np.frombuffer(joined, dtype)
