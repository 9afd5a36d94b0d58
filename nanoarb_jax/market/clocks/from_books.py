"""Ticks of a feed that holds books already: invalid rows are counted and left out, a clock chooses among the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.anomaly import KEEP, RAISE, Anomaly, policies
from nanoarb_jax.market.clocks.from_events import LATEST_NS, ROWS, SILENCE_NS, SILENT_TICKS, TickClock
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries

_Notes: TypeAlias = tuple[Counter[str], NDArray[np.int8]]
_SIDES = ("bid_px", "bid_lots", "ask_px", "ask_lots")


def choose_rows(
    chunks: Iterable[BookSeries],
    clock: TickClock,
    every_row: bool,
    anomalies: Counter[str],
    policy: NDArray[np.int8] | None = None,
) -> Iterator[BookSeries]:
    """Valid rows that the clock takes for ticks, in chunks; trades are those since the tick before.

    Args:
        chunks: books of one instrument, in order.
        clock: as for events; "book" and "time" mean the same here.
        every_row: under the book clock with all levels, take every valid row, changed or not.
        anomalies: counted into by kind: crossed, locked, one_sided, invalid (a negative size, levels out of order),
            backwards (the row keeps its place and takes the latest time before it).
        policy: of `anomaly.policies`; None: the defaults, and invalid rows are left out. With no book to empty,
            "resync" is "skip".

    Raises:
        DataError: a trade clock, but the feed knows no trades; an anomaly whose policy is to raise.
    """
    before: BookSeries | None = None
    grid = _Grid(clock.interval_ns)
    pending = np.zeros(2, np.int64)
    latest = np.iinfo(np.int64).min
    notes = (anomalies, policies({"invalid": "skip"}) if policy is None else policy)
    for chunk in chunks:
        if clock.kind == "trade" and chunk.bought is None:
            raise DataError(
                f"{chunk.name}: no trades in these books; expected them for the trade clock, choose another"
            )
        books, late = _in_order(chunk, latest, notes)
        latest = max(latest, int(books.ts_ns[-1])) if books.rows else latest
        valid = _valid(books, notes) & ~late
        books = _without_debts(books)
        if clock.kind == "time":
            yield from grid.ticks(books, valid)
            continue
        rows = valid & (every_row and clock.kind == "book" and clock.levels == books.bid_px.shape[1])
        rows |= valid & _due(books, valid, before, clock, pending)
        before = _last(books, rows, before)
        chosen = _take(books, rows, pending)
        if chosen.rows:
            yield chosen


def _note(kind: Anomaly, met: NDArray[np.bool_], books: BookSeries, notes: _Notes) -> NDArray[np.bool_]:
    """Count the rows that met an anomaly; returns those that it leaves out.

    Raises:
        DataError: one, and its policy is to raise.
    """
    anomalies, policy = notes
    anomalies[kind.name.lower()] += int(met.sum())
    if policy[kind] == RAISE and met.any():
        row = int(np.argmax(met))
        bid, ask = (f"{px[row, 0]} x {lots[row, 0]}" for px, lots in books.sides)
        raise DataError(
            f"{books.name}: {kind.name.lower()} book (bid {bid}, ask {ask}, time {books.ts_ns[row]}); check the files, "
            f"or choose another policy for {kind.name.lower()!r}"
        )
    return met if policy[kind] != KEEP else np.zeros_like(met)


def _in_order(books: BookSeries, latest: int, notes: _Notes) -> tuple[BookSeries, NDArray[np.bool_]]:
    """With times that never go backwards, and which rows to leave out for it."""
    ordered = np.maximum.accumulate(np.maximum(books.ts_ns, latest))
    late = _note(Anomaly.BACKWARDS, books.ts_ns < ordered, books, notes)
    return books._replace(ts_ns=ordered), late


def _valid(books: BookSeries, notes: _Notes) -> NDArray[np.bool_]:
    """(n,) rows that `validate_books` accepts, apart from time."""
    bid, ask = books.bid_px, books.ask_px
    one_sided = (bid[:, 0] == EMPTY_PRICE) | (ask[:, 0] == EMPTY_PRICE)
    one_sided |= (books.bid_lots[:, 0] == 0) | (books.ask_lots[:, 0] == 0)
    invalid = ((books.bid_lots < 0) | (books.ask_lots < 0)).any(axis=1)
    for px, lots in books.sides:
        invalid |= ((px == EMPTY_PRICE) & (lots != 0)).any(axis=1)
    falling = (bid[:, 1:] == EMPTY_PRICE) | ((bid[:, :-1] != EMPTY_PRICE) & (bid[:, 1:] < bid[:, :-1]))
    rising = (ask[:, 1:] == EMPTY_PRICE) | (ask[:, 1:] > ask[:, :-1])
    invalid |= ~(falling & rising).all(axis=1)
    for traded in (books.bought, books.sold):
        if traded is not None:
            invalid |= traded < 0
    crossed = ~one_sided & (bid[:, 0] > ask[:, 0])
    _note(Anomaly.ONE_SIDED, one_sided, books, notes)
    _note(Anomaly.INVALID, invalid & ~one_sided, books, notes)
    _note(Anomaly.CROSSED, crossed & ~invalid, books, notes)
    locked = _note(Anomaly.LOCKED, ~one_sided & (bid[:, 0] == ask[:, 0]), books, notes)
    return ~(one_sided | invalid | crossed | locked)


def _without_debts(books: BookSeries) -> BookSeries:
    """Negative traded sizes (their rows are invalid) are none, or the next row would be told of them."""
    return books._replace(
        bought=None if books.bought is None else np.maximum(books.bought, 0),
        sold=None if books.sold is None else np.maximum(books.sold, 0),
    )


def _due(
    books: BookSeries,
    valid: NDArray[np.bool_],
    before: BookSeries | None,
    clock: TickClock,
    pending: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(n,) valid rows that differ from the valid row before them, or that hold trades."""
    if clock.kind == "trade":
        # trades of a row that is left out are told at the next one
        known = [np.cumsum(traded) for traded in (books.bought, books.sold) if traded is not None]
        total = np.where(valid, np.sum(known, axis=0) + pending.sum(), 0)
        return np.diff(np.maximum.accumulate(total), prepend=0) > 0
    at = np.flatnonzero(valid)
    due = np.zeros(books.rows, bool)
    if len(at) == 0:
        return due
    changed = np.zeros(len(at), bool)
    for side in _SIDES:
        levels = getattr(books, side)[at, : clock.levels]
        earlier = levels[:1] if before is None else getattr(before, side)[:, : clock.levels]
        changed |= (np.concatenate([earlier, levels[:-1]]) != levels).any(axis=1)
    changed[0] |= before is None
    due[at] = changed
    return due


