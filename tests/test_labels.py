"""Labels: anchored at the tick, antisymmetric under the mirror, blind to what lies beyond their horizon."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.market.labels import (
    DOWN,
    NEUTRAL,
    UNDEFINED,
    UP,
    direction_labels,
    label_threshold,
    mirror_labels,
)

quick = settings(deadline=None, max_examples=60, database=None)
half_ticks = st.lists(st.integers(-6, 6), min_size=1, max_size=60)


def prices(steps: list[int], tick_size: float = 1.0) -> np.ndarray:
    """A walk on the half-tick lattice, in ticks, by way of prices as files give them."""
    price = (40_000 + np.cumsum(steps)) * (0.5 * tick_size)
    return price / tick_size


def test_anchored_at_the_current_tick() -> None:
    labels, moves = direction_labels(np.array([10.0, 10.5, 11.0, 9.5, 9.0]), (1, 2), 1.0)
    assert labels.dtype == np.int8 and moves.dtype == np.float32
    assert labels[:, 0].tolist() == [NEUTRAL, NEUTRAL, DOWN, NEUTRAL, UNDEFINED]
    assert labels[:, 1].tolist() == [UP, DOWN, DOWN, UNDEFINED, UNDEFINED]
    assert moves[:, 1].tolist() == [1.0, -1.0, -2.0, 0.0, 0.0]


@pytest.mark.parametrize("tick_size", [0.01, 0.1, 0.25, 1e-8, 3.0])
def test_a_move_of_exactly_the_threshold_counts(tick_size: float) -> None:
    walk = np.tile([2, -2], 500).tolist()
    labels, _ = direction_labels(prices(walk, tick_size), (1,), 1.0)
    assert set(labels[:-1, 0].tolist()) == {DOWN, UP}


@quick
@given(half_ticks, st.integers(1, 20), st.sampled_from([0.5, 1.0, 1.5, 4.0]))
def test_mirror_swaps_up_and_down(steps: list[int], horizon: int, threshold: float) -> None:
    price = prices(steps)
    labels, moves = direction_labels(price, (horizon,), threshold)
    mirrored, mirrored_moves = direction_labels(2 * price[0] - price, (horizon,), threshold)
    np.testing.assert_array_equal(mirrored, mirror_labels(labels))
    np.testing.assert_array_equal(mirrored_moves, -moves)
    np.testing.assert_array_equal(mirror_labels(mirrored), labels)
    known = max(len(steps) - horizon, 0)
    assert (labels[known:] == UNDEFINED).all() and (labels[:known] != UNDEFINED).all()


@quick
@given(half_ticks, st.data())
def test_no_label_sees_beyond_its_horizon(steps: list[int], data: st.DataObject) -> None:
    horizons = (1, 3, 7)
    price = prices(steps)
    cut = data.draw(st.integers(0, len(steps)))
    changed = price.copy()
    changed[cut:] += data.draw(st.sampled_from([-50.0, 50.0]))
    before, after = (direction_labels(p, horizons, 1.0)[0] for p in (price, changed))
    for column, horizon in enumerate(horizons):
        same = max(cut - horizon, 0)
        np.testing.assert_array_equal(before[:same, column], after[:same, column])


def test_threshold_is_the_larger_floor() -> None:
    spreads = np.array([1.0, 18.0, 18.0, 40.0])
    assert label_threshold(spreads, 1.0, 0.5) == 9.0
    assert label_threshold(spreads, 12.0, 0.5) == 12.0
    assert label_threshold(spreads, 1.0, 0.0) == 1.0
