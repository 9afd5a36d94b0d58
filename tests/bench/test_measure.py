"""Rounds, statistics, and one core for the while."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.bench.environment import one_core
from nanoarb_jax.bench.measure import Call, Candidate, burst, load_all, measure, statistics


def silent(text: str) -> None:
    pass


def candidate(name: str, call: Call, repeats: int = 1) -> Candidate:
    return Candidate(name, "step", lambda: call, repeats)


@pytest.fixture
def affinity() -> Iterator[set[int]]:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has no say in where threads run")
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


def test_rounds_take_turns_and_the_first_is_thrown_away() -> None:
    calls: list[str] = []
    candidates = [candidate(name, lambda tick, name=name: calls.append(name)) for name in ("a", "b")]
    loaded = {c.path: c.load() for c in candidates}
    samples = measure(candidates, loaded, np.zeros((10, 3)), 2, 0.005, silent)
    turns = [calls[0], *(now for before, now in pairwise(calls) if now != before)]
    assert turns == ["a", "b"] * 3
    assert sum(map(len, samples.values())) == len(calls) - 2 * 20  # the warm-up's bursts
    assert gc.isenabled()


def test_ticks_are_fed_in_order() -> None:
    met: list[float] = []
    assert len(burst(lambda tick: met.append(float(tick[0])), np.arange(3.0)[:, None], 5)) == 5
    assert met == [0.0, 1.0, 2.0, 0.0, 1.0]


def test_a_loop_is_divided_by_its_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10**9, 7_000))  # every reading of the clock is 7 µs later
    monkeypatch.setattr("time.perf_counter_ns", lambda: next(now))
    candidates = [candidate("once", lambda tick: None), candidate("loop", lambda tick: None, repeats=10)]
    samples = measure(candidates, {c.path: c.load() for c in candidates}, np.zeros((1, 1)), 1, 0.0, silent)
    assert set(samples["once"]) == {7.0} and set(samples["loop"]) == {0.7}


def test_loading_makes_one_call() -> None:
    met: list[float] = []
    notes: list[str] = []
    calls, seconds = load_all([candidate("a", lambda tick: met.append(tick[0]))], np.array([5.0]), notes.append)
    assert met == [5.0] and notes == ["loading a"]
    assert set(calls) == set(seconds) == {"a"} and seconds["a"] >= 0


def test_collecting_goes_on_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError):
        measure([candidate("a", lambda tick: 1 / 0)], {"a": lambda tick: 1 / 0}, np.zeros((1, 1)), 1, 0.005, silent)
    assert gc.isenabled()


def test_statistics() -> None:
    figures = statistics(np.arange(1, 1002, dtype=float))
    expected = {"mean_us": 501, "p50_us": 501, "p95_us": 951, "p99_us": 991, "p999_us": 1000, "iterations": 1001}
    assert figures == pytest.approx(expected)


def test_one_core_for_the_while_being(affinity: set[int]) -> None:
    with pytest.raises(ZeroDivisionError), one_core() as core:
        assert os.sched_getaffinity(0) == {core} and core in affinity
        _ = 1 / 0
    assert os.sched_getaffinity(0) == affinity
    for thread in Path("/proc/self/task").iterdir():
        assert os.sched_getaffinity(int(thread.name)) == affinity


def test_without_a_say_in_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with one_core() as core:
        assert core is None
