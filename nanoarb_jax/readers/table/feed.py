"""Parquet and CSV with named columns: books or events of anyone who can write a table.

`docs/table.md` says which columns there are, what their words mean, and what is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.readers.columns import Batch, floats
from nanoarb_jax.readers.feed import BookFeed, EventFeed, Feed, ReadOptions
from nanoarb_jax.readers.format import Format, Head, one_file
from nanoarb_jax.readers.grid import on_grid
from nanoarb_jax.readers.sorting import sort_books
from nanoarb_jax.readers.table.books import read_books, refuse_worst_first
from nanoarb_jax.readers.table.events import Rows, parse_rows, refuse_trades
from nanoarb_jax.readers.table.file import read_header
from nanoarb_jax.readers.table.layout import Table, read_layout
from nanoarb_jax.readers.table.messages import mark_messages, sort_rows
from nanoarb_jax.readers.table.rows import Clocks, find_clocks, read_rows
from nanoarb_jax.readers.table.steps import measure_steps
from nanoarb_jax.readers.table.unread import Unread

PAGE = "docs/table.md"
# a header line is told from a sentence by short names and by one of these among them
_HEADER_WORDS = {b"time", b"timestamp", b"ts", b"date", b"datetime", b"price", b"px", b"bid", b"ask", b"side"}
_NAME = re.compile(rb'[^,;\s"]{0,48}( [^,;\s"]{1,24}){0,3}')


def open_table(path: Path, options: ReadOptions) -> Feed:
    """Open books or events, whichever the columns tell; see docs/table.md for the columns.

    Args:
        path: a Parquet file, or CSV, plain or compressed.
        options: `tick_size`, `lot_size`, `symbol` and `sort` are heeded, and of books `exchange_time`.

    Raises:
        DataError: a missing, damaged or empty file, missing columns, columns that may change what rows mean and are not
            read, several instruments, a cell that is not what its column holds, a price between the ticks, a size
            between the lots that were given; from here, or while the chunks are read.
    """
    with _errors_name_the_page():
        table = read_layout(Path(path))
        notes = [*table.notes]
        unread = Unread(table)
        with closing(read_rows(table, options.symbol, [], unread)) as batches:  # type: ignore[type-var]
            first = next(batches, None)
        if first is None:
            raise DataError(f"{path}: no rows below its header; expected at least one")
        clocks = find_clocks(table, first)
        notes += clocks.notes + ([f"only rows of {options.symbol}"] if options.symbol else [])
        open_rows = _open_books if table.levels else _open_events
        rows = read_rows(table, options.symbol, notes, unread)
        feed = open_rows(table, rows, first, clocks, options, notes)
    feed.chunks = _naming_the_page(feed.chunks)
    return feed


def _open_books(
    table: Table, rows: Iterator[Batch], first: Batch, clocks: Clocks, options: ReadOptions, notes: list[str]
) -> BookFeed:
    refuse_worst_first(table, first)
    px, qty = (
        np.stack([floats(first[column], f"{table.path}, {column}", may_miss=True) for column in columns])
        for columns in (chain(table.levels[f"bid_{what}"], table.levels[f"ask_{what}"]) for what in ("px", "sz"))
    )
    # a level without a size has no price either: often 0, or a mark such as 1e300
    steps = measure_steps(px[qty > 0], qty, options, str(table.path))
    books = read_books(table, rows, clocks, steps, options.exchange_time)
    if options.sort:
        books = sort_books(books, notes)
    return BookFeed(table.name, "table-books", books, notes=notes)


def _open_events(
    table: Table, rows: Iterator[Batch], first: Batch, clocks: Clocks, options: ReadOptions, notes: list[str]
) -> EventFeed:
    dropped: Counter[str] = Counter()
    beginning = parse_rows(table, clocks, first, Counter())
    plain = table.kind is None and "is_snapshot" not in table.columns
    if plain:
        refuse_trades(table, beginning)
    steps = measure_steps(*_px_and_qty(beginning), options, str(table.path))
    parts = _on_grid(
        (parse_rows(table, clocks, batch, dropped) for batch in rows),
        steps.tick_size,
        f"{table.path}, price",
    )
    parts = sort_rows(parts, notes) if options.sort else parts
    chunks = mark_messages(parts, "flags" in table.columns, notes, str(table.path))
    chunks = _noting_doubts(chunks, notes, plain)
    return EventFeed(table.name, "table-events", steps.tick_size, steps.lot_size, chunks, dropped, notes)


def _px_and_qty(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Prices that lie on the tick grid, those of trades where there are no others, and sizes."""
    px = _resting_px(rows)
    return px if len(px) else rows.events["px"], rows.events["qty"]


def _resting_px(rows: Rows) -> NDArray[np.float64]:
    """Prices of levels and orders; trades may lie between the ticks."""
    kind = rows.events["ev"] & event.KIND_MASK
    return rows.events["px"][(kind != event.TRADE) & (kind != event.CLEAR) & np.isfinite(rows.events["px"])]


def _on_grid(parts: Iterator[Rows], tick_size: float, what: str) -> Iterator[Rows]:
    """The parts that have rows; a price between the ticks is an error."""
    for rows in parts:
        on_grid(_resting_px(rows), tick_size, what, "tick_size")
        if len(rows.events):
            yield rows


def _noting_doubts(chunks: Iterator[NDArray[np.void]], notes: list[str], plain: bool) -> Iterator[NDArray[np.void]]:
    """The chunks; at the end it is noted what speaks against a book. `plain`: no column says what rows do."""
    deletions = resting = False
    for events in chunks:
        deletions = deletions or bool((events["qty"] == 0).any())
        resting = resting or bool((events["ev"] & event.KIND_MASK != event.TRADE).any())
        yield events
    if not resting:
        notes.append("trades alone, of which no book can be made")
    if plain and not deletions:
        notes.append("no level is ever deleted (size 0): are its rows depth, not quotes or trades?")


@contextmanager
def _errors_name_the_page() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{error}; see {PAGE}") from error


def _naming_the_page(chunks: Iterator) -> Iterator:
    with _errors_name_the_page():
        yield from chunks


def _sniff(head: Head) -> bool:
    """Parquet, or a header line: names, of which the first begins with a letter, between commas, semicolons or tabs."""
    if head.is_parquet:
        return True
    line = head.line.removeprefix(b"\xef\xbb\xbf").lower()
    names = [name.strip().strip(b'"') for name in re.split(rb"[,;\t]", line)]
    first = names[0] or names[min(1, len(names) - 1)]  # pandas gives the index no name
    tabular = len(names) > 1 and all(_NAME.fullmatch(name) for name in names) and re.match(rb"[a-z_]", first)
    return bool(tabular) and not _HEADER_WORDS.isdisjoint(re.findall(rb"[a-z]+", line))


def _is_market(path: Path) -> bool:
    """Whether a table has a column of books or of events: others, such as lists of instruments, are something else."""
    try:
        names = [name.removeprefix("best_") for name in read_header(path).columns]
    except DataError:
        return True  # a damaged one, which is said when it is opened
    return any(name.startswith(("bid", "ask")) or name == "side" for name in names)


FORMAT = Format(
    name="table",
    is_market=_is_market,
    sniff=_sniff,
    open=one_file(open_table),
    options=("tick_size", "lot_size", "symbol", "sort"),
)
