"""Which rows an epoch sees: each at most once, lanes that go on where they stopped, the same for the same seed."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.training.plan import EpochPlan, plan_streams, plan_windows, quotas, training_sessions

lengths_and_ticks = st.integers(1, 40).flatmap(
    lambda ticks: st.tuples(st.lists(st.integers(ticks, 400), min_size=1, max_size=6), st.just(ticks))
)
lanes_ = st.integers(1, 12)
seeds = st.integers(0, 2**32 - 1)


def same(one: EpochPlan, other: EpochPlan) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def chunks_of(plan: EpochPlan) -> list[tuple[int, int]]:
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
    assert (plan.age[0] == 0).all()
    on = plan.age[1:] > 0
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
    assert (plan.age == 0).all()
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


@pytest.mark.parametrize(
    ("chunks", "lanes", "multiple", "shape"),
    [(54, 32, 8, (2, 24)), (54, 31, 4, (2, 24)), (70, 16, 8, (4, 16)), (9, 32, 8, (1, 8)), (8, 8, 8, (1, 8))],
)
def test_lanes_that_are_a_multiple(chunks: int, lanes: int, multiple: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    assert plan_streams([10 * chunks], 10, lanes, rng, multiple=multiple).stream.shape == shape
    windows = plan_windows([chunks], 1, lanes, rng, multiple=multiple)
    assert windows.stream.shape[1] == min(lanes, chunks) // multiple * multiple


def test_lanes_that_are_too_few() -> None:
    rng = np.random.default_rng(0)
    few_lanes = r"^train.batch_size=7: expected at least train.devices × train.accumulate = 8; raise it or lower these$"
    few_chunks = r"^7 chunks or windows .* expected at least train.devices × train.accumulate = 8; lower these or give"
    for lanes, chunks, message in ((7, 100, few_lanes), (100, 7, few_chunks)):
        with pytest.raises(ConfigError, match=message):
            plan_streams([10 * chunks], 10, lanes, rng, multiple=8)
        with pytest.raises(ConfigError, match=message):
            plan_windows([chunks], 1, lanes, rng, multiple=8)


traded = st.lists(st.tuples(st.integers(1, 60), st.sampled_from("abc")), min_size=1, max_size=6)


@given(streams=traded, seed=seeds, power=st.sampled_from([0.0, 0.5, 1.0]))
def test_quotas(streams: list[tuple[int, str]], seed: int, power: float) -> None:
    counts, instruments = ([s[i] for s in streams] for i in (0, 1))
    rng = np.random.default_rng(seed)
    found, total = quotas(counts, instruments, rng, power), sum(counts)
    assert found.sum() == total
    rows = {name: sum(c for c, other in streams if other == name) for name in instruments}
    for (count, name), quota in zip(streams, found, strict=True):
        share = rows[name] ** power / sum(n**power for n in rows.values()) * count / rows[name]
        assert abs(quota - share * total) < 1 + 1e-9
    assert quotas(counts, None, rng).tolist() == counts


def test_quotas_are_exact_on_average() -> None:
    rng = np.random.default_rng(0)
    mean = np.mean([quotas([5, 2, 1, 1], ["a", "a", "b", "c"], rng) for _ in range(2_000)], axis=0)
    np.testing.assert_allclose(mean, [3 * 5 / 7, 3 * 2 / 7, 3, 3], atol=0.05)
    mean = np.mean([quotas([7, 2, 4, 1], ["a", "a", "b", "c"], rng, 0.5) for _ in range(2_000)], axis=0)
    np.testing.assert_allclose(mean, [7 * 7 / 9, 7 * 2 / 9, 14 / 3, 7 / 3], atol=0.05)  # shares 3 : 2 : 1


@given(given_=lengths_and_ticks, lanes=lanes_, seed=seeds, power=st.sampled_from([0.0, 0.5]))
def test_instruments_by_shares(given_: tuple[list[int], int], lanes: int, seed: int, power: float) -> None:
    """Chunks and windows in the training rows; an epoch as long as without; a long stream is read in one piece."""
    lengths, ticks = given_
    names = [str(i) for i in range(len(lengths))]
    for build in (plan_streams, plan_windows):
        plan, again = (
            build(lengths, ticks, lanes, np.random.default_rng(seed), instruments=names, power=power) for _ in range(2)
        )
        assert same(plan, again)
        assert plan.stream.shape == build(lengths, ticks, lanes, np.random.default_rng(seed)).stream.shape
        assert all(start >= 0 and start + ticks <= lengths[stream] for stream, start in chunks_of(plan))


def test_a_long_stream_by_a_part_a_short_one_repeated() -> None:
    """Of 100 chunks half are of either; both keep to runs, so that state is carried."""
    build = functools.partial(plan_streams, [900, 100], 10, 4, instruments=["long", "short"])
    starts = []
    for epoch in range(2):
        plan = build(np.random.default_rng([0, epoch]))
        assert np.bincount(plan.stream.ravel()).tolist() == [50, 50]
        chosen = sorted(start for stream, start in chunks_of(plan) if stream == 0)
        assert chosen == list(range(chosen[0], chosen[0] + 500, 10))
        starts.append(chosen[0])
        assert sorted(start for stream, start in chunks_of(plan) if stream == 1) == sorted(5 * list(range(0, 100, 10)))
        assert (plan.age == 0).sum() <= 4 + 6
    assert starts[0] != starts[1]


def test_shares_by_the_square_root_of_the_rows() -> None:
    """An instrument's streams count together: 81 + 19 chunks against 4 have shares of 10 : 2, of all 104."""
    for build, chunk in ((plan_streams, 10), (plan_windows, 1)):
        lengths = [chunk * count for count in (81, 19, 4)]
        plan = build(lengths, chunk, 8, np.random.default_rng(0), instruments=["ES", "ES", "BTC"], power=0.5)
        found = np.bincount(plan.stream.ravel())
        assert found.sum() == 104
        np.testing.assert_allclose(found, [104 * 10 / 12 * 0.81, 104 * 10 / 12 * 0.19, 104 * 2 / 12], atol=1)


def test_streams_run_long() -> None:
    """Most chunks carry a state: a lane is fresh only at the start of its part and of a stream."""
    plan = plan_streams([10_000, 5_000], 50, 8, np.random.default_rng(0))
    assert (plan.age == 0).sum() <= 8 + 2


CONFIG = DataConfig(feature_set="lob44", horizons=(2, 5), threshold_ticks=0.5, threshold_spreads=0.0)
STREAMS = [make_stream(synthetic_books(1_200 + 300 * i, i), CONFIG)._replace(train=(100, 700)) for i in range(2)]


def test_too_short() -> None:
    assert training_sessions(STREAMS, 600, "train.chunk_length") == ((0, 0, 600), (1, 0, 600))
    with pytest.raises(DataError, match=r"'synthetic': 600 training rows, train.chunk_length=601 needs at least"):
        training_sessions(STREAMS, 601, "train.chunk_length")
    with pytest.raises(DataError, match="no streams"):
        training_sessions([], 10, "model.window")
