"""Rows of Databento's schemas of price levels and best prices as books."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import LAST, MAYBE_BAD_BOOK
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries
from nanoarb_jax.readers.databento.layout import PX_SCALE, SCHEMAS
from nanoarb_jax.readers.databento.select import Records

_TRADE = ord("T")
_SIDES = {"bought": ord("B"), "sold": ord("A")}  # of takers; any other is none


def book_notes(schema: str) -> list[str]:
    """What is to be known of a schema's books."""
    rows = SCHEMAS[schema].rows
    if rows == "samples":
        return [
            f"{schema}: samples at the ends of intervals; between them only the last trade is told, so trades are not "
            "known"
        ]
    if rows == "trades":
        return [f"{schema}: every row is a trade and the best prices before it; changes between trades are not told"]
    return []


def make_books(
    batches: Iterator[NDArray[np.void]], records: Records, tick: int, name: str, exchange_time: bool
) -> Iterator[BookSeries]:
    """One book where an event ends, or at every record if the first batch marks no ends.

    Args:
        batches: (n,) rows of one instrument.
        records: that they are of.
        tick: price of one tick, in 1e-9.
        name: of the series.
        exchange_time: date books by the exchange's time; samples are always dated by the end of their interval.

    Raises:
        DataError: a price between the ticks.
    """
    rows = SCHEMAS[records.schema].rows
    marked = None if rows == "updates" else False
    carried = dict.fromkeys(("bought", "sold", "unsided", "gap"), 0)
    for batch in batches:
        ends = batch["flags"] & LAST != 0
        marked = bool(ends.any()) if marked is None else marked
        at = np.flatnonzero(ends) if marked else np.arange(len(batch))
        if len(at) < len(batch):
            records.dropped["inside an event"] += len(batch) - len(at)
        since = {column: _since_book(met, at, carried, column) for column, met in _met(batch, rows).items()}
        if len(at) == 0:
            continue
        px, lots = _levels(batch["levels"][at])
        _check_grid(px, tick, records)
        yield BookSeries(
            _times(batch, rows, exchange_time)[at],
            *(px["bid"], lots["bid"], px["ask"], lots["ask"]),
            px_scale=PX_SCALE,
            lots_per_unit=1.0,
            tick=tick,
            name=name,
            bought=since.get("bought"),
            sold=since.get("sold"),
            unsided=since.get("unsided"),
            gap=since["gap"] > 0,
        )


def _met(batch: NDArray[np.void], rows: str) -> dict[str, NDArray[np.int64]]:
    """By column of the books, (n,) what every record adds to it: lots traded, and messages lost before it."""
    met = {"gap": (batch["flags"] & MAYBE_BAD_BOOK != 0).astype(np.int64)}
    if rows != "samples":
        traded = np.where(batch["action"] == _TRADE, batch["size"], 0).astype(np.int64)
        met |= {column: np.where(batch["side"] == side, traded, 0) for column, side in _SIDES.items()}
        met["unsided"] = traded - met["bought"] - met["sold"]
    return met


def _since_book(
    met: NDArray[np.int64], at: NDArray[np.intp], carried: dict[str, int], column: str
) -> NDArray[np.int64]:
    """(m,) sums of what was met since the book before; `carried` holds what no book has had yet, and is changed."""
    total = carried[column] + np.cumsum(met)
    sums = np.diff(total[at], prepend=0)
    carried[column] = int(total[-1] - sums.sum())
    return sums


def _times(batch: NDArray[np.void], rows: str, exchange_time: bool) -> NDArray[np.int64]:
    """(n,) when each row was known, or when it happened."""
    received = batch["ts_recv"].astype(np.int64)
    if not exchange_time or rows == "samples":
        return received
    return np.where(batch["ts_event"] < 0, received, batch["ts_event"])


def _check_grid(px: dict[str, NDArray[np.int64]], tick: int, records: Records) -> None:
    for prices in px.values():
        off = prices[(prices != EMPTY_PRICE) & (prices % tick != 0)]
        if len(off):
            met = f"price {off[0] / PX_SCALE:.12g} is no multiple of the tick size {tick / PX_SCALE:g}"
            raise DataError(f"{records.path}: {met}; give a finer tick_size, on the command line --tick-size")


def _levels(levels: NDArray[np.void]) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.int64]]]:
    """By side, prices and lots, (n, 10) each."""
    px, lots = (
        {side: _padded(levels[f"{side}_{what}"], empty) for side in ("bid", "ask")}
        for what, empty in (("px", EMPTY_PRICE), ("sz", 0))
    )
    return px, lots


def _padded(levels: NDArray[np.integer], empty: int) -> NDArray[np.int64]:
    """(n, 1 or 10) to (n, 10) int64."""
    full = np.full((len(levels), LEVELS), empty, np.int64)
    full[:, : levels.shape[1]] = levels
    return full
