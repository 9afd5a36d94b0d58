"""What controls keep of a model's predictions and what they destroy, and which predictions are found to look ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.trading.backtest.controls import (
    delayed,
    from_labels,
    inverted,
    matched,
    next_tick_labels,
    percentile_of,
    queue_imbalance,
    random_signals,
    scattered,
    shuffled,
)
from nanoarb_jax.trading.backtest.lookahead import flag_lookahead
from support.recorded import MS, made_ticks


def made(seed: int, ticks: int = 500, horizons: int = 2) -> tuple[NDArray, NDArray]:
    """Probabilities that change slowly, so that signals last, and ready ticks."""
    rng = np.random.default_rng(seed)
    scores = np.cumsum(rng.normal(size=(ticks, horizons, 3)), axis=0) / 3
    likely = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (likely / likely.sum(axis=-1, keepdims=True)).astype(np.float32), rng.random(ticks) < 0.95


def runs(classes: NDArray) -> list[int]:
    """Sorted lengths of the longest stretches of the same class that is not neutral, whichever side."""
    starts = np.flatnonzero(np.diff(classes, prepend=-1))
    lengths = np.diff(np.append(starts, len(classes)))
    return sorted(lengths[classes[starts] != 1])


@given(st.integers(0, 50), st.integers(0, 50))
def test_both_keep_every_row_of_ready_ticks_and_leave_the_others(data: int, seed: int) -> None:
    probabilities, ready = made(data, 80)
    before = probabilities.copy()
    for control in (shuffled(probabilities, ready, seed), random_signals(probabilities, ready, seed)):
        np.testing.assert_array_equal(control[~ready], before[~ready])
        either_way = [np.sort(one[ready][..., [0, 2]], axis=-1).reshape(-1, 4) for one in (control, before)]
        kept = [one[np.lexsort(one.T)] for one in either_way]
        np.testing.assert_array_equal(*kept)
        for threshold in (0.4, 0.6):
            confident = [(one[ready][..., [0, 2]].max(axis=-1) > threshold).sum(axis=0) for one in (control, before)]
            np.testing.assert_array_equal(*confident)
    np.testing.assert_array_equal(probabilities, before)


def test_shuffled_rows_are_those_of_ready_ticks() -> None:
    probabilities, ready = made(0)
    control = shuffled(probabilities, ready, 1)
    assert sorted(map(bytes, control[ready])) == sorted(map(bytes, probabilities[ready]))
    assert (control[ready] != probabilities[ready]).any(axis=(1, 2)).mean() > 0.9
    np.testing.assert_array_equal(control, shuffled(probabilities, ready, 1))
    assert (control != shuffled(probabilities, ready, 2)).any()


def test_random_signals_last_as_long_but_know_nothing() -> None:
    classes = np.repeat([1, 2, 1, 0, 1, 2, 1], [50, 9, 40, 5, 60, 7, 80])
    starts, ups = [], 0
    for seed in range(200):
        order, mirrored = scattered(classes, np.random.default_rng(seed))
        drawn = np.where(mirrored, 2 - classes[order], classes[order])
        assert sorted(order) == list(range(len(classes)))
        lengths = runs(drawn)
        pairs = [[*lengths[:i], *lengths[i + 1 : j], *lengths[j + 1 :], lengths[i] + lengths[j]]
                 for i in range(len(lengths)) for j in range(i + 1, len(lengths))]  # fmt: skip
        assert [5, 7, 9] in (lengths, *map(sorted, pairs)), "as long as before, one cut by the end at most"
        starts.append(np.flatnonzero(drawn != 1)[0])
        ups += (drawn == 2).sum() > 0.5 * (drawn != 1).sum()
    assert len(set(starts)) > 60
    assert 60 < ups < 140


def test_random_signals_do_not_correlate_with_the_model() -> None:
    probabilities, ready = made(3, 4000)
    side = probabilities[:, 0, 2] - probabilities[:, 0, 0]
    controls = [random_signals(probabilities, ready, seed)[:, 0] for seed in range(40)]
    correlations = [np.corrcoef(side, one[:, 2] - one[:, 0])[0, 1] for one in controls]
    assert abs(np.mean(correlations)) < 4 * np.std(correlations) / np.sqrt(40)
    nothing = np.zeros(len(ready), bool)
    np.testing.assert_array_equal(random_signals(probabilities, nothing, 0), probabilities)


def test_labels_and_their_inverse() -> None:
    labels = np.array([[0, 2], [1, -1]])
    sure = from_labels(labels, 0.8)
    np.testing.assert_allclose(sure[0], [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(sure[1], [[0.1, 0.8, 0.1]] * 2, rtol=1e-6)
    np.testing.assert_array_equal(inverted(sure).argmax(axis=-1), [[2, 0], [1, 1]])
    assert sure.dtype == inverted(sure).dtype == np.float32
    with pytest.raises(ConfigError, match=r"confidence=0\.2"):
        from_labels(labels, 0.2)


def test_labels_of_the_next_ticks() -> None:
    ticks = made_ticks([200, 201, 201, 198, 199])
    assert next_tick_labels(ticks).ravel().tolist() == [2, 1, 0, 2, -1]
    assert next_tick_labels(ticks, horizons=2, ahead=2).tolist() == [[2, 2], [0, 0], [0, 0], [-1, -1], [-1, -1]]
    assert next_tick_labels(ticks[:1], ahead=3).ravel().tolist() == [-1]


def test_queue_imbalance() -> None:
    ticks = made_ticks([200] * 5)
    ticks["bid_qty"], ticks["ask_qty"] = [9, 1, 5, 4, 0], [1, 9, 5, 0, 0]
    found = queue_imbalance(ticks, 3)
    assert found.shape == (5, 3, 3)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(found[0, 0], [0.01, 0.18, 0.81], rtol=1e-6)
    np.testing.assert_array_equal(found[1], found[0, :, ::-1])
    np.testing.assert_array_equal(found[2:, 1], [[0.25, 0.5, 0.25], [0, 0, 1], [0, 1, 0]])


def test_a_rival_is_given_the_models_confidence() -> None:
    (model, ready), (rival, _) = made(1), made(2)
    found = matched(rival, model, ready)
    np.testing.assert_array_equal(found[~ready], rival[~ready])
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    assert (found >= 0).all()
    either = [np.sort(one[ready][..., [0, 2]].max(axis=-1), axis=0) for one in (found, model)]
    np.testing.assert_array_equal(*either)
    for horizon in range(2):
        ranks = [one[ready, horizon][:, [0, 2]].max(axis=1).argsort(kind="stable") for one in (found, rival)]
        np.testing.assert_array_equal(*ranks)
    side = [np.sign(one[ready][..., 2] - one[ready][..., 0]) for one in (found, rival)]
    assert (side[0] * side[1] >= 0).all()
    with pytest.raises(DataError, match="shape"):
        matched(rival[:, :1], model, ready)


def test_late_predictions() -> None:
    ticks, (probabilities, _) = made_ticks([200] * 6), made(0, 6)
    np.testing.assert_array_equal(delayed(probabilities, ticks, 0), probabilities)
    late = delayed(probabilities, ticks, 150 * MS)  # of ticks that are 100 ms apart: two late
    np.testing.assert_array_equal(late[2:], probabilities[:4])
    np.testing.assert_array_equal(late[:2], np.tile([0, 1, 0], (2, 2, 1)))
    np.testing.assert_array_equal(delayed(probabilities, ticks, 100 * MS)[1:], probabilities[:5])
    ticks["ready"][0] = 0
    np.testing.assert_array_equal(delayed(probabilities, ticks, 200 * MS)[2], [[0, 1, 0]] * 2)
    ticks["local_ns"][4] = ticks["local_ns"][3]
    np.testing.assert_array_equal(delayed(probabilities, ticks, 0)[3], probabilities[3])
    with pytest.raises(ConfigError, match="delay_ns=-1"):
        delayed(probabilities, ticks, -1)


def test_percentiles() -> None:
    assert percentile_of(5.0, [1.0, 2.0]) == 100
    assert percentile_of(1.0, [1.0, 1.0]) == 50
    assert percentile_of(0.0, []) is None


def walk(seed: int, known: float = 0.0, ticks: int = 8_000) -> tuple[NDArray, NDArray]:
    """A mid whose next step is known by a public sign with a probability of 1/2 (not at all) + known / 2."""
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1, 1], ticks)
    steps = np.where(rng.random(ticks) < known, sign, rng.choice([-1, 0, 1], ticks))
    return made_ticks(100_000 + 2 * np.concatenate([[0], steps[:-1]]).cumsum()), sign


def as_probabilities(sign: NDArray, confidence: float = 0.7) -> NDArray:
    return from_labels(1 + sign[:, None], confidence)


@pytest.mark.parametrize("seed", range(2))
def test_who_reads_the_next_tick_is_flagged(seed: int) -> None:
    ticks, _ = walk(seed)
    labels = next_tick_labels(ticks)
    found = flag_lookahead(from_labels(labels), ticks)
    assert found["flagged"]
    assert found["percentile"] == 100
    assert found["hit_rate"] == found["right_share"] == 1
    some = np.random.default_rng(seed).random(len(labels)) < 0.05  # not always, and not always right
    assert flag_lookahead(from_labels(np.where(some[:, None], 2 - labels, labels), 0.6), ticks)["flagged"]


def test_who_reads_a_horizon_is_flagged_there() -> None:
    ticks, _ = walk(0)
    labels = from_labels(next_tick_labels(ticks, ahead=10))
    assert flag_lookahead(labels, ticks, ahead=10)["flagged"]
    assert not flag_lookahead(labels, ticks, ahead=1)["flagged"], "says nothing sure of the next tick"
    assert not flag_lookahead(delayed(labels, ticks, 10 * 100 * MS), ticks, ahead=10)["flagged"]


@pytest.mark.parametrize("known", [0.0, 0.2, 0.6])
def test_who_knows_what_can_be_known_is_not(known: float) -> None:
    """Even a signal that is gone after one tick, as look-ahead is: it is not right so often."""
    ticks, sign = walk(1, known)
    found = flag_lookahead(as_probabilities(sign), ticks)
    assert not found["flagged"]
    assert found["beyond_controls"] == (known > 0)
    assert found["hit_rate"] == pytest.approx(0.5 + known / 2 / (2 / 3 + known / 3), abs=0.03)
    assert found["right_share"] == pytest.approx(known + (1 - known) / 3, abs=0.03)
    if known:
        assert found["gone_when_late"]


def seldom(seed: int, ticks: int = 20_000) -> tuple[NDArray, NDArray]:
    """A market that stands still mostly, as real ones do: one knows which way it will go, 97 % sure, but not when.

    A move goes on in the next tick in four of ten cases.
    """
    rng = np.random.default_rng(seed)
    side, steps, sign = 1, np.zeros(ticks), np.zeros(ticks, np.int64)
    for row in range(ticks):
        sign[row] = side
        if row and steps[row - 1] and rng.random() < 0.4:
            steps[row] = steps[row - 1]
        elif rng.random() < 0.04:
            steps[row] = side if rng.random() < 0.97 else -side
            side = rng.choice([-1, 1])
    return made_ticks(100_000 + 2 * np.concatenate([[0], steps[:-1]]).cumsum()), sign


def test_to_know_which_way_but_not_when_is_honest() -> None:
    ticks, sign = seldom(0)
    honest = flag_lookahead(as_probabilities(sign), ticks)
    assert honest["hit_rate"] > 0.7
    assert honest["right_share"] < 0.1
    assert honest["beyond_controls"]
    assert not honest["flagged"]
    reader = flag_lookahead(from_labels(next_tick_labels(ticks)), ticks)
    assert reader["kept_share"] > 0.2, "moves go on, so that late answers are worth something"
    assert reader["flagged"]


def test_too_little_to_say_and_nothing_to_say() -> None:
    ticks, _ = walk(0, ticks=30)
    assert not flag_lookahead(from_labels(next_tick_labels(ticks)), ticks)["flagged"]
    for none in (ticks, ticks[:1], ticks[:0]):
        found = flag_lookahead(as_probabilities(np.zeros(len(none), np.int64)), none)
        assert (found["flagged"], found["signals"], found["hit_rate"], found["kept_share"]) == (False, 0, None, None)
    with pytest.raises(ConfigError, match="ahead=0"):
        flag_lookahead(from_labels(next_tick_labels(ticks)), ticks, ahead=0)
