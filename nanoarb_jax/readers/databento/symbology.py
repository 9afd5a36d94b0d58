"""Which instrument a record is of: instrument numbers mean something only together with a day.

Databento gives numbers anew every day (on most equity venues), so that a stock's number changes from one day to the
next, and another stock has it then. The day of a record is the UTC date of `ts_recv`; a mapping holds from its first
day on, up to and without its last (https://databento.com/docs/standards-and-conventions/symbology).

Every row gets a label: its symbol; its number where there is no symbology; nothing ("") where the symbology has none
for that number and day. A symbol that stands for one contract after the other (ES.c.0), or for many at once (ES.FUT),
is no instrument: its label is SYMBOL-NUMBER, one for each contract.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DAY_NS = 86_400 * 10**9
_EPOCH = date(1970, 1, 1).toordinal()
_SEVERAL_CONTRACTS = re.compile(r".+\.([cnv]\.\d+|FUT|OPT|SPOT)")
_LISTED = 20
MOST_SERIES = 100  # of one file, where none is chosen; each reads all of it


class Span(NamedTuple):
    """Days on which a number is an instrument's.

    Attributes:
        first, end: days since 1970 UTC; the last is not one of them.
        symbol: of the instrument.
    """

    first: int
    end: int
    symbol: str


Symbology = Mapping[int, list[Span]]  # by instrument number, in order of symbols


def days_since_1970(day: date) -> int:
    """Of a day of a header's mapping."""
    return day.toordinal() - _EPOCH


def day_text(ts_ns: int) -> str:
    """The UTC date of a time, for messages.

    >>> from nanoarb_jax.readers.databento.symbology import day_text
    >>> day_text(1_714_953_600_000_000_000)
    '2024-05-06'
    """
    return datetime.fromtimestamp(ts_ns // 10**9, UTC).date().isoformat()


def label(symbol: str, number: int) -> str:
    """The name of the instrument that has this symbol and number.

    >>> from nanoarb_jax.readers.databento.symbology import label
    >>> label("ESH4", 17077), label("ES.c.0", 17077)
    ('ESH4', 'ES.c.0-17077')
    """
    return f"{symbol}-{number}" if _SEVERAL_CONTRACTS.fullmatch(symbol) else symbol


def symbol_of(name: str) -> str:
    """The symbol in a label."""
    symbol, _, number = name.rpartition("-")
    return symbol if number.isdigit() and _SEVERAL_CONTRACTS.fullmatch(symbol) else name


def labels_in(symbology: Symbology) -> dict[str, set[int]]:
    """{label: numbers} of all instruments of a symbology."""
    found: dict[str, set[int]] = {}
    for number, spans in symbology.items():
        for span in spans:
            found.setdefault(label(span.symbol, number), set()).add(number)
    return found


def label_rows(
    numbers: NDArray[np.integer], ts_recv: NDArray[np.int64], symbology: Symbology, labels: dict[str, int]
) -> NDArray[np.int32]:
    """(n,) indices of the rows' labels, by number and day.

    Args:
        numbers: (n,) of instruments.
        ts_recv: (n,) ns since 1970 UTC.
        symbology: of the file; empty: every number is an instrument.
        labels: {label: index}; labels that are met for the first time are added.
    """
    days = ts_recv // DAY_NS
    keys = numbers.astype(np.int64) << 20 | (days + (1 << 18))
    if len(keys) and (keys == keys[0]).all():
        keys, inverse = keys[:1], np.zeros(len(keys), np.intp)
    else:
        keys, inverse = np.unique(keys, return_inverse=True)
    found = []
    for key in keys.tolist():
        number, day = key >> 20, (key & ((1 << 20) - 1)) - (1 << 18)
        spans = symbology.get(number, [])
        symbol = next((span.symbol for span in spans if span.first <= day < span.end), None)
        name = label(symbol, number) if symbol is not None else "" if symbology else str(number)
        found.append(labels.setdefault(name, len(labels)))
    return np.array(found, np.int32)[inverse]


def listed(labels: Mapping[str, Iterable[int]]) -> str:
    """Instruments for an error message: the first twenty, each with its numbers."""
    named = [_with_numbers(name, sorted(labels[name])) for name in sorted(labels)]
    return ", ".join(named[:_LISTED]) + (", ..." if len(named) > _LISTED else "")


def _with_numbers(name: str, numbers: list[int]) -> str:
    text = " and ".join(map(str, numbers[:2])) + (", ..." if len(numbers) > 2 else "")
    if name == "":
        return f"no symbol = {text}"
    if name == text:
        return text
    return f"{name if name.isprintable() else ascii(name)} = {text}"
