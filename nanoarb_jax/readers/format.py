"""What a reader says about its format: how its files are recognised, which of them are one series, how to open them.

Every format's file or folder exports one `FORMAT`; `sources.FORMATS` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import Feed, ReadOptions
from nanoarb_jax.readers.names import series_name

PARQUET = b"PAR1"  # the first bytes of a Parquet file
_START = 1 << 16


class Head(NamedTuple):
    """What a format is recognised by.

    Attributes:
        path: of the file.
        start: its first 64 KiB, decompressed.
    """

    path: Path
    start: bytes

    @property
    def is_parquet(self) -> bool:
        """Whether the bytes are those of a Parquet file; then the file's extension is ignored."""
        return self.start.startswith(PARQUET)

    @property
    def line(self) -> bytes:
        """The first line without the blanks around it; empty for a Parquet file, which has no lines."""
        return b"" if self.is_parquet else self.start.split(b"\n", 1)[0].strip()


class FileGroup(NamedTuple):
    """Files that are one series.

    Attributes:
        name: of the series.
        files: in order of time.
    """

    name: str
    files: tuple[Path, ...]


def each_alone(files: Sequence[Path]) -> Iterator[FileGroup]:
    """Every file is a series of its own."""
    for file in files:
        yield FileGroup(series_name(file), (file,))


def one_file(open_file: Callable[[Path, ReadOptions], Feed]) -> Callable[[Sequence[Path], ReadOptions], Feed]:
    """The `open` of a format whose series are one file each."""
    return lambda files, options: open_file(files[0], options)


def path_itself(path: Path) -> Hashable:
    """The key of a file that is in one group with no other."""
    return path


@dataclass(frozen=True)
class Format:
    """A file format.

    Args:
        name: of the format, e.g. "databento-dbn".
        sniff: whether a file is of this format; formats are asked in the order of `sources.FORMATS`.
        open: opens the files of one group.
        options: which of `tick_size`, `lot_size`, `symbol` and `sort` of `ReadOptions` are heeded; the files say the
            others.
        group_key: files with equal keys are grouped together.
        group: makes series of the files with one key.
        is_companion: whether a file only says something about others in its folder, such as their tick sizes; it is no
            series, and is given to `open` of the others in `ReadOptions.definitions`.
        is_market: whether a file of a folder, which nobody named, is meant to be of this format; False: it is left
            alone. For formats whose first bytes say little, such as tables.
        symbols: the instruments in files of which each is a series of its own; empty: the files are one series.
        reads_snapshot: whether `open` itself reads such a file where the user names it as `ReadOptions.snapshot`, so
            that it can tell by update ids what follows it; other files' last books are put before the first event.
    """

    name: str
    sniff: Callable[[Head], bool]
    open: Callable[[Sequence[Path], ReadOptions], Feed]
    options: tuple[str, ...] = ()
    group_key: Callable[[Path], Hashable] = path_itself
    group: Callable[[Sequence[Path]], Iterator[FileGroup]] = each_alone
    is_companion: Callable[[Head], bool] = lambda head: False
    is_market: Callable[[Path], bool] = lambda path: True
    symbols: Callable[[Sequence[Path]], Sequence[str]] = lambda files: ()
    reads_snapshot: Callable[[Head], bool] = lambda head: False


def read_head(path: Path) -> Head:
    """The first bytes of a file.

    Raises:
        DataError: the file is missing, or its compressed data are damaged.
    """
    with open_bytes(path) as stream:
        return Head(path, stream.read(_START))
