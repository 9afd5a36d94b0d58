"""Instrument definitions: tick size and expiry of an instrument, from Databento's files of the schema definition.

The smallest quantity is not taken from them: Databento's quantities are single shares or contracts, and the round lots
of definitions are no grid that they lie on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.columns import column_of, csv_names, distinct_words, integers, text_batches
from nanoarb_jax.readers.databento.decode import decode, is_dbn, library_errors, schema_in, split_header
from nanoarb_jax.readers.databento.parquet_file import parquet_batches, parquet_names
from nanoarb_jax.readers.databento.symbology import DAY_NS, day_text
from nanoarb_jax.readers.databento.values import is_decimal, prices, times
from nanoarb_jax.readers.format import Head, read_head

_COLUMNS = ("ts_recv", "instrument_id", "raw_symbol", "min_price_increment", "expiration")


class Definition(NamedTuple):
    """What an instrument was defined as.

    Attributes:
        number: of the instrument, on that day.
        symbol: the venue's.
        ts_recv: when it was received, ns since 1970 UTC.
        tick: price of one tick in units of 1e-9; 0: not told.
        expiry: last time of trading, ns since 1970 UTC; None: there is none.
        file: that says so.
    """

    number: int
    symbol: str
    ts_recv: int
    tick: int
    expiry: int | None
    file: Path

    @property
    def note(self) -> str:
        """What is known by it, for the user."""
        expires = "" if self.expiry is None else f", expires {day_text(self.expiry)}"
        tick = f"tick size {self.tick / 1e9:.9g}" if self.tick else "no tick size"
        return f"{self.symbol}: {tick}{expires}, by {self.file.name}"


def is_definition(head: Head) -> bool:
    """Whether a file, known to be Databento's, holds definitions."""
    if is_dbn(head.start):
        return schema_in(head.start) == "definition"
    names = parquet_names(head.path) if head.is_parquet else head.line.decode("utf-8", errors="replace").split(",")
    return set(_COLUMNS) <= {name.strip('"\ufeff') for name in names}


def find_definition(files: Iterable[Path], symbol: str, number: int, first_ns: int) -> Definition | None:
    """The definition of an instrument: of its symbol, else of its number on the same UTC date.

    Args:
        files: that stand beside the data; those that hold no definitions are passed over.
        symbol, number: of the instrument.
        first_ns: time of its first record; the last definition up to then holds, else the first after.

    Raises:
        DataError: a definition file is damaged.
    """
    of_symbol, of_number = [], []
    for file in files:
        for definition in read_definitions(file) if is_definition(read_head(file)) else ():
            if definition.symbol == symbol:
                of_symbol.append(definition)
            elif definition.number == number and definition.ts_recv // DAY_NS == first_ns // DAY_NS:
                of_number.append(definition)
    met = of_symbol or of_number
    met.sort(key=lambda definition: definition.ts_recv)
    before = [definition for definition in met if definition.ts_recv <= first_ns]
    return before[-1] if before else met[0] if met else None


def read_definitions(path: Path) -> Iterator[Definition]:
    """All definitions of a DBN, CSV or Parquet file.

    Raises:
        DataError: it is damaged; also while they are read.
    """
    head = read_head(path)
    if is_dbn(head.start):
        yield from _in_dbn(path)
    else:
        yield from _in_columns(path, head.is_parquet)


def _in_dbn(path: Path) -> Iterator[Definition]:
    import databento_dbn

    _, decoded = split_header(path, decode(path))
    for records in decoded:
        with library_errors(f"{path}: a damaged definition"):
            found = [
                (r.instrument_id, r.raw_symbol, r.ts_recv, r.min_price_increment, r.expiration)
                for r in records
                if isinstance(r, databento_dbn.InstrumentDefMsg)
            ]
        for row in found:
            yield _definition(path, *row)


def _in_columns(path: Path, parquet: bool) -> Iterator[Definition]:
    batches = parquet_batches(path, _COLUMNS) if parquet else text_batches(path, csv_names(path, _COLUMNS), _COLUMNS)
    for columns in batches:
        indices, symbols = distinct_words(columns["raw_symbol"], column_of(path, "raw_symbol"))
        tick, what = columns["min_price_increment"], column_of(path, "min_price_increment")
        found = (
            integers(columns["instrument_id"], column_of(path, "instrument_id"), "uint32").tolist(),
            [symbols[index] for index in indices],
            times(columns["ts_recv"], column_of(path, "ts_recv"), may_miss=True).tolist(),
            prices(tick, what, bool(is_decimal([tick]))).tolist(),
            times(columns["expiration"], column_of(path, "expiration"), may_miss=True).tolist(),
        )
        for row in zip(*found, strict=True):
            yield _definition(path, *row)


def _definition(path: Path, number: int, symbol: str, ts_recv: int, tick: int, expiry: int) -> Definition:
    told = 0 < tick < EMPTY_PRICE
    expires = 0 < expiry < EMPTY_PRICE  # a missing time is 2**64 - 1, or -1
    return Definition(number, symbol, ts_recv, tick if told else 0, expiry if expires else None, path)


def other_files(files: Sequence[Path]) -> list[str]:
    """Names of the files beside the data that hold no definitions: statuses, statistics, trades alone."""
    return [file.name for file in files if not is_definition(read_head(file))]
