"""The table of resting orders against a plain dict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nanoarb_jax.market.book import orders
from nanoarb_jax.market.book.orders import empty_table, rehash
from support.examples import examples

SLOTS = 16


def ids_with_home(slot: int, slots: int, count: int) -> list[int]:
    """Ids that collide."""
    found = [key for key in range(200 * slots) if orders.home(np.uint64(key), slots) == slot]
    return found[:count]


COLLIDING = ids_with_home(0, SLOTS, 4) + ids_with_home(SLOTS - 1, SLOTS, 5) + ids_with_home(SLOTS - 2, SLOTS, 3)
some_ids = st.sampled_from([0, 2**64 - 1, 1, 2**63, *COLLIDING]) | st.integers(0, 2**64 - 1)


class Twin:
    """A table and {id: (side, rank, size)}."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.fast, self.slow = empty_table(slots), dict[int, tuple[int, int, int]]()

    def put(self, key: int, side: int, rank: int, size: int) -> None:
        if key not in self.slow and 2 * len(self.slow) + 2 > len(self.fast):
            larger = empty_table(2 * len(self.fast))
            rehash(self.fast, larger)
            self.fast = larger
        slot = orders.locate(self.fast, np.uint64(key))
        assert (self.fast[slot]["side"] >= 0) == (key in self.slow)
        orders.put(self.fast, slot, np.uint64(key), side, rank, size)
        self.slow[key] = side, rank, size

    def free(self, key: int) -> None:
        slot = orders.locate(self.fast, np.uint64(key))
        assert (self.fast[slot]["side"] >= 0) == (key in self.slow)
        if key in self.slow:
            orders.free(self.fast, slot)
            del self.slow[key]

    def check(self) -> None:
        live = self.fast[self.fast["side"] >= 0]
        assert {int(o["id"]): (int(o["side"]), int(o["rank"]), int(o["lots"])) for o in live} == self.slow
        assert len(live) == len(self.slow)
        for key in self.slow:  # and each is found
            assert self.fast[orders.locate(self.fast, np.uint64(key))]["id"] == key


class OrdersMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.twin = Twin()

    @rule(key=some_ids, side=st.integers(0, 1), rank=st.integers(-(2**52), 2**52), size=st.integers(1, 2**53))
    def put(self, key: int, side: int, rank: int, size: int) -> None:
        self.twin.put(key, side, rank, size)

    @rule(key=some_ids)
    def free(self, key: int) -> None:
        self.twin.free(key)

    @rule(data=st.data())
    def free_one_that_is_there(self, data: st.DataObject) -> None:
        if self.twin.slow:
            self.twin.free(data.draw(st.sampled_from(sorted(self.twin.slow))))

    @invariant()
    def same(self) -> None:
        self.twin.check()


OrdersMachine.TestCase.settings = settings(
    max_examples=examples(40), stateful_step_count=40, deadline=None, database=None
)
TestOrders = OrdersMachine.TestCase


@settings(max_examples=examples(30), deadline=None, database=None)
@given(st.permutations(COLLIDING[:7]), st.permutations(COLLIDING[:7]))
def test_colliding_ids_leave_in_any_order(come: list[int], go: list[int]) -> None:
    # homes at both ends of the table: the searches wrap around
    twin = Twin()
    for i, key in enumerate(come):
        twin.put(key, i % 2, i, i + 1)
    for key in go:
        twin.free(key)
        twin.check()
    assert (twin.fast["side"] == -1).all()


def test_growth_keeps_every_order() -> None:
    rng, twin = np.random.default_rng(0), Twin(8)
    for key in [0, 2**64 - 1, *rng.integers(0, 2**63, 500).tolist(), *range(1, 500)]:
        twin.put(key, key & 1, key % 7, 1 + key % 11)
    twin.check()
    assert len(twin.fast) == 2048


@pytest.mark.parametrize("stride", [1, 2, 3, 64, 1024, 2**20, 2**32, 10**6])
def test_ids_in_a_row_spread(stride: int) -> None:
    slots = 1024
    homes = [orders.home(np.uint64(7 + stride * i), slots) for i in range(slots // 2)]
    assert len(set(homes)) > slots // 4
