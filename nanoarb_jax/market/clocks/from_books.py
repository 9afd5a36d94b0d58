"""Ticks of a feed that holds books already: invalid rows are counted and left out, a clock chooses among the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.anomaly import HEAL, KEEP, RAISE, Anomaly, policies
from nanoarb_jax.market.clocks.clock import CHUNK_ROWS, LATEST_NS, TickClock
from nanoarb_jax.market.series import SIDE_COLUMNS, BookSeries, find_faults

_TRADED = ("bought", "sold", "unsided")  # columns of lots


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
        anomalies: counted into by kind: crossed, locked, one_sided, invalid (a negative quantity, levels out of order),
            backwards (the row keeps its place and takes the latest time before it), gap (messages before the row were
            lost).
        policy: of `anomaly.policies`; None: the defaults, and invalid rows are left out. Every row is a whole book, so
            there is none to empty and none to wait for: "resync" is "skip".

    Raises:
        DataError: a trade clock, but the feed knows no trades; an anomaly whose policy is to raise.
    """
    before: BookSeries | None = None
    grid = _TimeGrid(clock)
    traded_since_tick = np.zeros(len(_TRADED), np.int64)
    latest = np.iinfo(np.int64).min
    counter = _AnomalyCounter(anomalies, policies({"invalid": "skip"}) if policy is None else policy)
    for chunk in chunks:
        if clock.kind == "trade" and chunk.bought is None:
            raise DataError(
                f"{chunk.name}: no trades in these books; expected them for the trade clock, choose another"
            )
        books, late = _in_order(chunk, latest, counter)
        latest = max(latest, int(books.ts_ns[-1])) if books.rows else latest
        valid = _valid_rows(books, counter) & ~late
        books = _without_negative_trades(books)._replace(gap=None)
        if clock.kind == "time":
            yield from grid.ticks(books._replace(unsided=None), valid)
            continue
        if clock.kind == "trade":
            due = _rows_with_trades(books, valid, traded_since_tick)
        else:
            every_valid_row = every_row and clock.levels == books.bid_px.shape[1]
            due = valid if every_valid_row else _changed_rows(books, valid, before, clock.levels)
        before = _last_row(books, due, before)
        chosen = _take_rows(books, due, traded_since_tick)
        if chosen.rows:
            yield chosen._replace(unsided=None)


class _AnomalyCounter(NamedTuple):
    """Counts by kind, and the policy of every kind."""

    counts: Counter[str]
    policy: NDArray[np.int8]

    def skipped(self, kind: Anomaly, met: NDArray[np.bool_], books: BookSeries) -> NDArray[np.bool_]:
        """Count the rows that met an anomaly; returns those that its policy leaves out.

        Raises:
            DataError: a row met it, and its policy is to raise.
        """
        self.counts[kind.name.lower()] += int(met.sum())
        if self.policy[kind] == RAISE and met.any():
            row = int(np.argmax(met))
            bid, ask = (f"{px[row, 0]} x {lots[row, 0]}" for px, lots in books.sides)
            met_what = "gap before the" if kind == Anomaly.GAP else kind.name.lower()
            raise DataError(
                f"{books.name}: {met_what} book (bid {bid}, ask {ask}, time {books.ts_ns[row]}); check the "
                f"files, or choose another policy for {kind.name.lower()!r}"
            )
        return met if self.policy[kind] not in (KEEP, HEAL) else np.zeros_like(met)


def _in_order(books: BookSeries, latest: int, counter: _AnomalyCounter) -> tuple[BookSeries, NDArray[np.bool_]]:
    """The books with times that never go backwards, and which rows to leave out for it."""
    ordered = np.maximum.accumulate(np.maximum(books.ts_ns, latest))
    late = counter.skipped(Anomaly.BACKWARDS, books.ts_ns < ordered, books)
    return books._replace(ts_ns=ordered), late


def _valid_rows(books: BookSeries, counter: _AnomalyCounter) -> NDArray[np.bool_]:
    """(n,) rows that `validate_books` accepts, apart from time; each of the others counts under one anomaly.

    A row after a gap is left out under the policy of gaps, and counts as nothing else.
    """
    lost: NDArray[np.bool_] = np.zeros(books.rows, bool)
    if books.gap is not None:
        lost = counter.skipped(Anomaly.GAP, books.gap, books)
    faults = find_faults(books)
    one_sided, crossed = faults.one_sided & ~lost, faults.crossed & ~lost
    invalid = faults.negative_lots | faults.negative_trades | faults.lots_without_price | faults.unordered
    invalid &= ~lost
    locked = ~lost & ~one_sided & (books.bid_px[:, 0] == books.ask_px[:, 0])
    counter.skipped(Anomaly.ONE_SIDED, one_sided, books)
    counter.skipped(Anomaly.INVALID, invalid & ~one_sided, books)
    counter.skipped(Anomaly.CROSSED, crossed & ~invalid, books)
    return ~(lost | one_sided | invalid | crossed | counter.skipped(Anomaly.LOCKED, locked, books))


def _without_negative_trades(books: BookSeries) -> BookSeries:
    """The books with 0 for negative traded lots.

    Such rows are dropped, but their negative lots would otherwise be added to the next tick.
    """
    columns: dict[str, Any] = {name: getattr(books, name) for name in _TRADED}
    at_least_0: dict[str, Any] = {name: None if c is None else np.maximum(c, 0) for name, c in columns.items()}
    return books._replace(**at_least_0)


