"""What a market is measured by: sizes of tick and lot, and what is usual there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nanoarb_jax.config import DataConfig, InputSpec
from nanoarb_jax.data.counts import Counts
from nanoarb_jax.data.dataset import Dataset, open_dataset
from nanoarb_jax.data.labelling import Level1Medians
from nanoarb_jax.data.stored import is_dataset
from nanoarb_jax.data.ticks import no_ticks, read_ticks
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import find_sources


@dataclass(frozen=True)
class Instrument:
    """One market, as a model's features measure it.

    Args:
        tick_size: price of one tick.
        lot_size: quantity of one lot; quantities are kept in whole lots.
        quantity_scale: quantity that counts as 1: the median at the best prices.
        spread_scale: ticks that moves are measured by: half the median spread, at least 1.
        name: of the market.

    Raises:
        DataError: a size or scale that is not above 0.

    >>> nj.Instrument(tick_size=0.1, lot_size=0.001, quantity_scale=3.0, spread_scale=1.0, name="btcusdt").tick_size
    0.1
    """

    tick_size: float
    lot_size: float
    quantity_scale: float
    spread_scale: float
    name: str = ""

    def __post_init__(self) -> None:
        for name in ("tick_size", "lot_size", "quantity_scale", "spread_scale"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value > 0):
                raise DataError(f"instrument: {name}={value!r}; expected a finite number above 0")

    @classmethod
    def measure(
        cls,
        source: str | Path | Dataset,
        until: int | None = None,
        series: str | None = None,
        *,
        spec: InputSpec = InputSpec(),  # noqa: B008
        options: ReadOptions = ReadOptions(),  # noqa: B008
    ) -> Instrument:
        """From the market's past.

        Args:
            source: a feed (file or folder, of any format that is read): medians over its ticks. Or a dataset, open or
                as its folder: what was learnt there from the training part of the series.
            until: use ticks before this time alone, ns since 1970 UTC; None: all of the feed. A dataset has its own
                training parts, so None.
            series: which of several; None: the only one.
            spec: of the model; its clock and time stamps say what a tick is in a feed.
            options: what the files do not say.

        Raises:
            DataError: nothing usable there, several series and none named, not one tick before `until`, or a series
                of a dataset that does not know its lot size.
        """
        return measure(source, until, series, spec=spec, options=options).instrument


class Measured(NamedTuple):
    """An instrument, and which ticks it was measured on.

    Attributes:
        instrument: what was found.
        series: the series it was found in.
        last_ns: time of the last of these ticks.
    """

    instrument: Instrument
    series: str
    last_ns: int


def measure(
    source: str | Path | Dataset,
    until: int | None = None,
    series: str | None = None,
    *,
    spec: InputSpec = InputSpec(),  # noqa: B008
    options: ReadOptions = ReadOptions(),  # noqa: B008
) -> Measured:
    """As `Instrument.measure`, and when that was; see there."""
    if isinstance(source, Dataset) or is_dataset(Path(source)):
        return _of_dataset(source if isinstance(source, Dataset) else open_dataset(source), until, series)
    found = {one.name: one for one in find_sources([Path(source)], options.symbol)}
    name = _choose(list(found), series, f"feed {source}")
    config = DataConfig(**dataclasses.asdict(spec))
    ticks, report = read_ticks(found[name], config, options, {"invalid": "skip"})
    measured = measure_ticks(ticks, name, until)
    if measured is None and until is not None and report.ticks:
        raise DataError(f"feed {source}: no tick before {until} (ns); give a later time")
    if measured is None:
        raise DataError(no_ticks(found[name], report))
    return measured


def _of_dataset(dataset: Dataset, until: int | None, series: str | None) -> Measured:
    streams = {stream.name: stream for stream in dataset.streams}
    stream = streams[_choose(list(streams), series, "dataset")]
    if until is not None:
        raise DataError(
            f"series {stream.name!r}: until={until}: a dataset's scales are those of its training part; leave it "
            "out, or measure the feed"
        )
    if math.isnan(stream.lot_size):
        raise DataError(f"series {stream.name!r}: its dataset does not know the lot size; prepare it anew")
    sizes = stream.tick_size, stream.lot_size, stream.quantity_scale, stream.spread_scale
    return Measured(Instrument(*sizes, stream.instrument), stream.name, int(stream.ts_ns[stream.train[1] - 1]))


def measure_ticks(ticks: Iterator[BookSeries], name: str, until: int | None = None) -> Measured | None:
    """The medians of ticks in chunks, of those before `until` (ns) if it is given; None: there are none."""
    lots, spreads, last, last_ns = Counts(), Counts(), None, 0
    for chunk in ticks:
        rows = chunk.rows if until is None else int(np.searchsorted(chunk.ts_ns, until))
        if rows:
            lots.add(chunk.bid_lots[:rows, 0])
            lots.add(chunk.ask_lots[:rows, 0])
            spreads.add(chunk.ask_px[:rows, 0] - chunk.bid_px[:rows, 0])
            last, last_ns = chunk, int(chunk.ts_ns[rows - 1])
        if rows < chunk.rows:
            break
    if last is None:
        return None
    medians = Level1Medians(lots.sorted().median() / last.lots_per_unit, spreads.sorted().median() / last.tick)
    sizes = last.tick_size, 1.0 / last.lots_per_unit, medians.qty, medians.spread_scale
    return Measured(Instrument(*sizes, name), name, last_ns)


def _choose(names: list[str], wanted: str | None, what: str) -> str:
    """The series that is wanted, or the only one."""
    if wanted in names:
        return str(wanted)
    if wanted is None and len(names) == 1:
        return names[0]
    asked = "several series, and none named" if wanted is None else f"no series {wanted!r}"
    raise DataError(f"{what}: {asked}; give one of {', '.join(sorted(names))}")
