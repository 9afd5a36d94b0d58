"""How each source is read, where sources differ: options and policies by patterns of series' names, from TOML.

A pattern with a slash, such as "spot/btcusdt_*", is compared with the names of folder and series.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from nanoarb_jax.data.period import Period, parse_period
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.files import first_line
from nanoarb_jax.market.anomaly import Policy, policies
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import Source

Readings = Mapping[str, Mapping[str, Any]]  # {pattern of series names: {option: value, "policy": {anomaly: policy}}}
_KINDS: dict[str, tuple[type, ...]] = {
    "tick_size": (int, float),
    "lot_size": (int, float),
    "symbol": (str,),
    "sort": (bool,),
    "snapshot": (str,),
    "timed": (bool,),
    "from": (str,),
    "to": (str,),
    "name": (str,),
    "policy": (dict,),
}
_FORM = f'expected tables such as ["btc_*"] with {", ".join(list(_KINDS)[:-1])} or {list(_KINDS)[-1]}'
_NAME = re.compile(r"[\w*][\w*.@+-]*")  # of a series, and of its files
_NO_OPTIONS = ("policy", "from", "to", "name")


class Reading(NamedTuple):
    """How one source is read."""

    options: ReadOptions
    policy: Mapping[str, Policy]
    period: Period | None = None  # whose ticks are kept; None: all
    name: str | None = None  # of the series; None: as the files say


def reading_of(source: Source, reading: Reading, readings: Readings | None) -> Reading:
    """How a series is read: as the first pattern that matches it says, and for the rest as `reading` does.

    >>> from pathlib import Path
    >>> from nanoarb_jax.data.reading import Reading, reading_of
    >>> from nanoarb_jax.readers.feed import ReadOptions
    >>> from nanoarb_jax.readers.sources import Source
    >>> source = Source("btc_1", "table", (Path("feeds/spot/btc_1.csv"),))
    >>> found = reading_of(source, Reading(ReadOptions(), {}), {"spot/*": {"tick_size": 0.1, "name": "spot_*"}})
    >>> found.options.tick_size, found.name
    (0.1, 'spot_btc_1')
    """
    pattern = _first_pattern(source, readings)
    found: Mapping[str, Any] = {} if readings is None or pattern is None else readings[pattern]
    options = {key: value for key, value in found.items() if key not in _NO_OPTIONS}
    if "snapshot" in options:
        options["snapshot"] = Path(options["snapshot"])
    return Reading(
        reading.options._replace(**options),
        {**reading.policy, **found.get("policy", {})},
        parse_period(found.get("from"), found.get("to")) or reading.period,
        found["name"].replace("*", source.name) if "name" in found else reading.name,
    )


def _first_pattern(source: Source, readings: Readings | None) -> str | None:
    """The first pattern that matches a series; None: none does."""
    in_folder = f"{source.files[0].absolute().parent.name}/{source.name}"
    return next((key for key in readings or {} if fnmatchcase(in_folder if "/" in key else source.name, key)), None)


def check_patterns(readings: Readings | None, sources: Sequence[Source]) -> None:
    """Refuse a pattern that no series matches first: it would change nothing.

    Raises:
        DataError: there is one.
    """
    used = {_first_pattern(source, readings) for source in sources}
    names = [source.name for source in sources]
    for pattern in readings or {}:
        if pattern not in used:
            raise DataError(
                f"--reading: no series is read by {pattern!r} (series: {', '.join(names[:8])}); mend the pattern, or "
                "leave it out"
            )


def join_readings(paths: Sequence[str | Path]) -> dict[str, dict[str, Any]]:
    """The tables of several files, in their order.

    Raises:
        DataError: a pattern stands in two of them; or see `read_readings`.
    """
    joined: dict[str, dict[str, Any]] = {}
    for path in paths:
        found = read_readings(path)
        if twice := joined.keys() & found.keys():
            raise DataError(f"--reading {path}: [{min(twice)!r}] stands in an earlier file, too; keep one of them")
        joined |= found
    return joined


def read_readings(path: str | Path) -> dict[str, dict[str, Any]]:
    """The tables of a TOML file; `snapshot` is a path relative to it.

    Raises:
        DataError: no such file, an unknown option, or a value of another kind.
    """
    path = Path(path)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"--reading {path}: {first_line(error)}; {_FORM}") from error
    if not found:
        raise DataError(f"--reading {path}: empty; {_FORM}")
    for pattern, options in found.items():
        if not isinstance(options, dict):
            raise DataError(f"--reading {path}: {pattern!r} = {options!r}; {_FORM}")
        for key, value in options.items():
            kinds = _KINDS.get(key, ())
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise DataError(f"--reading {path}: [{pattern!r}] {key} = {value!r}; {_FORM}")
        if not _NAME.fullmatch(options.get("name", "*")):
            expected = "expected letters, digits and . - _ @ +, with * for the name found"
            raise DataError(f"--reading {path}: [{pattern!r}] name = {options['name']!r}; {expected}")
        try:
            policies(options.get("policy"))
            parse_period(options.get("from"), options.get("to"))
        except (DataError, ConfigError) as error:
            raise DataError(f"--reading {path}: [{pattern!r}] {error}") from error
        if "snapshot" in options:
            options["snapshot"] = str(path.parent / options["snapshot"])
    return found
