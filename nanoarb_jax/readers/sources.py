"""Which format a file has, which files belong together, and the feed they give."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from nanoarb_jax.errors import DataError, DataWarning
from nanoarb_jax.readers import bitstamp, book_npz, coinbase, fi2010, tardis_books
from nanoarb_jax.readers.archives import zip_members
from nanoarb_jax.readers.binance import feed as binance
from nanoarb_jax.readers.captures import coinbase_advanced, kraken, okx
from nanoarb_jax.readers.converted import binance_history, bybit, hyperliquid, mexc, tardis
from nanoarb_jax.readers.databento import csv_form, dbn, parquet_form
from nanoarb_jax.readers.feed import EventFeed, Feed, ReadOptions
from nanoarb_jax.readers.format import Format, Head, read_head
from nanoarb_jax.readers.hftbacktest import feed as hftbacktest
from nanoarb_jax.readers.lobster import feed as lobster
from nanoarb_jax.readers.names import symbol_in_name
from nanoarb_jax.readers.snapshot import begin_with
from nanoarb_jax.readers.table import feed as table

# in the order in which they are asked: a table may begin with any header line, so it comes last
FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        book_npz,
        hftbacktest,
        okx,
        kraken,
        coinbase_advanced,
        bybit,
        hyperliquid,
        mexc,
        tardis,
        tardis_books,
        binance_history,
        binance,
        dbn,
        csv_form,
        parquet_form,
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
        symbol: the one that is meant, where files hold several instruments, each a series.
        companions: files of the same format and folder that say something about these, see `Format.is_companion`.
    """

    name: str
    format: str
    files: tuple[Path, ...]
    symbol: str | None = None
    companions: tuple[Path, ...] = ()


def find_sources(paths: Sequence[Path], symbol: str | None = None) -> list[Source]:
    """The series in files, folders and zip archives, in order: days that follow each other, and pairs, belong together.

    Files of a folder or archive that are of no known format are left alone, with a `DataWarning` that names them.

    Args:
        paths: files, folders and archives.
        symbol: the instrument that is wanted; None: each one of files that hold several is a series.

    Raises:
        DataError: nothing there, a named file of no known format, or two series of one name.
    """
    files: dict[Path, bool] = {}  # and whether it was named itself
    for path in paths:
        if path.is_dir():
            files |= dict.fromkeys(_files_in(path), False) | files
        elif path.is_file():
            members = zip_members(path)
            files |= dict.fromkeys(members, False) | files if members else {path: True}
        else:
            raise DataError(f"data {path}: no such file or folder; expected a prepared dataset or market data")
    if not files:
        raise DataError("data: no sources; name at least one file or folder")
    formats = _recognised(files)
    if not formats:
        raise DataError(f"data {paths[0]}: no file of a known format; expected market data ({', '.join(FORMATS)})")
    return _with_unique_names(list(_grouped(formats, symbol)))


def _files_in(folder: Path) -> list[Path]:
    """The visible files of a folder, archives opened, in order of their names.

    Raises:
        DataError: there are none.
    """
    visible = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not visible:
        below = "only folders in it, name these" if any(folder.iterdir()) else "a folder without files"
        raise DataError(f"data {folder}: {below}; expected market data ({', '.join(FORMATS)})")
    return [file for path in visible for file in zip_members(path) or [path]]


def _kind_of(file: Path) -> str | None:
    """The format of a file that nobody named; None: none, or it is not meant to be."""
    name = _format_of(read_head(file))
    return name if name is not None and FORMATS[name].is_market(file) else None


def recognise(path: Path) -> str:
    """The format of a file, told by its first bytes, and by its name where those do not say.

    Raises:
        DataError: none of FORMATS.
    """
    head = read_head(path)
    name = _format_of(head)
    if name is None:
        met = f"not recognised (begins with {head.line[:24]!r})"
        raise DataError(f"data {path}: {met}; expected one of {', '.join(FORMATS)}")
    return name


def _format_of(head: Head) -> str | None:
    """A format that a file is of, or is a companion of."""
    return next((name for name, known in FORMATS.items() if known.sniff(head) or known.is_companion(head)), None)


def _recognised(files: dict[Path, bool]) -> dict[Path, str]:
    """{file: format}; files that nobody named and that are of none are left alone.

    Raises:
        DataError: a file that was named is of no format, or a file is damaged.
    """
    formats, left = {}, []
    for file, named in files.items():
        name = recognise(file) if named else _kind_of(file)
        if name is None:
            left.append(file)
        else:
            formats[file] = name
    if left:
        names = ", ".join(file.name for file in left[:8]) + (", …" if len(left) > 8 else "")
        text = f"data {left[0].parent}: {len(left)} of its files left alone, of no known format: {names}"
        warnings.warn(text, DataWarning, stacklevel=3)
    return formats


