"""Which rows an epoch sees: each at most once, lanes that go on where they stopped, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.config import DataConfig
from nanoarb_jax.dataset import make_stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.synthetic import synthetic_books
from nanoarb_jax.training.plan import Plan, plan_streams, plan_windows, training_lengths

lengths_and_ticks = st.integers(1, 40).flatmap(
    lambda ticks: st.tuples(st.lists(st.integers(ticks, 400), min_size=1, max_size=6), st.just(ticks))
)
lanes_ = st.integers(1, 12)
seeds = st.integers(0, 2**32 - 1)


def same(one: Plan, other: Plan) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def chunks_of(plan: Plan) -> list[tuple[int, int]]:
    return list(zip(plan.stream.ravel().tolist(), plan.start.ravel().tolist(), strict=True))


@given(given_=lengths_and_ticks, lanes=lanes_, seed=seeds)
def test_chunks_of_streams(given_: tuple[list[int], int], lanes: int, seed: int) -> None:
    lengths, ticks = given_
    plan = plan_streams(lengths, ticks, lanes, np.random.default_rng(seed))
    updates, width = plan.stream.shape
    assert all(array.shape == (updates, width) for array in plan) and width <= lanes and updates >= 1

    # within the training rows, and no row twice
    seen = [np.zeros(length, int) for length in lengths]
    for stream, start in chunks_of(plan):
        assert start >= 0 and start + ticks <= lengths[stream]
        seen[stream][start : start + ticks] += 1
    assert max(rows.max() for rows in seen) == 1
    # nearly all of them: left out are rests shorter than a chunk, and few chunks for want of lanes or updates
    chunks = sum(length // ticks for length in lengths)
    assert 0 <= chunks - updates * width <= min(chunks // min(lanes, chunks), min(lanes, chunks) - 1)

    # a lane goes on where it stopped, unless it says that it does not
    assert plan.fresh[0].all()
    on = ~plan.fresh[1:]
    assert (plan.stream[1:][on] == plan.stream[:-1][on]).all()
    assert (plan.start[1:][on] == plan.start[:-1][on] + ticks).all()
    assert (plan.mirrored[1:][on] == plan.mirrored[:-1][on]).all()
    assert (plan.age[1:][on] == plan.age[:-1][on] + ticks).all()
    # and says so only when it must
    follows = (plan.stream[1:] == plan.stream[:-1]) & (plan.start[1:] == plan.start[:-1] + ticks)
    assert (on == follows).all()

    assert same(plan, plan_streams(lengths, ticks, lanes, np.random.default_rng(seed)))


@given(given_=lengths_and_ticks, batch=lanes_, seed=seeds)
def test_windows(given_: tuple[list[int], int], batch: int, seed: int) -> None:
    lengths, ticks = given_
    plan = plan_windows(lengths, ticks, batch, np.random.default_rng(seed))
    chosen = chunks_of(plan)
    assert all(start >= 0 and start + ticks <= lengths[stream] for stream, start in chosen)
    assert len(set(chosen)) == len(chosen)
    everything = sum(length - ticks + 1 for length in lengths)
    assert everything - len(chosen) < plan.stream.shape[1] <= batch
    assert plan.fresh.all()
    assert same(plan, plan_windows(lengths, ticks, batch, np.random.default_rng(seed)))


def test_another_seed_is_another_epoch() -> None:
    for build in (plan_streams, plan_windows):
        first, second = (build([1_000, 700], 32, 4, np.random.default_rng([0, epoch])) for epoch in (0, 1))
        assert first.stream.shape == second.stream.shape  # one compiled update serves all epochs
        assert not same(first, second)
        for plan in (first, second):
            assert 0.2 < plan.mirrored.mean() < 0.8


@pytest.mark.parametrize(
    ("chunks", "lanes", "shape"),
    [(54, 32, (2, 27)), (64, 32, (2, 32)), (65, 32, (2, 32)), (5, 32, (1, 5)), (7, 1, (7, 1))],
)
def test_lanes_that_leave_little_out(chunks: int, lanes: int, shape: tuple[int, int]) -> None:
    assert plan_streams([10 * chunks], 10, lanes, np.random.default_rng(0)).stream.shape == shape


def test_streams_run_long() -> None:
    """Most chunks carry a state: a lane is fresh only at the start of its part and of a stream."""
    plan = plan_streams([10_000, 5_000], 50, 8, np.random.default_rng(0))
    assert plan.fresh.sum() <= 8 + 2


CONFIG = DataConfig(horizons=(2, 5), threshold_ticks=0.5, threshold_spreads=0.0)
STREAMS = [make_stream(synthetic_books(1_200 + 300 * i, i), CONFIG)._replace(train=(100, 700)) for i in range(2)]


def test_too_short() -> None:
    assert training_lengths(STREAMS, 600, "chunk_length") == [600, 600]
    with pytest.raises(DataError, match=r"stream 'synthetic': 600 training rows, chunk_length=601 needs at least"):
        training_lengths(STREAMS, 601, "chunk_length")
    with pytest.raises(DataError, match="no streams"):
        training_lengths([], 10, "window")
