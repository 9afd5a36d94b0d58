"""A feed of events as files of hftbacktest: a day, and the book that it begins with beside it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.exchange_day import exchange_day
from nanoarb_jax.errors import DataError
from nanoarb_jax.files import claim_file, new_file
from nanoarb_jax.market.event import EVENT
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.sources import Source, open_source


class Converted(NamedTuple):
    """What was written.

    Attributes:
        events: in the day's file; an event that the two clocks order differently counts twice.
        snapshot: the file with the book at the beginning; None: the feed does not begin with a snapshot of levels.
        levels: in it.
        dropped: what the reader and the conversion left out, by reason.
        notes: of the reader and of the conversion.
        tick_size, lot_size: of the feed, which the backtest needs.
    """

    events: int
    snapshot: Path | None
    levels: int
    dropped: Counter[str]
    notes: list[str]
    tick_size: float
    lot_size: float


def convert_to_hftbacktest(
    source: Source,
    output: Path,
    options: ReadOptions = ReadOptions(),  # noqa: B008
) -> Converted:
    """Write a feed as `output`, and the book that it begins with beside it as NAME_snapshot.npz.

    Args:
        source: of `find_sources`.
        output: OUT.npz, for `BacktestAsset.data`; OUT_snapshot.npz is for `BacktestAsset.initial_snapshot`.
        options: what the files do not say.

    Raises:
        DataError: hftbacktest is not installed, the files hold books or cannot be read, or no events.
        OutputError: a file exists already, or has another suffix than .npz.
    """
    beside = output.with_name(f"{output.stem}_snapshot.npz")
    for path in (output, beside):
        claim_file(path, "--output", suffixes=(".npz",), makes_folder=True)
    feed = open_source(source, options)
    if not isinstance(feed, EventFeed):
        raise DataError(f"data {source.files[0]}: {feed.format} files hold books; expected events to convert")
    events = np.concatenate([np.zeros(0, EVENT), *feed.chunks])
    day = exchange_day(events, f"data {source.files[0]}")
    _save(output, day.events)
    if len(day.snapshot):
        _save(beside, day.snapshot)
    written = beside if len(day.snapshot) else None
    notes, dropped = [*feed.notes, *day.notes], Counter(feed.dropped) + day.dropped
    return Converted(len(day.events), written, len(day.snapshot), dropped, notes, feed.tick_size, feed.lot_size)


def _save(path: Path, events: NDArray[np.void]) -> None:
    with new_file(path, "--output") as file:
        np.savez_compressed(file, data=events)
