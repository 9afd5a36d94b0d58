"""The synthetic market: seeded, valid, symmetric, and worth learning from."""

from __future__ import annotations

import numpy as np
import pytest

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import validate_books
from nanoarb_jax.market.labels import direction_labels
from nanoarb_jax.market.synthetic import synthetic_books


def test_same_seed_same_books() -> None:
    first, again, other = (synthetic_books(2_000, seed) for seed in (5, 5, 6))
    for was, now in zip(first, again, strict=True):
        np.testing.assert_array_equal(was, now)
    assert not np.array_equal(first.bid_px, other.bid_px)
    # a longer run begins like a shorter one
    longer = synthetic_books(3_000, 5)
    np.testing.assert_array_equal(longer.ask_sz[:2_000], first.ask_sz)


@pytest.mark.parametrize("tick_size", [0.25, 0.01, 1.0])
def test_books_are_valid(tick_size: float) -> None:
    books = synthetic_books(20_000, (1, 2), tick_size=tick_size, name="x")
    validate_books(books)
    assert books.name == "x" and books.rows == 20_000
    assert books.tick_size == pytest.approx(tick_size)
    assert (books.mid > 0).all() and (books.spread_ticks >= 1).all()


def test_prices_stay_positive_in_a_cheap_market() -> None:
    for seed in range(5):
        books = synthetic_books(60_000, seed, start_ticks=1_000, regime_ticks=50_000.0)
        assert books.bid_px.min() > 0


def test_worth_learning_from() -> None:
    """Classes are not degenerate, the book says something, and its past says more."""
    books = synthetic_books(60_000, 1)
    mid = books.mid / books.tick_size
    labels, moves = direction_labels(mid, (10, 50, 100), 1.0)
    shares = np.bincount(labels[:-100, 1], minlength=3) / len(labels[:-100])
    assert shares.min() > 0.1
    imbalance = (books.bid_sz[:, 0] - books.ask_sz[:, 0]) / (books.bid_sz[:, 0] + books.ask_sz[:, 0])
    assert 0.1 < np.corrcoef(imbalance[:-100], moves[:-100, 0])[0, 1] < 0.6
    past = mid[100:-100] - mid[:-200]
    assert 0.1 < np.corrcoef(past, moves[100:-100, 2])[0, 1] < 0.8


@pytest.mark.parametrize(
    "bad", [{"rows": 0}, {"start_ticks": 10}, {"regime_ticks": 0.0}, {"tick_size": 0.0}, {"tick_size": float("nan")}]
)
def test_arguments_out_of_range(bad: dict[str, float]) -> None:
    arguments = {"rows": 10, "seed": 0} | bad
    with pytest.raises(DataError, match=next(iter(bad))):
        synthetic_books(**arguments)
