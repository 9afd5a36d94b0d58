"""How raw Binance files are recognised, and which of them are one series: days that follow each other."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from nanoarb_jax.readers.format import FileGroup, Head, each_alone
from nanoarb_jax.readers.names import series_name, split_day


def sniff(head: Head) -> bool:
    """Lines begin with a local time in ns, a space and a JSON object."""
    return re.match(rb"\d{16,19} \{", head.start) is not None


def series_key(path: Path) -> Hashable:
    """The days of a series lie in one folder; a file whose name has no day is alone."""
    dated = split_day(path)
    return (path.parent, dated.series) if dated else path


def consecutive_days(files: Sequence[Path]) -> Iterator[FileGroup]:
    """Days that follow each other are one series, since the book goes on at midnight; it is named after the last."""
    days = sorted((dated.day, file) for file in files if (dated := split_day(file)))
    if not days:
        yield from each_alone(files)
        return
    run: list[Path] = []
    for (before, _), (day, file) in zip([days[0], *days], days, strict=False):
        if run and day - before != timedelta(days=1):
            yield FileGroup(series_name(run[-1]), tuple(run))
            run = []
        run.append(file)
    yield FileGroup(series_name(run[-1]), tuple(run))
