"""Books as events: what changed from one book to the next, for programs that read events alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.event import BUY, CLEAR, DEPTH, EVENT, LAST, SELL, TRADE
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries, find_faults

_ROWS = 4_096  # books of one block
_MOST = 4 * LEVELS + 3  # events that one book makes, at most


def book_events(books: BookSeries) -> NDArray[np.void]:
    """Events that make these books, each book one message.

    A level that is not among a book's best ten is removed, since nothing is known of it; so the book that the events
    make shows exactly the levels of the files. What takers traded comes first, at the best price of the book before,
    since books do not say at which. Invalid books make no event.

    Args:
        books: (n,) in order of their times.

    Returns:
        (m,) EVENT, times of exchange and receiver alike; the first message begins by clearing the book.
    """
    good = ~np.any(np.stack(find_faults(books)), axis=0)
    tops = np.stack([getattr(books, name) for name in ("bid_px", "bid_lots", "ask_px", "ask_lots")], axis=1)
    traded = np.zeros((2, books.rows), np.int64)
    for side, column in enumerate((books.bought, books.sold)):
        if column is not None:
            traded[side] = np.maximum(column, 0)
    waiting = np.cumsum(traded, axis=1)  # of invalid books too: they are told with the next valid one
    rows = np.flatnonzero(good)
    told = np.diff(waiting[:, rows], axis=1, prepend=0)
    made, before = [], np.full((4, LEVELS), EMPTY_PRICE, np.int64)
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        out = np.zeros(len(block) * _MOST, EVENT)
        parts = np.ascontiguousarray(tops[block]), np.ascontiguousarray(told[:, start : start + _ROWS])
        count = _write(*parts, np.ascontiguousarray(books.ts_ns[block]), before, start == 0, out)
        made.append(out[:count].copy())
        before = tops[block[-1]].copy()
    events = np.concatenate(made) if made else np.zeros(0, EVENT)
    events["px"] /= books.px_scale
    events["qty"] /= books.lots_per_unit
    return events


@compiled
def _write(tops, traded, ts_ns, before, clears, out):  # type: ignore[no-untyped-def]
    """Write the events of a block of books, prices and quantities in the books' own units; returns how many.

    Args:
        tops: (n, 4, 10) int64, bid_px, bid_lots, ask_px, ask_lots.
        traded: (2, n) int64, bought and sold before each book.
        ts_ns: (n,) int64.
        before: (4, 10) int64, the book before the first.
        clears: whether the first message begins by clearing the book.
        out: room, zeros.
    """
    count = 0
    for row in range(len(ts_ns)):
        old = before if row == 0 else tops[row - 1]
        new, first = tops[row], count
        if clears and row == 0:
            out[count].ev = CLEAR
            count += 1
        for side in range(2):
            price = old[2 if side == 0 else 0, 0]
            if traded[side, row] > 0 and price != EMPTY_PRICE:
                out[count].ev, out[count].px = TRADE | (BUY if side == 0 else SELL), price
                out[count].qty = traded[side, row]
                count += 1
        for side in range(2):
            flag = DEPTH | (BUY if side == 0 else SELL)
            for k in range(LEVELS):
                price = old[2 * side, k]
                if price != EMPTY_PRICE and _lots_at(new, side, price) == 0:
                    out[count].ev, out[count].px = flag, price
                    count += 1
            for k in range(LEVELS):
                price, lots = new[2 * side, k], new[2 * side + 1, k]
                # the best level is told again where nothing changed, so that every book ends a message
                if price != EMPTY_PRICE and (_lots_at(old, side, price) != lots or (side == 1 and k == 0)):
                    out[count].ev, out[count].px, out[count].qty = flag, price, lots
                    count += 1
        for k in range(first, count):
            out[k].exch_ts = out[k].local_ts = ts_ns[row]
        out[count - 1].ival = LAST
    return count


@compiled
def _lots_at(top, side, price):  # type: ignore[no-untyped-def]
    for k in range(LEVELS):
        if top[2 * side, k] == price:
            return top[2 * side + 1, k]
    return 0
