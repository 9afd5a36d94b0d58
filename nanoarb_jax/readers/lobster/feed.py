"""LOBSTER: order books rebuilt from NASDAQ's TotalView-ITCH, one message file and one order book file a day.

Both have one row per event; an order book row is the book after its event. Format: lobsterdata.com, *output structure*.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from io import TextIOWrapper
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import CHUNK, BookFeed, Feed, ReadOptions
from nanoarb_jax.readers.format import Format
from nanoarb_jax.readers.lobster.files import SessionFile, orderbook_path, pair, parse_name, sniff
from nanoarb_jax.readers.lobster.seconds import parse_seconds

_PX_SCALE = 10_000
_CENT = 100  # in price units
_EMPTY = 9_999_999_999  # the price of an empty ask; of an empty bid, negative
_MESSAGE = np.dtype([("time", "U32"), ("type", "i8"), ("order", "i8"), ("size", "i8"), ("px", "i8"), ("side", "i8")])
_EXECUTION, _HIDDEN, _HALT = 4, 5, 7
_RESUMED = 1  # the "price" of the message of type 7 that says so; -1 halts trading, 0 resumes quoting alone
# from this day on the exchange reports every hidden order as a bid (LOBSTER's help, *hidden order executions*)
_HIDDEN_SIDE_MASKED = date(2014, 7, 14)


def open_lobster(orderbook: Path, message: Path | None, options: ReadOptions) -> BookFeed:
    """Read one instrument's day, plain or compressed.

    Files of fewer than ten levels leave the deeper ones empty; of more, the first ten are taken. px_scale is 10,000 and
    lots_per_unit 1. The tick is a cent, or what the prices of the first chunk need if that is finer.

    `bought` and `sold` are the executions of visible (type 4) and hidden orders (type 5); the direction in the file
    is that of the resting order. From 14 July 2014 on hidden orders have no true direction there, so theirs is taken
    from the price: above the mid bought, below sold, at the mid neither. Crosses (type 6) have no taker.
    From a trading halt (type 7, price -1) until trading resumes (type 7, price 1) there are no books: the rows between,
    in which orders are only collected, are dropped and counted, and so are the messages of type 7 themselves.

    Args:
        orderbook: TICKER_YYYY-MM-DD_startms_endms_orderbook_LEVEL.csv; anything may stand for startms_endms.
        message: the message file of the same rows. None: times and trades are not known, and the rows are 1 ns apart
            from the start that the file's name gives (midnight, where it gives none).
        options: `tick_size` is heeded.

    Raises:
        DataError: a missing, damaged or empty file, a name without a day, a cell that is not a number, a price between
            the ticks, row counts that differ; from here, or while the chunks are read.
    """
    session = parse_name(orderbook)
    width = _count_columns(orderbook)
    if width % 4:
        raise DataError(
            f"{orderbook}: {width} columns; expected ask price, ask size, bid price, bid size of each level"
        )
    if message is not None and (columns := _count_columns(message)) not in (6, 7):
        raise DataError(f"{message}: {columns} columns; expected time, type, order id, size, price, direction")
    tick = None if options.tick_size is None else _tick_units(options.tick_size, orderbook)
    dropped: Counter[str] = Counter()
    chunks = _chunks(orderbook, message, session, tick, dropped)
    notes = [] if message is not None else ["no message file: times and trades are not known"]
    return BookFeed(session.name, "lobster", chunks, dropped, message is not None, notes)


def _tick_units(tick_size: float, path: Path) -> int:
    """The tick in LOBSTER's price units."""
    units = tick_size * _PX_SCALE
    if not (0.5 <= units < _EMPTY and abs(units - round(units)) < 1e-6):
        raise DataError(f"{path}: tick size {tick_size}; expected a multiple of {1 / _PX_SCALE}, LOBSTER's price unit")
    return round(units)


def _open_text(path: Path) -> TextIOWrapper:
    return TextIOWrapper(open_bytes(path), encoding="ascii", errors="replace")


def _count_columns(path: Path) -> int:
    """How many columns the first row has."""
    with _open_text(path) as text:
        line = text.readline().strip()
    if not line:
        raise DataError(f"{path}: no rows; expected a LOBSTER file")
    if re.match(r"\W?[A-Za-z]", line):
        raise DataError(f"{path}: a header line ({line[:40]!r}); LOBSTER files have none, remove it")
    return line.count(",") + 1


def _chunks(
    orderbook: Path, message: Path | None, session: SessionFile, tick: int | None, dropped: Counter[str]
) -> Iterator[BookSeries]:
    first, halted = 0, False
    for book, events in _paired(orderbook, message):
        books, tick = _books(book, session, orderbook, first, tick)
        if events is not None:
            books = _with_events(books, events, session, str(message), first)
            books, halted = _without_halts(books, events, halted, dropped)
        if books.rows:
            yield books
        first += len(book)


def _paired(orderbook: Path, message: Path | None) -> Iterator[tuple[NDArray[np.int64], NDArray[np.void] | None]]:
    """Rows of both files, side by side."""
    # one subarray field, so that a row of another width is an error
    book_dtype = np.dtype([("book", "i8", (_count_columns(orderbook),))])
    if message is None:
        with _open_text(orderbook) as text:
            for book in _blocks(orderbook, text, book_dtype):
                yield book["book"], None
        return
    more = [("participant", "U8")] if _count_columns(message) == 7 else []  # newer files have it
    with _open_text(orderbook) as text, _open_text(message) as message_text:
        books = _blocks(orderbook, text, book_dtype)
        messages = _blocks(message, message_text, np.dtype([*_MESSAGE.descr, *more]))
        first = 0
        for book, events in zip_longest(books, messages, fillvalue=np.empty(0, bool)):
            if len(book) != len(events):
                met = first + len(events) + sum(1 for _ in message_text)
                expected = first + len(book) + sum(1 for _ in text)
                raise DataError(f"{message}: {met} rows, but {expected} in {orderbook.name}; expected files of one day")
            yield book["book"], events
            first += len(book)


