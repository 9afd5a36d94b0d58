"""A first look at market data: what it is, how it moves, what is wrong with it – in one pass and bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.counts import Counts
from nanoarb_jax.data.streams import instrument_of
from nanoarb_jax.data.ticks import no_ticks, ticks_of
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.anomaly import Policy
from nanoarb_jax.market.series import EMPTY_PRICE, SIDE_COLUMNS, BookSeries
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import Source

_KEPT = 4_096  # rows of the sample at most; every other one goes when there are more
_INVALID = ("crossed", "one_sided", "invalid")  # messages after which the book was no tick


class Survey(NamedTuple):
    """What was found.

    Attributes:
        figures: plain values: name, instrument, format, files, ticks, messages, events, span_s, rates, sizes of tick
            and lot, quantiles of the spread in ticks, median quantities, what was traded, shares of invalid books,
            counts of what was dropped and of anomalies.
        sample: every k-th tick, k a power of two, with what was traded between them; to draw.
        timed: False where the files have no times.
    """

    figures: dict[str, Any]
    sample: BookSeries
    timed: bool


def survey(
    source: Source,
    config: DataConfig = DataConfig(),  # noqa: B008
    options: ReadOptions = ReadOptions(),  # noqa: B008
    policy: Mapping[str, Policy] | None = None,
    tell: Callable[[int], None] = lambda ticks: None,
) -> Survey:
    """Read a source from end to end.

    Args:
        source, config, options, policy: as for `collect.ticks_of`.
        tell: told how many ticks have been seen.

    Raises:
        DataError: what `ticks_of` raises, or not one tick.
    """
    ticks, account = ticks_of(source, config, options, policy)
    sample = _Sample()
    spreads, best, depth = Counts(), Counts(), Counts()
    for chunk in ticks:
        sample.add(chunk)
        spreads.add((chunk.ask_px[:, 0] - chunk.bid_px[:, 0]) // chunk.tick)
        for px, lots in chunk.sides:
            best.add(lots[:, 0])
            depth.add((px != EMPTY_PRICE).sum(axis=1))
        tell(account.ticks)
    if account.ticks == 0:
        raise DataError(no_ticks(source, account))
    books = sample.series()
    span_s = (sample.last_ns - sample.first_ns) / 1e9 if account.timed else None
    traded = None
    if books.bought is not None and (account.trades or sum(sample.traded().values())):
        traded = {name: total / books.lots_per_unit for name, total in sample.traded().items()} | {
            "unsided": account.unsided
        }
    figures = {
        "name": source.name,
        "instrument": options.symbol or instrument_of(source.name),
        "files": [file.name for file in source.files],
        **account.as_dict(),
        "first_tick": f"{np.datetime64(sample.first_ns, 'ns')}Z" if account.timed else None,
        "last_tick": f"{np.datetime64(sample.last_ns, 'ns')}Z" if account.timed else None,
        "span_s": span_s,
        "ticks_per_s": account.ticks / span_s if span_s else None,
        "messages_per_s": account.messages / span_s if span_s else None,
        "tick_size": books.tick_size,
        "lot_size": 1.0 / books.lots_per_unit,
        "mid": {"first": sample.first_mid, "last": sample.last_mid},
        "spread_ticks": {
            name: spreads.quantile(q) for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1))
        },
        "median_best_quantity": best.median() / books.lots_per_unit,
        "median_levels": depth.median(),
        "traded": traded,
        "invalid_share": sum(account.anomalies[k] for k in _INVALID) / max(account.messages, 1),
    }
    return Survey(figures, books, account.timed)


class _Sample:
    """Every k-th tick of a series of unknown length; running totals of trades survive the thinning."""

    def __init__(self) -> None:
        self._step, self._seen = 1, 0
        self._template: BookSeries | None = None
        self._columns: dict[str, NDArray[np.int64]] = {}
        self._totals = {"bought": 0, "sold": 0}
        self.first_ns = self.last_ns = 0
        self.first_mid = self.last_mid = math.nan

    def add(self, books: BookSeries) -> None:
        """Take rows k-1, 2k-1, … of the series: each stands for its group, and holds its trades."""
        if self._template is None:
            self._template, self.first_ns, self.first_mid = books.part(0, 0), int(books.ts_ns[0]), float(books.mid[0])
        at = np.flatnonzero((np.arange(self._seen, self._seen + books.rows) + 1) % self._step == 0)
        self._seen += books.rows
        self.last_ns, self.last_mid = int(books.ts_ns[-1]), float(books.mid[-1])
        new = {name: getattr(books, name)[at] for name in ("ts_ns", *SIDE_COLUMNS)}
        for name, before in self._totals.items():
            if (column := getattr(books, name)) is not None:
                total = before + np.cumsum(column)
                new[name], self._totals[name] = total[at], int(total[-1])
        old = self._columns or {name: column[:0] for name, column in new.items()}
        self._columns = {name: np.concatenate([old[name], column]) for name, column in new.items()}
        while len(self._columns["ts_ns"]) > _KEPT:
            self._step *= 2
            self._columns = {name: column[1::2] for name, column in self._columns.items()}

    def traded(self) -> dict[str, int]:
        """Lots that takers bought and sold in all."""
        return dict(self._totals)

    def series(self) -> BookSeries:
        """The rows kept."""
        assert self._template is not None
        columns: dict[str, Any] = {
            name: np.diff(column, prepend=0) if name in self._totals else column
            for name, column in self._columns.items()
        }
        return self._template._replace(**columns)
