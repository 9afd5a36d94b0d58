"""`hftbacktest`: event arrays as hftbacktest's converters write them – `.npz` with the key `data`, or `.npy`.

With its converters come Bybit, Tardis, Hyperliquid, MEXC and others. Read in pieces, without the library itself: the
array's layout is `event.EVENT`. Where the file has no record flags, events of one time are one message.
"""

from __future__ import annotations

import io
import tokenize
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import CLEAR, EVENT, EXCH_EVENT, KIND_MASK, LAST, LOCAL_EVENT, TRADE
from nanoarb_jax.readers.book_npz import DAMAGED
from nanoarb_jax.readers.feed import CHUNK, EventFeed, ReadOptions, infer_lot_size, infer_tick_size

KEY = "data"
_DAMAGED = (*DAMAGED, tokenize.TokenError, Warning)  # numpy warns of headers that it has to mend


def open_hftbacktest(path: Path, options: ReadOptions = ReadOptions()) -> EventFeed:  # noqa: B008
    """Open one file; only its first events are read here.

    Raises:
        DataError: missing, damaged, or not an array of events; also while the chunks are read.
    """
    what = f"hftbacktest {path}"
    chunks = _marked(_chunks(path, what))
    first = next(chunks, None)
    if first is None:
        raise DataError(f"{what}: no events; expected at least one")
    levels = first[~np.isin(first["ev"] & KIND_MASK, (CLEAR, TRADE))]
    tick_size = options.tick_size or infer_tick_size(levels["px"], what)
    lot_size = options.lot_size or infer_lot_size(first["qty"], what)

    def all_chunks() -> Iterator[NDArray[np.void]]:
        yield first
        yield from chunks

    return EventFeed(path.stem, "hftbacktest", tick_size, lot_size, all_chunks())


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The array's bytes, header first."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            yield file
            return
        with zipfile.ZipFile(file) as archive, archive.open(f"{KEY}.npy") as member:
            yield io.BufferedReader(member, 1 << 20)  # type: ignore[type-var]  # a ZipExtFile is a raw stream as well


def _chunks(path: Path, what: str) -> Iterator[NDArray[np.void]]:
    """Pieces of the array, each in memory of its own."""
    try:
        with _opened(path) as file:
            events = _length(file, what)
            left = events
            while left:
                data = file.read(min(left, CHUNK) * EVENT.itemsize)
                if not data or len(data) % EVENT.itemsize:
                    raise DataError(f"{what}: truncated, {left:,} of {events:,} events are missing; fetch it again")
                left -= len(data) // EVENT.itemsize
                yield np.frombuffer(bytearray(data), EVENT)
            if file.read(1):  # the end is also where an archive's checksum is compared
                raise DataError(f"{what}: longer than its {events:,} events; fetch it again")
    except DataError:
        raise
    except _DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{what}: damaged or not an event file ({reason}); fetch it again") from error


def _length(file: IO[bytes], what: str) -> int:
    """How many events the array's header announces."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype != EVENT or len(shape) != 1 or shape[0] < 0:
        raise DataError(f"{what}: array of {dtype} {shape}; expected a one-dimensional array of events")
    return shape[0]


def _marked(chunks: Iterator[NDArray[np.void]]) -> Iterator[NDArray[np.void]]:
    """Chunks whose messages end with LAST: by the file's flags, or where the time changes.

    A row that only the exchange sees ends no message of the receiver's, and the other way round.
    """
    held = next(chunks, None)
    if held is None:
        return
    flagged = bool((held["ival"] & LAST).any())
    while held is not None:
        following = next(chunks, None)
        if not flagged:
            whole = held if following is None else np.concatenate([held, following])
            only_exchange = (whole["ev"] & LOCAL_EVENT == 0) & (whole["ev"] & EXCH_EVENT != 0)
            for view in (np.flatnonzero(~only_exchange), np.flatnonzero(only_exchange)):
                times = whole[["exch_ts", "local_ts"]][view]
                ends = np.append(times[1:] != times[:-1], True)
                held["ival"][view[ends & (view < len(held))]] |= LAST
        yield held
        held = following