def _rows_with_trades(
    books: BookSeries, valid: NDArray[np.bool_], traded_since_tick: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(n,) valid rows with trades since the valid row before them, including trades in rows that were left out."""
    columns = [getattr(books, name) for name in _TRADED]
    known = [np.cumsum(traded) for traded in columns if traded is not None]
    total = np.where(valid, np.sum(known, axis=0) + traded_since_tick.sum(), 0)
    return valid & (np.diff(np.maximum.accumulate(total), prepend=0) > 0)


def _changed_rows(
    books: BookSeries, valid: NDArray[np.bool_], before: BookSeries | None, levels: int
) -> NDArray[np.bool_]:
    """(n,) valid rows whose best levels differ from the valid row before them; `before` is the last tick, if any."""
    at = np.flatnonzero(valid)
    due = np.zeros(books.rows, bool)
    if len(at) == 0:
        return due
    changed = np.zeros(len(at), bool)
    for side in SIDE_COLUMNS:
        now = getattr(books, side)[at, :levels]
        earlier = now[:1] if before is None else getattr(before, side)[:, :levels]
        changed |= (np.concatenate([earlier, now[:-1]]) != now).any(axis=1)
    changed[0] |= before is None
    due[at] = changed
    return due


def _take_rows(books: BookSeries, rows: NDArray[np.bool_], traded_since_tick: NDArray[np.int64]) -> BookSeries:
    """Those rows, each with what was traded in the rows left out before it.

    `traded_since_tick` holds the lots of `_TRADED` since the last row taken, from chunk to chunk; it is changed.
    """
    at = np.flatnonzero(rows)
    traded: dict[str, Any] = {}
    for i, name in enumerate(_TRADED):
        column = getattr(books, name)
        traded[name] = None
        if column is not None:
            total = np.cumsum(column) + traded_since_tick[i]
            traded[name] = np.diff(total[at], prepend=0)
            reported = total[at[-1]] if len(at) else 0
            traded_since_tick[i] = (total[-1] if len(total) else traded_since_tick[i]) - reported
    return books._replace(**{name: getattr(books, name)[at] for name in ("ts_ns", *SIDE_COLUMNS)}, **traded)


def _last_row(books: BookSeries, rows: NDArray[np.bool_], before: BookSeries | None) -> BookSeries | None:
    """The last of those rows, as a series of one; `before` if there is none."""
    at = np.flatnonzero(rows)
    return books.part(int(at[-1]), int(at[-1]) + 1) if len(at) else before


class _TimeGrid:
    """The time clock: at every time of the grid the last row known then, if that is valid and another follows it.

    It does not tick across a longer silence than the clock allows.
    """

    def __init__(self, clock: TickClock) -> None:
        self._interval_ns, self._silence_ns = clock.interval_ns, clock.silence_ns
        # the last row with the lots traded since the last tick, and whether it is valid
        self._last: tuple[BookSeries, NDArray[np.bool_]] | None = None

    def ticks(self, books: BookSeries, valid: NDArray[np.bool_]) -> Iterator[BookSeries]:
        """The ticks before the last of these rows, in chunks of at most CHUNK_ROWS."""
        traded = [name for name in ("bought", "sold") if getattr(books, name) is not None]
        columns = ("ts_ns", *SIDE_COLUMNS, *traded)
        if self._last is not None:
            last, last_valid = self._last
            books = books._replace(
                **{name: np.concatenate([getattr(last, name), getattr(books, name)]) for name in columns}
            )
            valid = np.concatenate([last_valid, valid])
        if books.rows == 0:
            return
        starts, counts = self._grid_times(books.ts_ns, valid)
        ends = np.cumsum(counts)
        total = {name: np.cumsum(getattr(books, name)) for name in traded}
        already_reported = dict.fromkeys(traded, 0)
        for first in range(0, int(ends[-1]), CHUNK_ROWS):
            numbers = np.arange(first, min(first + CHUNK_ROWS, int(ends[-1])))
            at = np.searchsorted(ends, numbers, side="right")
            chosen = {name: getattr(books, name)[at] for name in columns}
            chosen["ts_ns"] = starts[at] + (numbers - (ends - counts)[at]) * self._interval_ns
            for name in traded:
                chosen[name] = np.diff(total[name][at], prepend=already_reported[name])
                already_reported[name] = int(total[name][at[-1]])
            yield books._replace(**chosen)
        rest: dict[str, Any] = {name: getattr(books, name)[-1:] for name in columns}
        rest |= {name: total[name][-1:] - already_reported[name] for name in traded}
        self._last = books._replace(**rest), valid[-1:]

    def _grid_times(
        self, ts_ns: NDArray[np.int64], valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n,) the first time of the grid not before each row, and how many there are until the row that follows."""
        times, step = np.minimum(ts_ns, LATEST_NS), self._interval_ns
        starts = -(-times // step) * step
        spans = np.diff(times, append=times[-1]) + times - starts  # from the start to the row that follows
        counts = np.where(valid & (spans > 0) & (spans <= self._silence_ns), -(-spans // step), 0)
        return starts, counts
