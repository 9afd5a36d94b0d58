"""`hftbacktest`: event arrays as hftbacktest's converters write them – `.npz` with the key `data`,
or another of their only array of events, or `.npy`.

With its converters come Bybit, Tardis, Hyperliquid, MEXC and others. Read in pieces, without the library itself: the
array's layout is `event.EVENT`, or has its fields in other integer widths. Times are in ns, µs, ms or s. Where the file
has no record flags, events of one time are one message; where it does not void the levels before a snapshot, see
`snapshots`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import check_open_files, first_line
from nanoarb_jax.market.event import CLEAR, KIND_MASK, TRADE, mark_chunks
from nanoarb_jax.readers.book_npz import DAMAGED
from nanoarb_jax.readers.feed import CHUNK, EventFeed, ReadOptions, infer_lot_size, infer_tick_size
from nanoarb_jax.readers.format import Format, Head, one_file
from nanoarb_jax.readers.hftbacktest.layout import Times, as_events, read_header
from nanoarb_jax.readers.hftbacktest.snapshots import with_clears
from nanoarb_jax.readers.names import series_name

KEY = "data"
_DAMAGED = (*DAMAGED, Warning)  # numpy warns of headers that it has to mend


def open_hftbacktest(path: Path, options: ReadOptions = ReadOptions()) -> EventFeed:  # noqa: B008
    """Open one file; only its first events are read here.

    Args:
        path: the file.
        options: tick and lot size, and whether events may have no times, as those of a day's start.

    Raises:
        DataError: missing, damaged, not an array of events, or times in no plausible year; also while the chunks are
            read.
    """
    what = f"hftbacktest {path}"
    notes: list[str] = []
    times = Times(what, zero_times=options.zero_times)
    pieces = _chunks(path, times, what)
    first = next(pieces, None)
    if first is None:
        raise DataError(f"{what}: no events; expected at least one")
    levels = first[~np.isin(first["ev"] & KIND_MASK, (CLEAR, TRADE))]
    tick_size = options.tick_size or infer_tick_size(levels["px"], what)
    lot_size = options.lot_size or infer_lot_size(first["qty"], what)
    chunks = mark_chunks(with_clears(chain([first], pieces), notes, what))
    notes.extend(times.notes)
    return EventFeed(series_name(path), "hftbacktest", tick_size, lot_size, chunks, notes=notes)


@contextmanager
def _open_array(path: Path, what: str) -> Iterator[IO[bytes]]:
    """The array's bytes, header first.

    Raises:
        DataError: an archive that holds no array `data`, and not just one of events either.
    """
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            yield file
            return
        with zipfile.ZipFile(file) as archive, archive.open(_member(archive, what)) as member:
            yield io.BufferedReader(member, 1 << 20)  # type: ignore[type-var]  # a ZipExtFile is a raw stream as well


def _member(archive: zipfile.ZipFile, what: str) -> str:
    """The member that holds the events: the array `data`, else the only one of events."""
    arrays = [name for name in archive.namelist() if name.endswith(".npy")]
    if f"{KEY}.npy" in arrays:
        return f"{KEY}.npy"
    found = arrays if len(arrays) == 1 else [name for name in arrays if _is_of_events(archive, name, what)]
    if len(found) == 1:
        return found[0]
    keys = ", ".join(repr(name.removesuffix(".npy")[:40]) for name in arrays[:5])
    met = f"the keys {keys}" if keys else "no arrays"
    raise DataError(f"{what}: an archive with {met}; expected the array of events under the key {KEY!r}")


def _is_of_events(archive: zipfile.ZipFile, name: str, what: str) -> bool:
    with archive.open(name) as member:
        try:
            read_header(member, what)
        except ValueError:  # of NumPy, or ours
            return False
    return True


def _chunks(path: Path, times: Times, what: str) -> Iterator[NDArray[np.void]]:
    """Pieces of the array with times in ns, each in memory of its own."""
    try:
        with _open_array(path, what) as file:
            events, dtype = read_header(file, what)
            left = events
            while left:
                data = file.read(min(left, CHUNK) * dtype.itemsize)
                if not data or len(data) % dtype.itemsize:
                    raise DataError(f"{what}: truncated, {left:,} of {events:,} events are missing; fetch it again")
                left -= len(data) // dtype.itemsize
                chunk = as_events(data, dtype)
                times.to_ns(chunk)
                yield chunk
            if file.read(1):  # the end is also where an archive's checksum is compared
                raise DataError(f"{what}: longer than its {events:,} events; fetch it again")
    except DataError:
        raise
    except _DAMAGED as error:
        check_open_files(error)
        raise DataError(f"{what}: damaged or not an event file ({first_line(error)}); fetch it again") from error


def _sniff(head: Head) -> bool:
    """An archive or an array of NumPy; `book_npz` has been asked before."""
    return head.start.startswith((b"PK", b"\x93NUMPY"))


FORMAT = Format(name="hftbacktest", sniff=_sniff, open=one_file(open_hftbacktest), options=("tick_size", "lot_size"))
