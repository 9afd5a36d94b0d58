"""`book-npz`: ten-level books in one NumPy archive, the simplest file to bring your own books in.

Keys: ts_ns (n,), bid_px, bid_sz, ask_px, ask_sz (n, 10), all int64, and the scalars px_scale, sz_scale, tick; where
trades are known, bought and sold (n,), int64. They are the fields of `BookSeries`, where a size is called lots: bid_sz
is `bid_lots`, ask_sz is `ask_lots`, sz_scale is `lots_per_unit`. The series is named after the file.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line, new_file
from nanoarb_jax.market.series import BookSeries, validate_books
from nanoarb_jax.readers.feed import BookFeed, Feed, ReadOptions
from nanoarb_jax.readers.format import Format, Head
from nanoarb_jax.readers.names import series_name

_ARRAYS = ("ts_ns", "bid_px", "bid_sz", "ask_px", "ask_sz")
_TRADES = ("bought", "sold")
_SCALARS = ("px_scale", "sz_scale", "tick")
# the fields of `BookSeries` that are called otherwise than the archive's keys
_FIELDS = {"bid_sz": "bid_lots", "ask_sz": "ask_lots", "sz_scale": "lots_per_unit"}
# all that numpy and zipfile raise on bytes that are not, or no longer, an archive of plain arrays
DAMAGED = (
    tokenize.TokenError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    SyntaxError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_book_npz(path: str | Path) -> BookSeries:
    """Read and validate one file.

    Raises:
        DataError: the file is missing, not an archive, truncated, lacks a key, holds an array of the wrong shape or
            dtype, or books that `validate_books` refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"books {path}: no such file; expected a book-npz file")
    fields = _load(path)
    traded = [key for key in _TRADES if key in fields]
    for key in (*_ARRAYS, *traded):
        array = fields[key]
        if not np.can_cast(array.dtype, np.int64):
            raise DataError(f"books {path}: {key} is {array.dtype}; expected int64 (prices and sizes in whole units)")
    for key in _SCALARS:
        if fields[key].size != 1 or fields[key].dtype.kind not in "iuf":
            raise DataError(f"books {path}: {key} is {fields[key].dtype} {fields[key].shape}; expected one number")
    tick = fields["tick"].item()
    if tick != tick // 1:
        raise DataError(f"books {path}: tick={tick}; expected a whole number of price units")
    px_scale, lots_per_unit = (float(fields[key].item()) for key in ("px_scale", "sz_scale"))
    columns: dict[str, Any] = {
        _FIELDS.get(key, key): np.ascontiguousarray(fields[key], dtype=np.int64) for key in (*_ARRAYS, *traded)
    }
    name = series_name(path)
    books = BookSeries(**columns, px_scale=px_scale, lots_per_unit=lots_per_unit, tick=int(tick), name=name)
    validate_books(books)
    return books


def _load(path: Path) -> dict[str, np.ndarray]:
    keys = (*_ARRAYS, *_SCALARS)
    try:
        # not np.load, which leaves its file open when the archive is damaged
        with path.open("rb") as file, NpzFile(file, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive]
            if missing:
                raise DataError(f"books {path}: key {missing[0]!r} is missing (has {', '.join(archive)})")
            return {key: archive[key] for key in (*keys, *_TRADES) if key in archive}
    except DataError:
        raise
    except DAMAGED as error:
        raise DataError(
            f"books {path}: damaged or not a book-npz archive ({first_line(error)}); write or fetch it again"
        ) from error


def write_book_npz(path: str | Path, books: BookSeries) -> None:
    """Write a validated series; a file that fails half-way is removed.

    Raises:
        DataError: the books are not valid.
        OutputError: the file exists already, or cannot be written.
    """
    validate_books(books)
    traded = [key for key in _TRADES if getattr(books, key) is not None]
    keys = (*_ARRAYS, *traded, *_SCALARS)
    with new_file(path, "books") as file:
        np.savez_compressed(file, **{key: getattr(books, _FIELDS.get(key, key)) for key in keys})


def _sniff(head: Head) -> bool:
    """An archive, not compressed once more, that holds prices of bids; other archives of NumPy are `hftbacktest`'s."""
    if not head.start.startswith(b"PK"):
        return False
    try:
        with head.path.open("rb") as file:
            if file.read(2) != b"PK":
                return False
        with zipfile.ZipFile(head.path) as archive:
            return "bid_px.npy" in archive.namelist()
    except DAMAGED as error:
        raise DataError(f"data {head.path}: damaged archive ({first_line(error)}); write or fetch it again") from error


def _open(files: Sequence[Path], options: ReadOptions) -> Feed:
    books = read_book_npz(files[0])
    return BookFeed(books.name, "book-npz", iter([books]))


FORMAT = Format(name="book-npz", sniff=_sniff, open=_open)
