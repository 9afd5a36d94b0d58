"""`binance-history`: Binance's historical futures data, `T_DEPTH` snapshots and updates, with trades beside them, CSV.

`SYMBOL_T_DEPTH_DAY_depth_snap.csv`, `SYMBOL_T_DEPTH_DAY_depth_update.csv` and `SYMBOL-trades-DAY.csv` of one folder are
one series; at least one of the first two is needed. They have the exchange's time alone, which stands for the local
one. The converter takes every trade for a sale and leaves times in ms, so it gets copies that it reads right.
Source: https://www.binance.com/en/landing/data
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import BOTH_SEE, CLEAR, DEPTH, KIND_MASK, TRADE
from nanoarb_jax.readers.columns import column_of, csv_names, distinct_words, floats, integers, text_batches
from nanoarb_jax.readers.converted.conversion import converter, feed_of, run
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.format import FileGroup, Format, Head
from nanoarb_jax.readers.times import NS_PER_UNIT, plausible, unit_of_time

_LEVELS = ("symbol", "timestamp", "side", "update_type", "price", "qty")
_TRADES = ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker")
_LEVELS_NAME = re.compile(r"(?P<symbol>[A-Za-z0-9]+)_T_DEPTH_(?P<day>\d{4}-\d\d-\d\d)(_depth_(snap|update))?")
_TRADES_NAME = re.compile(r"(?P<symbol>[A-Za-z0-9]+)-trades-(?P<day>\d{4}-\d\d-\d\d)")
_KINDS = ("snap", "set", "trade")
_WORDS = {"side": ("b", "a"), "is_buyer_maker": ("true", "false", "True", "False")}
_EARLY = "before the first snapshot"


def open_history(files: Sequence[Path], options: ReadOptions = ReadOptions()) -> EventFeed:  # noqa: B008
    """One day of one symbol.

    Raises:
        DataError: hftbacktest is not installed, no levels, several files of one kind, or a malformed cell.
    """
    what = f"binance-history {files[0]}"
    kinds: dict[str, Path] = {}
    for file in files:
        kind = _kind_of(file)
        if kind in kinds:
            raise DataError(f"binance-history {file}: {kinds[kind].name} holds the same; give one file of each kind")
        kinds[kind] = file
    if not kinds.keys() - {"trade"}:
        raise DataError(f"{what}: trades alone; expected the T_DEPTH files of the same day and symbol beside them")
    history = converter("binancehistmktdata", what)
    notes: list[str] = []
    dropped: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="nanoarb-") as folder:
        copies = {kind: _copy(kinds.get(kind), kind, Path(folder)) for kind in _KINDS}
        rows = {kind: room for kind, (_, room) in copies.items()}
        paths = {kind: str(path) for kind, (path, _) in copies.items()}

        def convert() -> NDArray[np.void]:
            events = history.convert(paths["set"], paths["trade"], buffer_size=rows["set"] + rows["trade"] + 1)
            snapshots = history.convert_snapshot(paths["snap"], ss_buffer_size=rows["snap"] + 1)
            both = np.concatenate([_replacing(snapshots), events])  # at one time, the snapshot comes first
            return both[np.argsort(both["exch_ts"], kind="stable")]

        events = run(convert, what, notes)
    if rows["snap"]:
        events = _from_first_snapshot(events, dropped)
    notes += ["no local times, the exchange's stand for them", "update ids are not checked"]
    name = _series_of(files[0]) or files[0].stem
    return feed_of(events, name, "binance-history", options, dropped, notes, whole_snapshots=True)


def _replacing(snapshots: NDArray[np.void]) -> NDArray[np.void]:
    """Levels of snapshots, in order of time, with a CLEAR of all before each snapshot."""
    snapshots = snapshots[np.argsort(snapshots["exch_ts"], kind="stable")]
    snapshots["ev"] |= np.uint64(BOTH_SEE)
    starts = np.flatnonzero(np.diff(snapshots["exch_ts"], prepend=-1))
    clears = snapshots[starts]
    clears["ev"], clears["px"], clears["qty"] = CLEAR | BOTH_SEE, 0, 0
    return np.insert(snapshots, starts, clears)


def _from_first_snapshot(events: NDArray[np.void], dropped: Counter[str]) -> NDArray[np.void]:
    kinds = events["ev"] & np.uint64(KIND_MASK)
    first = int(np.argmax((kinds != DEPTH) & (kinds != TRADE)))
    if first:
        dropped[_EARLY] = first
    return events[first:]


def _copy(path: Path | None, kind: str, folder: Path) -> tuple[Path, int]:
    """A copy with times in ns, the columns that the converter looks for, and words that it understands; its rows."""
    target = folder / f"{kind}.csv"
    names = _TRADES if kind == "trade" else _LEVELS
    time = "time" if kind == "trade" else "timestamp"
    count, unit = 0, ""
    with target.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(names)
        for batch in text_batches(path, csv_names(path, names), names) if path else ():
            assert path is not None
            times = integers(batch[time], column_of(path, time))
            unit = unit or unit_of_time(int(times[0]), f"{path}, {time}")
            ns = times * NS_PER_UNIT[unit]
            if not ((np.abs(times) < np.iinfo(np.int64).max // NS_PER_UNIT[unit]) & plausible(ns)).all():
                raise DataError(f"{path}: a {time} is not in {unit}, as the first is; expected times of one unit")
            count += len(ns)
            columns: dict[str, Any] = {name: batch[name].to_pylist() for name in names} | {time: ns.tolist()}
            for name in ("price", "qty"):
                floats(batch[name], column_of(path, name))
            _check_words(batch, path)
            if kind == "trade":  # the converter takes any word for yes
                columns["is_buyer_maker"] = [w if w in ("true", "True") else "" for w in columns["is_buyer_maker"]]
            writer.writerows(zip(*columns.values(), strict=True))
    return target, count


def _check_words(batch: Any, path: Path) -> None:
    for name in set(_WORDS) & set(batch):
        _, words = distinct_words(batch[name], column_of(path, name))
        unknown = [word for word in words if word not in _WORDS[name]]
        if unknown:
            raise DataError(f"{path}: {name} {unknown[0]!r}; expected one of {', '.join(_WORDS[name])}")
    if "symbol" in batch and len(symbols := distinct_words(batch["symbol"], column_of(path, "symbol"))[1]) > 1:
        raise DataError(f"{path}: several symbols ({', '.join(symbols[:5])}); split the file")


def _kind_of(file: Path) -> str:
    names = csv_names(file, ())
    if "update_type" not in names:
        return "trade"
    for batch in text_batches(file, names, ("update_type",)):
        word = batch["update_type"][0].as_py()
        if word in ("snap", "set"):
            return word
        raise DataError(f"binance-history {file}: update_type {word!r}; expected 'snap' or 'set'")
    raise DataError(f"binance-history {file}: no rows; fetch it again")


def _series_of(file: Path) -> str | None:
    match = _LEVELS_NAME.match(file.name) or _TRADES_NAME.match(file.name)
    return f"{match['symbol']}_{match['day']}" if match else None


def _day_and_symbol(file: Path) -> Hashable:
    return (file.parent, _series_of(file)) if _series_of(file) else file


def _one_day(files: Sequence[Path]) -> Iterator[FileGroup]:
    yield FileGroup(_series_of(files[0]) or files[0].stem, tuple(files))


def _sniff(head: Head) -> bool:
    names = set(head.line.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").split(","))
    return names >= set(_LEVELS) or names == set(_TRADES)


FORMAT = Format(
    name="binance-history",
    sniff=_sniff,
    open=open_history,
    options=("tick_size", "lot_size"),
    group_key=_day_and_symbol,
    group=_one_day,
)
