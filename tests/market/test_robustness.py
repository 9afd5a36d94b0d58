"""Streams of events that were cut, shuffled, repeated or damaged bit by bit: counted anomalies or a DataError, never a
crash, never an invalid row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.features.flow import flow, flow_memory
from nanoarb_jax.market.book.state import BookState, empty_state
from nanoarb_jax.market.clocks.clock import TickClock
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.event import EVENT
from nanoarb_jax.market.series import validate_books
from support.book_twin import LOT, TICK, random_events
from support.examples import examples

seeds = st.integers(0, 2**32 - 1)
CLOCKS = [TickClock(), TickClock(levels=1), TickClock("trade"), TickClock("time", interval_ns=1000)]


def cut(events: NDArray, rng: np.random.Generator) -> NDArray:
    start, stop = np.sort(rng.integers(0, len(events), 2))
    return events[start : stop + 1]


def shuffled(events: NDArray, rng: np.random.Generator) -> NDArray:
    """Here and there, or all of it."""
    keys = np.arange(len(events)) + rng.normal(0, rng.choice([1.0, 20.0, 1e6]), len(events))
    return events[np.argsort(keys)]


def repeated(events: NDArray, rng: np.random.Generator) -> NDArray:
    return np.repeat(events, rng.integers(0, 4, len(events)))


def flipped(events: NDArray, rng: np.random.Generator) -> NDArray:
    """A few bits of the bytes, anywhere; but not of the times, see `mistimed`."""
    damaged = events.copy()
    raw = damaged.view(np.uint8).reshape(len(events), EVENT.itemsize)
    for _ in range(rng.integers(1, 200)):
        byte = int(rng.choice(np.r_[0:8, 24:64]))
        raw[rng.integers(len(events)), byte] ^= 1 << rng.integers(8)
    return damaged


def mistimed(events: NDArray, rng: np.random.Generator) -> NDArray:
    damaged = events.copy()
    for row in rng.integers(0, len(events), 5):
        damaged["local_ts"][row] ^= np.int64(1) << np.int64(rng.integers(63))
        damaged["exch_ts"][row] = rng.choice([-(2**63), 2**63 - 1, -1, 0])
    return damaged


def noise(events: NDArray, rng: np.random.Generator) -> NDArray:
    damaged = np.frombuffer(rng.bytes(len(events) * EVENT.itemsize), EVENT).copy()
    for time in ("local_ts", "exch_ts"):
        damaged[time] = events[time]
    return damaged


def settle_all(events: NDArray, clock: TickClock, policy: str | None) -> BookState | None:
    """Read to the end; None where it was refused. Every row must be valid, and its features finite."""
    done: list[BookState] = []
    memory, latest, seconds = flow_memory(), None, 0.0
    try:
        state = empty_state(TICK, LOT, policy=policy, levels=2, orders=4)  # type: ignore[arg-type]
        for books in tick_chunks([events], state, clock, "damaged", done.append):
            validate_books(books)
            assert latest is None or books.ts_ns[0] >= latest
            latest = books.ts_ns[-1]
            features = flow(books, 10.0, memory)
            assert np.isfinite(features).all() and (features[:, 81] >= seconds).all()
    except DataError as error:
        assert len(str(error).splitlines()) == 1 and "damaged: order book, event " in str(error)
        return None
    return done[0]


@settings(deadline=None, database=None, max_examples=examples(40))
@given(seeds, st.sampled_from(CLOCKS), st.sampled_from(["skip", "resync", "raise", "keep", None]))
@pytest.mark.parametrize("damage", [cut, shuffled, repeated, flipped, mistimed, noise], ids=lambda f: f.__name__)
def test_damaged_events(
    damage: Callable[[NDArray, np.random.Generator], NDArray], seed: int, clock: TickClock, policy: str | None
) -> None:
    rng = np.random.default_rng(seed)
    if damage is mistimed and clock.kind == "time":
        clock = TickClock("time", interval_ns=60 * 10**9)  # a jump of hours is no reason to make millions of rows
    events = damage(random_events(seed, 300, dirt=0.0), rng)
    state = settle_all(events, clock, policy)
    if state is None:
        assert policy != "skip"
        return
    meta = state.meta[0]
    assert meta["events"] <= len(events) and (state.anomalies >= 0).all()
    size = state.levels.lots
    for side in (0, 1):
        used = state.levels.order[side, : state.levels.used[side]]
        assert all((size[side, block, : state.levels.fill[side, block]] > 0).all() for block in used)


def test_no_events() -> None:
    state = settle_all(np.zeros(0, EVENT), TickClock(), None)
    assert state is not None and state.meta[0]["events"] == 0
    zeros = settle_all(np.zeros(9, EVENT), TickClock(), "skip")
    assert zeros is not None and zeros.anomalies.sum() == 9  # of unknown kind
