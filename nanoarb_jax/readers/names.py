"""What the name of a file says: the series' name, the day and the time of day."""

from __future__ import annotations

import re
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

_SUFFIXES = re.compile(r"(\.(gz|xz|bz2|zst|npz|npy|csv|tsv|txt|parquet|pq|dbn|jsonl?|dat))+$", re.IGNORECASE)
# a day, and perhaps a time of day: 20250101, 2025-01-01_02, 20250101-0230, 20250101T023000Z, 2025-01-01T02-30-00
_TIME = re.compile(
    r"^(?P<series>.+)[_.-](?P<day>\d{8}|\d{4}-\d{2}-\d{2})"
    r"(?:[_.T -]?(?P<hour>\d{2})(?:[-:._]?(?P<minute>\d{2})(?:[-:._]?(?P<second>\d{2}))?)?Z?)?$"
)


class TimedName(NamedTuple):
    """The name of a file that holds a part of a series.

    Attributes:
        series: the name without the time.
        begin: the time in the name.
        whole_day: whether that is a day, without a time of day.
    """

    series: str
    begin: datetime
    whole_day: bool


def series_name(path: Path) -> str:
    """The file's name without the suffixes that tell its format and its compression.

    >>> from pathlib import Path
    >>> from nanoarb_jax.readers.names import series_name
    >>> series_name(Path("data/test_data.mbo.dbn.zst"))
    'test_data.mbo'
    """
    return _SUFFIXES.sub("", path.name)


def symbol_in_name(symbol: str) -> str:
    """A symbol as it may stand in a series' name, which is a file's name, too.

    >>> from nanoarb_jax.readers.names import symbol_in_name
    >>> symbol_in_name("ESM4 / ESU4")
    'ESM4___ESU4'
    """
    return re.sub(r"[^A-Za-z0-9.-]", "_", symbol)


def split_time(path: Path) -> TimedName | None:
    """The series and the time of a file whose name ends with a day, or a day and a time of day; None: it does not.

    >>> from pathlib import Path
    >>> from nanoarb_jax.readers.names import split_time
    >>> split_time(Path("btcusdt_20240808.gz"))
    TimedName(series='btcusdt', begin=datetime.datetime(2024, 8, 8, 0, 0), whole_day=True)
    >>> split_time(Path("btcusdt.jsonl.2024-08-08_02"))
    TimedName(series='btcusdt', begin=datetime.datetime(2024, 8, 8, 2, 0), whole_day=False)
    """
    match = _TIME.match(series_name(path))
    if match is None:
        return None
    hour, minute, second = (match[part] or "0" for part in ("hour", "minute", "second"))
    try:
        day = date.fromisoformat(match["day"])
        begin = datetime(day.year, day.month, day.day, int(hour), int(minute), int(second))
    except ValueError:  # digits that are no time
        return None
    return TimedName(_SUFFIXES.sub("", match["series"]), begin, match["hour"] is None)
