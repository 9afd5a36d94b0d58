"""How each source is read, where sources differ: options and policies by patterns of series' names, from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line
from nanoarb_jax.market.anomaly import Policy, policies
from nanoarb_jax.readers.feed import ReadOptions

Readings = Mapping[str, Mapping[str, Any]]  # {pattern of series names: {option: value, "policy": {anomaly: policy}}}
_KINDS: dict[str, tuple[type, ...]] = {
    "tick_size": (int, float),
    "lot_size": (int, float),
    "symbol": (str,),
    "sort": (bool,),
    "snapshot": (str,),
    "policy": (dict,),
}
_FORM = 'expected tables such as ["btc_*"] with tick_size, lot_size, symbol, sort, snapshot or policy'


class Reading(NamedTuple):
    """How one source is read."""

    options: ReadOptions
    policy: Mapping[str, Policy]


def reading_of(name: str, reading: Reading, readings: Readings | None) -> Reading:
    """How a series is read: as the first pattern that matches its name says, and for the rest as `reading` does.

    >>> from nanoarb_jax.data.reading import Reading, reading_of
    >>> from nanoarb_jax.readers.feed import ReadOptions
    >>> reading_of("btc_1", Reading(ReadOptions(), {}), {"btc_*": {"tick_size": 0.1}}).options.tick_size
    0.1
    """
    found: Mapping[str, Any] = next((said for key, said in (readings or {}).items() if fnmatchcase(name, key)), {})
    options = {key: value for key, value in found.items() if key != "policy"}
    if "snapshot" in options:
        options["snapshot"] = Path(options["snapshot"])
    return Reading(reading.options._replace(**options), {**reading.policy, **found.get("policy", {})})


def check_patterns(readings: Readings | None, names: Sequence[str]) -> None:
    """Refuse a pattern that no series matches first: it would change nothing.

    Raises:
        DataError: there is one.
    """
    used = {next((key for key in readings or {} if fnmatchcase(name, key)), None) for name in names}
    for pattern in readings or {}:
        if pattern not in used:
            raise DataError(
                f"--reading: no series is read by {pattern!r} (series: {', '.join(names[:8])}); mend the pattern, or "
                "leave it out"
            )


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
        try:
            policies(options.get("policy"))
        except DataError as error:
            raise DataError(f"--reading {path}: [{pattern!r}] {error}") from error
        if "snapshot" in options:
            options["snapshot"] = str(path.parent / options["snapshot"])
    return found