def _grouped(formats: dict[Path, str], wanted: str | None) -> Iterator[Source]:
    """Sources in the order in which the first file of each group was named."""
    groups: dict[tuple[str, Hashable], list[Path]] = {}
    companions: list[tuple[str, Path]] = []
    for file, name in formats.items():
        if FORMATS[name].is_companion(read_head(file)):
            companions.append((name, file))
        else:
            groups.setdefault((name, FORMATS[name].group_key(file)), []).append(file)
    for (name, _), members in groups.items():
        for group in FORMATS[name].group(members):
            beside = tuple(file for its, file in companions if (its, file.parent) == (name, group.files[0].parent))
            each = FORMATS[name].symbols(group.files) if wanted is None else ()
            for symbol in each or (None,):
                suffix = f"-{symbol_in_name(symbol)}" if symbol else ""
                yield Source(f"{group.name}{suffix}", name, group.files, symbol, beside)
    if not groups and companions:
        raise DataError(f"data {companions[0][1]}: no orders or books in it; name the market data that it belongs to")


def _with_unique_names(sources: list[Source]) -> list[Source]:
    """Put the name of their folder before the names of sources that are called the same."""
    names = [source.name for source in sources]
    named = [
        source._replace(name=f"{source.files[0].absolute().parent.name}_{source.name}")
        if names.count(source.name) > 1
        else source
        for source in sources
    ]
    check_unique(named)
    return named


def check_unique(sources: Sequence[Source]) -> None:
    """Refuse two series of one name.

    Raises:
        DataError: there are two.
    """
    names = [source.name for source in sources]
    for source in sources:
        if names.count(source.name) > 1:
            raise DataError(
                f"data {source.files[0]}: {names.count(source.name)} sources are called {source.name!r}; rename one"
            )


def open_source(source: Source, options: ReadOptions = ReadOptions()) -> Feed:  # noqa: B008
    """The feed of a source, under the source's name.

    Raises:
        DataError: what its reader raises; also while chunks are read.
    """
    if source.symbol is not None and options.symbol not in (None, source.symbol):
        raise DataError(f"data {source.name}: is of {source.symbol}, not {options.symbol}; leave the symbol out")
    options = options._replace(symbol=options.symbol or source.symbol, definitions=source.companions)
    _check_options(source, options)
    known, path = FORMATS[source.format], options.snapshot
    itself = path is not None and path.is_file() and known.reads_snapshot(read_head(path))
    feed = known.open(source.files, options if itself else options._replace(snapshot=None))
    feed.name = source.name
    feed.timed = feed.timed and options.timed
    return feed if path is None or itself else _begun(feed, options, path)


def check_snapshots(given: Iterable[tuple[Source, Path | None]]) -> None:
    """Refuse one snapshot for several series: it is the book of one.

    Raises:
        DataError: two series have the same.
    """
    seen: dict[Path, str] = {}
    for source, path in given:
        if path is not None and seen.setdefault(path, source.name) != source.name:
            raise DataError(
                f"--snapshot {path}: for {seen[path]} and for {source.name}; expected the book of one series; in data "
                "prepare --reading FILE gives each its own"
            )


def _begun(feed: Feed, options: ReadOptions, path: Path) -> EventFeed:
    """The feed with the book of a snapshot file before its first event."""
    if not isinstance(feed, EventFeed):
        raise DataError(f"data {feed.name}: {feed.format} holds whole books; leave out --snapshot {path}")
    sources = find_sources([path], options.symbol)
    if len(sources) > 1:
        raise DataError(f"--snapshot {path}: {len(sources)} series; expected the book of one")
    heeded = FORMATS[sources[0].format].options
    sized = ReadOptions(
        feed.tick_size if "tick_size" in heeded else None,
        feed.lot_size if "lot_size" in heeded else None,
        options.symbol if "symbol" in heeded else None,
        zero_times=True,
    )
    return begin_with(feed, open_source(sources[0], sized), str(path))


def _check_options(source: Source, options: ReadOptions) -> None:
    """Refuse an option that the format does not heed, and sizes that are none."""
    for name in ("tick_size", "lot_size", "symbol", "sort"):
        value = getattr(options, name)
        if value not in (None, False) and name not in FORMATS[source.format].options:
            option = f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
            raise DataError(f"data {source.files[0]}: {option} does not apply to {source.format} files; leave it out")
    for name in ("tick_size", "lot_size"):
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise DataError(f"data {source.files[0]}: --{name.replace('_', '-')} {value}: expected a number above 0")
