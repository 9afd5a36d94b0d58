"""What says nothing of a market changes no forecast: the level of its prices, the units of price and quantity."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig, ModelConfig
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries
from nanoarb_jax.simulation.market import synthetic_books
from support.examples import examples
from support.random_model import random_model

some = settings(deadline=None, database=None, max_examples=examples(25))
ROWS = 1_200
CONFIG = DataConfig(horizons=(5, 10))
MODEL = random_model(dataclasses.replace(ModelConfig.preset("nano"), feature_set="flow", horizons=(5, 10)))
score = jax.jit(lambda x: jax.nn.softmax(MODEL.scan(x[None])[0][0]))


def forecasts(books: BookSeries) -> NDArray:
    """Of books whose scales are measured on their own training part, as `data prepare` does."""
    return np.asarray(score(make_stream(books, CONFIG).features))


def moved(books: BookSeries, change: int, factor: int = 1) -> BookSeries:
    """Prices times a factor, plus a change."""
    prices = {
        name: np.where(px == EMPTY_PRICE, px, px * factor + change)
        for name, px in (("bid_px", books.bid_px), ("ask_px", books.ask_px))
    }
    return books._replace(**prices, tick=books.tick * factor)


@some
@given(st.integers(0, 3), st.integers(-(10**6), 10**6))
def test_a_constant_added_to_all_prices(seed: int, ticks: int) -> None:
    """Also where they fall below zero. Ticks and lots are whole numbers, so not a bit changes."""
    books = synthetic_books(ROWS, seed)
    np.testing.assert_array_equal(forecasts(moved(books, ticks * books.tick)), forecasts(books))


@some
@given(st.integers(0, 3), st.integers(1, 1_000), st.sampled_from([1e-3, 0.1, 3.0, 100.0]))
def test_tick_and_prices_times_a_factor(seed: int, factor: int, scale: float) -> None:
    books = synthetic_books(ROWS, seed)
    larger = moved(books, 0, factor)._replace(px_scale=books.px_scale * scale)
    np.testing.assert_allclose(forecasts(larger), forecasts(books), atol=2e-5)


@some
@given(st.integers(0, 3), st.integers(1, 1_000), st.sampled_from([1e-3, 0.1, 3.0, 100.0]))
def test_quantities_times_a_factor(seed: int, factor: int, scale: float) -> None:
    books = synthetic_books(ROWS, seed)
    larger = books._replace(
        **{name: getattr(books, name) * factor for name in ("bid_lots", "ask_lots", "bought", "sold")},
        lots_per_unit=books.lots_per_unit * scale,
    )
    np.testing.assert_allclose(forecasts(larger), forecasts(books), atol=2e-5)
