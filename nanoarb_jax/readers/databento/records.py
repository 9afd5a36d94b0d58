"""Databento's market records, as arrays, to events or books; `dbn.py` and `csv_form.py` make the arrays.

The fields, flags and sides are those of Databento's "Standards and conventions"
(https://databento.com/docs/standards-and-conventions): prices are integers of 1e-9, times ns since 1970 UTC, and an
absent price is INT64_MAX, which is EMPTY_PRICE here. A trade's side is its taker's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import EVENT, LAST, SNAPSHOT
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions, infer_tick_size
from nanoarb_jax.readers.names import series_name, symbol_in_name

PX_SCALE = 1e9
_HEADER = [("length", "u1"), ("rtype", "u1"), ("publisher_id", "<u2"), ("instrument_id", "<u4"), ("ts_event", "<i8")]
_TRADE = [("price", "<i8"), ("size", "<u4"), ("action", "u1"), ("side", "u1"), ("flags", "u1"), ("depth", "u1")]
_RECEIVED = [("ts_recv", "<i8"), ("ts_in_delta", "<i4"), ("sequence", "<u4")]
_LEVEL = np.dtype([(f"{side}_{what}", code) for what, code in (("px", "<i8"), ("sz", "<u4"), ("ct", "<u4"))
                   for side in ("bid", "ask")])  # fmt: skip
# the library's layouts (packed, the same in DBN v1 to v3), except that bytes are numbers here, and times signed
MBO = np.dtype(
    [
        *_HEADER,
        ("order_id", "<u8"),
        ("price", "<i8"),
        ("size", "<u4"),
        ("flags", "u1"),
        ("channel_id", "u1"),
        ("action", "u1"),
        ("side", "u1"),
        *_RECEIVED,
    ]
)
MBP_1, MBP_10 = (np.dtype([*_HEADER, *_TRADE, *_RECEIVED, ("levels", _LEVEL, (depth,))]) for depth in (1, 10))
RECORDS = {"mbo": MBO, "mbp-1": MBP_1, "mbp-10": MBP_10}

_KINDS = {"A": event.ADD, "C": event.CANCEL, "M": event.MODIFY, "R": event.CLEAR, "T": event.TRADE, "F": event.FILL}
_NO_ACTION = ord("N")
_SIDES = {"B": event.BUY, "A": event.SELL, "N": 0}
_TOP_OF_BOOK = 64  # flag: the record is the best quote of a side, not an order


def _byte_table(values: dict[str, int]) -> NDArray[np.int64]:
    """Values by the byte of their letter; -1 for any other byte."""
    table = np.full(256, -1, np.int64)
    table[[ord(code) for code in values]] = list(values.values())
    return table


_KIND_OF, _SIDE_OF = _byte_table(_KINDS | {"N": 0}), _byte_table(_SIDES)


class Records(NamedTuple):
    """The records of a file, of any number of instruments.

    Attributes:
        path: of the file.
        format: "databento-" or "databento-csv-" and the schema.
        schema: a key of RECORDS.
        names: symbols by instrument id, as far as known; may grow as batches are read.
        batches: (n,) arrays of RECORDS[schema].
        dropped: counts, by reason, of what is left out.
    """

    path: Path
    format: str
    schema: str
    names: dict[int, str]
    batches: Iterator[NDArray[np.void]]
    dropped: Counter[str]


def count(dropped: Counter[str], reason: str, number: int) -> None:
    """Add to the count of a reason; one that never applied is not listed."""
    if number:
        dropped[reason] += number


def open_records(records: Records, options: ReadOptions) -> EventFeed | BookFeed:
    """The feed of one instrument: events of "mbo" records, books of the others.

    Raises:
        DataError: no records, or none of `options.symbol`; several instruments or venues and none, or not one, chosen;
            here or while chunks are read: a record that cannot be understood.
    """
    selected = _of_one_instrument(records, options.symbol)
    first = next(selected)
    batches = chain([first], selected)
    tick_size = options.tick_size or infer_tick_size(_prices(first) / PX_SCALE, str(records.path))
    name = series_name(records.path)
    if options.symbol is not None:
        name = f"{name}-{symbol_in_name(options.symbol)}"
    if records.schema == "mbo":
        events = _events(batches, records)
        return EventFeed(name, records.format, tick_size, options.lot_size or 1.0, events, records.dropped)
    tick = round(tick_size * PX_SCALE)
    if tick < 1 or abs(tick - tick_size * PX_SCALE) > 1e-6:
        remedy = "give another tick_size, on the command line --tick-size"
        raise DataError(f"{records.path}: tick size {tick_size}; expected a multiple of 1e-9, {remedy}")
    books = _books(batches, records, tick, name, "ts_event" if options.exchange_time else "ts_recv")
    return BookFeed(name, records.format, books, records.dropped)


def _of_one_instrument(records: Records, symbol: str | None) -> Iterator[NDArray[np.void]]:
    """The batches' records of the wanted instrument; none of the arrays is empty, and there is at least one."""
    chosen = None
    seen: set[int] = set()
    for batch in records.batches:
        ids = np.unique(batch["instrument_id"]).tolist()
        seen.update(ids)
        if symbol is None:
            if len(seen | set(records.names)) > 1:
                raise _several(records, seen)
        else:
            wanted = [i for i in ids if symbol in (records.names.get(i), str(i))]
            mine = np.isin(batch["instrument_id"], wanted)
            count(records.dropped, "other instrument", len(batch) - int(mine.sum()))
            batch = batch[mine]
        if len(batch) == 0:
            continue
        # an instrument that is quoted at several venues has a book at each of them; here they would be mixed into one
        source = batch["instrument_id"].astype(np.int64) << 16 | batch["publisher_id"]
        chosen = source[0] if chosen is None else chosen
        other = source[source != chosen]
        if len(other):
            met = ", ".join(f"{which >> 16} at publisher {which & 0xFFFF}" for which in (chosen, other[0]))
            remedy = "split the file"
            if other[0] >> 16 != chosen >> 16:
                remedy = "give the instrument's number as symbol, on the command line --symbol"
            raise DataError(f"{records.path}: several instruments or venues ({met}); expected one book, {remedy}")
        yield batch
    if chosen is None:
        met = f"no records of {symbol!r} (has {listed(records.names, seen)})" if seen else "no records"
        remedy = "check the file's time span, and symbol, on the command line --symbol"
        raise DataError(f"{records.path}: {met}; expected at least one, {remedy}")


