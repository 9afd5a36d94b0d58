"""What a table's columns say it holds: books or events, and what each column is for."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import LEVELS
from nanoarb_jax.readers.columns import WORDS
from nanoarb_jax.readers.names import series_name
from nanoarb_jax.readers.table import words
from nanoarb_jax.readers.table.file import Header, check_unique, read_header

_BOOK_COLUMNS = ("bid_px", "bid_sz", "ask_px", "ask_sz")
_EVENT_COLUMNS = ("side", "price", "size")
_LEVEL = re.compile(r"(bid|ask)_(px|sz)_(\d+)")


class Table(NamedTuple):
    """A table whose columns are known.

    Attributes:
        path: of the file.
        header: of the file.
        time: the column of the times received, or of the only times.
        exchange_time: the column of the exchange's times, if there is one beside it.
        kind: the column that says what a row of events does, if there is one.
        identity: the columns that each hold one value in one series.
        columns: to read, and their types in CSV.
        levels: of books, the columns of the levels: {"bid_px": ["bid_px_0", ...], ...}; empty: the rows are events.
        unread: the other columns, less those of levels beyond the best and those whose name is there twice or empty.
        notes: what a user should know of how the columns were read.
    """

    path: Path
    header: Header
    time: str
    exchange_time: str | None
    kind: str | None
    identity: list[str]
    columns: dict[str, str]
    levels: dict[str, list[str]]
    unread: list[str]
    notes: list[str]

    @property
    def name(self) -> str:
        return series_name(self.path)


def read_layout(path: Path) -> Table:
    """Whether a file holds books or events, told by its columns.

    Raises:
        DataError: a missing, empty or damaged file, columns of neither, or columns that would change what the rows mean
            and are not read.
    """
    header = read_header(path)
    there = header.columns
    time, exchange_time = _find_times(path, there)
    identity = [name for name in words.IDENTITY if name in there]
    levels = _find_levels(path, there)
    kind = None
    if levels:
        numbers = [*chain(*levels.values()), *_check_books(path, there, levels)]
        columns = dict.fromkeys(numbers, "double")
    else:
        kind = _check_events(path, there)
        columns = dict.fromkeys(("price", "size"), "double") | {"side": WORDS}
        columns |= {kind: WORDS} if kind else {}
        optional = {"is_snapshot": WORDS, "order_id": "uint64", "flags": "int64"}
        columns |= {name: type_ for name, type_ in optional.items() if name in there}
    columns |= dict.fromkeys(identity, WORDS) | {name: "string" for name in (time, exchange_time) if name}
    check_unique(path, header, columns)
    notes = _notes(there, time, exchange_time, kind, columns)
    unread = [name for name in _unread(there, columns) if name and _spelt(header).count(name) == 1]
    return Table(path, header, time, exchange_time, kind, identity, columns, levels, unread, notes)


def _spelt(header: Header) -> list[str]:
    return [name.strip().lower() for name in header.names]


def _beyond(there: dict[str, str]) -> list[str]:
    """Columns of levels that are not read for being too many."""
    return [name for name in there if (m := _LEVEL.fullmatch(name)) and int(m[3]) >= LEVELS]


def _unread(there: dict[str, str], columns: dict[str, str]) -> list[str]:
    beyond = {*_beyond(there)}
    return [name for name in there if name not in columns and name not in beyond]


def _find_times(path: Path, there: dict[str, str]) -> tuple[str, str | None]:
    """The columns of the times received and of the exchange's times."""
    time = next((name for name in words.RECEIVED if name in there), None)
    if time is None:
        raise DataError(f"{path}: no column ts_ns or timestamp ({_has(there)}); name the column of times so")
    exchange = (*words.EXCHANGE, "timestamp") if time in words.LOCAL else words.EXCHANGE
    return time, next((name for name in exchange if name in there), None)


def _has(there: dict[str, str]) -> str:
    return f"has {', '.join(list(there)[:50])}"


