"""What every reader gives: one instrument's events or books, in order, in chunks of bounded size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import BookSeries

_FAR = 10**4  # times the median: no price of the same book
CHUNK = 1 << 16  # events or books in a chunk, about; memory stays bounded whatever the file's size
# reasons of `dropped` that mean market data which the user expects and which are not in the ticks; the others are
# repetitions, other streams, or what the book tells already
LOSSES = frozenset(
    {
        "before the first snapshot",
        "diff before the first snapshot's update",
        "outage mended by a snapshot",
        "truncated last line",
        "update ids begin anew",
    }
)


class ReadOptions(NamedTuple):
    """What a user may have to say about files that do not say it themselves.

    Attributes:
        tick_size: price of one tick; None: as the file says, or the coarsest grid that its first chunk's prices lie on.
        lot_size: quantity of one lot; None: as the file says, or fine enough for the quantities of its first chunk.
        symbol: the instrument wanted, of a file that holds several.
        exchange_time: date books by the exchange's time, where a file has two (events bear both).
        sort: put rows in order of their times first, of a file that holds them in another order; reads all of it.
        snapshot: a file whose book stands at the beginning, for events that begin without one.
        definitions: files beside the source that say the instruments' tick sizes, see `Format.is_companion`.
        zero_times: times of 0 are accepted: the file is the book at the beginning of another.
        timed: False: the times in the files are artificial and only put the rows in order.
    """

    tick_size: float | None = None
    lot_size: float | None = None
    symbol: str | None = None
    exchange_time: bool = False
    sort: bool = False
    snapshot: Path | None = None
    definitions: tuple[Path, ...] = ()
    zero_times: bool = False
    timed: bool = True


@dataclass
class EventFeed:
    """Events of one instrument.

    Args:
        name: of the series, made of its file's name.
        format: what was recognised, e.g. "binance-usdm".
        tick_size, lot_size: price of one tick, and the quantity of one lot; every price is a whole number of ticks.
        chunks: (n,) arrays of `event.EVENT`, in the order they were received; can be read once.
        dropped: how many messages were left out, by reason; complete when `chunks` is exhausted.
        notes: what was recognised, assumed or is missing, a short clause each ("times are in ms", "no trades"), for
            the user to read; complete when `chunks` is exhausted.
        timed: False where the events' times only put them in order.
    """

    name: str
    format: str
    tick_size: float
    lot_size: float
    chunks: Iterator[NDArray[np.void]]
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    timed: bool = True


@dataclass
class BookFeed:
    """Books of one instrument, where a file holds books; like `EventFeed`, but chunks are `BookSeries`.

    timed: False where the times only put the rows in order: the files have none (rows are 1 ns apart), or artificial
        ones.

    All chunks have the same px_scale, lots_per_unit, tick and name; `bought` and `sold` are None in all or in none. A
    chunk may hold invalid rows (crossed, one-sided): whoever reads counts and drops them.
    """

    name: str
    format: str
    chunks: Iterator[BookSeries]
    dropped: Counter[str] = field(default_factory=Counter)
    timed: bool = True
    notes: list[str] = field(default_factory=list)


Feed = EventFeed | BookFeed


def infer_tick_size(px: NDArray[np.float64], what: str) -> float:
    """The coarsest decimal-based grid that all these prices lie on: gcd of the prices in units of their last decimal.

    Args:
        px: (n,) prices; those that are not finite are ignored.
        what: the file, for the error.

    Raises:
        DataError: no price, or prices with more than nine decimals.

    >>> from nanoarb_jax.readers.feed import infer_tick_size
    >>> infer_tick_size(np.array([10.25, 10.5, 11.0]), "example")
    0.25
    """
    px = np.unique(px[np.isfinite(px)])
    if len(px) == 0:
        raise DataError(
            f"{what}: no price to infer the tick size from; give tick_size, on the command line --tick-size"
        )
    for decimals in range(10):
        units = np.rint(px * 10.0**decimals)
        if np.abs(units).max() < 2**53 and np.allclose(units / 10.0**decimals, px, rtol=1e-13, atol=0):
            grid = int(np.gcd.reduce(units.astype(np.int64)))
            if len(px) > 1:
                return max(grid, 1) / 10.0**decimals
            return 1 / 10.0**decimals
    raise DataError(f"{what}: {_odd_price(px)}; check it, or give tick_size, on the command line --tick-size")


def _odd_price(px: NDArray[np.float64]) -> str:
    """The price that fits on no grid with the others: one that is far from them, or that has the most decimals."""
    largest, usual = float(px[np.argmax(np.abs(px))]), float(np.median(np.abs(px)))
    if abs(largest) > _FAR * usual:
        return f"price {largest!r} is more than {_FAR:,} times the median of {usual:g}"
    finest = max(px.tolist(), key=lambda price: -int(Decimal(repr(price)).as_tuple().exponent))
    return f"price {finest!r}, beside prices up to {largest!r}, has more than nine decimals or more digits than fit"


def infer_lot_size(qty: NDArray[np.float64], what: str) -> float:
    """A power of ten: 1e-8 where it keeps a thousand times the largest quantity exact, else coarser, but never coarser
    than the decimals of these quantities, as long as the largest stays exact.

    >>> from nanoarb_jax.readers.feed import infer_lot_size
    >>> infer_lot_size(np.array([0.001, 250.0]), "example")
    1e-08
    >>> infer_lot_size(np.array([1e9]), "example"), infer_lot_size(np.array([1e6, 1e-8]), "example")
    (0.001, 1e-08)
    """
    finite = np.abs(qty[np.abs(qty) <= 2.0**53])  # no NaN is; larger ones are no quantities
    largest = float(finite.max()) if len(finite) else 1.0
    roomy, most = (int(min(8, np.floor(np.log10(2.0**53 / (room * max(largest, 1e-300)))))) for room in (1000.0, 1.0))
    needed = next((decimals for decimals in range(max(roomy, 0), most) if _are_whole(finite * 10.0**decimals)), most)
    return float(f"1e{-max(roomy, needed)}")


def _are_whole(values: NDArray[np.float64]) -> bool:
    return bool(np.allclose(np.rint(values), values, rtol=1e-15, atol=1e-6))