def _blocks(path: Path, text: TextIOWrapper, dtype: np.dtype) -> Iterator[NDArray]:
    """The file's rows, parsed, CHUNK at a time."""
    first = 0
    while lines := list(islice(text, CHUNK)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a decimal where a whole number belongs is only a warning to numpy
                rows = np.loadtxt(lines, dtype, delimiter=",", comments=None, ndmin=1)
        except (ValueError, OverflowError, Warning) as error:
            raise DataError(
                f"{path}, from row {first}: not a LOBSTER row ({first_line(error)}); fetch the file again"
            ) from error
        if len(rows) != len(lines):
            raise DataError(f"{path}, from row {first}: {len(lines) - len(rows)} blank lines; expected none")
        yield rows
        first += len(rows)


def _books(
    rows: NDArray[np.int64], session: SessionFile, path: Path, first: int, tick: int | None
) -> tuple[BookSeries, int]:
    """Rows (n, 4 x levels) as books that are 1 ns apart, and the tick, made of their prices if it is not known."""
    columns = rows.reshape(len(rows), -1, 4)[:, :LEVELS]  # ask price, ask size, bid price, bid size
    prices = columns[:, :, ::2]
    empty = np.abs(prices) == _EMPTY
    tick = tick or int(np.gcd.reduce(prices[~empty], initial=_CENT))
    bad = ~empty & ((prices <= 0) | (prices > _EMPTY) | (prices % tick != 0))
    if bad.any():
        row = int(np.argmax(bad.any(axis=(1, 2))))
        price = int(prices[row][bad[row]][0])
        raise DataError(
            f"{path}, row {first + row}: price {price}; expected a positive multiple of {tick} units "
            f"of {1 / _PX_SCALE}; if it is finer, give tick_size, on the command line --tick-size"
        )
    (ask_px, ask_lots), (bid_px, bid_lots) = _side(columns[:, :, :2]), _side(columns[:, :, 2:])
    ts_ns = session.start_ns + np.arange(first, first + len(rows), dtype=np.int64)
    return BookSeries(ts_ns, bid_px, bid_lots, ask_px, ask_lots, float(_PX_SCALE), 1.0, tick, session.name), tick


def _side(columns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Prices and sizes (n, 10) of a side, of its price and size columns (n, levels, 2)."""
    rows, levels, _ = columns.shape
    px, lots = np.full((rows, LEVELS), EMPTY_PRICE, np.int64), np.zeros((rows, LEVELS), np.int64)
    empty = np.abs(columns[:, :, 0]) == _EMPTY
    px[:, :levels] = np.where(empty, EMPTY_PRICE, columns[:, :, 0])
    lots[:, :levels] = np.where(empty, 0, columns[:, :, 1])
    return px, lots


def _with_events(
    books: BookSeries, events: NDArray[np.void], session: SessionFile, what: str, first: int
) -> BookSeries:
    """Books with the times and trades of their messages."""
    kind, side, size = events["type"], events["side"], events["size"]
    executed = (kind == _EXECUTION) | (kind == _HIDDEN)
    bad = (kind < 1) | (kind > _HALT) | (executed & ((np.abs(side) != 1) | (size < 0)))
    if bad.any():
        row = int(np.argmax(bad))
        met = f"type {kind[row]}, size {size[row]}, direction {side[row]}"
        raise DataError(f"{what}, row {first + row}: {met}; expected a type of 1 to 7, shares, a direction of -1 or 1")
    ts_ns = session.midnight_ns + parse_seconds(events["time"], what, first)
    taker = -np.sign(side)  # who took is on the other side of who rested
    if session.day >= _HIDDEN_SIDE_MASKED:
        # a hidden execution leaves the visible book as it was
        mid2 = books.bid_px[:, 0].astype(np.float64) + books.ask_px[:, 0]
        taker = np.where(kind == _HIDDEN, np.sign(2.0 * events["px"] - mid2).astype(np.int64), taker)
    traded = np.where(executed, size, 0)
    bought, sold = np.where(taker > 0, traded, 0), np.where(taker < 0, traded, 0)
    return books._replace(ts_ns=ts_ns, bought=bought, sold=sold)


def _without_halts(
    books: BookSeries, events: NDArray[np.void], halted: bool, dropped: Counter[str]
) -> tuple[BookSeries, bool]:
    """The books while trading goes on, and whether it is halted after the last row; `halted`: before the first."""
    told = events["type"] == _HALT
    if not told.any() and not halted:
        return books, False
    # the last message of type 7 up to each row; quoting that resumes (price 0) is no trading yet
    last = np.maximum.accumulate(np.where(told, np.arange(len(told)), -1))
    out = np.where(last < 0, halted, events["px"][last] != _RESUMED) | told
    dropped["trading halt"] += int(out.sum())
    kept = {key: array[~out] for key, array in books._asdict().items() if isinstance(array, np.ndarray)}
    return books._replace(**kept), bool(events["px"][last[-1]] != _RESUMED) if last[-1] >= 0 else halted


def _open(files: Sequence[Path], options: ReadOptions) -> Feed:
    return open_lobster(files[0], files[1] if len(files) > 1 else None, options)


FORMAT = Format(name="lobster", sniff=sniff, open=_open, options=("tick_size",), group_key=orderbook_path, group=pair)
