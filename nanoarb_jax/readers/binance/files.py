"""How raw Binance files are recognised, and which of them are one series."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from nanoarb_jax.readers.binance.blocks import BOM
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.format import FileGroup, Head, each_alone
from nanoarb_jax.readers.names import series_name, split_time

_LINE = re.compile(rb"\s*\d{9,19}(\.\d*)?\s+[{\[]")
# what one of the first lines holds: a snapshot or spot's partial book, a combined stream, an event, spot's best prices
_BINANCE = re.compile(rb'"lastUpdateId"|"stream"\s*:\s*"[^"]*"|"e"\s*:\s*"\w+"|"u"\s*:\s*\d+\s*,\s*"s"\s*:')
_SYMBOL = re.compile(rb'"(?:stream"\s*:\s*"([^"@!\s]{1,40})@|s(?:ymbol)?"\s*:\s*"([^"\s]{1,40})")')
_HEAD = 1 << 18  # bytes: more takes longer than all the rest of opening a file
_MOST_SYMBOLS = 5


def sniff(head: Head) -> bool:
    """Lines begin with a local time, a blank and JSON, and some hold what Binance sends."""
    start = head.start.removeprefix(BOM)
    return _LINE.match(start) is not None and _BINANCE.search(start) is not None


def symbols_in(file: Path) -> list[str]:
    """Symbols in the first 256 KiB of a file, at most five, in order of their names."""
    with open_bytes(file) as stream:
        found = {
            (named or said).decode(errors="replace").upper() for named, said in _SYMBOL.findall(stream.read(_HEAD))
        }
    symbols = sorted(found)
    return symbols if len(symbols) <= _MOST_SYMBOLS else [*symbols[:_MOST_SYMBOLS], "…"]


def series_key(path: Path) -> Hashable:
    """The files of a series lie in one folder; one whose name has no time is alone, and days and hours do not mix."""
    timed = split_time(path)
    return (path.parent, timed.series, timed.whole_day) if timed else path


def files_of_each_symbol(files: Sequence[Path]) -> Iterator[FileGroup]:
    """Like `consecutive_files`, but files that are each of one symbol are one series only with those of the same."""
    named = [tuple(symbols_in(file)) for file in files] if len(files) > 1 else []
    if not named or any(len(symbols) != 1 for symbols in named):
        yield from consecutive_files(files)
        return
    for symbol in dict.fromkeys(named):
        yield from consecutive_files([file for file, its in zip(files, named, strict=True) if its == symbol])


def consecutive_files(files: Sequence[Path]) -> Iterator[FileGroup]:
    """Files that are one series, which is named after the last, since the book goes on from one to the next.

    Days are one series as long as they follow each other. Files named by the hour, the minute or the second are one as
    long as each begins within a day of the one before: how long they last is not said. Where one is missing, the update
    ids tell, and the book waits for the next snapshot.
    """
    times = sorted((timed.begin, file) for file in files if (timed := split_time(file)))
    if not times:
        yield from each_alone(files)
        return
    run: list[Path] = []
    for (before, _), (begin, file) in zip([times[0], *times], times, strict=False):
        if run and not timedelta(0) < begin - before <= timedelta(days=1):
            yield FileGroup(series_name(run[-1]), tuple(run))
            run = []
        run.append(file)
    yield FileGroup(series_name(run[-1]), tuple(run))
