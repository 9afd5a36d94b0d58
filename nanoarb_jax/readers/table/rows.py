"""Rows of one instrument, with their times: what books and events are both made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.columns import Array, Batch, distinct_words
from nanoarb_jax.readers.table.file import read_batches
from nanoarb_jax.readers.table.layout import Table
from nanoarb_jax.readers.table.unread import Unread
from nanoarb_jax.readers.time_columns import TimeForm, calendar_form, find_form, first_time, read_times
from nanoarb_jax.readers.times import plausible

# ns: a `ts_ns` may begin anywhere below this; above it, and before 1980, it counts another unit
_SMALL_NS = 10**8


class Clocks(NamedTuple):
    """How the columns of times tell them.

    Attributes:
        received: of `Table.time`.
        exchange: of `Table.exchange_time`; None: there is none.
    """

    received: TimeForm
    exchange: TimeForm | None

    @property
    def notes(self) -> list[str]:
        """What was recognised of the times."""
        return list(dict.fromkeys(note for form in self if form for note in form.notes))


def read_rows(table: Table, symbol: str | None, notes: list[str], unread: Unread) -> Iterator[Batch]:
    """The table's rows of one instrument, in batches; none of them is empty.

    Args:
        symbol: the instrument wanted; None: the only one.
        notes: at the end, how many rows of others were left out is added.
        unread: checks the columns that are not read.

    Raises:
        DataError: several instruments and none chosen, none of the one chosen, a damaged file, columns
            that are not read and may change what the rows mean; while batches are read.
    """
    if symbol is not None and not table.identity:
        names = ", ".join([*table.header.columns][:12])
        raise DataError(f"{table.path}: no column that tells the symbol (has {names}); leave --symbol out")
    seen: dict[str, str] = {}
    met: dict[str, None] = {}  # every word of the columns that may hold the symbol, in order
    left = rows = 0
    for batch in read_batches(table.path, table.header, table.columns | unread.columns):
        columns = {name: distinct_words(batch[name], f"{table.path}, {name}") for name in table.identity}
        keep: slice | NDArray[np.bool_] = slice(None)
        if symbol is not None:
            wanted = np.zeros(len(batch[table.time]), bool)
            for indices, words in columns.values():
                met |= dict.fromkeys(words)
                wanted |= np.array([word.strip() == symbol for word in words], bool)[indices]
            left += int((~wanted).sum())
            if not wanted.all():
                keep, batch = wanted, _of_rows(batch, wanted)
        for name, (indices, words) in columns.items():
            _check_one(table, name, [words[i].strip() for i in np.unique(indices[keep])], seen)
        if batch:
            unread.check(batch)
            rows += len(batch[table.time])
            yield batch
    if symbol is not None and not rows:
        raise DataError(f"{table.path}: no rows of {symbol!r}; it has {', '.join([*met][:12])}")
    if left:
        notes.append(f"{left:,} rows of other instruments left out")


def _of_rows(batch: Batch, wanted: NDArray[np.bool_]) -> Batch:
    """Those rows of a batch; no columns where there are none."""
    at = np.flatnonzero(wanted)
    return {name: column.take(at) for name, column in batch.items()} if len(at) else {}


def _check_one(table: Table, column: str, words: list[str], seen: dict[str, str]) -> None:
    """Check that a column of identity holds one value; `seen` has those of the rows before."""
    words = list(dict.fromkeys([seen[column], *words] if column in seen else words))
    if len(words) > 1:
        values = ", ".join(word or "an empty cell" for word in words[:8]) + (", …" if len(words) > 8 else "")
        raise DataError(
            f"{table.path}: several values in column {column} ({values}), and a series is of one; choose its rows by "
            "symbol, on the command line --symbol, or leave the column out of the file if it does not tell books apart"
        )
    if words:
        seen[column] = words[0]


def find_clocks(table: Table, first: Batch) -> Clocks:
    """How the columns of times tell them, by the first batch.

    Raises:
        DataError: a first time that is none, or a `ts_ns` that counts another unit.
    """
    what = f"{table.path}, {table.time}"
    received = _ns_form(first[table.time], what) if table.time == "ts_ns" else find_form(first[table.time], what)
    if table.exchange_time is None:
        return Clocks(received, None)
    if not received.since_1970:
        return Clocks(received, received)
    return Clocks(received, find_form(first[table.exchange_time], f"{table.path}, {table.exchange_time}"))


def _ns_form(column: Array, what: str) -> TimeForm:
    """Of a column `ts_ns`: ns whatever its size, from 1970 or from any moment near its beginning."""
    first = first_time(column, what)
    if isinstance(first, str):
        return calendar_form(column, first)
    if not abs(first) < 2**63 or (first % 1) != 0:
        raise DataError(f"{what}: {first!r}; expected whole ns; call the column timestamp if it counts another unit")
    if plausible(np.array([int(first)])).all():
        return TimeForm("ns")
    if first >= _SMALL_NS:
        raise DataError(
            f"{what}: {first:.0f} ns is before 1980 or after 2100; expected ns since 1970, not s, ms or µs; convert "
            "them, or call the column timestamp, whose unit is recognised"
        )
    return TimeForm("ns", since_1970=False)


def received_times(table: Table, clocks: Clocks, batch: Batch) -> NDArray[np.int64]:
    """(n,) times when the rows were received, ns since 1970 UTC.

    Raises:
        DataError: a time is missing, is none, or counts another unit.
    """
    return read_times(batch[table.time], clocks.received, f"{table.path}, {table.time}")


def exchange_times(table: Table, clocks: Clocks, batch: Batch) -> NDArray[np.int64]:
    """(n,) times of the exchange, ns since 1970 UTC; those received where the table has no others.

    Raises:
        DataError: a time is missing, is none, or counts another unit.
    """
    if table.exchange_time is None or clocks.exchange is None:
        return received_times(table, clocks, batch)
    return read_times(batch[table.exchange_time], clocks.exchange, f"{table.path}, {table.exchange_time}")
