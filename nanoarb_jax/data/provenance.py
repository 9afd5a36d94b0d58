"""What is kept of a stream that a model learnt from, to tell later whether data were among it, whatever their name.

Three facts do not change with a file's name: the checksums of its files, its instrument with its time, and its rows
themselves, of which a sketch of 32 hashes is kept: those that are smallest among the hashes of all rows (Broder 1997).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.streams import Stream

SKETCHED = 32
FACTS = ("sources", "learnt_ns", "sketch")
_BLOCK = 1 << 18
_TIMED_NS = 10**17  # files without times have row numbers in their place, all far below


def provenance(stream: Stream) -> dict[str, Any]:
    """The facts of a stream that a model is about to learn from, as plain JSON values.

    Returns:
        `sources`: sha256 of its files; `learnt_ns`: times of the first and the last row of its training and validation
        parts; `sketch`: hashes of some of these rows. The last two are None where the stream has no times.
    """
    start, stop = stream.train[0], stream.validation[1]
    facts: dict[str, Any] = {"sources": list(stream.sources), "learnt_ns": None, "sketch": None}
    if start < stop and _has_times(stream):
        smallest = np.zeros(0, np.uint64)
        for first in range(start, stop, _BLOCK):
            hashes = _row_hashes(stream, first, min(first + _BLOCK, stop))
            smallest = np.unique(np.concatenate([smallest, hashes]))[:SKETCHED]
        facts["learnt_ns"] = [int(stream.ts_ns[start]), int(stream.ts_ns[stop - 1])]
        facts["sketch"] = [f"{one:016x}" for one in smallest.tolist()]
    return facts


def how_learnt(stream: Stream, learnt: Iterable[Mapping[str, Any]]) -> str | None:
    """Why a stream counts as learnt from; None: nothing says that it was.

    Args:
        stream: to be judged or replayed.
        learnt: entries of streams that a model learnt from: `name`, `instrument` and the facts of `provenance`. An
            entry without facts, as earlier versions wrote them, is compared by its name alone.

    Returns:
        "same file", "same times and mids as NAME", "same instrument and time as NAME", or "same name; the model says no
        more". None is no proof: data with changed times or prices, or with a few rows in common, are not recognised.
    """
    entries = list(learnt)
    by_name = [entry for entry in entries if not any(entry.get(fact) for fact in FACTS)]
    told = [entry for entry in entries if any(entry.get(fact) for fact in FACTS)]
    if any(set(stream.sources) & set(entry.get("sources") or ()) for entry in told):
        return "same file"
    rows = _rows_known(stream, {h: entry["name"] for entry in told for h in entry.get("sketch") or ()})
    if rows is not None:
        return f"same times and mids as {rows}"
    for entry in told:
        if entry.get("instrument") == stream.instrument and _overlaps(stream, entry.get("learnt_ns")):
            return f"same instrument and time as {entry['name']}"
    if any(entry["name"] == stream.name for entry in by_name):
        return "same name; the model says no more"
    return None


def _has_times(stream: Stream) -> bool:
    return stream.timed and bool(stream.ts_ns[0] >= _TIMED_NS)


def _overlaps(stream: Stream, span: list[int] | None) -> bool:
    return span is not None and _has_times(stream) and bool(stream.ts_ns[0] <= span[1] and stream.ts_ns[-1] >= span[0])


def _rows_known(stream: Stream, sketched: Mapping[str, str]) -> str | None:
    """Whose sketch holds a row of the stream; None: nobody's."""
    if not sketched or not _has_times(stream):
        return None
    hashes, names = np.array([int(one, 16) for one in sketched], np.uint64), list(sketched.values())
    for first in range(0, stream.rows, _BLOCK):
        found = np.isin(hashes, _row_hashes(stream, first, min(first + _BLOCK, stream.rows)))
        if found.any():
            return names[int(np.argmax(found))]
    return None


def _row_hashes(stream: Stream, start: int, stop: int) -> NDArray[np.uint64]:
    """A hash of time and mid of each row (splitmix64's finaliser); of the mid its float32, free of rounding."""
    mid = (stream.mid[start:stop].astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.uint64)
    x = stream.ts_ns[start:stop].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + mid
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))
