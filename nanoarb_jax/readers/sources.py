"""Which format a file has, which files belong together, and the feed they give."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers import bitstamp, book_npz, coinbase, fi2010, hftbacktest
from nanoarb_jax.readers.binance import feed as binance
from nanoarb_jax.readers.databento import csv_form, dbn
from nanoarb_jax.readers.feed import Feed, ReadOptions
from nanoarb_jax.readers.format import Format, read_head
from nanoarb_jax.readers.lobster import feed as lobster
from nanoarb_jax.readers.table import feed as table

# in the order in which they are asked: a table may begin with any header line, so it comes last
FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        book_npz,
        hftbacktest,
        binance,
        dbn,
        csv_form,
        bitstamp,
        lobster,
        coinbase,
        fi2010,
        table,
    )
}


class Source(NamedTuple):
    """Files that are one series.

    Attributes:
        name: of the series; no other source of a dataset has it.
        format: a key of FORMATS.
        files: in order of time.
    """

    name: str
    format: str
    files: tuple[Path, ...]


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """The series in files and folders, in order: days that follow each other and pairs of files belong together.

    Raises:
        DataError: nothing there, a file of no known format, or two series of one name.
    """
    files: list[Path] = []
    for path in paths:
        found = _visible(path) if path.is_dir() else [path]
        if not found:
            below = (
                "only folders in it, name these" if path.is_dir() and any(path.iterdir()) else "a folder without files"
            )
            raise DataError(f"data {path}: {below}; expected market data ({', '.join(FORMATS)})")
        files += found
    if not files:
        raise DataError("data: no sources; name at least one file or folder")
    for file in files:
        if not file.is_file():
            raise DataError(f"data {file}: no such file or folder; expected a prepared dataset or market data")
    return _with_unique_names(list(_grouped(dict.fromkeys(files))))


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def recognise(path: Path) -> str:
    """The format of a file, told by its first bytes, and by its name where those do not say.

    Raises:
        DataError: none of FORMATS.
    """
    head = read_head(path)
    for name, known in FORMATS.items():
        if known.sniff(head):
            return name
    raise DataError(
        f"data {path}: not recognised (begins with {head.line[:24]!r}); expected one of {', '.join(FORMATS)}"
    )


def _grouped(files: Iterable[Path]) -> Iterator[Source]:
    """Sources in the order in which the first file of each group was named."""
    groups: dict[tuple[str, Hashable], list[Path]] = {}
    for file in files:
        name = recognise(file)
        groups.setdefault((name, FORMATS[name].group_key(file)), []).append(file)
    for (name, _), members in groups.items():
        for group in FORMATS[name].group(members):
            yield Source(group.name, name, group.files)


def _with_unique_names(sources: list[Source]) -> list[Source]:
    """Put the name of their folder before the names of sources that are called the same."""
    names = [source.name for source in sources]
    named = [
        source._replace(name=f"{source.files[0].absolute().parent.name}_{source.name}")
        if names.count(source.name) > 1
        else source
        for source in sources
    ]
    names = [source.name for source in named]
    for source in named:
        if names.count(source.name) > 1:
            raise DataError(
                f"data {source.files[0]}: {names.count(source.name)} sources are called {source.name!r}; rename one"
            )
    return named


def open_source(source: Source, options: ReadOptions = ReadOptions()) -> Feed:  # noqa: B008
    """The feed of a source, under the source's name.

    Raises:
        DataError: what its reader raises; also while chunks are read.
    """
    _check_options(source, options)
    feed = FORMATS[source.format].open(source.files, options)
    feed.name = source.name
    return feed


def _check_options(source: Source, options: ReadOptions) -> None:
    """Refuse an option that the format does not heed, and sizes that are none."""
    for name in ("tick_size", "lot_size", "symbol"):
        value = getattr(options, name)
        if value is not None and name not in FORMATS[source.format].options:
            option = f"--{name.replace('_', '-')} {value}"
            raise DataError(f"data {source.files[0]}: {option} does not apply to {source.format} files; leave it out")
    for name in ("tick_size", "lot_size"):
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise DataError(f"data {source.files[0]}: --{name.replace('_', '-')} {value}: expected a number above 0")
