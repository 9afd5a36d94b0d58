"""Running a converter of hftbacktest: silently, on clean temporary files, with errors of ours.

A converter shifts all local times by one amount if one of them is before the exchange's time, and puts the events in
the order of both clocks, where it needs to by telling an event twice, once for each. Its array is held in memory.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib.util import find_spec, module_from_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import check_open_files, first_line
from nanoarb_jax.market.event import CLEAR, DEPTH, DEPTH_SNAPSHOT, EVENT, KIND_MASK, TRADE, mark_chunks
from nanoarb_jax.readers.converted.event_order import order_events
from nanoarb_jax.readers.feed import CHUNK, EventFeed, ReadOptions, infer_lot_size, infer_tick_size
from nanoarb_jax.readers.hftbacktest.snapshots import with_clears
from nanoarb_jax.readers.times import plausible

_SHIFTED = re.compile(r"ahead of exch_timestamp by (\d+)")
WHOLE = "converted by hftbacktest, which reads files whole"


def converter(module: str, what: str) -> Any:
    """A copy of a module of hftbacktest's converters, which puts events in order with `order_events`.

    The module itself, which others of the process may use, is left as it is.

    Raises:
        DataError: hftbacktest is not installed.
    """
    try:
        spec = find_spec(f"hftbacktest.data.utils.{module}")
        if spec is None or spec.loader is None:
            raise ImportError(f"no module hftbacktest.data.utils.{module}")
        copy: Any = module_from_spec(spec)
        spec.loader.exec_module(copy)
    except ImportError as error:
        raise DataError(f"{what}: is read by hftbacktest's converter; pip install 'nanoarb-jax[backtest]'") from error
    copy.correct_event_order = order_events
    return copy


def backward_note(count: int) -> str:
    """What to tell of rows or messages whose local time is before that of an earlier one."""
    return f"{count:,} local times go back, events are put in the order of these times"


def run(convert: Callable[[], NDArray[np.void]], what: str, notes: list[str]) -> NDArray[np.void]:
    """What a converter returns, as EVENT.

    Args:
        convert: calls it.
        what: the file, for errors.
        notes: gets what the converter changed.

    Raises:
        DataError: whatever the converter raises, or events without plausible times or finite prices.
    """
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            events = convert().astype(EVENT)
    except DataError:
        raise
    except Exception as error:  # it raises whatever its libraries do on cells that are not what it expects
        check_open_files(error)
        raise DataError(
            f"{what}: hftbacktest's converter cannot read it ({first_line(error)}); fetch it again"
        ) from error
    kinds = events["ev"] & np.uint64(KIND_MASK)
    numbers = np.isfinite(events["px"]) & np.isfinite(events["qty"])
    if not (
        plausible(events["exch_ts"])
        & plausible(events["local_ts"])
        & numbers
        & np.isin(kinds, (DEPTH, TRADE, CLEAR, DEPTH_SNAPSHOT))
    ).all():
        raise DataError(f"{what}: times outside 1980 to 2100, or prices that are no numbers; fetch it again")
    notes.append(WHOLE)
    shifted = _SHIFTED.search(said.getvalue())
    if shifted:
        notes.append(
            f"local times are {int(shifted[1]):,} ns later than in the file, where one lay before the exchange's"
        )
    return events


def feed_of(
    events: NDArray[np.void],
    name: str,
    format_name: str,
    options: ReadOptions,
    dropped: Counter[str],
    notes: list[str],
    *,
    whole_snapshots: bool,
) -> EventFeed:
    """The feed of converted events.

    Args:
        events: of `run`.
        whole_snapshots: whether a snapshot is the whole book, so that a CLEAR before it voids the whole side.

    Raises:
        DataError: no book in them.
    """
    what = f"{format_name} {name}"
    kinds = events["ev"] & np.uint64(KIND_MASK)
    levels = events[(kinds == DEPTH) | (kinds == DEPTH_SNAPSHOT)]
    if len(levels) == 0:
        raise DataError(f"{what}: no levels of a book; expected updates of the order book beside the trades")
    if whole_snapshots:
        events["px"][kinds == CLEAR] = np.nan
    tick_size = options.tick_size or infer_tick_size(levels["px"], what)
    lot_size = options.lot_size or infer_lot_size(levels["qty"], what)
    chunks = mark_chunks(with_clears(_chunks(events), notes, what))
    return EventFeed(name, format_name, tick_size, lot_size, chunks, dropped, notes)


def _chunks(events: NDArray[np.void]) -> Iterator[NDArray[np.void]]:
    for start in range(0, len(events), CHUNK):
        yield events[start : start + CHUNK].copy()