def _several(records: Records, seen: set[int]) -> DataError:
    all_of_them = listed(records.names, seen | set(records.names))
    remedy = "choose it with symbol, on the command line --symbol"
    return DataError(f"{records.path}: several instruments ({all_of_them}); expected one, {remedy}")


def listed(names: Mapping[int, str], ids: Iterable[int]) -> str:
    """Instruments for an error message: the first twenty, with their symbols where known."""
    named = [f"{_printable(names[i])} = {i}" if i in names else str(i) for i in sorted(ids)]
    return ", ".join(named[:20]) + (", ..." if len(named) > 20 else "")


def _printable(symbol: str) -> str:
    return symbol if symbol.isprintable() else ascii(symbol)


def _prices(batch: NDArray[np.void]) -> NDArray[np.float64]:
    """Prices of the first batch, in 1e-9, that lie on the tick grid: not trades', which may be between the ticks."""
    if "levels" in (batch.dtype.names or ()):
        px = np.concatenate([batch["levels"][side].ravel() for side in ("bid_px", "ask_px")])
    else:
        px = batch["price"][np.isin(batch["action"], [ord("A"), ord("M")])]
    return np.where(px == EMPTY_PRICE, np.nan, px.astype(np.float64))


def _events(batches: Iterator[NDArray[np.void]], records: Records) -> Iterator[NDArray[np.void]]:
    done = 0
    for batch in batches:
        kind, side = _KIND_OF[batch["action"]], _SIDE_OF[batch["side"]]
        for field, unknown, expected in (("action", kind < 0, [*_KINDS, "N"]), ("side", side < 0, [*_SIDES])):
            if unknown.any():
                row = int(np.argmax(unknown))
                met = f"record {done + row} of the instrument: {field} {chr(batch[field][row])!r}"
                raise DataError(f"{records.path}: {met}; expected one of {' '.join(expected)}, fetch the file again")
        if (batch["flags"] & _TOP_OF_BOOK).any():
            raise DataError(f"{records.path}: best quotes (flag 64) among orders; expected orders, fetch schema mbp-1")
        done += len(batch)
        absent = batch["price"] == EMPTY_PRICE
        silent = batch["action"] == _NO_ACTION
        lost = np.isin(kind, [event.ADD, event.MODIFY]) & absent
        count(records.dropped, "no action", int(silent.sum()))
        count(records.dropped, "order without a price", int(lost.sum()))
        events = np.zeros(len(batch), EVENT)
        # Databento clears both sides at once, whatever the side says
        events["ev"] = kind | np.where(kind == event.CLEAR, 0, side) | event.BOTH_SEE
        # an order of a snapshot keeps the time when it was entered, hours or days before: as the time of a message
        # that would run backwards, so the snapshot happens when it was received (as hftbacktest's converter has it)
        replayed = (batch["flags"] & SNAPSHOT != 0) | (batch["ts_event"] < 0)
        events["exch_ts"] = np.where(replayed, batch["ts_recv"], batch["ts_event"])
        events["local_ts"] = batch["ts_recv"]
        events["px"] = np.where(absent, np.nan, batch["price"] / PX_SCALE)
        events["qty"], events["order_id"], events["ival"] = batch["size"], batch["order_id"], batch["flags"]
        yield events[~(silent | lost)]


