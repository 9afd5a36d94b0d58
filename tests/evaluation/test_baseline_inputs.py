"""What the baselines look at: the same at every price level and in every unit, and never what comes later."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.streams import Stream, make_stream, mirror_stream
from nanoarb_jax.evaluation.baseline_inputs import baseline_inputs, order_flow_imbalance, order_flow_inputs
from nanoarb_jax.evaluation.flow_inputs import flow_inputs, has_flow
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries
from nanoarb_jax.simulation.market import synthetic_books
from support.made_stream import random_features, stream_of
from support.series import random_books


def plain_stream(features: np.ndarray) -> Stream:
    return stream_of(np.ones((len(features), 1)), features)


def book_stream(books: BookSeries, feature_set: str, quantity_scale: float) -> Stream:
    """The stream of these books, unlabelled."""
    features = FEATURE_SETS[feature_set].rows(books, quantity_scale, spread_scale=2.0)
    stream = stream_of(np.ones((books.rows, 1)), np.ones((books.rows, 44)))
    return stream._replace(
        features=features, mid=books.mid, spread=books.spread_ticks.astype(np.float32), ts_ns=books.ts_ns,
        tick_size=books.tick_size, quantity_scale=quantity_scale, spread_scale=2.0,
    )  # fmt: skip


def shifted(books: BookSeries, ticks: int) -> BookSeries:
    sides = {
        name: np.where(px == EMPTY_PRICE, px, px + ticks * books.tick)
        for name, px in (("bid_px", books.bid_px), ("ask_px", books.ask_px))
    }
    return books._replace(**sides)


@given(
    st.integers(0, 99),
    st.integers(-20_000, 20_000),
    st.sampled_from((1e-3, 0.1, 1.0, 7.0, 1e4)),
    st.sampled_from((1e-4, 1.0, 3.0, 1e5)),
    st.sampled_from(("lob44", "flow")),
)
@settings(max_examples=40)
def test_inputs_know_neither_level_nor_units(seed: int, ticks: int, price: float, qty: float, feature_set: str) -> None:
    """A constant on all prices, also to below 0; tick and prices times a factor; quantities and their scale."""
    books = random_books(seed)
    other = shifted(books, ticks)._replace(px_scale=books.px_scale / price, lots_per_unit=books.lots_per_unit / qty)
    one, two = book_stream(books, feature_set, 0.2), book_stream(other, feature_set, 0.2 * qty)
    # lob44 has the weighted mid as a float32 price alone
    bound = 1e-5 if feature_set == "flow" else 0.02
    for inputs in (baseline_inputs, order_flow_inputs):
        np.testing.assert_allclose(inputs(one), inputs(two), rtol=1e-5, atol=bound)


def test_gaps_and_prices_say_the_same() -> None:
    books = shifted(random_books(1), -5_000)
    flow, book = (baseline_inputs(book_stream(books, name, 0.2)) for name in ("flow", "lob44"))
    np.testing.assert_allclose(flow, book, atol=1e-3)


def test_a_session_begins_anew() -> None:
    """No input of a session depends on the one before it."""
    books = random_books(2)
    later = books.ts_ns + np.where(np.arange(books.rows) >= 10, 10**15, 0)
    stream = book_stream(books._replace(ts_ns=later), "flow", 0.2)
    alone = stream._replace(**{c: getattr(stream, c)[10:] for c in ("features", "mid", "spread", "ts_ns", "labels")})
    for inputs in (baseline_inputs, flow_inputs):
        np.testing.assert_allclose(inputs(stream)[10:], inputs(alone), rtol=1e-6, atol=1e-6)


def test_means_of_channels_by_hand() -> None:
    inputs = flow_inputs(book_stream(random_books(3), "flow", 0.2))
    now, five, twenty = np.split(inputs, 3, axis=1)
    for row in (0, 3, 29):
        np.testing.assert_allclose(five[row], now[max(row - 4, 0) : row + 1].mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(twenty[row], now[max(row - 19, 0) : row + 1].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_flow_is_known_by_its_features() -> None:
    books = random_books(0)
    assert has_flow(book_stream(books, "flow", 1.0)) and not has_flow(book_stream(books, "lob44", 1.0))


def test_order_flow_by_hand() -> None:
    """Bid and ask, queues in brackets: 100 (5) / 101 (7), then six changes of one side each."""
    bids = [(100, 5), (100, 8), (101, 2), (100, 9), (100, 9), (100, 9), (100, 9)]
    asks = [(102, 7), (102, 7), (102, 7), (102, 7), (101, 4), (103, 6), (103, 1)]
    features = np.zeros((7, 44), np.float32)
    features[:, 4], features[:, 14] = np.array(bids)[:, 1], np.array(asks)[:, 1]
    bid, ask = 0.01 * np.array(bids)[:, 0], 0.01 * np.array(asks)[:, 0]
    stream = stream_of(np.ones((7, 1)), features)._replace(mid=(bid + ask) / 2, spread=(100 * (ask - bid)).round())
    flow = order_flow_imbalance(stream)
    # queue grows by 3; a better bid of 2; it falls back and its 2 are gone; a better ask of 4; it goes; 5 are taken
    np.testing.assert_array_equal(flow, [0, 3, 2, -2, -4, 4, 5])
    inputs = order_flow_inputs(stream)
    np.testing.assert_array_equal(inputs[:, 0], flow)
    np.testing.assert_array_equal(inputs[-1], [5, 5, 8, 8])


def test_inputs_are_finite_and_bounded() -> None:
    inputs = baseline_inputs(plain_stream(random_features(300)))
    assert inputs.shape == (300, 54)
    assert inputs.dtype == np.float32
    assert np.isfinite(inputs).all()
    assert np.abs(inputs).max() < 50


@given(st.integers(1, 59))
def test_inputs_never_look_ahead(now: int) -> None:
    before, after = random_features(60), random_features(60)
    after[now:] = random_features(60, seed=1)[now:]
    for inputs in (baseline_inputs, order_flow_inputs):
        first, second = (inputs(plain_stream(features))[:now] for features in (before, after))
        np.testing.assert_array_equal(first, second)


def test_order_flow_of_a_mirrored_market_whose_prices_lie_between_ticks() -> None:
    """Reflected about a first microprice a quarter tick away, all prices lie in the middle between two ticks."""
    books = synthetic_books(2_000, 1)
    books.bid_lots[0, 0], books.ask_lots[0, 0] = 3, 1
    stream = make_stream(books, DataConfig())
    np.testing.assert_array_equal(order_flow_imbalance(mirror_stream(stream)), -order_flow_imbalance(stream))
