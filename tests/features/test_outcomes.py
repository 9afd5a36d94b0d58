"""What followed books like this one: against a plain count of all earlier moves, without look-ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.features import outcomes
from nanoarb_jax.features.flow import MID_CHANGE, OFI, OUTCOMES, flow
from nanoarb_jax.features.lob44 import IMBALANCE, SPREAD
from nanoarb_jax.features.outcomes import DRAWN, NAMES, RECENT_SPAN, SPAN, TICKS, outcome_memory, outcome_row
from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.simulation.market import synthetic_books
from support.examples import examples

SCALE = 1.5
some = settings(deadline=None, database=None, max_examples=examples(20))


def described(features: NDArray) -> tuple[NDArray, NDArray]:
    """(n, 2) cells of every tick: (imbalance step, wide) and (flow step, last direction), signed."""
    imbalance, spread, order_flow = (features[:, i].astype(np.float64) for i in (IMBALANCE, SPREAD, OFI))
    mean, means = 0.0, []
    for gained in order_flow:
        mean += (gained - mean) / 5.0
        means.append(mean)
    moves = np.sign(features[:, MID_CHANGE])
    moved = np.maximum.accumulate(np.where(moves != 0, np.arange(len(moves)), 0))

    def step(values: NDArray, edges: tuple[float, ...]) -> NDArray:
        return np.sign(values) * (np.abs(values)[:, None] > np.array(edges)).sum(axis=1)

    wide = spread > 2.01 * SCALE
    by_imbalance = np.stack([step(imbalance, (0.1, 0.4, 0.7, 0.9)), wide], axis=1)
    by_flow = np.stack([step(np.array(means), (0.055, 0.43, 1.6)), moves[moved]], axis=1)
    return by_imbalance, by_flow


def counted(features: NDArray, row: int) -> list[float]:
    """The features of one row, as log-odds, from a plain count of all the moves that were over by then."""
    mid = np.cumsum(features[:, MID_CHANGE].astype(np.float64))
    odds: dict[str, float] = {}
    for ticks in TICKS:
        ends = np.arange(ticks, row + 1)
        moves = (mid[ends] - mid[ends - ticks]) / SCALE
        outcome = np.where(moves >= 1 - 1e-9, 2, np.where(moves <= -1 + 1e-9, 0, 1))
        # of both the move and its mirror image
        begins, outcome, side = np.tile(ends - ticks, 2), np.r_[outcome, 2 - outcome], np.repeat([1, -1], len(ends))
        age = np.tile(row - ends, 2)
        weights = (1 - 1 / SPAN) ** age
        overall = np.bincount(outcome, weights, 3) + 1.0
        for what, cells in zip(("imbalance", "flow"), described(features), strict=True):
            signed = [1, 0] if what == "imbalance" else [1, 1]  # "wide" has no direction
            sided = cells[begins] * np.where(signed, side[:, None], 1)
            here = (sided == cells[row]).all(axis=1)
            down, still, up = np.bincount(outcome[here], weights[here], 3) + DRAWN * overall / overall.sum()
            odds[f"lean_{what}_{ticks}"] = np.log(up / down)
            odds[f"still_{what}_{ticks}"] = np.log(still / (down + up))
        fresh = (1 - 1 / RECENT_SPAN) ** (row - ends)
        once = outcome[: len(ends)] == 1
        odds[f"recently_still_{ticks}"] = np.log((fresh[once].sum() + 1) / (fresh[~once].sum() + 1))
    return [odds[name] for name in NAMES]


def log_odds(features: NDArray) -> NDArray:
    return np.sign(features) * np.log1p(np.abs(features))


@pytest.mark.parametrize("seed", [1, 2])
def test_equals_a_plain_count(seed: int) -> None:
    features = flow(synthetic_books(1_500, seed), 4.0, spread_scale=SCALE)
    for row in (0, 9, 10, 11, 99, 100, 700, 1_499):
        met = log_odds(features[row, OUTCOMES:].astype(np.float64))
        np.testing.assert_allclose(met, counted(features, row), rtol=1e-4, atol=1e-5)


def cut(books: BookSeries, rows: slice) -> BookSeries:
    arrays = {name: value[rows] for name, value in books._asdict().items() if isinstance(value, np.ndarray)}
    return books._replace(**arrays)


@some
@given(st.integers(0, 10_000), st.integers(1, 399))
def test_what_comes_later_changes_nothing(seed: int, known: int) -> None:
    books = synthetic_books(400, seed)
    whole, part = (flow(some, 4.0, spread_scale=SCALE) for some in (books, cut(books, slice(known))))
    np.testing.assert_array_equal(whole[:known], part)


def test_another_session_keeps_the_counts_and_counts_no_move_into_it() -> None:
    books, gap = synthetic_books(600, 3), 1_000
    times = np.arange(600, dtype=np.int64)
    times[300:] += 10 * gap
    features = flow(books._replace(ts_ns=times), 4.0, spread_scale=SCALE, session_gap_ns=gap)
    alone = flow(cut(books, slice(300, 600))._replace(ts_ns=times[300:]), 4.0, spread_scale=SCALE)
    assert not np.array_equal(features[300:, OUTCOMES:], alone[:, OUTCOMES:])
    other = books._replace(ts_ns=times, bid_px=books.bid_px.copy(), ask_px=books.ask_px.copy())
    for px in (other.bid_px, other.ask_px):
        px[300:] += 50 * books.tick  # as far away as it likes: that move is none of the series'
    shifted = flow(other, 4.0, spread_scale=SCALE, session_gap_ns=gap)
    np.testing.assert_array_equal(shifted[:, OUTCOMES:], features[:, OUTCOMES:])


def test_weights_that_grew_large_are_scaled_down(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    plain, large = outcome_memory(), outcome_memory()
    large.running["grown"] = 0.9999 * outcomes._LARGEST
    mid, met = 0.0, np.zeros((2, len(NAMES)))
    for tick in range(3_000):
        mid += rng.integers(-1, 2) * 0.5
        numbers = rng.uniform(-1, 1), float(rng.integers(1, 4)), rng.normal()
        for memory, out in zip((plain, large), met, strict=True):
            outcome_row(tick, mid, *numbers, 1.0, memory, out)
    np.testing.assert_allclose(met[0], met[1], rtol=1e-9)
    assert large.running["grown"][0] < 10
