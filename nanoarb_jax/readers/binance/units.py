"""Units of a capture's times, told of every line by plausible years, see `readers.times`; compiled."""

from __future__ import annotations

import numpy as np

from nanoarb_jax.market.compiled import internal
from nanoarb_jax.readers.times import EARLIEST_S, LATEST_S, NS_PER_UNIT

_UNITS = tuple(NS_PER_UNIT)  # ns, µs, ms, s; a unit's bit is 1 << its place here
_NS = np.array([NS_PER_UNIT[unit] for unit in _UNITS])
# a time in ns, µs, ms, s lies from the first, below the second
(_NS_FROM, _NS_TO), (_US_FROM, _US_TO), (_MS_FROM, _MS_TO), (_S_FROM, _S_TO) = (
    (EARLIEST_S * 10**9 // NS_PER_UNIT[unit], LATEST_S * 10**9 // NS_PER_UNIT[unit]) for unit in _UNITS
)


@internal
def find_unit(time):  # type: ignore[no-untyped-def]
    """The place of a time's unit among ns, µs, ms, s; -1: it lies between 1980 and 2100 in none."""
    if time >= _NS_FROM:
        return 0 if time < _NS_TO else -1
    if time >= _US_FROM:
        return 1 if time < _US_TO else -1
    if time >= _MS_FROM:
        return 2 if time < _MS_TO else -1
    return 3 if _S_FROM <= time < _S_TO else -1


@internal
def ns_per(unit):  # type: ignore[no-untyped-def]
    """Nanoseconds in a unit, given by its place."""
    return _NS[unit]


def unit_notes(local_units: int, exchange_units: int) -> list[str]:
    """What to tell of units other than the usual ones: ns of local times, ms of the exchange's.

    >>> from nanoarb_jax.readers.binance.units import unit_notes
    >>> unit_notes(0b0010, 0b0100), unit_notes(0b0001, 0b0110)
    (['local times are in µs'], ['exchange times are in µs and ms'])
    """
    notes = []
    for whose, units, usual in (("local", local_units, "ns"), ("exchange", exchange_units, "ms")):
        met = [unit for place, unit in enumerate(_UNITS) if units >> place & 1]
        if met not in ([], [usual]):
            notes.append(f"{whose} times are in {' and '.join(met)}")
    return notes
