"""What the names of LOBSTER's files say: day, start of the session, and which two files are a pair."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.archives import archive_of, zip_members
from nanoarb_jax.readers.format import FileGroup, Head
from nanoarb_jax.readers.names import series_name

_MESSAGE, _ORDERBOOK = "_message_", "_orderbook_"
_NAME = re.compile(
    r"(?P<ticker>[^_]+)_(?P<day>\d{4}-\d\d-\d\d)(_(?P<span>.+))?_(?P<kind>message|orderbook)(_\d+)?(\.\w+)*"
)
_PATTERN = "TICKER_YYYY-MM-DD_startms_endms_orderbook_LEVEL.csv"


class SessionFile(NamedTuple):
    """What the name of an order book file says.

    Attributes:
        name: what stands before "_orderbook".
        day: of the session.
        midnight_ns: in New York, ns since 1970 UTC; messages count seconds from it.
        start_ns: of the session; midnight where the name does not tell it.
    """

    name: str
    day: date
    midnight_ns: int
    start_ns: int


def parse_name(path: Path) -> SessionFile:
    """What the name of an order book file says.

    Raises:
        DataError: the name tells no day.
    """
    match = _NAME.fullmatch(path.name)
    try:
        day = date.fromisoformat(match["day"] if match else "")
    except ValueError as error:
        raise DataError(f"{path}: the file's name tells no day; expected {_PATTERN}") from error
    assert match is not None
    # seconds count wall-clock time: 34200 is 9:30 also on the days on which the clocks change, at night
    noon = datetime.combine(day, time(12), ZoneInfo("America/New_York"))
    midnight_ns = (int(noon.timestamp()) - 12 * 3600) * 10**9
    span = re.fullmatch(r"(\d{1,8})_\d+", match["span"] or "")
    start_ns = midnight_ns + (int(span[1]) * 10**6 if span else 0)
    return SessionFile(path.name[: match.start("kind") - 1], day, midnight_ns, start_ns)


def sniff(head: Head) -> bool:
    """The rows are bare numbers, so only the name tells."""
    name = head.path.name.lower()
    return not head.is_parquet and (_MESSAGE in name or _ORDERBOOK in name)


def orderbook_path(path: Path) -> Path:
    """Where the order book file of a message file is; of an order book file, its own path."""
    return path.with_name(path.name.replace(_MESSAGE, _ORDERBOOK))


def pair(files: Sequence[Path]) -> Iterator[FileGroup]:
    """An order book file and its message file, also where only one of them was named and the other lies beside it.

    Raises:
        DataError: a message file without its order book file.
    """
    orderbook = orderbook_path(files[0])
    message = orderbook.with_name(orderbook.name.replace(_ORDERBOOK, _MESSAGE))
    if not _is_there(orderbook):
        raise DataError(f"data {message}: no {orderbook.name} beside it; LOBSTER messages need their books")
    both = (orderbook, message) if message != orderbook and _is_there(message) else (orderbook,)
    yield FileGroup(series_name(orderbook), both)


def _is_there(path: Path) -> bool:
    """Whether there is such a file, or such a member of a zip archive."""
    archive = archive_of(path)
    return path.is_file() if archive is None else path in zip_members(archive)
