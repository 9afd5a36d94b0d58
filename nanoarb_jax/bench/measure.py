"""Timing: candidates take turns in rounds, every sample is kept.

One round times a burst of each candidate, and rounds follow each other, so that a slow second of the machine falls on
all alike; quote ratios of one run. Warm-up is excluded and the garbage collector is off.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nanoarb_jax.progress import Note

PERCENTILES = {"p50_us": 50, "p95_us": 95, "p99_us": 99, "p999_us": 99.9}
MOST_CALLS = 1_000  # of one burst

Kind = Literal["window", "step", "stage", "floor"]
Call = Callable[[np.ndarray], object]


@dataclass(frozen=True)
class Candidate:
    """A way to get a prediction, or a part or floor of one.

    Args:
        path, kind: as in the JSON.
        load: makes the call: it compiles or opens what the call needs. The call takes one tick's raw features (f,)
            and returns when its result is on the host. Where it has a method `before`, that is called before each
            call, and not timed.
        repeats: ticks, events or predictions that one call goes through; a sample is the time of one of them, the mean
            over the call.
    """

    path: str
    kind: Kind
    load: Callable[[], Call]
    repeats: int = 1


def load_all(candidates: Sequence[Candidate], tick: np.ndarray, note: Note) -> tuple[dict[str, Call], dict[str, float]]:
    """Make the calls, and make each once.

    Returns:
        {path: call}, and {path: seconds from nothing to the first result}. What candidates share is made by the first
        of them, and code that numba finds on disk is not compiled again.
    """
    calls, seconds = {}, {}
    for candidate in candidates:
        note(f"loading {candidate.path}")
        began = time.perf_counter()
        call = candidate.load()
        burst(call, tick[None], 1)
        calls[candidate.path], seconds[candidate.path] = call, round(time.perf_counter() - began, 4)
    return calls, seconds


def measure(
    candidates: Sequence[Candidate],
    calls: dict[str, Call],
    ticks: np.ndarray,
    rounds: int,
    burst_seconds: float,
    note: Note,
) -> dict[str, np.ndarray]:
    """Samples per path over interleaved rounds.

    Args:
        candidates: in the order of their turns.
        calls: of `load_all`.
        ticks: (n, f) raw features, fed one after the other.
        rounds: that count; one before them warms up and is thrown away.
        burst_seconds: of one path within a round, about.
        note: told the round.

    Returns:
        {path: µs (samples,)}.
    """
    samples: dict[str, list[np.ndarray]] = {c.path: [] for c in candidates}
    counts = {c.path: 20 for c in candidates}
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()  # what is there stays: a collection between rounds need not look at it
    try:
        for number in range(rounds + 1):
            note(f"round {number} of {rounds}" if number else "warm-up")
            for c in candidates:
                taken = burst(calls[c.path], ticks, counts[c.path])
                if number:
                    samples[c.path].append(taken / c.repeats)
                else:
                    counts[c.path] = int(np.clip(burst_seconds * 1e6 / np.median(taken), 20, MOST_CALLS))
            gc.collect()
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()
    return {path: np.concatenate(parts) for path, parts in samples.items()}


def burst(call: Call, ticks: np.ndarray, count: int) -> np.ndarray:
    """Time `count` calls in a row, each by itself, in µs."""
    clock, times, before = time.perf_counter_ns, np.empty(count), getattr(call, "before", None)
    for i in range(count):
        tick = ticks[i % len(ticks)]
        if before is not None:
            before()
        began = clock()
        call(tick)
        times[i] = clock() - began
    return times / 1e3


def statistics(samples: np.ndarray) -> dict[str, Any]:
    """Mean and percentiles of samples in µs."""
    values = {key: float(np.percentile(samples, q)) for key, q in PERCENTILES.items()}
    return {"mean_us": float(samples.mean()), **values, "iterations": len(samples)}
