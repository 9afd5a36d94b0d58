"""Parquet and CSV with named columns: books or events of anyone who can write a table.

Times are `ts_ns` (ns since 1970 UTC) or `timestamp` (ISO 8601, a Parquet timestamp, or ns; UTC where no zone is given);
prices and sizes are in price and in quantity, whole or decimal. Column order and letter case do not matter, further
columns are ignored, CSV may be compressed.

Books: `bid_px_0 bid_sz_0 ask_px_0 ask_sz_0`, `…_1` and on (or `_00`, `_01`), 0 the best; up to ten levels are read. A
level whose price or size is missing, or whose size is 0, is empty. `bought` and `sold`, if there: what takers bought
and sold since the row before.

Events: `side` (buy, bid, b; sell, ask, a, s; of a trade, who took), `price`, `size`. If there: `kind` (depth, which is
the default: the level's size is now `size`, 0 deletes it; trade, clear, snapshot, add, cancel, modify, fill),
`order_id` (needed by add, cancel, modify and fill), `exch_ts` (default: the row's time), `flags` (record flags, as in
`market.event`). Where no flag ends a message, a message is the events that share their times.
"""

from __future__ import annotations

import re
from contextlib import closing
from itertools import chain
from pathlib import Path

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.feed import BookFeed, EventFeed, Feed, ReadOptions
from nanoarb_jax.readers.format import Format, Head, one_file
from nanoarb_jax.readers.table.books import read_books
from nanoarb_jax.readers.table.events import read_events
from nanoarb_jax.readers.table.file import read_batches
from nanoarb_jax.readers.table.layout import measure_steps, read_layout


def open_table(path: Path, options: ReadOptions) -> Feed:
    """Open books or events, whichever the columns tell; see the module's head for the columns.

    Args:
        path: a Parquet file, or CSV, plain or compressed.
        options: `tick_size` and `lot_size` are heeded.

    Raises:
        DataError: a missing, damaged or empty file, missing columns, a cell that is not what its column holds, a price
            between the ticks, a size between the lots that were given; from here, or while the chunks are read.
    """
    table = read_layout(Path(path))
    with closing(read_batches(table.path, table.header, table.columns)) as batches:  # type: ignore[type-var]
        first = next(batches, None)
    if first is None:
        raise DataError(f"{path}: no rows below its header; expected at least one")
    if table.levels:
        prices, sizes = (
            [first[column] for column in chain(table.levels[f"bid_{what}"], table.levels[f"ask_{what}"])]
            for what in ("px", "sz")
        )
        steps = measure_steps(table, prices, sizes, options)
        return BookFeed(table.name, "table-books", read_books(table, steps))
    steps = measure_steps(table, [first["price"]], [first["size"]], options)
    return EventFeed(table.name, "table-events", steps.tick_size, steps.lot_size, read_events(table, steps))


def _sniff(head: Head) -> bool:
    """Parquet, or a header line that begins with a word."""
    return head.is_parquet or re.match(rb'(\xef\xbb\xbf)?,?"?[A-Za-z_][\w .]*"?,', head.line) is not None


FORMAT = Format(name="table", sniff=_sniff, open=one_file(open_table), options=("tick_size", "lot_size"))
