"""The records of one instrument, out of files that may hold several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import SNAPSHOT
from nanoarb_jax.readers.databento.layout import BAD_TS_RECV, SCHEMAS
from nanoarb_jax.readers.databento.symbology import day_text, listed, symbol_of
from nanoarb_jax.readers.times import plausible

_NO_SYMBOL = "instrument number without a symbol on its day"


class Batch(NamedTuple):
    """Records, and which instrument each is of.

    Attributes:
        rows: (n,) of the schema's layout; not empty.
        labels: (n,) int32 indices into `Records.labels`, see `symbology.py`.
    """

    rows: NDArray[np.void]
    labels: NDArray[np.int32]


class Records(NamedTuple):
    """The records of a file, of any number of instruments.

    Attributes:
        path: of the file.
        format: "databento-", "databento-csv-" or "databento-parquet-", and the schema.
        schema: a key of SCHEMAS.
        labels: {label of an instrument: its index}; grows as batches are read.
        batches: of the records.
        dropped: counts, by reason, of what is left out.
        notes: for the user, see `feed.EventFeed`.
    """

    path: Path
    format: str
    schema: str
    labels: dict[str, int]
    batches: Iterator[Batch]
    dropped: Counter[str]
    notes: list[str]


class Part(NamedTuple):
    """Records of the chosen instrument.

    Attributes:
        label: of the instrument.
        rows: (n,) not empty.
    """

    label: str
    rows: NDArray[np.void]


def select_instrument(records: Records, wanted: str | None) -> Iterator[Part]:
    """The records of the wanted instrument, or of the only one; at least one part.

    Args:
        records: of a file.
        wanted: a symbol, or an instrument's number; None: the file holds one instrument.

    Raises:
        DataError: no records, or none of the wanted; several instruments or venues; times that are none.
    """
    chosen: Part | None = None
    seen: dict[str, set[int]] = {}
    for batch in records.batches:
        _remember(batch, records, seen)
        rows, labels = _wanted_rows(batch, records, wanted)
        if len(rows) == 0:
            continue
        names = list(records.labels)
        first = chosen or Part(names[labels[0]], rows[:1])
        other = np.flatnonzero(labels != records.labels[first.label])
        if len(other):
            met = names[labels[other[0]]], rows[other[0]]
            raise _several(records, wanted, seen, (first.label, first.rows[0]), met)
        _check_venue(records, first.rows[0], rows)
        _check_times(records, rows)
        chosen = Part(first.label, rows[-1:])
        yield Part(first.label, rows)
    if chosen is None:
        raise _nothing(records, wanted, seen)


def _remember(batch: Batch, records: Records, seen: dict[str, set[int]]) -> None:
    """Add the labels and numbers of a batch to those that were seen."""
    keys = batch.labels.astype(np.int64) << 32 | batch.rows["instrument_id"]
    names = list(records.labels)
    for key in (keys[:1] if (keys == keys[0]).all() else np.unique(keys)).tolist():
        seen.setdefault(names[key >> 32], set()).add(key & 0xFFFFFFFF)


def _wanted_rows(batch: Batch, records: Records, wanted: str | None) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """The rows that may be of the wanted instrument, and their labels; the others are counted."""
    labels = batch.labels
    if wanted is None:
        mine = labels != records.labels.get("", -1)
        reason = _NO_SYMBOL
    else:
        mine = np.isin(labels, [i for name, i in records.labels.items() if wanted in (name, symbol_of(name))])
        if wanted.isdecimal():
            mine |= batch.rows["instrument_id"] == int(wanted)
        reason = "other instrument"
    if mine.all():
        return batch.rows, labels
    records.dropped[reason] += len(mine) - int(mine.sum())
    return batch.rows[mine], labels[mine]


def _check_venue(records: Records, first: np.void, rows: NDArray[np.void]) -> None:
    """An instrument that is quoted at several venues has a book at each of them; here they would be mixed into one.

    Raises:
        DataError: it is; other than in consolidated schemas, whose book is that of all venues.
    """
    if SCHEMAS[records.schema].consolidated:
        return
    other = np.flatnonzero(rows["publisher_id"] != first["publisher_id"])
    if len(other):
        venues = f"{first['publisher_id']} and {rows['publisher_id'][other[0]]}"
        raise DataError(
            f"{records.path}: one instrument at several venues (publishers {venues}), and each has a book of its own; "
            "expected one venue, split the file by publisher_id or fetch one dataset"
        )


def _check_times(records: Records, rows: NDArray[np.void]) -> None:
    for name in ("ts_recv", "ts_event"):
        bad = ~plausible(rows[name]) & ((rows[name] != -1) | (name == "ts_recv"))
        if bad.any():
            raise DataError(
                f"{records.path}: {name} {rows[name][np.argmax(bad)]} lies in no year from 1980 to 2100; expected ns "
                "since 1970 UTC, fetch it again"
            )


def _several(
    records: Records,
    wanted: str | None,
    seen: dict[str, set[int]],
    first: tuple[str, np.void],
    other: tuple[str, np.void],
) -> DataError:
    if wanted is None:
        return several_instruments(records.path, {name: numbers for name, numbers in seen.items() if name})
    met = " and ".join(f"{name or 'has no symbol'} on {day_text(int(row['ts_recv']))}" for name, row in (first, other))
    remedy = "give one of them as symbol, on the command line --symbol"
    return DataError(f"{records.path}: {wanted} is several instruments ({met}); expected one, {remedy}")


def several_instruments(path: Path, labels: dict[str, set[int]]) -> DataError:
    """The error for a file of several instruments, none of which is chosen."""
    remedy = "choose it with symbol, on the command line --symbol"
    return DataError(f"{path}: several instruments ({listed(labels)}); expected one, {remedy}")


def _nothing(records: Records, wanted: str | None, seen: dict[str, set[int]]) -> DataError:
    if not seen:
        return DataError(f"{records.path}: no records; expected at least one, check the time span that was fetched")
    if wanted is None:
        met = f"no record has a symbol on its day (instrument numbers {listed({'': seen['']}).partition(' = ')[2]})"
        return DataError(f"{records.path}: {met}; give the number as symbol, on the command line --symbol")
    remedy = "expected at least one, choose one of these with symbol, on the command line --symbol"
    return DataError(f"{records.path}: no records of {wanted!r} (has {listed(seen)}); {remedy}")


def told_times(parts: Iterator[Part], records: Records, wanted: str | None) -> Iterator[NDArray[np.void]]:
    """The parts' rows; at their end, notes what is to be known of their times and days."""
    bad, first, last = 0, None, None
    for part in parts:
        # an order of a snapshot was entered long before it was received: its flag says nothing of the feed
        bad += int((part.rows["flags"] & (BAD_TS_RECV | SNAPSHOT) == BAD_TS_RECV).sum())
        first, last = first or part, part
        yield part.rows
    if bad:
        records.notes.append(f"records with an inexact receive time (flag BAD_TS_RECV), kept with it: {bad:,}")
    if wanted is not None and first is not None and last is not None and wanted != first.label and wanted.isdecimal():
        days = [day_text(int(row["ts_recv"])) for row in (first.rows[0], last.rows[-1])]
        span = days[0] if days[0] == days[1] else f"{days[0]} to {days[1]}"
        records.notes.append(f"number {wanted} is {first.label or 'without a symbol'} ({span})")
