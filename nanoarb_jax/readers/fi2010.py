"""FI-2010: ten levels of five Helsinki stocks over ten days of June 2010, with labels, in one text file a fold.

Ntakaris, Magris, Kanniainen, Gabbouj, Iosifidis: *Benchmark dataset for mid-price forecasting of limit order book data
with machine learning methods*, Journal of Forecasting 37 (2018). A file has 149 rows and one column an event: rows
1–40 are ask price, ask volume, bid price, bid volume of each level, rows 41–144 derived features, rows 145–149 labels.

Stocks and days follow each other in a file without a mark, and there are no times: a series across them is not one
stream. The joints between stocks mostly show as a jump of the price by more than 5 %; those between days stay hidden.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import CHUNK, BookFeed, Feed, ReadOptions, infer_tick_size
from nanoarb_jax.readers.format import Format, Head
from nanoarb_jax.readers.grid import on_grid, price_scale
from nanoarb_jax.readers.names import series_name

HORIZONS = (10, 20, 30, 50, 100)
UP, STATIONARY, DOWN = 1, 2, 3  # the labels of the files
_ROWS, _FEATURES = 149, 4 * LEVELS
_KEPT = (*range(_FEATURES), *range(_ROWS - len(HORIZONS), _ROWS))
# numbers are taken for prices if at least this share of the rows has asks above bids and levels in order
_ORDERLY = 0.99

Normalisation = Literal["decpre", "zscore", "minmax", "unknown"]


class Fi2010(NamedTuple):
    """One file.

    Attributes:
        name: the file's, without suffixes.
        features: (n, 40) float32, the file's rows 1–40: ask price, ask volume, bid price, bid volume of each level.
        labels: (n, 5) int8, as in the file: 1 up, 2 stationary, 3 down.
        horizons: of the labels' columns, in events.
        normalisation: as the file's name says.
        mid: (n,) float64, in the file's unit; None where the numbers are not prices.
    """

    name: str
    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    horizons: tuple[int, ...]
    normalisation: Normalisation
    mid: NDArray[np.float64] | None


def read_fi2010(path: str | Path) -> Fi2010:
    """Read features and labels of one file, plain or compressed, e.g. Train_Dst_NoAuction_ZScore_CF_7.txt.

    Raises:
        DataError: a missing or damaged file, one of other than 149 rows, rows of unequal length, a cell that is not a
            finite number, a label other than 1, 2, 3.
    """
    path = Path(path)
    rows = _read(path)
    features, labels = rows[:_FEATURES], rows[_FEATURES:]
    bad = ~np.isin(labels, (UP, STATIONARY, DOWN))
    if bad.any():
        row, column = (int(index[0]) for index in np.nonzero(bad))
        met = f"label {labels[row, column]:g} at k = {HORIZONS[row]}, event {column}"
        raise DataError(f"{path}: {met}; expected 1 (up), 2 (stationary) or 3 (down)")
    normalisation = _normalisation(path)
    mid = (features[0] + features[2]) / 2 if _not_prices(features, normalisation) is None else None
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(features.T, dtype=np.float32)
    codes = np.ascontiguousarray(labels.T, dtype=np.int8)
    return Fi2010(series_name(path), single, codes, HORIZONS, normalisation, mid)


def fi2010_books(path: str | Path) -> BookFeed:
    """Read the books of a DecPre file, whose numbers are prices and volumes divided by powers of ten.

    Prices and volumes are put on the coarsest decimal grids that hold all of them, so the unit of price is the file's,
    not the euro; with several stocks in the file the tick is the finest of theirs. The file has no times: rows are 1 ns
    apart, from 0. For the joints between stocks and days see the module's head.

    Raises:
        DataError: what `read_fi2010` raises, and a z-score or min-max file: there every level is normalised on its
            own, so that prices and sizes are lost.
    """
    path = Path(path)
    features = _read(path)[:_FEATURES]
    if (why := _not_prices(features, _normalisation(path))) is not None:
        raise DataError(f"{path}: no books can be made of it: {why}; use the DecPre file, or read its features")
    prices, volumes = features[::2], features[1::2]
    tick_size = infer_tick_size(prices[prices > 0], f"{path}, prices")
    px_scale, tick = price_scale(tick_size, str(path))
    volume_step = infer_tick_size(volumes[volumes > 0], f"{path}, volumes") if (volumes > 0).any() else 1.0
    lots_per_unit, step = price_scale(volume_step, str(path))
    px = on_grid(prices, tick_size, f"{path}, price", None, tick)
    lots = on_grid(volumes, volume_step, f"{path}, volume", None, step)
    empty = (px == 0) | (lots == 0)
    px[empty], lots[empty] = EMPTY_PRICE, 0
    bid_px, bid_lots, ask_px, ask_lots = (
        np.ascontiguousarray(side.T) for side in (px[1::2], lots[1::2], px[::2], lots[::2])
    )
    ts_ns = np.arange(features.shape[1], dtype=np.int64)
    books = BookSeries(ts_ns, bid_px, bid_lots, ask_px, ask_lots, px_scale, lots_per_unit, tick, series_name(path))
    notes = ["no times", "stocks and days follow each other without a mark"]
    return BookFeed(books.name, "fi2010", _chunks(books), timed=False, notes=notes)


def _chunks(books: BookSeries) -> Iterator[BookSeries]:
    for start in range(0, books.rows, CHUNK):
        part = slice(start, start + CHUNK)
        ts_ns, bid_px, bid_lots, ask_px, ask_lots = (array[part] for array in books[:5])
        yield books._replace(ts_ns=ts_ns, bid_px=bid_px, bid_lots=bid_lots, ask_px=ask_px, ask_lots=ask_lots)


def _read(path: Path) -> NDArray[np.float64]:
    """(45, n): the rows of the book and of the labels; the derived features between them are not parsed."""
    kept: list[NDArray[np.float64]] = []
    count = 0
    with open_bytes(path) as file:
        for line in file:
            if not line.strip():
                continue
            if count in _KEPT:
                kept.append(_parse(line, f"{path}, row {count + 1}"))
                if len(kept[-1]) != len(kept[0]):
                    met = f"row {count + 1} has {len(kept[-1])} numbers, row 1 has {len(kept[0])}"
                    raise DataError(f"{path}: {met}; expected as many in every row; fetch the file again")
            count += 1
    if count != _ROWS:
        turned = " (one row an event? turn it round)" if kept and len(kept[0]) in (_FEATURES, 144, _ROWS) else ""
        raise DataError(
            f"{path}: {count} rows{turned}; expected an FI-2010 file of {_ROWS} rows and one column an event"
        )
    return np.stack(kept)


def _parse(line: bytes, what: str) -> NDArray[np.float64]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # to numpy, text that stops being numbers is only a warning
            numbers = np.fromstring(line.decode("ascii"), np.float64, sep=" ")
    except (ValueError, Warning) as error:
        raise DataError(f"{what}: not a row of numbers; expected an FI-2010 text file") from error
    if not np.isfinite(numbers).all():
        raise DataError(f"{what}: a number is not finite; fetch the file again")
    return numbers


def _normalisation(path: Path) -> Normalisation:
    name = path.name.lower()
    known: tuple[Normalisation, ...] = ("decpre", "zscore", "minmax")
    return next((kind for kind in known if kind in name), "unknown")


def _not_prices(features: NDArray[np.float64], normalisation: Normalisation) -> str | None:
    """Why rows (40, n) are no prices and volumes; None: they are."""
    if normalisation in ("zscore", "minmax"):
        return f"{normalisation} files normalise every level on its own, so prices and sizes are lost"
    if (features < 0).any():
        return f"it holds {features.min():g}, and neither prices nor volumes are negative"
    ask, bid = features[::4], features[2::4]
    worsening = ((np.diff(ask, axis=0) > 0) | (ask[1:] == 0)) & ((np.diff(bid, axis=0) < 0) | (bid[1:] == 0))
    orderly = float((worsening.all(axis=0) & (ask[0] > bid[0])).mean())
    if orderly < _ORDERLY:
        return f"only {orderly:.1%} of its rows have asks above bids and levels in order, so they are no prices"
    return None


def _sniff(head: Head) -> bool:
    """Nothing but numbers with blanks between them."""
    return re.match(rb"\s*[-+0-9.eE]+(\s+[-+0-9.eE]+){9}", head.start) is not None


def _open(files: Sequence[Path], options: ReadOptions) -> Feed:
    return fi2010_books(files[0])


FORMAT = Format(name="fi2010", sniff=_sniff, open=_open)
