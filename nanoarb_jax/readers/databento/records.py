"""The feed of one instrument of Databento's records; `dbn.py`, `csv_form.py` and `parquet_form.py` read the records."""

from __future__ import annotations

from itertools import chain

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.databento.books import book_notes, make_books
from nanoarb_jax.readers.databento.definitions import find_definition, other_files
from nanoarb_jax.readers.databento.events import make_events
from nanoarb_jax.readers.databento.layout import PX_SCALE
from nanoarb_jax.readers.databento.select import Part, Records, select_instrument, told_times
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions, infer_tick_size
from nanoarb_jax.readers.names import series_name, symbol_in_name

_LEAST_PRICE = 100_000  # in 1e-9: nothing is quoted below a ten-thousandth


def open_records(records: Records, options: ReadOptions) -> EventFeed | BookFeed:
    """The feed of one instrument: events of "mbo" records, books of the others.

    Raises:
        DataError: no records, or none of `options.symbol`; several instruments or venues and none, or not one, chosen;
            a damaged definition file; here or while chunks are read: a record that cannot be understood.
    """
    parts = select_instrument(records, options.symbol)
    first = next(parts)
    tick_size = _tick_size(first, records, options)
    batches = told_times(chain([first], parts), records, options.symbol)
    name = series_name(records.path)
    if options.symbol is not None:
        name = f"{name}-{symbol_in_name(options.symbol)}"
    if records.schema == "mbo":
        events = make_events(batches, records)
        lot_size = options.lot_size or 1.0
        return EventFeed(name, records.format, tick_size, lot_size, events, records.dropped, records.notes)
    tick = round(tick_size * PX_SCALE)
    if tick < 1 or abs(tick - tick_size * PX_SCALE) > 1e-6:
        remedy = "give another tick_size, on the command line --tick-size"
        raise DataError(f"{records.path}: tick size {tick_size}; expected a multiple of 1e-9, {remedy}")
    records.notes.extend(book_notes(records.schema))
    books = make_books(batches, records, tick, name, options.exchange_time)
    return BookFeed(name, records.format, books, records.dropped, notes=records.notes)


def _tick_size(first: Part, records: Records, options: ReadOptions) -> float:
    """As the user says, else as the definition says, if its grid holds the first prices, else inferred from these."""
    beside = other_files(options.definitions)
    if beside:
        records.notes.append(f"left alone beside it: {', '.join(beside)} (no orders or books, and no definitions)")
    px = _prices(first.rows)
    tick = options.tick_size
    if len(beside) < len(options.definitions):
        row = first.rows[0]
        number, ts_recv = int(row["instrument_id"]), int(row["ts_recv"])
        found = find_definition(options.definitions, first.label, number, ts_recv)
        if found is None:
            records.notes.append(f"no definition of {first.label or number} in the files beside it")
        else:
            records.notes.append(found.note)
            off = px[(px % found.tick != 0)] if found.tick else px[:0]
            if len(off):
                records.notes.append(f"the definition's tick size contradicts the price {off[0] / PX_SCALE:.9g}")
            elif found.tick:
                tick = tick or found.tick / PX_SCALE
    largest = int(np.abs(px).max(initial=0))
    if 0 < largest < _LEAST_PRICE:
        raise DataError(
            f"{records.path}: prices up to {largest / PX_SCALE:g}; whole numbers are units of 1e-9, and these look as "
            "if they had lost their decimals; write them with a decimal point"
        )
    return tick or infer_tick_size(px / PX_SCALE, str(records.path))


def _prices(rows: NDArray[np.void]) -> NDArray[np.int64]:
    """Prices, in 1e-9, that lie on the tick grid: not trades', which may be between the ticks."""
    if "levels" in (rows.dtype.names or ()):
        px = np.concatenate([rows["levels"][side].ravel() for side in ("bid_px", "ask_px")])
    else:
        px = rows["price"][np.isin(rows["action"], [ord("A"), ord("M")])]
    return px[px != EMPTY_PRICE].astype(np.int64)
