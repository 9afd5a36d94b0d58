"""Labels: anchored at the tick, equal to their formulas, antisymmetric under the mirror, blind beyond their reach."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.counts import Counts
from nanoarb_jax.data.labels import (
    DOWN,
    NEUTRAL,
    RULES,
    UNDEFINED,
    UP,
    count_magnitudes,
    direction_labels,
    label_threshold,
    mirror_labels,
    quantile_thresholds,
    reach,
    signed_moves,
)
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.simulation.market import synthetic_books
from support.examples import examples

quick = settings(deadline=None, max_examples=examples(60), database=None)
half_ticks = st.lists(st.integers(-6, 6), min_size=1, max_size=60)
rules = st.sampled_from([("move", None), ("smoothed", None), ("deeplob", None), ("tlob", 1), ("tlob", 6)])


def prices(steps: list[int], tick_size: float = 1.0) -> np.ndarray:
    """A walk on the half-tick lattice, in ticks, by way of prices as files give them."""
    price = (40_000 + np.cumsum(steps)) * (0.5 * tick_size)
    return price / tick_size


def slow_move(p: list[float], t: int, h: int, rule: str, w: int | None) -> float | None:
    """The formulas as printed, price by price; None where a price is not known."""
    if rule == "move":
        after, before = [t + h], [t]
    elif rule == "smoothed":
        after, before = [t + i for i in range(1, h + 1)], [t]
    elif rule == "deeplob":
        after, before = [t + i for i in range(1, h + 1)], [t - i for i in range(h + 1)]
    else:
        assert w is not None
        after, before = [t + h - i for i in range(w + 1)], [t - i for i in range(w + 1)]
    if min(after + before) < 0 or max(after + before) >= len(p):
        return None
    return sum(p[i] for i in after) / len(after) - sum(p[i] for i in before) / len(before)


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
@given(half_ticks, st.integers(1, 20), st.sampled_from([0.5, 1.0, 1.5, 4.0]), rules)
def test_equals_the_formula(steps: list[int], horizon: int, threshold: float, rule: tuple[str, int | None]) -> None:
    price = prices(steps)
    labels, moves = direction_labels(price, (horizon,), threshold, *rule)
    for t in range(len(price)):
        move = slow_move(price.tolist(), t, horizon, *rule)
        if move is None:
            assert (labels[t, 0], moves[t, 0]) == (UNDEFINED, 0.0)
        else:
            expected = UP if move >= threshold - 1e-6 else DOWN if move <= -threshold + 1e-6 else NEUTRAL
            assert labels[t, 0] == expected
            assert moves[t, 0] == pytest.approx(move, abs=1e-6)


def test_formulas_by_hand() -> None:
    price = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    assert signed_moves(price, (2,), "smoothed")[0, 0] == (2 + 4) / 2 - 1
    assert signed_moves(price, (2,), "deeplob")[2, 0] == (8 + 16) / 2 - (1 + 2 + 4) / 3
    assert signed_moves(price, (3,), "tlob", 1)[1, 0] == (16 + 8) / 2 - (2 + 1) / 2


@quick
@given(half_ticks, st.integers(1, 20), st.sampled_from([0.5, 1.0, 1.5, 4.0]), rules)
def test_mirror_swaps_up_and_down(
    steps: list[int], horizon: int, threshold: float, rule: tuple[str, int | None]
) -> None:
    price = prices(steps) - 20_000
    labels, moves = direction_labels(price, (horizon,), threshold, *rule)
    mirrored, mirrored_moves = direction_labels(-price, (horizon,), threshold, *rule)
    np.testing.assert_array_equal(mirrored, mirror_labels(labels))
    np.testing.assert_array_equal(mirrored_moves, -moves)
    np.testing.assert_array_equal(mirror_labels(mirrored), labels)
    back, ahead = reach(rule[0], (horizon,), rule[1])
    known = np.arange(len(steps))
    known_rows = (known >= back) & (known < len(steps) - ahead)
    np.testing.assert_array_equal(labels[:, 0] != UNDEFINED, known_rows)


@quick
@given(half_ticks, rules, st.data())
def test_no_label_sees_beyond_its_reach(steps: list[int], rule: tuple[str, int | None], data: st.DataObject) -> None:
    """Other prices after a cut, or before it, leave the labels and moves as they were, bit by bit."""
    horizons = (1, 3, 7)
    price = prices(steps)
    cut = data.draw(st.integers(0, len(steps)))
    later, earlier = price.copy(), price.copy()
    later[cut:] += data.draw(st.sampled_from([-50.0, 50.0, np.nan]))
    earlier[:cut] *= 1.7
    for column, horizon in enumerate(horizons):
        back, ahead = reach(rule[0], (horizon,), rule[1])
        met, after, before = (direction_labels(p, horizons, 1.0, *rule) for p in (price, later, earlier))
        for i in range(2):
            same = slice(0, max(cut - ahead, 0))
            np.testing.assert_array_equal(met[i][same, column], after[i][same, column])
            same = slice(cut + back, None)
            np.testing.assert_array_equal(met[i][same, column], before[i][same, column])


@quick
@given(st.integers(0, 2**32 - 1), rules, st.integers(1, 400))
def test_blocks_equal_the_whole(seed: int, rule: tuple[str, int | None], block: int) -> None:
    """A block with `reach` rows about it has the labels and moves of the whole, bit by bit."""
    price = 4e6 + np.random.default_rng(seed).normal(size=500).cumsum()
    horizons = (5, 30)
    whole = direction_labels(price, horizons, (0.5, 1.5), *rule)
    back, ahead = reach(rule[0], horizons, rule[1])
    for start in range(0, 500, block):
        first = max(0, start - back)
        rows = slice(start - first, min(start + block, 500) - first)
        part = direction_labels(price[first : start + block + ahead], horizons, (0.5, 1.5), *rule)
        for one, other in zip(part, whole, strict=True):
            np.testing.assert_array_equal(one[rows], other[start : start + block])


def test_reach_and_its_errors() -> None:
    assert [reach(rule, (2, 5), 9 if rule == "tlob" else None) for rule in RULES] == [(0, 5), (0, 5), (5, 5), (9, 5)]
    with pytest.raises(ConfigError, match=r"label_rule='last': expected one of move, smoothed, deeplob, tlob"):
        reach("last", (1,))
    for smoothing in (None, 0):
        with pytest.raises(ConfigError, match=f"smoothing_ticks={smoothing}: expected at least 1"):
            signed_moves(np.zeros(9), (1,), "tlob", smoothing)


def test_threshold_is_the_larger_floor() -> None:
    spreads = np.array([1.0, 18.0, 18.0, 40.0])
    assert label_threshold(spreads, 1.0, 0.5) == 9.0
    assert label_threshold(spreads, 12.0, 0.5) == 12.0
    assert label_threshold(spreads, 1.0, 0.0) == 1.0


@quick
@given(half_ticks.filter(lambda steps: len(steps) > 7), st.floats(0.01, 0.99), rules)
def test_quantile_threshold(steps: list[int], quantile: float, rule: tuple[str, int | None]) -> None:
    """A size met, which at least that share of moves does not exceed; fewer are smaller."""
    moves = signed_moves(prices(steps), (1,), *rule)
    if np.isnan(moves).all():
        with pytest.raises(DataError, match="no training row has a known move"):
            quantile_thresholds(count_magnitudes(moves), quantile, 0.5)
        return
    (threshold,) = quantile_thresholds(count_magnitudes(moves), quantile, 0.0)
    sizes = np.abs(moves[~np.isnan(moves)])
    assert threshold == pytest.approx(float(np.quantile(sizes, quantile, method="inverted_cdf")), abs=1e-6)
    assert (sizes <= threshold + 1e-6).mean() >= quantile > (sizes < threshold - 1e-6).mean()
    assert quantile_thresholds(count_magnitudes(moves), quantile, 1e3) == (1e3,)


def test_counts_of_blocks_add_up() -> None:
    moves = signed_moves(prices(np.random.default_rng(0).integers(-3, 4, 300).tolist()), (9,), "smoothed")
    (whole,) = count_magnitudes(moves)
    summed = Counts()
    for block in np.split(moves, 5):
        summed.merge(*count_magnitudes(block))
    np.testing.assert_array_equal(summed.sorted().values, whole.values)
    np.testing.assert_array_equal(summed.sorted().counts, whole.counts)
    assert quantile_thresholds([summed.sorted()], 1 / 3, 0.0) == quantile_thresholds([whole], 1 / 3, 0.0)
    assert whole.counts.sum() == 291


@quick
@given(st.lists(st.lists(st.integers(-50, 50), max_size=20), max_size=5))
def test_medians_of_counts_are_those_of_numpy(blocks: list[list[int]]) -> None:
    counts = Counts()
    for block in blocks:
        counts.add(np.array(block, np.int64))
    values = np.array([value for block in blocks for value in block], np.int64)
    if len(values):
        assert counts.sorted().median() == np.median(values)
        for share in (0.01, 0.5, 0.9, 1.0):
            assert counts.sorted().quantile(share) == np.quantile(values, share, method="inverted_cdf")
    else:
        assert np.isnan(counts.sorted().median())


def test_a_third_each() -> None:
    moves = signed_moves(np.random.default_rng(1).normal(size=30_000).cumsum(), (10, 50), "tlob", 5)
    thresholds = quantile_thresholds(count_magnitudes(moves), 1 / 3, 0.0)
    price = np.random.default_rng(2).normal(size=30_000).cumsum()
    labels, _ = direction_labels(price, (10, 50), thresholds, "tlob", 5)
    assert thresholds[0] < thresholds[1]
    for column in labels.T:
        shares = np.bincount(column[column != UNDEFINED], minlength=3) / (column != UNDEFINED).sum()
        np.testing.assert_allclose(shares, 1 / 3, atol=0.05)


@quick
@given(st.integers(0, 2**32 - 1), rules, st.sampled_from(["fraction", "day"]))
def test_no_threshold_sees_validation_or_test(seed: int, rule: tuple[str, int | None], split: str) -> None:
    """Other prices from the end of the training part on change neither thresholds nor training labels before it."""
    config = DataConfig(
        horizons=(5, 20), label_rule=rule[0], smoothing_ticks=rule[1], threshold_quantile=0.4,
        threshold_ticks=0.01, threshold_spreads=0.0, split=split,
    )  # fmt: skip
    books = synthetic_books(2_000, 3)
    books = books._replace(ts_ns=np.arange(2_000) * (5 * 86_400 * 10**9 // 2_000))
    stream = make_stream(books, config)
    later = np.arange(2_000) >= stream.train[1]
    shift = np.where(later, np.random.default_rng(seed).integers(0, 50, 2_000), 0)[:, None]
    other = make_stream(books._replace(bid_px=books.bid_px + shift, ask_px=books.ask_px + 3 * shift), config)
    assert stream.train == other.train and stream.threshold_ticks == other.threshold_ticks
    assert len(stream.threshold_ticks) == 2 and min(stream.threshold_ticks) >= 0.01
    np.testing.assert_array_equal(stream.labels[: stream.train[1] - 20], other.labels[: stream.train[1] - 20])
    for part in (stream.train, stream.validation):
        assert (stream.labels[slice(*part)] != UNDEFINED).all()
