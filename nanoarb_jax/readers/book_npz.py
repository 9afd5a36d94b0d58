"""`book-npz`: books in one NumPy archive, the simplest file to bring your own books in.

Keys: ts_ns (n,), bid_px, bid_sz, ask_px, ask_sz (n, 1 to 10 levels), all int64, and the scalars px_scale, sz_scale,
tick; where trades are known, bought and sold (n,), int64; where times are artificial, the scalar timed, 0. They are the
fields of `BookSeries`, where a size is called lots: bid_sz is `bid_lots`, ask_sz is `ask_lots`, sz_scale is
`lots_per_unit`. A level is empty if its price is EMPTY_PRICE, or its price and its size are 0. The series is named
after the file.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line, new_file
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries, validate_books
from nanoarb_jax.readers.feed import CHUNK, BookFeed, Feed, ReadOptions
from nanoarb_jax.readers.format import Format, Head
from nanoarb_jax.readers.names import series_name
from nanoarb_jax.readers.sorting import sort_books
from nanoarb_jax.readers.times import unit_of_time

_ARRAYS = ("ts_ns", "bid_px", "bid_sz", "ask_px", "ask_sz")
_TRADES = ("bought", "sold")
_SCALARS = ("px_scale", "sz_scale", "tick")
# the fields of `BookSeries` that are called otherwise than the archive's keys
_FIELDS = {"bid_sz": "bid_lots", "ask_sz": "ask_lots", "sz_scale": "lots_per_unit"}
_CLOSE = 10  # times whose span is less than this part of the first lie close together
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
    """Read and validate one file; levels that it does not have are empty.

    Raises:
        DataError: the file is missing, not an archive, truncated, lacks a key, holds an array of the wrong shape or
            dtype, times that count another unit than ns, or books that `validate_books` refuses.
    """
    books = _read_rows(Path(path))
    validate_books(books)
    return books


def _read_rows(path: Path) -> BookSeries:
    """The books of one file, valid or not, whose arrays fit together."""
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
    for key, value in (("px_scale", px_scale), ("sz_scale", lots_per_unit), ("tick", tick)):
        if not (math.isfinite(value) and value > 0):
            raise DataError(f"books {path}: {key}={value}; expected a finite value above 0")
    _check_shapes(path, fields, traded)
    columns: dict[str, Any] = {
        _FIELDS.get(key, key): np.ascontiguousarray(fields[key], dtype=np.int64) for key in (*_ARRAYS, *traded)
    }
    _check_unit(path, columns["ts_ns"])
    for side in ("bid", "ask"):
        columns |= _padded(columns[f"{side}_px"], columns[f"{side}_lots"], side)
    name, timed = series_name(path), _timed(path, fields)
    return BookSeries(**columns, px_scale=px_scale, lots_per_unit=lots_per_unit, tick=int(tick), name=name, timed=timed)


def _timed(path: Path, fields: dict[str, np.ndarray]) -> bool:
    said = fields.get("timed", np.array(1))
    if said.size != 1 or said.dtype.kind not in "biu" or said.item() not in (0, 1):
        raise DataError(f"books {path}: timed is {said.dtype} {said.shape}; expected 0 or 1")
    return bool(said.item())


def _check_shapes(path: Path, fields: dict[str, np.ndarray], traded: Sequence[str]) -> None:
    rows = len(fields["ts_ns"]) if fields["ts_ns"].ndim == 1 else 0
    levels = fields["bid_px"].shape[-1] if fields["bid_px"].ndim == 2 else 0
    expected = {key: (rows, levels) for key in _ARRAYS[1:]} | dict.fromkeys(traded, (rows,))
    if fields["ts_ns"].shape == (0,) and fields["bid_px"].shape[:1] == (0,):
        raise DataError(f"books {path}: {series_name(path)!r} has no rows; expected at least one")
    if rows == 0 or not 1 <= levels <= LEVELS:
        met = f"ts_ns is {fields['ts_ns'].shape}, bid_px {fields['bid_px'].shape}"
        raise DataError(f"books {path}: {met}; expected (n,) and (n, 1 to {LEVELS} levels), n 1 or more")
    for key, shape in expected.items():
        if fields[key].shape != shape:
            raise DataError(f"books {path}: {key} is {fields[key].dtype} {fields[key].shape}; expected int64 {shape}")


def _check_unit(path: Path, ts_ns: NDArray[np.int64]) -> None:
    """Refuse times that are s, ms or µs since 1970.

    Series may begin at any moment, so small times alone do not tell: those of a few days in another unit lie close
    together, too.
    """
    first, last = int(ts_ns.min()), int(ts_ns.max())
    try:
        unit = unit_of_time(first, f"books {path}: ts_ns")
    except DataError:
        return
    if unit != "ns" and last - first <= first // _CLOSE:
        raise DataError(f"books {path}: ts_ns from {first} on looks like {unit} since 1970; expected ns, convert them")


def _padded(px: NDArray[np.int64], lots: NDArray[np.int64], side: str) -> dict[str, NDArray[np.int64]]:
    """Prices and lots of ten levels a side; those of price 0 and size 0, and those that are not there, are empty."""
    empty = (px == 0) & (lots == 0)
    missing = ((0, 0), (0, LEVELS - px.shape[1]))
    return {
        f"{side}_px": np.pad(np.where(empty, EMPTY_PRICE, px), missing, constant_values=EMPTY_PRICE),
        f"{side}_lots": np.pad(lots, missing),
    }


def _load(path: Path) -> dict[str, np.ndarray]:
    keys = (*_ARRAYS, *_SCALARS)
    try:
        # not np.load, which leaves its file open when the archive is damaged
        with path.open("rb") as file, NpzFile(file, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive]
            if missing:
                raise DataError(f"books {path}: key {missing[0]!r} is missing (has {', '.join(archive)})")
            return {key: archive[key] for key in (*keys, *_TRADES, "timed") if key in archive}
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
        fields = {key: getattr(books, _FIELDS.get(key, key)) for key in keys}
        if not books.timed:
            fields["timed"] = 0
        np.savez_compressed(file, **fields)


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
    """Books valid or not: whoever reads the feed counts and drops invalid rows, as of every other format."""
    books = _read_rows(files[0])
    notes: list[str] = []
    chunks = (books.part(start, start + CHUNK) for start in range(0, books.rows, CHUNK))
    ordered = sort_books(chunks, notes) if options.sort else chunks
    return BookFeed(books.name, "book-npz", ordered, timed=books.timed, notes=notes)


FORMAT = Format(name="book-npz", sniff=_sniff, open=_open, options=("sort",))