def _books(
    batches: Iterator[NDArray[np.void]], records: Records, tick: int, name: str, time: str
) -> Iterator[BookSeries]:
    """One row where an event ends, or at every record if the first batch marks no ends."""
    marked = None
    carried = {"B": 0, "A": 0}
    for batch in batches:
        ends = batch["flags"] & LAST != 0
        marked = bool(ends.any()) if marked is None else marked
        at = np.flatnonzero(ends) if marked else np.arange(len(batch))
        count(records.dropped, "inside an event", len(batch) - len(at))
        traded = {}
        for side, before in carried.items():
            taken = (batch["action"] == ord("T")) & (batch["side"] == ord(side))
            total = before + np.cumsum(np.where(taken, batch["size"], 0).astype(np.int64))
            traded[side] = np.diff(total[at], prepend=0)
            carried[side] = int(total[-1] - traded[side].sum())
        if len(at):
            px, lots = ({side: _padded(batch["levels"][f"{side}_{what}"][at], empty) for side in ("bid", "ask")}
                      for what, empty in (("px", EMPTY_PRICE), ("sz", 0)))  # fmt: skip
            for prices in px.values():
                off = prices[(prices != EMPTY_PRICE) & (prices % tick != 0)]
                if len(off):
                    met = f"price {off[0] / PX_SCALE:.17g} is no multiple of the tick size {tick / PX_SCALE:g}"
                    raise DataError(f"{records.path}: {met}; give a finer tick_size, on the command line --tick-size")
            yield BookSeries(
                batch[time][at].astype(np.int64),
                px["bid"],
                lots["bid"],
                px["ask"],
                lots["ask"],
                px_scale=PX_SCALE,
                lots_per_unit=1.0,
                tick=tick,
                name=name,
                bought=traded["B"],
                sold=traded["A"],
            )


def _padded(levels: NDArray[np.integer], empty: int) -> NDArray[np.int64]:
    """(n, 1 or 10) to (n, 10) int64."""
    full = np.full((len(levels), LEVELS), empty, np.int64)
    full[:, : levels.shape[1]] = levels
    return full