def _take(books: BookSeries, rows: NDArray[np.bool_], pending: NDArray[np.int64]) -> BookSeries:
    """Those rows; what was traded in rows left out goes to the next one taken, also across chunks (`pending`)."""
    at = np.flatnonzero(rows)
    traded: dict[str, Any] = {}
    for i, name in enumerate(("bought", "sold")):
        column = getattr(books, name)
        traded[name] = None
        if column is not None:
            total = np.cumsum(column) + pending[i]
            traded[name] = np.diff(total[at], prepend=0)
            pending[i] = (total[-1] if len(total) else pending[i]) - (total[at[-1]] if len(at) else 0)
    return books._replace(**{name: getattr(books, name)[at] for name in ("ts_ns", *_SIDES)}, **traded)


def _last(books: BookSeries, rows: NDArray[np.bool_], before: BookSeries | None) -> BookSeries | None:
    """The last of those rows, as a series of one."""
    at = np.flatnonzero(rows)
    return books.part(int(at[-1]), int(at[-1]) + 1) if len(at) else before


class _Grid:
    """The time clock: at every time of the grid the last row known then, if that is valid and another follows it.

    Not across a day or a million intervals of silence: a hole in the data, or a damaged time.
    """

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        # the last row, what was traded since the last tick up to it, and whether it is valid
        self._before: tuple[BookSeries, NDArray[np.bool_]] | None = None

    def ticks(self, books: BookSeries, valid: NDArray[np.bool_]) -> Iterator[BookSeries]:
        """Those before the last of these rows, in chunks of at most ROWS."""
        traded = [name for name in ("bought", "sold") if getattr(books, name) is not None]
        columns = ("ts_ns", *_SIDES, *traded)
        if self._before is not None:
            last, known = self._before
            books = books._replace(
                **{name: np.concatenate([getattr(last, name), getattr(books, name)]) for name in columns}
            )
            valid = np.concatenate([known, valid])
        if books.rows == 0:
            return
        times, step = np.minimum(books.ts_ns, LATEST_NS), self._interval_ns
        starts = -(-times // step) * step  # of the grid, not before each row
        spans = np.diff(times, append=times[-1]) + times - starts  # from there to the row that follows
        ticks = np.where(
            valid & (spans > 0) & (spans <= SILENT_TICKS * min(step, SILENCE_NS // SILENT_TICKS)), -(-spans // step), 0
        )
        ends = np.cumsum(ticks)
        total = {name: np.cumsum(getattr(books, name)) for name in traded}
        told = dict.fromkeys(traded, 0)
        for first in range(0, int(ends[-1]), ROWS):
            numbers = np.arange(first, min(first + ROWS, int(ends[-1])))
            at = np.searchsorted(ends, numbers, side="right")
            chosen = {name: getattr(books, name)[at] for name in columns}
            chosen["ts_ns"] = starts[at] + (numbers - (ends - ticks)[at]) * step
            for name in traded:
                chosen[name] = np.diff(total[name][at], prepend=told[name])
                told[name] = int(total[name][at[-1]])
            yield books._replace(**chosen)
        rest: dict[str, Any] = {name: getattr(books, name)[-1:] for name in columns}
        rest |= {name: total[name][-1:] - told[name] for name in traded}
        self._before = books._replace(**rest), valid[-1:]
