"""The events of a feed in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import EVENT
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.sources import find_sources, open_source


def read_events(
    path: str | Path,
    *,
    tick_size: float | None = None,
    lot_size: float | None = None,
    symbol: str | None = None,
    snapshot: str | Path | None = None,
) -> NDArray[np.void]:
    """All events of a feed, in the order they were received, with the ends of messages marked.

    Args:
        path: a file or folder of market data, of any format that is read and holds events; one series.
        tick_size, lot_size, symbol, snapshot: what the files do not say, see `ReadOptions`.

    Returns:
        (n,) EVENT, writable.

    Raises:
        DataError: nothing usable there, several series, or files that hold books.

    Example:
        >>> events = nj.read_events("feeds/synthetic_00.npz")  # of `nanoarb-jax data synth --output feeds --events`
        >>> events.dtype == nj.EVENT, bool((np.diff(events["local_ts"]) >= 0).all())
        (True, True)
    """
    sources = find_sources([Path(path)], symbol)
    if len(sources) > 1:
        names = ", ".join(source.name for source in sources)
        raise DataError(f"data {path}: {len(sources)} series ({names}); name the file of one of them")
    feed = open_source(
        sources[0], ReadOptions(tick_size, lot_size, symbol, snapshot=None if snapshot is None else Path(snapshot))
    )
    if not isinstance(feed, EventFeed):
        raise DataError(f"data {path}: {feed.format} files hold books, not events; give them to apply_depth")
    chunks = [chunk.copy() for chunk in feed.chunks]
    return np.concatenate(chunks) if chunks else np.zeros(0, EVENT)
