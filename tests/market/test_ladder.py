"""Price levels in blocks against a plain dict, sorted anew at every question."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nanoarb_jax.market.book import ladder
from nanoarb_jax.market.book.ladder import WIDTH, empty_ladder, wider
from support.examples import examples

sides = st.integers(0, 1)
EMPTY = 2**63 - 1


class Twin:
    """A ladder and, per side, {rank: (size, count)}."""

    def __init__(self, blocks: int = 2) -> None:
        self.fast = empty_ladder(blocks)
        self.slow: tuple[dict[int, tuple[int, int]], ...] = ({}, {})

    def put(self, side: int, rank: int, size: int, count: int) -> None:
        """Insert, or change what is there."""
        if self.fast.used.max() >= self.fast.fill.shape[1]:
            self.fast = wider(self.fast)
        position, at, there = ladder.find(self.fast, side, rank)
        assert there == (rank in self.slow[side])
        if there:
            block = self.fast.order[side, position]
            self.fast.lots[side, block, at], self.fast.orders[side, block, at] = size, count
        else:
            ladder.insert(self.fast, side, position, at, rank, size, count)
        self.slow[side][rank] = size, count

    def take(self, side: int, rank: int) -> None:
        position, at, there = ladder.find(self.fast, side, rank)
        assert there == (rank in self.slow[side])
        if there:
            ladder.remove(self.fast, side, position, at)
            del self.slow[side][rank]

    def clear(self, side: int) -> None:
        ladder.clear_side(self.fast, side)
        self.slow[side].clear()

    def check(self, shown: int = 5) -> None:
        for side in (0, 1):
            levels = sorted(self.slow[side].items(), reverse=True)
            assert self.fast.depth[side] == len(levels)
            if levels:
                assert ladder.best(self.fast, side) == levels[0][0]
            px, size = np.empty((2, shown), np.int64)
            ladder.copy_top(self.fast, side, px, size, EMPTY)
            absent = [(EMPTY, 0)] * max(shown - len(levels), 0)
            expected = [((1 - 2 * side) * rank, size) for rank, (size, _) in levels[:shown]] + absent
            assert list(zip(px.tolist(), size.tolist(), strict=True)) == expected

    def check_blocks(self) -> None:
        """The inner order: blocks sorted, none empty, none lost, `low` true, counts kept with their levels."""
        fast = self.fast
        for side in (0, 1):
            assert sorted(fast.order[side].tolist()) == list(range(fast.fill.shape[1]))
            found: list[tuple[int, tuple[int, int]]] = []
            for position in range(fast.used[side]):
                block = fast.order[side, position]
                assert 0 < fast.fill[side, block] <= WIDTH
                assert fast.low[side, position] == fast.rank[side, block, 0]
                for i in range(fast.fill[side, block]):
                    level = int(fast.lots[side, block, i]), int(fast.orders[side, block, i])
                    found.append((int(fast.rank[side, block, i]), level))
            assert found == sorted(self.slow[side].items())


class LadderMachine(RuleBasedStateMachine):
    """Single changes and runs of them, near the touch and far away."""

    def __init__(self) -> None:
        super().__init__()
        self.twin = Twin()

    @rule(side=sides, rank=st.integers(-40, 40), size=st.integers(1, 9), count=st.integers(0, 3))
    def put(self, side: int, rank: int, size: int, count: int) -> None:
        self.twin.put(side, rank, size, count)

    @rule(side=sides, start=st.integers(-1000, 1000), step=st.integers(-3, 3).filter(bool), length=st.integers(1, 150))
    def run_of_levels(self, side: int, start: int, step: int, length: int) -> None:
        for i in range(length):
            self.twin.put(side, start + i * step, 1 + i, i % 2)

    @rule(side=sides, rank=st.integers(-40, 40))
    def take(self, side: int, rank: int) -> None:
        self.twin.take(side, rank)

    @rule(side=sides, start=st.integers(-1000, 1000), length=st.integers(1, 300))
    def take_run(self, side: int, start: int, length: int) -> None:
        for rank in range(start, start + length):
            self.twin.take(side, rank)

    @precondition(lambda self: any(self.twin.slow))
    @rule(side=sides, length=st.integers(1, 100))
    def take_best(self, side: int, length: int) -> None:
        for rank in sorted(self.twin.slow[side], reverse=True)[:length]:
            self.twin.take(side, rank)

    @rule(side=sides)
    def clear(self, side: int) -> None:
        self.twin.clear(side)

    @invariant()
    def same(self) -> None:
        self.twin.check()
        self.twin.check_blocks()


LadderMachine.TestCase.settings = settings(
    max_examples=examples(40), stateful_step_count=25, deadline=None, database=None
)
TestLadder = LadderMachine.TestCase


@settings(max_examples=examples(15), deadline=None, database=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 2000))
def test_long_random_walks(seed: int, span: int) -> None:
    rng, twin = np.random.default_rng(seed), Twin()
    centre = 0
    for i in range(1500):
        centre += int(rng.integers(-3, 4))
        rank, side = centre + int(rng.integers(-span, span)), int(rng.integers(2))
        if rng.random() < 0.6:
            twin.put(side, rank, i + 1, i % 3)
        else:
            twin.take(side, rank)
        if i % 50 == 0:
            twin.check(20)
    twin.check(1500)
    twin.check_blocks()


@pytest.mark.parametrize(
    "at", [0, 1, WIDTH // 2 - 1, WIDTH // 2, WIDTH // 2 + 1, WIDTH - 9, WIDTH - 8, WIDTH - 1, WIDTH]
)
@pytest.mark.parametrize("last", [True, False], ids=["best block", "inner block"])
def test_a_full_block_is_split_wherever_the_level_belongs(at: int, last: bool) -> None:
    twin = Twin(4)
    for i in range(WIDTH):
        twin.put(0, 10 * i, i + 1, 1)
    if not last:  # two blocks; fill the worse one up again
        for i in range(WIDTH // 2):
            twin.put(0, 10_000 + i, 1, 1)
        kept = int(twin.fast.fill[0, twin.fast.order[0, 0]])
        for i in range(WIDTH - kept):
            twin.put(0, 10 * i + 1, 1, 1)
    assert twin.fast.fill[0, twin.fast.order[0, 0]] == WIDTH
    ranks = sorted(twin.slow[0])
    twin.put(0, ranks[at] - 2 if at < len(ranks) else ranks[-1] + 2, 99, 9)
    twin.check(300)
    twin.check_blocks()


def test_extreme_ranks() -> None:
    twin = Twin()
    for rank in (0, 2**52, -(2**52), 2**52 - 1, 1 - 2**52):
        for side in (0, 1):
            twin.put(side, rank, 2**53, 1)
    twin.check()
    twin.take(0, -(2**52))
    twin.take(1, 2**52)
    twin.take(1, 5)
    twin.check()
    twin.check_blocks()
