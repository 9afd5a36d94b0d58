"""`tardis`: `incremental_book_L2` of tardis.dev with the `trades` beside it, CSV, as hftbacktest converts them.

The two files of a day and symbol are called alike (`binance-futures_incremental_book_L2_2025-01-01_BTCUSDT.csv.gz`); a
book file finds its trades in its folder. Times are in µs: the exchange's, and `local_timestamp`, when Tardis received
the message. A snapshot is the whole book. Source: https://docs.tardis.dev/downloadable-csv-files
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.columns import (
    Batch,
    column_of,
    csv_names,
    distinct_words,
    floats,
    import_pyarrow,
    integers,
    require_all,
    text_batches,
)
from nanoarb_jax.readers.converted.conversion import backward_note, converter, feed_of, run
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.format import FileGroup, Format, Head
from nanoarb_jax.readers.names import series_name
from nanoarb_jax.readers.times import plausible

_BOOK, _TRADES = "incremental_book_L2", "trades"
_COLUMNS = {
    _BOOK: ("exchange", "symbol", "timestamp", "local_timestamp", "is_snapshot", "side", "price", "amount"),
    _TRADES: ("exchange", "symbol", "timestamp", "local_timestamp", "id", "side", "price", "amount"),
}
_WORDS = {"is_snapshot": ("true", "false"), "side": ("bid", "ask", "buy", "sell", "unknown")}
_PARTED = re.compile(rf"[_-]?({_BOOK}|{_TRADES})")
_CUT_SNAPSHOT = "level of a snapshot that ends the file"


def open_tardis(files: Sequence[Path], options: ReadOptions = ReadOptions()) -> EventFeed:  # noqa: B008
    """One symbol's feed of a book file, and of the trades beside it.

    Raises:
        DataError: hftbacktest is not installed, no book file, several symbols, a cell that is not what its column
            holds, or times that are not in µs.
    """
    kinds = {_kind_of(file): file for file in files}
    name = _series_of(files[0])
    if _BOOK not in kinds:
        raise DataError(f"tardis {files[0]}: trades alone; expected {_BOOK} of the same day and symbol beside them")
    tardis = converter("tardis", f"tardis {files[0]}")
    notes: list[str] = []
    dropped: Counter[str] = Counter()
    clean = _Clean(OneSymbol(options.symbol))
    with tempfile.TemporaryDirectory(prefix="nanoarb-") as folder:
        # trades come first: a level must not lose a trade's quantity before the trade
        paths = [clean.write(kinds[kind], kind, Path(folder)) for kind in (_TRADES, _BOOK) if kind in kinds]
        room = clean.rows + clean.snapshot_rows + 16  # at most one CLEAR for each level of a snapshot
        events = run(
            lambda: tardis.convert(paths, buffer_size=room, ss_buffer_size=clean.snapshot_rows + 1),
            f"tardis {kinds[_BOOK]}",
            notes,
        )
    if clean.backward:
        notes.append(backward_note(clean.backward))
    if clean.ending_snapshot:
        dropped[_CUT_SNAPSHOT] = clean.ending_snapshot
    return feed_of(events, name, "tardis", options, dropped, notes, whole_snapshots=True)


class OneSymbol:
    """Rows of one symbol, of files that may hold several.

    Args:
        wanted: the symbol; None: there must be one only.
    """

    def __init__(self, wanted: str | None) -> None:
        self._wanted, self._met = wanted, set[str]()

    def only(self, batch: Batch, path: Path) -> Any:
        """The rows that are wanted, as a pyarrow.Table of text.

        Raises:
            DataError: several symbols, and none was chosen.
        """
        arrow = import_pyarrow()
        table = arrow.table(dict(batch))
        require_all(table["symbol"], column_of(path, "symbol"))
        self._met |= set(arrow.compute.unique(table["symbol"]).to_pylist())
        if self._wanted is None and len(self._met) > 1:
            some = ", ".join(sorted(self._met)[:5])
            raise DataError(f"tardis {path}: several symbols ({some}); choose one, on the command line --symbol")
        return table if self._wanted is None else table.filter(arrow.compute.equal(table["symbol"], self._wanted))


def times_ns(table: Any, name: str, path: Path) -> NDArray[np.int64]:
    """A column of times in µs, as ns.

    Raises:
        DataError: a time that is in another unit.
    """
    us = integers(table[name].combine_chunks(), column_of(path, name)).astype(np.int64)
    if not ((np.abs(us) < 2**53) & plausible(us * 1000)).all():
        raise DataError(f"tardis {path}: {name} such as {us[0]} is not in µs since 1970; expected Tardis' own times")
    return us * 1000


@dataclass
class _Clean:
    """Copies files for the converter: one symbol, its columns in its order, checked.

    Args:
        symbols: chooses one.
        rows: written.
        snapshot_rows: of these, levels of snapshots.
        backward: of these, rows whose local time is before that of an earlier row of their file.
        ending_snapshot: levels of a snapshot at the end of the book file, which the converter leaves out.
    """

    symbols: OneSymbol
    rows: int = 0
    snapshot_rows: int = 0
    backward: int = 0
    ending_snapshot: int = 0

    def write(self, path: Path, kind: str, folder: Path) -> str:
        """The path of the copy, whose name tells the converter its kind."""
        arrow = import_pyarrow()
        names = _COLUMNS[kind]
        target = folder / f"{kind}.csv"
        schema = arrow.schema([(name, arrow.string()) for name in names])
        options = arrow.csv.WriteOptions(quoting_style="needed")
        latest = np.int64(0)
        with arrow.csv.CSVWriter(target, schema, write_options=options) as writer:
            for batch in text_batches(path, csv_names(path, names), names):
                kept = self.symbols.only(batch, path)
                if kept.num_rows == 0:
                    continue
                self._check(kept, path)
                received = np.maximum.accumulate(np.append(latest, local := times_ns(kept, "local_timestamp", path)))
                self.backward += int((local < received[1:]).sum())
                latest = received[-1]
                if kind == _BOOK:
                    self._count_snapshots(kept)
                self.rows += kept.num_rows
                writer.write_table(kept.select(names))
        return str(target)

    def _check(self, table: Any, path: Path) -> None:
        for name in ("timestamp", "local_timestamp"):
            times_ns(table, name, path)
        for name in ("price", "amount"):
            floats(table[name].combine_chunks(), column_of(path, name))
        for name in set(_WORDS) & set(table.column_names):
            _, words = distinct_words(table[name].combine_chunks(), column_of(path, name))
            unknown = [word for word in words if word not in _WORDS[name]]
            if unknown:
                raise DataError(f"tardis {path}: {name} {unknown[0]!r}; expected one of {', '.join(_WORDS[name])}")

    def _count_snapshots(self, table: Any) -> None:
        levels = np.array(table["is_snapshot"].to_pylist()) == "true"
        self.snapshot_rows += int(levels.sum())
        after = len(levels) - 1 - int(np.argmax(~levels[::-1])) if not levels.all() else -1
        self.ending_snapshot = int(levels[after + 1 :].sum()) + (self.ending_snapshot if after < 0 else 0)


def _kind_of(file: Path) -> str:
    names = csv_names(file, ("symbol",))
    return _BOOK if "is_snapshot" in names else _TRADES


def _series_of(file: Path) -> str:
    return _PARTED.sub("", series_name(file), count=1)


def _day_and_symbol(file: Path) -> Hashable:
    return (file.parent, _series_of(file)) if _PARTED.search(file.name) else file


def _with_trades(files: Sequence[Path]) -> Iterator[FileGroup]:
    """The book file and the trades of one day and symbol, which are looked for where they were not named."""
    found = list(files)
    if len(files) == 1 and _BOOK in files[0].name:
        beside = files[0].with_name(files[0].name.replace(_BOOK, _TRADES))
        found += [beside] if beside.is_file() else []
    yield FileGroup(_series_of(files[0]), tuple(found))


def _sniff(head: Head) -> bool:
    return tuple(head.line.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").split(",")) in _COLUMNS.values()


FORMAT = Format(
    name="tardis",
    sniff=_sniff,
    open=open_tardis,
    options=("tick_size", "lot_size", "symbol"),
    group_key=_day_and_symbol,
    group=_with_trades,
)