def _find_levels(path: Path, there: dict[str, str]) -> dict[str, list[str]]:
    """The columns of each side's levels, from the best on, up to the first that is not there; {} without any."""
    levels: dict[str, list[str]] = {side: [] for side in _BOOK_COLUMNS}
    for side, columns in levels.items():
        for level in range(LEVELS):
            spelt = next((name for name in (f"{side}_{level}", f"{side}_{level:02d}") if name in there), None)
            if spelt is None:
                break
            columns.append(spelt)
    found = {*chain(*levels.values())}
    beyond = [name for name in there if (m := _LEVEL.fullmatch(name)) and name not in found and int(m[3]) < LEVELS]
    if beyond:
        side = beyond[0].rpartition("_")[0]
        raise DataError(
            f"{path}: column {beyond[0]}, but no {side}_{len(levels[side])} ({_has(there)}); expected every level from "
            "the best, which is 0, on"
        )
    return levels if found else {}


def _check_books(path: Path, there: dict[str, str], levels: dict[str, list[str]]) -> list[str]:
    """The columns of traded quantities, none or both, of books whose columns are complete."""
    depth = max(len(columns) for columns in levels.values())
    short = next((side for side in _BOOK_COLUMNS if len(levels[side]) < depth), None)
    if short is not None:
        missing = f"{short}_{len(levels[short])}"
        raise DataError(
            f"{path}: no column {missing} ({_has(there)}); expected {', '.join(_BOOK_COLUMNS)} of every level"
        )
    traded: list[str] = [name for name in ("bought", "sold") if name in there]
    if len(traded) == 1:
        raise DataError(f"{path}: {traded[0]} alone ({_has(there)}); expected both bought and sold, or neither")
    return traded


def _check_events(path: Path, there: dict[str, str]) -> str | None:
    """The column that says what each row does, of events that have all their columns; None: rows are depth."""
    kinds = [name for name in words.KIND if name in there]
    if not kinds and not {"order_id", "is_snapshot"} & there.keys():
        _refuse_trades(path, there)
    missing = [name for name in _EVENT_COLUMNS if name not in there]
    if missing:
        others = [f"{other} {name}" for name in missing for other in words.OTHER_NAMES[name] if other in there]
        advice = f"; if they are these, name {' and '.join(others)}" if others else ""
        raise DataError(
            f"{path}: neither books nor events ({_has(there)}); expected bid_px_0, bid_sz_0, ask_px_0, ask_sz_0 and "
            f"on, or side, price, size (without {', '.join(missing)} here){advice}"
        )
    refused = words.REFUSED | ({} if kinds or "is_snapshot" in there else words.LEVEL_NUMBERS)
    column = next((name for name in refused if name in there), None)
    if column is not None:
        raise DataError(f"{path}: column {column} is not read, and may change what the rows mean: {refused[column]}")
    if len(kinds) > 1:
        raise DataError(f"{path}: both {kinds[0]} and {kinds[1]} say what a row does; keep one of these columns")
    if "order_id" in there and not kinds:
        raise DataError(
            f"{path}: order_id, but no column kind or action that says what is done with an order ({_has(there)}); "
            "add one, or leave order_id out if the rows are levels"
        )
    return kinds[0] if kinds else None


def _refuse_trades(path: Path, there: dict[str, str]) -> None:
    """Refuse a table of trades alone."""
    marks = [name for name in words.TRADES if name in there]
    if marks:
        raise DataError(
            f"{path}: a table of trades (it has {', '.join(marks[:4])}), and trades alone make no book; expected depth "
            "(side, price, size of levels), with a column kind where trades are among its rows"
        )


def _notes(
    there: dict[str, str], time: str, exchange_time: str | None, kind: str | None, columns: dict[str, str]
) -> list[str]:
    notes = []
    if exchange_time == "timestamp":
        notes.append(f"{time} is when a row was received, timestamp the exchange's time")
    if kind not in (None, "kind"):
        notes.append(f"column {kind} says what a row does")
    if _beyond(there):
        notes.append(f"levels beyond the best {LEVELS} are left out")
    unread = [name or "(no name)" for name in _unread(there, columns)]
    if unread:
        notes.append(f"columns not read: {', '.join(unread[:12])}" + (", …" if len(unread) > 12 else ""))
    return notes
