"""LOBSTER: order books rebuilt from NASDAQ's TotalView-ITCH, one message file and one order book file a day.

Both have one row per event; an order book row is the book after its event. Format: lobsterdata.com, *output structure*.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, time
from io import TextIOWrapper
from itertools import islice, zip_longest
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import CHUNK, BookFeed, ReadOptions

_NAME = re.compile(
    r"(?P<ticker>[^_]+)_(?P<day>\d{4}-\d\d-\d\d)(_(?P<span>.+))?_(?P<kind>message|orderbook)(_\d+)?(\.\w+)*"
)
_PATTERN = "TICKER_YYYY-MM-DD_startms_endms_orderbook_LEVEL.csv"
_PX_SCALE = 10_000
_CENT = 100  # in price units
_EMPTY = 9_999_999_999  # the price of an empty ask; of an empty bid, negative
_DAY_NS = 86_400 * 10**9
_MESSAGE = np.dtype([("time", "U32"), ("type", "i8"), ("order", "i8"), ("size", "i8"), ("px", "i8"), ("side", "i8")])
_EXECUTION, _HIDDEN, _HALT = 4, 5, 7
# from this day on the exchange reports every hidden order as a bid (LOBSTER's help, *hidden order executions*)
_HIDDEN_SIDE_MASKED = date(2014, 7, 14)


class _File(NamedTuple):
    """What the name of an order book file says."""

    name: str
    day: date
    midnight_ns: int
    start_ns: int


def open_lobster(orderbook: Path, message: Path | None, options: ReadOptions) -> BookFeed:
    """Read one instrument's day, plain or compressed.

    Files of fewer than ten levels leave the deeper ones empty; of more, the first ten are taken. px_scale is 10,000 and
    lots_per_unit 1. The tick is a cent, or what the prices of the first chunk need if that is finer.

    `bought` and `sold` are the executions of visible (type 4) and hidden orders (type 5); the direction in the file
    is that of the resting order. From 14 July 2014 on hidden orders have no true direction there, so theirs is taken
    from the price: above the mid bought, below sold, at the mid neither. Crosses (type 6) have no taker.
    Rows of trading halts (type 7), which repeat the book before them, are dropped and counted.

    Args:
        orderbook: TICKER_YYYY-MM-DD_startms_endms_orderbook_LEVEL.csv; anything may stand for startms_endms.
        message: the message file of the same rows. None: times and trades are not known, and the rows are 1 ns apart
            from the start that the file's name gives (midnight, where it gives none).
        options: `tick_size` is heeded.

    Raises:
        DataError: a missing, damaged or empty file, a name without a day, a cell that is not a number, a price between
            the ticks, row counts that differ; from here, or while the chunks are read.
    """
    file = _parse_name(orderbook)
    head = _first_columns(orderbook)
    if head % 4:
        raise DataError(f"{orderbook}: {head} columns; expected ask price, ask size, bid price, bid size of each level")
    if message is not None and (columns := _first_columns(message)) not in (6, 7):
        raise DataError(f"{message}: {columns} columns; expected time, type, order id, size, price, direction")
    tick = None if options.tick_size is None else _tick(options.tick_size, orderbook)
    dropped: Counter[str] = Counter()
    chunks = _chunks(orderbook, message, file, tick, dropped)
    return BookFeed(file.name, "lobster", chunks, dropped, timed=message is not None)


def _parse_name(path: Path) -> _File:
    match = _NAME.fullmatch(path.name)
    try:
        day = date.fromisoformat(match["day"] if match else "")
    except ValueError as error:
        raise DataError(f"{path}: the file's name tells no day; expected {_PATTERN}") from error
    assert match is not None
    # seconds count wall-clock time: 34200 is 9:30 also on the days on which the clocks change, at night
    noon = datetime.combine(day, time(12), ZoneInfo("America/New_York"))
    midnight_ns = (int(noon.timestamp()) - 12 * 3600) * 10**9
    span = re.fullmatch(r"(\d{1,8})_\d+", match["span"] or "")
    start_ns = midnight_ns + (int(span[1]) * 10**6 if span else 0)
    name = path.name[: match.start("kind") - 1]  # what stands before _orderbook
    return _File(name, day, midnight_ns, start_ns)


def _tick(tick_size: float, path: Path) -> int:
    units = tick_size * _PX_SCALE
    if not (0.5 <= units < _EMPTY and abs(units - round(units)) < 1e-6):
        raise DataError(f"{path}: tick size {tick_size}; expected a multiple of {1 / _PX_SCALE}, LOBSTER's price unit")
    return round(units)


def _open_text(path: Path) -> TextIOWrapper:
    return TextIOWrapper(open_bytes(path), encoding="ascii", errors="replace")


def _first_columns(path: Path) -> int:
    with _open_text(path) as text:
        line = text.readline().strip()
    if not line:
        raise DataError(f"{path}: no rows; expected a LOBSTER file")
    return line.count(",") + 1


def _chunks(
    orderbook: Path, message: Path | None, file: _File, tick: int | None, dropped: Counter[str]
) -> Iterator[BookSeries]:
    first = 0
    for book, events in _paired(orderbook, message):
        books, tick = _books(book, file, orderbook, first, tick)
        if events is not None:
            books = _with_events(books, events, file, str(message), first, dropped)
        if books.rows:
            yield books
        first += len(book)


def _paired(orderbook: Path, message: Path | None) -> Iterator[tuple[NDArray[np.int64], NDArray[np.void] | None]]:
    """Rows of both files, side by side."""
    # one subarray field, so that a row of another width is an error
    book_dtype = np.dtype([("book", "i8", (_first_columns(orderbook),))])
    if message is None:
        with _open_text(orderbook) as text:
            for book in _blocks(orderbook, text, book_dtype):
                yield book["book"], None
        return
    more = [("participant", "U8")] if _first_columns(message) == 7 else []  # newer files have it
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
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{path}, from row {first}: not a LOBSTER row ({reason}); fetch the file again") from error
        if len(rows) != len(lines):
            raise DataError(f"{path}, from row {first}: {len(lines) - len(rows)} blank lines; expected none")
        yield rows
        first += len(rows)


def _books(rows: NDArray[np.int64], file: _File, path: Path, first: int, tick: int | None) -> tuple[BookSeries, int]:
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
            f"of {1 / _PX_SCALE}; give --tick-size if the tick is finer"
        )
    (ask_px, ask_lots), (bid_px, bid_lots) = _side(columns[:, :, :2]), _side(columns[:, :, 2:])
    ts_ns = file.start_ns + np.arange(first, first + len(rows), dtype=np.int64)
    return BookSeries(ts_ns, bid_px, bid_lots, ask_px, ask_lots, float(_PX_SCALE), 1.0, tick, file.name), tick


def _side(columns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Prices and sizes (n, 10) of a side, of its price and size columns (n, levels, 2)."""
    rows, levels, _ = columns.shape
    px, lots = np.full((rows, LEVELS), EMPTY_PRICE, np.int64), np.zeros((rows, LEVELS), np.int64)
    empty = np.abs(columns[:, :, 0]) == _EMPTY
    px[:, :levels] = np.where(empty, EMPTY_PRICE, columns[:, :, 0])
    lots[:, :levels] = np.where(empty, 0, columns[:, :, 1])
    return px, lots


