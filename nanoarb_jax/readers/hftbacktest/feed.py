"""`hftbacktest`: event arrays as hftbacktest's converters write them – `.npz` with the key `data`, or `.npy`.

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


def open_hftbacktest(
    path: Path,
    options: ReadOptions = ReadOptions(),  # noqa: B008
    *,
    untimed: bool = False,
) -> EventFeed:
    """Open one file; only its first events are read here.

    Args:
        path: the file.
        options: tick and lot size.
        untimed: whether events may have no times, as in the files with the book of a day's start.

    Raises:
        DataError: missing, damaged, not an array of events, or times in no plausible year; also while the chunks are
            read.
    """
    what = f"hftbacktest {path}"
    notes: list[str] = []
    times = Times(what, untimed=untimed)
    chunks = mark_chunks(with_clears(_chunks(path, times, what), notes, what))
    first = next(chunks, None)
    if first is None:
        raise DataError(f"{what}: no events; expected at least one")
    levels = first[~np.isin(first["ev"] & KIND_MASK, (CLEAR, TRADE))]
    tick_size = options.tick_size or infer_tick_size(levels["px"], what)
    lot_size = options.lot_size or infer_lot_size(first["qty"], what)
    notes.extend(times.notes)
    return EventFeed(series_name(path), "hftbacktest", tick_size, lot_size, chain([first], chunks), notes=notes)


@contextmanager
def _open_array(path: Path) -> Iterator[IO[bytes]]:
    """The array's bytes, header first."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            yield file
            return
        with zipfile.ZipFile(file) as archive, archive.open(f"{KEY}.npy") as member:
            yield io.BufferedReader(member, 1 << 20)  # type: ignore[type-var]  # a ZipExtFile is a raw stream as well


def _chunks(path: Path, times: Times, what: str) -> Iterator[NDArray[np.void]]:
    """Pieces of the array with times in ns, each in memory of its own."""
    try:
        with _open_array(path) as file:
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
