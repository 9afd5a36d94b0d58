"""Which format a file has, which files belong together, and the feed they give."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.book_npz import DAMAGED, read_book_npz
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import BookFeed, Feed, ReadOptions

FORMATS = (
    "book-npz",
    "hftbacktest",
    "binance",
    "databento-dbn",
    "databento-csv",
    "coinbase",
    "lobster",
    "fi2010",
    "bitstamp",
    "table",
)
_HEAD = 1 << 16
_DAY = re.compile(r"^(?P<series>.+)[_-](?P<day>\d{8}|\d{4}-\d{2}-\d{2})$")


class Source(NamedTuple):
    """Files that are one series.

    Attributes:
        name: of the series; no other source of a dataset has it.
        format: one of FORMATS.
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
    return _named(list(_grouped([(file, recognise(file)) for file in dict.fromkeys(files)])))


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def recognise(path: Path) -> str:
    """The format of a file, told by its first bytes, and by its name where those do not say.

    Raises:
        DataError: none of FORMATS.
    """
    with open_bytes(path) as stream:
        head = stream.read(_HEAD)
    line = head.split(b"\n", 1)[0].strip()
    name = path.name.lower()
    if head.startswith((b"PK", b"\x93NUMPY")):
        return _numpy_format(path)
    if head.startswith(b"DBN"):
        return "databento-dbn"
    if head.startswith(b"PAR1"):
        return "table"
    if re.match(rb"\d{16,19} \{", head):
        return "binance"
    if b"publisher_id" in line and b"rtype" in line:
        return "databento-csv"
    if line.startswith(b"id,timestamp,exchange.timestamp"):
        return "bitstamp"
    if "_message_" in name or "_orderbook_" in name:
        return "lobster"
    if line in (b"side,price,size,time", b"side,price,size", b",iso,epoch"):
        return "coinbase"
    if re.match(rb"\s*[-+0-9.eE]+(\s+[-+0-9.eE]+){9}", head):
        return "fi2010"
    if re.match(rb'(\xef\xbb\xbf)?,?"?[A-Za-z_][\w .]*"?,', line):
        return "table"
    raise DataError(
        f"data {path}: not recognised (begins with {bytes(line[:24])!r}); expected one of {', '.join(FORMATS)}"
    )