def _with_events(
    books: BookSeries, events: NDArray[np.void], file: _File, what: str, first: int, dropped: Counter[str]
) -> BookSeries:
    """Books with the times and trades of their messages, without the halts."""
    kind, side, size = events["type"], events["side"], events["size"]
    executed = (kind == _EXECUTION) | (kind == _HIDDEN)
    bad = (kind < 1) | (kind > _HALT) | (executed & ((np.abs(side) != 1) | (size < 0)))
    if bad.any():
        row = int(np.argmax(bad))
        met = f"type {kind[row]}, size {size[row]}, direction {side[row]}"
        raise DataError(f"{what}, row {first + row}: {met}; expected a type of 1 to 7, shares, a direction of -1 or 1")
    ts_ns = file.midnight_ns + parse_seconds(events["time"], what, first)
    taker = -np.sign(side)  # who took is on the other side of who rested
    if file.day >= _HIDDEN_SIDE_MASKED:
        # a hidden execution leaves the visible book as it was
        mid2 = books.bid_px[:, 0].astype(np.float64) + books.ask_px[:, 0]
        taker = np.where(kind == _HIDDEN, np.sign(2.0 * events["px"] - mid2).astype(np.int64), taker)
    traded = np.where(executed, size, 0)
    bought, sold = np.where(taker > 0, traded, 0), np.where(taker < 0, traded, 0)
    books = books._replace(ts_ns=ts_ns, bought=bought, sold=sold)
    halted = kind == _HALT
    if not halted.any():
        return books
    dropped["trading halt"] += int(halted.sum())
    return books._replace(
        **{key: array[~halted] for key, array in books._asdict().items() if isinstance(array, np.ndarray)}
    )


def parse_seconds(text: NDArray[np.str_], what: str = "times", first: int = 0) -> NDArray[np.int64]:
    """Seconds after midnight, as decimals, in ns: digit by digit, because a float64 has no room for them.

    Args:
        text: (n,) such as "34200.004241176"; decimals after the ninth are rounded.
        what, first: the file and its row, for the error.

    Raises:
        DataError: not a plain decimal number, or a day or more.

    >>> parse_seconds(np.array(["34200.004241176", "0.1"]))
    array([34200004241176,      100000000])
    """
    rows = len(text)
    chars = np.ascontiguousarray(text).view(np.uint32).reshape(rows, -1)  # code points, padded with 0
    ns, decimals = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    dots, digits = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    bad, ended = np.zeros(rows, bool), np.zeros(rows, bool)
    for char in chars.T:
        digit = (char >= ord("0")) & (char <= ord("9"))
        value = char.astype(np.int64) - ord("0")
        bad |= ~digit & (char != ord(".")) & (char != 0) | (ended & (char != 0))
        ended |= char == 0
        ns = np.where(digit & (decimals < 9), ns * 10 + value, ns) + (digit & (decimals == 9) & (value >= 5))
        decimals += digit & (dots > 0)
        digits += digit & (dots == 0)
        dots += char == ord(".")
    bad |= (dots > 1) | (digits == 0) | (digits > 5)
    ns *= 10 ** np.maximum(9 - decimals, 0)
    bad |= ns >= _DAY_NS
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{what}, row {first + row}: time {str(text[row])!r}; expected seconds after midnight")
    return ns
