"""Rows of a table as events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import EVENT
from nanoarb_jax.readers.columns import Array, Batch, distinct_words, floats, integers
from nanoarb_jax.readers.table import words
from nanoarb_jax.readers.table.layout import Table
from nanoarb_jax.readers.table.rows import Clocks, exchange_times, received_times

_NO_KIND = event.KIND_MASK  # of rows that change nothing
_FEWEST_TURNS, _CROSSING = 20, 0.5  # pairs of rows of both sides, and the share of them that trades have crossed


class Rows(NamedTuple):
    """Rows as events, with no message ended but those that the file's flags end.

    Attributes:
        events: (n,) EVENT.
        restated: (n,) bool, the levels and orders of a snapshot.
    """

    events: NDArray[np.void]
    restated: NDArray[np.bool_]

    def part(self, start: int | None, stop: int | None) -> Rows:
        """Some of the rows; views."""
        return Rows(self.events[start:stop], self.restated[start:stop])


def parse_rows(table: Table, clocks: Clocks, batch: Batch, dropped: Counter[str]) -> Rows:
    """A batch of `read_rows` as events.

    Args:
        dropped: rows that say "no action" are counted into it and left out.

    Raises:
        DataError: a cell that is not what its column holds, or a row that is no event.
    """
    path = table.path
    local_ts = received_times(table, clocks, batch)
    kind, whole = _kinds(table, batch)
    side = np.where(
        (kind == event.CLEAR) & whole, 0, _codes(batch["side"], words.SIDES, f"{path}, side", ("buy", "sell"))
    )
    snapshot: NDArray[np.bool_] = np.zeros(len(kind), bool)
    if "is_snapshot" in batch:
        snapshot = _codes(batch["is_snapshot"], words.TRUTH, f"{path}, is_snapshot", ("true", "false")) > 0
    kind[snapshot & (kind == event.DEPTH)] = event.DEPTH_SNAPSHOT
    restated = (kind == event.DEPTH_SNAPSHOT) | (snapshot & (kind == event.ADD))
    events = np.zeros(len(kind), EVENT)
    events["ev"] = kind | side | event.BOTH_SEE
    events["local_ts"] = events["exch_ts"] = local_ts
    if table.exchange_time is not None:
        events["exch_ts"] = exchange_times(table, clocks, batch)
    events["px"] = floats(batch["price"], f"{path}, price", may_miss=True)
    events["qty"] = np.where(whole, 0.0, floats(batch["size"], f"{path}, size", may_miss=True))
    named = _fill_ids(events, table, batch)
    if "flags" in batch:
        events["ival"] = integers(batch["flags"], f"{path}, flags", missing=0)
    events["ival"][restated] |= event.SNAPSHOT
    _fill_clears(events)
    acting = kind != _NO_KIND
    if not acting.all():
        dropped["no action"] += int((~acting).sum())
        events, restated, named = events[acting], restated[acting], named[acting]
    _check(table, events, named)
    return Rows(events, restated)


def _kinds(table: Table, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What every row does, and whether it tells of a level, an order or a book as a whole."""
    if table.kind is None:
        rows = len(batch["price"])
        return np.full(rows, event.DEPTH, np.int64), np.zeros(rows, bool)
    known = words.KINDS["order_id" in table.columns]
    code = _codes(batch[table.kind], known, f"{table.path}, {table.kind}", words.KIND_NAMES)
    return code & event.KIND_MASK, (code & words.WHOLE != 0) & (code != words.NO_ACTION)


def _fill_ids(events: NDArray[np.void], table: Table, batch: Batch) -> NDArray[np.bool_]:
    """Fill in the orders' ids; returns which rows have one."""
    if "order_id" not in batch:
        return np.zeros(len(events), bool)
    events["order_id"] = integers(batch["order_id"], f"{table.path}, order_id", "uint64", missing=0)
    return ~batch["order_id"].is_null().to_numpy(zero_copy_only=False)


def _fill_clears(events: NDArray[np.void]) -> None:
    """A clear has no size, and needs no price: without one, a side or the book goes as a whole."""
    clear = events["ev"] & event.KIND_MASK == event.CLEAR
    if clear.any():
        sideless = events["ev"] & (event.BUY | event.SELL) == 0
        events["qty"][clear & np.isnan(events["qty"])] = 0.0
        events["px"][clear & sideless & np.isnan(events["px"])] = 0.0


def _check(table: Table, events: NDArray[np.void], named: NDArray[np.bool_]) -> None:
    """Refuse rows that are no event."""
    kind, px, qty = events["ev"] & event.KIND_MASK, events["px"], events["qty"]
    sideless = events["ev"] & (event.BUY | event.SELL) == 0
    of_order = np.isin(kind, words.ORDER_KINDS)
    leaves = (kind == event.CANCEL) | (kind == event.FILL) | (kind == event.CLEAR)
    needs_side = ~leaves & (kind != event.TRADE)
    checks = (
        (np.isnan(px) & ~leaves, "no price", "a price"),
        (np.isnan(qty) | (qty < 0), "no size, or a negative one", "a size of 0 or more"),
        (sideless & needs_side, "no side", "buy or sell"),
        (of_order & ~named, "an order without an id", "an id in a column order_id"),
    )
    for bad, met, expected in checks:
        if bad.any():
            row = int(np.argmax(bad))
            where = f"{table.path}, time {events['local_ts'][row]}"
            raise DataError(f"{where}: {met} (price {px[row]}, size {qty[row]}); expected {expected}")


def refuse_trades(table: Table, rows: Rows) -> None:
    """Refuse rows, of a table that does not say what they do, that can only be trades.

    Bids lie below asks, but a taker buys at the ask and sells at the bid. Neighbouring rows of both sides tell which it
    is, if no level is ever deleted.

    Raises:
        DataError: they are trades.
    """
    px, bought = rows.events["px"], rows.events["ev"] & event.BUY != 0
    turns = bought[1:] != bought[:-1]
    crossed = np.where(bought[1:], px[1:] >= px[:-1], px[:-1] >= px[1:])[turns]
    if len(crossed) >= _FEWEST_TURNS and crossed.mean() > _CROSSING and (rows.events["qty"] > 0).all():
        raise DataError(
            f"{table.path}: its rows look like trades (in {crossed.mean():.0%} of neighbouring rows of both sides the "
            "buy is not below the sell, and no level is ever deleted), and trades alone make no book; if they are "
            "levels, say so by a column kind of the word depth"
        )


def _codes(column: Array, codes: Mapping[str, int], what: str, expected: Sequence[str]) -> NDArray[np.int64]:
    """(n,) the codes of a column of words; those to advise are `expected`."""
    indices, found = distinct_words(column, what)
    given = [word.strip().lower() for word in found]
    used = np.unique(indices)
    unknown = [given[i] for i in used if given[i] not in codes]
    if unknown:
        raise DataError(f"{what}: {unknown[0]!r}; expected one of {', '.join(expected)}")
    return np.array([codes.get(word, 0) for word in given] or [0], np.int64)[indices]
