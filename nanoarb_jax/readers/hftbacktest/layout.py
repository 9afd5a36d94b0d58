"""What an array of events may look like in a file: hftbacktest's fields, of any integer width, in any order."""

from __future__ import annotations

import warnings
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import BOTH_SEE, EVENT, EXCH_EVENT, LOCAL_EVENT
from nanoarb_jax.readers.times import NS_PER_UNIT, plausible, unit_of_time

_INTEGERS = ("ev", "exch_ts", "local_ts", "order_id", "ival")
_FLAGS = 0xFFFF_FFFF  # of `ev`; a signed one repeats its highest bit above them
_LARGEST_RECORD = 1024  # bytes
TIMES = ("exch_ts", "local_ts")


def read_header(file: IO[bytes], what: str) -> tuple[int, np.dtype]:
    """How many events the array's header announces, and their layout.

    Raises:
        DataError: another layout than hftbacktest's.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    if len(shape) == 2 and dtype.kind == "f":
        raise DataError(
            f"{what}: array of {dtype} {shape}, as hftbacktest 1 wrote them; expected a one-dimensional array of "
            "events, convert it with hftbacktest.data.utils.migration2"
        )
    if len(shape) != 1 or shape[0] < 0 or dtype.names is None or fortran or dtype.itemsize > _LARGEST_RECORD:
        met = f"array of {str(dtype)[:60]} {shape}"
        raise DataError(
            f"{what}: {met}; expected a one-dimensional array of events with {', '.join(EVENT.names or ())}"
        )
    _check_fields(dtype, what)
    return shape[0], dtype


def _check_fields(dtype: np.dtype, what: str) -> None:
    """Refuse, by name, a field that is missing, unknown or of another kind."""
    names, known = dtype.names or (), EVENT.names or ()
    for name in (*known, *names):
        if name not in names or name not in known:
            met = f"the field {name!r} is {'missing' if name not in names else 'unknown'}"
            raise DataError(f"{what}: {met}; expected events with {', '.join(known)}")
        field, whole = dtype[name], name in _INTEGERS
        if field.kind not in ("iu" if whole else "f") or (not whole and field.itemsize < 8):
            raise DataError(f"{what}: the field {name!r} is {field}; expected {'an integer' if whole else 'float64'}")
    if dtype["ev"].itemsize < 4:
        raise DataError(f"{what}: the field 'ev' is {dtype['ev']}; expected at least 32 bits, which hold its flags")


def as_events(data: bytes, dtype: np.dtype) -> NDArray[np.void]:
    """The records in `data` as EVENT, in memory of their own."""
    if dtype == EVENT:
        return np.frombuffer(bytearray(data), EVENT)
    raw = np.frombuffer(data, dtype)
    events = np.zeros(len(raw), EVENT)
    for name in EVENT.names or ():
        events[name] = raw[name].astype(EVENT[name])
    events["ev"] &= np.uint64(_FLAGS)
    return events


class Times:
    """The two times of a file's events, put in ns; each one's unit is told by the first that is not 0.

    Args:
        what: the file, for errors.
        zero_times: whether the events may have no times, as the book of a day's start.
    """

    def __init__(self, what: str, *, zero_times: bool = False) -> None:
        self._what, self._zero_times = what, zero_times
        self._units: dict[str, str] = {}
        self._stands_in: dict[str, str] = {}

    @property
    def notes(self) -> list[str]:
        """What a user must know: units other than ns, and missing times."""
        absent = [f"{name} is missing, {other} stands for it" for name, other in self._stands_in.items()]
        units = {name: unit for name, unit in self._units.items() if unit != "ns"}
        if len(units) == len(TIMES) and len(set(units.values())) == 1:
            units = {"times": units[TIMES[0]]}
        told = [f"{name} {'are' if name == 'times' else 'is'} in {unit}" for name, unit in units.items()]
        seconds = ["events of one second are one message"] if "s" in units.values() else []
        return told + seconds + absent

    def to_ns(self, events: NDArray[np.void]) -> None:
        """Change the times of events to ns, in place.

        A time of 0 is missing: the other one stands for it where the event is valid there, and events before all times,
        the book of a day's start, get the first.

        Raises:
            DataError: a time that lies in no plausible year, or events without times.
        """
        for name in TIMES:
            self._scale(events, name)
        if events["exch_ts"].all() and events["local_ts"].all():
            return
        timed = (events["exch_ts"] != 0) | (events["local_ts"] != 0)
        if not timed.all() and not self._zero_times:
            first = int(np.argmax(timed))
            if not timed.any() or not timed[first:].all():
                raise DataError(
                    f"{self._what}: events without times; the book of a day's start, which has none, is given with "
                    "--snapshot beside the day's events"
                )
            for name in TIMES:
                events[name][:first] = events[name][first]
        flags = events["ev"] & np.uint64(BOTH_SEE)
        for name, other, place in (("local_ts", "exch_ts", LOCAL_EVENT), ("exch_ts", "local_ts", EXCH_EVENT)):
            absent = (events[name] == 0) & ((flags == 0) | (flags & np.uint64(place) != 0)) & (events[other] != 0)
            if absent.any():
                self._stands_in[name] = other
                events[name][absent] = events[other][absent]

    def _scale(self, events: NDArray[np.void], name: str) -> None:
        times = events[name].copy()  # in one piece
        told = times if times.all() else times[times != 0]
        if len(told) == 0:
            return
        if name not in self._units:
            self._units[name] = unit_of_time(int(told[0]), f"{self._what}, {name}")
        unit = self._units[name]
        factor = NS_PER_UNIT[unit]
        for time in (int(told.min()), int(told.max())):
            if not (0 < time <= np.iinfo(np.int64).max // factor and plausible(np.array(time * factor))):
                raise DataError(
                    f"{self._what}: {name} {time} does not lie between 1980 and 2100 in {unit}, the unit of the times "
                    "before it; expected one unit in a file"
                )
        if factor != 1:
            events[name] = times * factor
