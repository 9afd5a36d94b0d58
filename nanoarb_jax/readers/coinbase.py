"""`coinbase`: a level-2 snapshot and the updates after it, as CSV files of one folder.

`snapshot_bids.csv` and `snapshot_asks.csv` (side, price, size), `l2update_*_1.csv`, `l2update_*_2.csv` ... (side,
price, size, time: a level's size is now this, 0 deletes it), as in Coinbase's level2 channel
(https://docs.cdp.coinbase.com/exchange/websocket-feed/channels#level2-channel), and `request_log.csv`, whose row
`request start` tells when the snapshot was asked for. All may be compressed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import EVENT, LAST, SNAPSHOT
from nanoarb_jax.readers.columns import (
    column_of,
    csv_names,
    distinct_words,
    floats,
    require_all,
    text_batches,
)
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import EventFeed, ReadOptions, infer_tick_size
from nanoarb_jax.readers.format import FileGroup, Format, Head
from nanoarb_jax.readers.time_columns import TimeForm, find_form, read_times

_LOT_SIZE = 1e-8  # the exchange's smallest unit; sizes in files may carry the noise of float arithmetic beyond it


def open_coinbase(files: Iterable[str | Path], options: ReadOptions = ReadOptions()) -> EventFeed:  # noqa: B008
    """Open the files of one session, in any order; a folder among them stands for the files in it.

    The files have only the exchange's time, which also serves as receive time. Every update is a message of its own:
    several with one time do not belong together (the books between them are what the exchange showed).

    Raises:
        DataError: a file is missing, damaged or truncated, or the updates are not in order of time; also while the
            chunks are read.
    """
    paths = [inner for file in map(Path, files) for inner in (sorted(file.iterdir()) if file.is_dir() else [file])]
    sides = [_only(paths, f"snapshot_{side}") for side in ("bids", "asks")]
    updates = _updates(paths)
    levels = np.concatenate([np.zeros(0, EVENT), *(events for path in sides for events in _levels(path))])
    if len(levels) == 0:
        raise DataError(f"{sides[0]}: no levels on either side; expected a snapshot, fetch it again")
    log = [path for path in paths if path.name.startswith("request_log.")]
    taken_ns = _snapshot_time(log[0]) if log else _first_time(updates[0])
    snapshot = np.zeros(1 + len(levels), EVENT)
    snapshot[1:] = levels
    snapshot[0]["ev"] = event.CLEAR | event.BOTH_SEE
    snapshot["exch_ts"] = snapshot["local_ts"] = taken_ns
    snapshot["ival"] = SNAPSHOT
    snapshot["ival"][-1] |= LAST
    folder = sides[0].resolve().parent.name
    tick_size = options.tick_size or infer_tick_size(levels["px"], str(sides[0]))
    notes = ["only the exchange's times"]
    chunks = _chunks(snapshot, updates)
    return EventFeed(folder, "coinbase", tick_size, options.lot_size or _LOT_SIZE, chunks, notes=notes)


def _only(paths: list[Path], stem: str) -> Path:
    found = [path for path in paths if path.name.startswith(f"{stem}.")]
    if len(found) != 1:
        raise DataError(f"coinbase: {len(found)} files {stem}.csv; expected one, give a folder with one session")
    return found[0]


def _updates(paths: list[Path]) -> list[Path]:
    """The update files in order of their numbers, of which none is missing."""
    numbered = {}
    for path in paths:
        match = re.match(r"l2update_(?:.*_)?(\d+)\.csv", path.name)
        if match:
            if int(match[1]) in numbered:
                raise DataError(f"{path}: two update files have the number {match[1]}; give one session's files")
            numbered[int(match[1])] = path
    if not numbered:
        raise DataError("coinbase: no files l2update_*_1.csv, ...; expected at least one beside the snapshot")
    for before, after in pairwise(sorted(numbered)):
        if after != before + 1:
            raise DataError(f"{numbered[after]}: update file {before + 1} is missing before it; fetch it again")
    return [numbered[number] for number in sorted(numbered)]


def _snapshot_time(path: Path) -> int:
    """When the snapshot was asked for, ns since 1970 UTC, by the request log."""
    with open_bytes(path) as stream:
        text = stream.read(1 << 16).decode("utf-8", errors="replace")
    try:
        for row in csv.reader(io.StringIO(text)):
            if len(row) > 1 and row[0] == "request start":
                return int(np.datetime64(row[1].removesuffix("Z"), "ns").astype(np.int64))
    except (ValueError, csv.Error):  # no time, or no CSV
        pass
    raise DataError(f"{path}: no row 'request start' with an ISO time; expected when the snapshot was asked for")


def _first_time(path: Path) -> int:
    for events in _levels(path, timed=True):
        return int(events["exch_ts"][0])
    raise DataError(f"{path}: no updates; expected at least one, fetch it again")


def _chunks(snapshot: NDArray[np.void], updates: list[Path]) -> Iterator[NDArray[np.void]]:
    yield snapshot
    latest = int(snapshot["exch_ts"][0])
    for path in updates:
        for events in _levels(path, timed=True):
            back = np.flatnonzero(np.diff(events["exch_ts"], prepend=latest) < 0)
            if len(back):
                at = np.datetime64(int(events["exch_ts"][back[0]]), "ns")
                raise DataError(f"{path}: time goes back to {at}; expected updates in order of time, of one session")
            latest = int(events["exch_ts"][-1])
            yield events


def _levels(path: Path, *, timed: bool = False) -> Iterator[NDArray[np.void]]:
    """The file's rows as events: timed ones updates, the others levels of the snapshot."""
    wanted = ["side", "price", "size", *(["time"] if timed else [])]
    form: TimeForm | None = None
    for columns in text_batches(path, csv_names(path, wanted), wanted):
        require_all(columns["side"], column_of(path, "side"))
        indices, words = distinct_words(columns["side"], column_of(path, "side"))
        unknown = [word for word in words if word not in ("buy", "sell")]
        if unknown:
            raise DataError(f"{path}: side {unknown[0]!r}; expected 'buy' or 'sell', fetch the file again")
        side = np.array([event.BUY if word == "buy" else event.SELL for word in words])[indices]
        events = np.zeros(len(side), EVENT)
        events["ev"] = side | (event.DEPTH if timed else event.DEPTH_SNAPSHOT) | event.BOTH_SEE
        events["px"] = floats(columns["price"], column_of(path, "price"))
        events["qty"] = floats(columns["size"], column_of(path, "size"))
        if timed:
            what = column_of(path, "time")
            form = form or find_form(columns["time"], what)
            events["exch_ts"] = events["local_ts"] = read_times(columns["time"], form, what)
            events["ival"] = LAST
        yield events


def _sniff(head: Head) -> bool:
    return head.line in (b"side,price,size,time", b"side,price,size", b",iso,epoch")


def _folder(path: Path) -> Hashable:
    return path.parent


def _session(files: Sequence[Path]) -> Iterator[FileGroup]:
    """The files of a folder are one session, which is called like the folder."""
    yield FileGroup(files[0].absolute().parent.name, tuple(files))


FORMAT = Format(
    name="coinbase",
    sniff=_sniff,
    open=open_coinbase,
    options=("tick_size", "lot_size"),
    group_key=_folder,
    group=_session,
)
