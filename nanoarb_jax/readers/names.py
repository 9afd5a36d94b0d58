"""What the name of a file says: the series' name and the day."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import NamedTuple

_SUFFIXES = re.compile(r"(\.(gz|xz|bz2|zst|npz|npy|csv|tsv|txt|parquet|pq|dbn|jsonl?|dat))+$", re.IGNORECASE)
_DAY = re.compile(r"^(?P<series>.+)[_-](?P<day>\d{8}|\d{4}-\d{2}-\d{2})$")


class DatedName(NamedTuple):
    """The name of a file that holds one day of a series."""

    series: str
    day: date


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


def split_day(path: Path) -> DatedName | None:
    """The series and the day of a file whose name ends with a day; None: it does not.

    >>> from pathlib import Path
    >>> from nanoarb_jax.readers.names import split_day
    >>> split_day(Path("btcusdt_20240808.gz"))
    DatedName(series='btcusdt', day=datetime.date(2024, 8, 8))
    """
    match = _DAY.match(series_name(path))
    try:
        return DatedName(match["series"], date.fromisoformat(match["day"])) if match else None
    except ValueError:  # eight digits that are no day
        return None
