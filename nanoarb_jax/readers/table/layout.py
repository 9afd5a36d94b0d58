"""What a table's columns say it holds: books or events, and the steps of its prices and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import LEVELS
from nanoarb_jax.readers.columns import Array, Batch, floats, times
from nanoarb_jax.readers.feed import ReadOptions, infer_lot_size, infer_tick_size
from nanoarb_jax.readers.names import series_name
from nanoarb_jax.readers.table.file import Header, read_header

_BOOK_COLUMNS = ("bid_px", "bid_sz", "ask_px", "ask_sz")
_EVENT_COLUMNS = ("side", "price", "size")
_YEAR_1973_NS = 10**17


class Table(NamedTuple):
    """A table whose columns are known.

    Attributes:
        path: of the file.
        header: of the file.
        time: the column of times.
        columns: to read.
        levels: of books, the columns of the levels: {"bid_px": ["bid_px_0", ...], ...}; empty: the rows are events.
    """

    path: Path
    header: Header
    time: str
    columns: list[str]
    levels: dict[str, list[str]]

    @property
    def name(self) -> str:
        return series_name(self.path)


class Steps(NamedTuple):
    """The steps of prices and sizes.

    Attributes:
        tick_size: price of one tick.
        lot_size: the smallest quantity kept apart.
        lot_option: to advise where a size lies between lots; None: sizes are rounded, since the lot size was inferred.
    """

    tick_size: float
    lot_size: float
    lot_option: str | None


def read_layout(path: Path) -> Table:
    """Whether a file holds books or events, told by its columns.

    Raises:
        DataError: a missing, empty or damaged file, or columns of neither.
    """
    header = read_header(path)
    there = header.columns
    time = next((name for name in ("ts_ns", "timestamp") if name in there), None)
    if time is None:
        raise DataError(f"{path}: no column ts_ns or timestamp ({_has(there)}); name the column of times so")
    levels = _find_levels(there)
    if any(levels.values()):
        traded = _check_books(path, there, levels)
        return Table(path, header, time, [time, *chain(*levels.values()), *traded], levels)
    missing = [name for name in _EVENT_COLUMNS if name not in there]
    if missing:
        raise DataError(
            f"{path}: neither books nor events ({_has(there)}); expected bid_px_0, bid_sz_0, ask_px_0, ask_sz_0 and "
            f"on, or side, price, size (without {', '.join(missing)} here)"
        )
    more = [name for name in ("kind", "order_id", "flags", "exch_ts") if name in there]
    return Table(path, header, time, [time, *_EVENT_COLUMNS, *more], {})


def _has(there: dict[str, str]) -> str:
    return f"has {', '.join(list(there)[:50])}"


def _find_levels(there: dict[str, str]) -> dict[str, list[str]]:
    """The columns of each side's levels, from the best on, up to the first that is not there."""
    levels: dict[str, list[str]] = {side: [] for side in _BOOK_COLUMNS}
    for side, columns in levels.items():
        for level in range(LEVELS):
            spelt = next((name for name in (f"{side}_{level}", f"{side}_{level:02d}") if name in there), None)
            if spelt is None:
                break
            columns.append(spelt)
    return levels


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


def measure_steps(table: Table, prices: Sequence[Array], sizes: Sequence[Array], options: ReadOptions) -> Steps:
    """The steps that are given, or else those that the first batch lies on.

    Raises:
        DataError: a cell that is no number, a lot size that is too small, prices on no grid.
    """
    what = str(table.path)
    px = np.stack([floats(column, f"{what}, prices", may_miss=True) for column in prices])
    qty = np.stack([floats(column, f"{what}, sizes", may_miss=True) for column in sizes])
    tick_size, lot_size = options.tick_size, options.lot_size
    if tick_size is None:
        # a level without a size has no price either: often 0, or a mark such as 1e300
        tick_size = infer_tick_size(px[(qty > 0) if table.levels else np.isfinite(px)], what)
    if lot_size is None:
        return Steps(tick_size, infer_lot_size(qty, what), None)
    if not 1e-12 <= lot_size < np.inf:
        raise DataError(f"{what}: lot size {lot_size}; expected a positive number, 1e-12 or more")
    return Steps(tick_size, lot_size, "lot_size")


def read_times(table: Table, batch: Batch) -> NDArray[np.int64]:
    """(n,) times of the rows, ns since 1970 UTC.

    Raises:
        DataError: a time is missing, is none, or counts another unit.
    """
    what = f"{table.path}, {table.time}"
    ts_ns = times(batch[table.time], what)
    least = 0 if table.time == "timestamp" else 10**8  # a `ts_ns` may count from anywhere, but not in s, ms or µs
    if least <= ts_ns[0] < _YEAR_1973_NS or (table.time == "timestamp" and ts_ns[0] < 0):
        raise DataError(f"{what}: {ts_ns[0]} ns is before 1973; expected ns since 1970, not s, ms or µs; convert them")
    return ts_ns
