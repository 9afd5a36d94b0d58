"""A first look at market data: format, time span, spread, trades and anomalies, in one pass and bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.counts import Counts
from nanoarb_jax.data.declaration import instrument_of
from nanoarb_jax.data.period import Period, PeriodCut
from nanoarb_jax.data.report import ReadReport, warn_of_losses
from nanoarb_jax.data.ticks import NO_TRADES, no_ticks, read_ticks
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.anomaly import Policy
from nanoarb_jax.market.series import EMPTY_PRICE, SIDE_COLUMNS, BookSeries
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import Source

_KEPT = 4_096  # most rows of the sample; every other row is dropped when there are more
_INVALID = ("crossed", "one_sided", "invalid")  # anomalies of a book that is no tick
_SAY_THEIR_TICK = {"book-npz"}  # formats whose files hold the price of a tick; of others a definition or the user does


class Survey(NamedTuple):
    """Figures of a source, and a sample of its ticks to draw.

    Attributes:
        figures: plain values: name, instrument, format, files, ticks, messages, events, span_s, rates, sizes of tick
            and lot, quantiles of the spread in ticks, median quantities, what was traded, shares of invalid books,
            counts of what was dropped and of anomalies, and what is missing ("lacks": trades, times, definition).
            Of a period are ticks and all that is made of them; messages, events and what is counted are of the whole
            source, and so is "ticks_read".
        sample: every k-th tick, k a power of two, with the trades since the tick before it in the sample; None in place
            of the trades where the files hold none. Without times, `ts_ns` holds the numbers of the books.
        timed: False where the files have no real times, or artificial ones.
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
    period: Period | None = None,
) -> Survey:
    """Read a source from end to end.

    Args:
        source, config, options, policy: as for `ticks.read_ticks`.
        tell: called with the number of ticks read so far.
        period: whose ticks are wanted; None: all. What lies before is read, too, since the book is made of it.

    Raises:
        ConfigError: a period that ends before it begins.
        DataError: what `read_ticks` raises, not one tick, none in the period, or a period of files without times.
    """
    ticks, report = read_ticks(source, config, options, policy)
    if period is not None and not report.timed:
        raise DataError(f"data {source.files[0]}: --from and --to: the files have no real times; leave them out")
    sample, counted, cut = _Sample(), _Counted(), PeriodCut(period)
    for chunk in ticks:
        wanted = cut.cut(chunk)
        if wanted.rows:
            sample.add(wanted)
            counted.add(wanted)
        tell(report.ticks)
    if report.ticks == 0:
        raise DataError(no_ticks(source, report))
    if sample.seen == 0:
        raise DataError(f"data {source.files[0]}: {cut.nothing()}")
    with_trades = NO_TRADES not in report.notes
    warn_of_losses(source.name, report.as_dict())
    books = sample.series(report.timed, with_trades)
    figures = {
        "name": source.name,
        "instrument": instrument_of(source.name, options.symbol).instrument,
        "files": [file.name for file in source.files],
        **report.as_dict(),
        "lacks": _lacks(source, options, report, with_trades),
        "period": cut.bounds,
        "ticks_read": report.ticks,
        "ticks": sample.seen,
        **_time_figures(report, sample, whole=period is None),
        "tick_size": books.tick_size,
        "lot_size": options.lot_size or report.quantity_step or 1.0 / books.lots_per_unit,
        "mid": {"first": sample.first_mid, "last": sample.last_mid},
        **counted.figures(books.lots_per_unit),
        "traded": _traded(report, sample, books, whole=period is None) if with_trades else None,
        "invalid_share": sum(report.lost[k] for k in _INVALID) / max(report.messages, 1),
    }
    return Survey(figures, books, report.timed)


def _lacks(source: Source, options: ReadOptions, report: ReadReport, with_trades: bool) -> list[str]:
    """What the files do not say: trades, times, and the definition that has the tick size."""
    told = options.tick_size is not None or bool(source.companions) or source.format in _SAY_THEIR_TICK
    missing = {"trades": not with_trades, "times": not report.timed, "definition": not told}
    return [name for name, is_missing in missing.items() if is_missing]


def _time_figures(report: ReadReport, sample: _Sample, whole: bool) -> dict[str, Any]:
    """Times and rates of the ticks; messages are counted of the whole source only, so a period has no rate of them."""
    span_s = (sample.last_ns - sample.first_ns) / 1e9 if report.timed else None
    return {
        "first_tick": f"{np.datetime64(sample.first_ns, 'ns')}Z" if report.timed else None,
        "last_tick": f"{np.datetime64(sample.last_ns, 'ns')}Z" if report.timed else None,
        "span_s": span_s,
        "ticks_per_s": sample.seen / span_s if span_s else None,
        "messages_per_s": report.messages / span_s if span_s and whole else None,
    }


def _traded(report: ReadReport, sample: _Sample, books: BookSeries, whole: bool) -> dict[str, float | None]:
    """Quantities that takers bought, sold, and traded on a side that is not known (None: not known of a period)."""
    traded = {name: total / books.lots_per_unit for name, total in sample.traded().items()}
    return traded | {"unsided": report.unsided if whole else None}


class _Counted:
    """How often each spread, quantity at the best price and number of levels occurs, over all ticks."""

    def __init__(self) -> None:
        self._spreads, self._best, self._levels = Counts(), Counts(), Counts()

    def add(self, books: BookSeries) -> None:
        self._spreads.add((books.ask_px[:, 0] - books.bid_px[:, 0]) // books.tick)
        for px, lots in books.sides:
            self._best.add(lots[:, 0])
            self._levels.add((px != EMPTY_PRICE).sum(axis=1))

    def figures(self, lots_per_unit: float) -> dict[str, Any]:
        spreads = self._spreads.sorted()
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1}
        return {
            "spread_ticks": {name: spreads.quantile(share) for name, share in shares.items()},
            "median_best_quantity": self._best.sorted().median() / lots_per_unit,
            "median_levels": self._levels.sorted().median(),
        }


class _Sample:
    """Every k-th tick of a source of unknown length; trades are kept as running totals, so that thinning loses none."""

    def __init__(self) -> None:
        self._step, self.seen = 1, 0
        self._template: BookSeries | None = None
        self._columns: dict[str, NDArray[np.int64]] = {}
        self._totals = {"bought": 0, "sold": 0}
        self.first_ns = self.last_ns = 0
        self.first_mid = self.last_mid = math.nan

    def add(self, books: BookSeries) -> None:
        """Take rows k-1, 2k-1, … of the source: each stands for the k rows that end with it, and holds their trades."""
        if self._template is None:
            self._template, self.first_ns, self.first_mid = books.part(0, 0), int(books.ts_ns[0]), float(books.mid[0])
        at = np.flatnonzero((np.arange(self.seen, self.seen + books.rows) + 1) % self._step == 0)
        self.seen += books.rows
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

    def series(self, timed: bool, with_trades: bool) -> BookSeries:
        """The sample as books, with the trades between its rows; without times, numbered from the first tick's on."""
        assert self._template is not None
        columns: dict[str, Any] = {
            name: np.diff(column, prepend=0) if name in self._totals else column
            for name, column in self._columns.items()
        }
        if not timed:
            columns["ts_ns"] = self._step * np.arange(1, len(columns["ts_ns"]) + 1)
        if not with_trades:
            columns |= {"bought": None, "sold": None}
        return self._template._replace(**columns)