def _numpy_format(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return "hftbacktest"
        with zipfile.ZipFile(path) as archive:
            return "book-npz" if "bid_px.npy" in archive.namelist() else "hftbacktest"
    except DAMAGED as error:
        raise DataError(f"data {path}: damaged archive ({error}); write or fetch it again") from error


def _grouped(files: Iterable[tuple[Path, str]]) -> Iterator[Source]:
    coinbase: dict[Path, list[Path]] = {}
    messages: dict[str, Path] = {}
    days: dict[tuple[Path, str], list[tuple[date, Path]]] = {}
    files = list(files)
    for path, kind in files:
        if kind == "coinbase":
            coinbase.setdefault(path.parent, []).append(path)
        elif kind == "lobster" and "_message_" in path.name:
            messages[str(path).replace("_message_", "_orderbook_")] = path
        elif kind == "binance" and (dated := _dated(path)):
            series, day = dated
            days.setdefault((path.parent, series), []).append((day, path))
    books = {str(path) for path, kind in files if kind == "lobster"}
    for orderbook, message in messages.items():
        if orderbook not in books and Path(orderbook).is_file():
            files.append((Path(orderbook), "lobster"))
        elif orderbook not in books:
            raise DataError(f"data {message}: no {Path(orderbook).name} beside it; LOBSTER messages need their books")
    for path, kind in files:
        if kind == "coinbase":
            if parts := coinbase.pop(path.parent, None):
                yield Source(f"{path.absolute().parent.name}", kind, tuple(parts))
        elif kind == "lobster":
            if "_message_" not in path.name:
                beside = path.with_name(path.name.replace("_orderbook_", "_message_"))
                pair = messages.get(str(path)) or (beside if beside.is_file() else None)
                yield Source(_stem(path), kind, (path, pair) if pair else (path,))
        elif kind == "binance" and (dated := _dated(path)):
            yield from _runs(days.pop((path.parent, dated[0]), []))
        else:
            yield Source(_stem(path), kind, (path,))


def _dated(path: Path) -> tuple[str, date] | None:
    """Series and day of a file whose name ends with a day."""
    match = _DAY.match(_stem(path))
    try:
        return (match["series"], date.fromisoformat(match["day"])) if match else None
    except ValueError:  # eight digits, but no day
        return None


def _runs(dated: list[tuple[date, Path]]) -> Iterator[Source]:
    """Days that follow each other are one feed: the book goes on at midnight."""
    run: list[Path] = []
    for i, (day, path) in enumerate(sorted(dated)):
        if run and day != sorted(dated)[i - 1][0] + timedelta(days=1):
            yield Source(_stem(run[-1]), "binance", tuple(run))
            run = []
        run.append(path)
    if run:
        yield Source(_stem(run[-1]), "binance", tuple(run))


def _stem(path: Path) -> str:
    """The name without what tells format and compression."""
    return re.sub(r"(\.(gz|xz|bz2|zst|npz|npy|csv|txt|parquet|dbn|jsonl?|dat))+$", "", path.name, flags=re.IGNORECASE)


def _named(sources: list[Source]) -> list[Source]:
    """Give sources of one name that of their folder, too."""
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
    feed = _open(source, options)
    feed.name = source.name
    return feed


# what may be said of files of a format; the others say all of it themselves, or hold one instrument
_HEEDED = {
    "book-npz": (),
    "fi2010": (),
    "lobster": ("tick_size",),
    "hftbacktest": ("tick_size", "lot_size"),
    "coinbase": ("tick_size", "lot_size"),
    "bitstamp": ("tick_size", "lot_size"),
    "table": ("tick_size", "lot_size"),
}


def _check_heeded(source: Source, options: ReadOptions) -> None:
    heeded = _HEEDED.get(source.format, ("tick_size", "lot_size", "symbol"))
    for name in ("tick_size", "lot_size", "symbol"):
        value = getattr(options, name)
        if value is not None and name not in heeded:
            option = f"--{name.replace('_', '-')} {value}"
            raise DataError(f"data {source.files[0]}: {option} does not apply to {source.format} files; leave it out")
    for name in ("tick_size", "lot_size"):
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise DataError(f"data {source.files[0]}: --{name.replace('_', '-')} {value}: expected a number above 0")


def _open(source: Source, options: ReadOptions) -> Feed:
    """Readers are imported where they are used: some need a package of their own."""
    first = source.files[0]
    _check_heeded(source, options)
    match source.format:
        case "book-npz":
            return BookFeed(source.name, "book-npz", iter([read_book_npz(first)]))
        case "hftbacktest":
            from nanoarb_jax.readers.hftbacktest import open_hftbacktest

            return open_hftbacktest(first, options)
        case "binance":
            from nanoarb_jax.readers.binance.feed import open_binance

            return open_binance(source.files, options)
        case "databento-dbn":
            from nanoarb_jax.readers.databento.dbn import open_dbn

            return open_dbn(first, options)
        case "databento-csv":
            from nanoarb_jax.readers.databento.csv_form import open_databento_csv

            return open_databento_csv(first, options)
        case "coinbase":
            from nanoarb_jax.readers.coinbase import open_coinbase

            return open_coinbase(source.files, options)
        case "lobster":
            from nanoarb_jax.readers.lobster import open_lobster

            return open_lobster(first, source.files[1] if len(source.files) > 1 else None, options)
        case "fi2010":
            from nanoarb_jax.readers.fi2010 import fi2010_books

            return fi2010_books(first)
        case "bitstamp":
            from nanoarb_jax.readers.bitstamp import open_bitstamp

            return open_bitstamp(first, options)
        case _:
            from nanoarb_jax.readers.table.feed import open_table

            return open_table(first, options)
