"""Stream files that are mapped while they are used: a dataset of a thousand series needs no thousand open files."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.files import check_open_files

MOST_MAPPED = 128  # files at a time: a mapped file counts as an open one

_lock = threading.Lock()
_mapped: OrderedDict[int, np.ndarray] = OrderedDict()  # by the number of a `MappedRows`, the most recently used last
_numbers = itertools.count()


class MappedRows:
    """The rows of a `.npy` file. An array that was taken from it stays valid, also when its file is no longer mapped.

    Args:
        path: of the file, which must stay as it is.
    """

    def __init__(self, path: Path):
        self.path = path
        self._number = next(_numbers)
        self._file = self._identity()
        weakref.finalize(self, _mapped.pop, self._number, None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process, which this is sent to, maps the same file; the number is this process's alone."""
        return _opened_elsewhere, (self.path.absolute(), self._file)

    def rows(self) -> np.ndarray:
        """All rows, mapped.

        Raises:
            DataError: not an array file, too many files are open, or the file was changed since it was opened first.
        """
        with _lock:
            if self._number not in _mapped:
                _mapped[self._number] = self._map()
            _mapped.move_to_end(self._number)
            rows = _mapped[self._number]
            while len(_mapped) > MOST_MAPPED:
                _mapped.popitem(last=False)
        return rows

    def column(self, name: str) -> np.ndarray:
        """One field of all rows; raises as `rows`."""
        return np.asarray(self.rows()[name])

    def _identity(self) -> tuple[int, int, int]:
        status = self.path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _map(self) -> np.ndarray:
        try:
            if self._identity() != self._file:
                raise DataError(f"dataset {self.path}: changed while it was in use; open it again")
            return np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            check_open_files(error)
            if isinstance(error, DataError):
                raise
            raise DataError(f"dataset {self.path}: not an array file ({error}); prepare it again") from error


def _opened_elsewhere(path: Path, file: tuple[int, int, int]) -> MappedRows:
    """The rows of a file that another process had opened.

    Raises:
        DataError: it is missing, or of another size or time: changed, or another file.
    """
    try:
        rows = MappedRows(path)
    except OSError as error:
        raise DataError(f"dataset {path}: {error.strerror}; workers must see the same files as who asks") from error
    if rows._file[1:] != file[1:]:
        raise DataError(f"dataset {path}: changed while it was in use; open it again")
    return rows


class MappedColumn(NamedTuple):
    """A column of a stream in its file."""

    rows: MappedRows
    name: str


def _column(name: str) -> Any:
    """A field of `Stream` that maps its file when it is asked for."""
    position = Stream._fields.index(name)

    def get(stream: MappedStream) -> np.ndarray:
        held: Any = tuple.__getitem__(stream, position)
        return held.rows.column(held.name) if isinstance(held, MappedColumn) else held

    return property(get)


class MappedStream(Stream):
    """A stream whose columns are `MappedColumn`s, mapped each time they are asked for; `_replace` keeps them so."""

    features, labels, moves = _column("features"), _column("labels"), _column("moves")
    mid, spread, ts_ns = _column("mid"), _column("spread"), _column("ts_ns")
