"""Which instrument a series is of: as the user declares it, else as its name suggests.

Series of one instrument are left out together by leave-one-out and share its part of an epoch, so a wrong guess leaks
data: what needs the instrument to be right refuses series whose instrument was not declared.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line

Instruments = str | Mapping[str, str]  # one for all series, or {pattern of series names: instrument}


class Declared(NamedTuple):
    """The instrument of a series, and whether the user said so."""

    instrument: str
    declared: bool


def instrument_of(name: str, instruments: Instruments | None = None) -> Declared:
    """The instrument of a series.

    Args:
        name: of the series.
        instruments: what the user declares; of several patterns that match (`*` and `?` as in file names) the first
            holds. None: the part of the name before its date is taken for the instrument.

    Raises:
        DataError: patterns are given and none matches.

    >>> from nanoarb_jax.data.declaration import instrument_of
    >>> instrument_of("ES_monday", {"ES_*": "ES"})
    Declared(instrument='ES', declared=True)
    >>> instrument_of("AAPL_2012-06-21_first1000_orderbook_10")
    Declared(instrument='AAPL', declared=False)
    """
    if isinstance(instruments, str):
        return Declared(instruments, True)
    if instruments is None:
        return Declared(re.sub(r"[_-](\d{8}|\d{4}-\d\d-\d\d).*$", "", name) or name, False)
    for pattern, instrument in instruments.items():
        if fnmatchcase(name, pattern):
            return Declared(instrument, True)
    raise DataError(
        f"series {name!r}: matches none of the patterns of --instruments ({', '.join(instruments)}); add a line for it"
    )


def read_instruments(path: str | Path) -> dict[str, str]:
    """The patterns of a TOML file with lines such as `"ES_*" = "ES"`.

    Raises:
        DataError: no such file, or lines of another form.
    """
    path = Path(path)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f'--instruments {path}: {first_line(error)}; expected lines such as "ES_*" = "ES"') from error
    for pattern, instrument in found.items():
        if not isinstance(instrument, str) or not instrument:
            raise DataError(f'--instruments {path}: {pattern!r}: {instrument!r}; expected a line such as "ES_*" = "ES"')
    if not found:
        raise DataError(f'--instruments {path}: empty; expected lines such as "ES_*" = "ES"')
    return found
