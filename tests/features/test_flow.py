"""The `flow` features: against plain formulas, without look-ahead, the same on every path, mirrored."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import FEATURE_SETS, mirror_features
from nanoarb_jax.features.flow import BUCKET_QUANTITY, BUCKETS, FLOW_NAMES, OUTCOMES, flow, flow_memory
from nanoarb_jax.features.live import LobFeatureExtractor
from nanoarb_jax.features.lob44 import SESSION_GAP_NS, lob44
from nanoarb_jax.features.order_flow import best_order_flow
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.book.state import empty_state
from nanoarb_jax.market.clocks.clock import TickClock
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.event import BUY, DEPTH, EVENT, SELL, TRADE
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries, validate_books
from support.book_twin import LOT, TICK, random_events
from support.examples import examples
from support.series import joined, random_books

seeds = st.integers(0, 2**32 - 1)
some = settings(deadline=None, database=None, max_examples=examples(30))
SCALE = 0.125  # quantity that counts as 1
SPREAD_SCALE = 2.5  # ticks
PRICES = [0, 1]  # the features that are prices


def traded_books(seed: int, rows: int = 40, most: int = 30_000) -> BookSeries:
    """Random books that change a few levels at a time, with trades."""
    rng, books = np.random.default_rng(seed), random_books(seed, rows)
    same = rng.random(rows) < 0.5  # half of the books keep the prices of the one before
    for i in np.flatnonzero(same[1:]) + 1:
        for px, lots in ((books.bid_px, books.bid_lots), (books.ask_px, books.ask_lots)):
            px[i], lots[i] = px[i - 1], lots[i - 1]
            there = (px[i] != EMPTY_PRICE) & (rng.random(LEVELS) < 0.3)
            lots[i, there] = rng.integers(1, 500, there.sum())
    trades = [np.where(rng.random(rows) < 0.6, rng.integers(0, most, rows), 0) for _ in range(2)]
    return books._replace(bought=trades[0], sold=trades[1])


def cut(books: BookSeries, rows: slice) -> BookSeries:
    arrays = {name: value[rows] for name, value in books._asdict().items() if isinstance(value, np.ndarray)}
    return books._replace(**arrays)


def imbalance(books: BookSeries, i: int, level: int) -> float:
    """Cont, Kukanov, Stoikov (2014), equation 2, with a level that is not there infinitely far away and empty."""
    p, before = [], []
    for at, into in ((i, p), (i - 1, before)):
        for px, lots, sign in ((books.bid_px, books.bid_lots, -1), (books.ask_px, books.ask_lots, 1)):
            price = float(px[at, level]) if px[at, level] != EMPTY_PRICE else sign * math.inf
            into.append((price, lots[at, level] / books.lots_per_unit / SCALE))
    (bid, bid_q), (ask, ask_q) = p
    (old_bid, old_bid_q), (old_ask, old_ask_q) = before
    return (
        (bid >= old_bid) * bid_q
        - (bid <= old_bid) * old_bid_q
        - (ask <= old_ask) * ask_q
        + (ask >= old_ask) * old_ask_q
    )


def moves(books: BookSeries, i: int) -> list[bool]:
    """Did any bid level gain, any lose; any ask level? By the two halves of the same equation."""
    out = []
    for px, lots, sign in ((books.bid_px, books.bid_lots, 1), (books.ask_px, books.ask_lots, -1)):
        gains = []
        for level in range(LEVELS):
            far = -math.inf
            now, old = (sign * float(px[k, level]) if px[k, level] != EMPTY_PRICE else far for k in (i, i - 1))
            gains.append((now >= old) * lots[i, level] - (now <= old) * lots[i - 1, level])
        out += [any(g > 0 for g in gains), any(g < 0 for g in gains)]
    return out


def toxicity(books: BookSeries) -> NDArray[np.float64]:
    """VPIN after every row, from all trades laid end to end: bucket k holds the volume from 20 k to 20 (k + 1)."""
    assert books.bought is not None and books.sold is not None
    bought, sold = (np.r_[0, np.cumsum(a)] / books.lots_per_unit / SCALE for a in (books.bought, books.sold))
    total = bought + sold
    out = np.zeros(books.rows)
    for i in range(books.rows):
        full = int(np.floor(total[i + 1] / BUCKET_QUANTITY + 1e-9))
        edges = BUCKET_QUANTITY * np.arange(max(full - BUCKETS, 0), full + 1)
        # within a row the trades of both sides arrive evenly mixed
        rising, last = np.unique(total[: i + 2][::-1], return_index=True)
        last = i + 1 - last
        sides = [np.diff(np.interp(edges, rising, side[last])) for side in (bought, sold)]
        out[i] = np.abs(sides[0] - sides[1]).sum() / (max(min(full, BUCKETS), 1) * BUCKET_QUANTITY)
    return out


def slow_flow(books: BookSeries) -> NDArray[np.float64]:
    """(n, 42) features 44 to 85, from their definitions."""
    assert books.bought is not None and books.sold is not None
    out = np.zeros((books.rows, 42))
    mid = books.mid * books.px_scale / books.tick
    out[:, 0] = books.microprice * books.px_scale / books.tick - mid
    bought, sold = books.bought / books.lots_per_unit / SCALE, books.sold / books.lots_per_unit / SCALE
    out[:, 11], out[:, 12] = bought - sold, bought + sold
    for first, px in ((13, books.bid_px), (22, books.ask_px)):
        for i, k in zip(*np.nonzero(px[:, 1:] != EMPTY_PRICE), strict=True):
            out[i, first + k] = abs(int(px[i, k + 1]) - int(px[i, k])) / books.tick
    for i in range(1, books.rows):
        out[i, 1:11] = [imbalance(books, i, level) for level in range(LEVELS)]
        out[i, 31:35] = moves(books, i)
        changes = np.diff(mid[: i + 1])[::-1]
        weights = 0.99 ** np.arange(i)
        out[i, 39] = np.sqrt((weights * changes**2).sum() / weights.sum())
    out[:, 35], out[:, 36] = bought > 0, sold > 0
    out[1:, 37] = np.diff(books.ts_ns) / 1e9
    out[:, 38] = toxicity(books)
    out[1:, 40] = np.diff(mid)
    out[:, 41] = SPREAD_SCALE
    return out


def test_names() -> None:
    assert len(FLOW_NAMES) == len(set(FLOW_NAMES)) == 101 and set(FEATURE_SETS) == {"lob44", "flow"}
    assert [FLOW_NAMES[i] for i in (44, 45, 55, 57, 66, 75, 80, 81, 83, 84, 85)] == [
        "microprice_offset_ticks",
        "order_flow_imbalance_0",
        "signed_volume",
        "bid_gap_ticks_1",
        "ask_gap_ticks_1",
        "bid_joined",
        "taker_sold",
        "seconds",
        "volatility_ticks",
        "mid_change_ticks",
        "spread_scale_ticks",
    ]


@some
@given(seeds, st.sampled_from([0, 40, 30_000, 3_000_000]))
def test_equals_the_formulas(seed: int, most: int) -> None:
    books = traded_books(seed, most=most or 1)
    features = flow(books, SCALE, spread_scale=SPREAD_SCALE)
    np.testing.assert_array_equal(features[:, :44], lob44(books, SCALE))
    # float32 outputs of float64 sums; VPIN is a sum of differences of running volumes up to 1e9
    np.testing.assert_allclose(features[:, 44:OUTCOMES], slow_flow(books), rtol=1e-5, atol=2e-6)
    assert np.isfinite(features).all()


def test_without_trades_their_features_are_zero() -> None:
    books = traded_books(1)
    features = flow(books._replace(bought=None, sold=None), SCALE)
    silent = [FLOW_NAMES.index(name) for name in ("signed_volume", "volume", "taker_bought", "taker_sold", "vpin")]
    assert not features[:, silent].any()
    rest = np.setdiff1d(np.arange(101), silent)
    np.testing.assert_array_equal(features[:, rest], flow(books, SCALE)[:, rest])


@some
@given(seeds, st.lists(st.integers(0, 40), max_size=6))
def test_block_by_block_equals_the_whole(seed: int, cuts: list[int]) -> None:
    books, memory = traded_books(seed), flow_memory()
    parts = [
        flow(cut(books, slice(a, b)), SCALE, memory, spread_scale=SPREAD_SCALE)
        for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 40], strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), flow(books, SCALE, spread_scale=SPREAD_SCALE))


@some
@given(seeds, st.sampled_from(["book", "trade", "time"]), st.integers(0, 199), st.integers(0, 2**32 - 1))
def test_no_look_ahead(seed: int, kind: str, first: int, other: int) -> None:
    # whatever comes from some event on, the rows that were there before stay as they are
    events, clock = random_events(seed, dirt=0.01), TickClock(kind, interval_ns=100)  # type: ignore[arg-type]
    changed = np.concatenate([events[:first], random_events(other, 200 - first, dirt=0.1)])
    changed["local_ts"][first:] += events["local_ts"][first] - 1_000_000

    def made(stream: NDArray) -> NDArray:
        series = joined(list(tick_chunks([stream], empty_state(TICK, LOT, policy="skip"), clock, "x")))
        return np.zeros((0, 101), np.float32) if series is None else flow(series, SCALE)

    known = len(made(events[:first]))
    np.testing.assert_array_equal(made(events)[:known], made(events[:first]))
    np.testing.assert_array_equal(made(changed)[:known], made(events[:first]))


@some
@given(seeds, st.sampled_from(["lob44", "flow"]))
def test_a_live_book_gives_the_same_bits(seed: int, feature_set: str) -> None:
    events = random_events(seed, dirt=0.02)
    series = joined(list(tick_chunks([events], empty_state(TICK, LOT, policy="skip"), TickClock(), "x")))
    book, before, rows = OrderBook(TICK, LOT, policy="skip", levels=2, orders=4), b"", []
    extractor = LobFeatureExtractor(TICK, SCALE, feature_set, SPREAD_SCALE)  # type: ignore[arg-type]
    for event in events:
        if book.apply(event) and (top := b"".join(a.tobytes() for a in book.top())) != before:
            rows.append(extractor.to_array(book))
            before = top
    if series is None:
        assert not rows
        return
    whole = flow(series, SCALE, spread_scale=SPREAD_SCALE) if feature_set == "flow" else lob44(series, SCALE)
    np.testing.assert_array_equal(np.array(rows), whole)


def test_the_extractor_starts_anew_and_refuses_what_it_cannot_do() -> None:
    book = OrderBook(TICK, LOT, policy="skip")
    extractor = LobFeatureExtractor(TICK, SCALE, "flow")
    with pytest.raises(DataError, match="0 bid and 0 ask levels"):
        extractor.to_array(book)
    book.apply_all(random_events(3, dirt=0.0))
    assert book.best_bid > book.best_ask
    with pytest.raises(DataError, match="the book is crossed"):
        extractor.to_array(book)
    book, events = OrderBook(TICK, LOT), np.zeros(3, EVENT)
    events["ev"], events["px"], events["qty"] = [DEPTH | BUY, DEPTH | SELL, TRADE | BUY], [100, 100.25, 100.25], 3
    book.apply_all(events)
    extractor.reset()
    first = extractor.to_array(book)
    out = np.empty(101, np.float32)
    assert extractor.to_array(book, out) is out and not np.array_equal(out, first)
    extractor.reset()
    np.testing.assert_array_equal(extractor.to_array(book), first)
    with pytest.raises(DataError, match=r"tick_size=0\.5, but the book's is 0\.25"):
        LobFeatureExtractor(0.5).to_array(book)
    for settings_, met in (
        ((0.0,), "tick_size=0.0"),
        ((1, math.nan), "quantity_scale=nan"),
        ((1, 1, "flow", -1), "spread_scale=-1"),
        ((1, 1, "x"), "'x'"),
    ):
        with pytest.raises(DataError, match=met):
            LobFeatureExtractor(*settings_)  # type: ignore[arg-type]


@some
@given(seeds)
def test_best_order_flow_is_the_feature_of_level_0(seed: int) -> None:
    books = traded_books(seed)
    quantities = [lots[:, 0] / books.lots_per_unit / SCALE for _, lots in books.sides]
    prices = [px[:, 0] / books.tick for px, _ in books.sides]
    expected = flow(books, SCALE)[:, FLOW_NAMES.index("order_flow_imbalance_0")]
    met = best_order_flow(prices[0], quantities[0], prices[1], quantities[1])
    within_session = np.diff(books.ts_ns, prepend=books.ts_ns[0]) <= SESSION_GAP_NS
    np.testing.assert_allclose(met[within_session], expected[within_session], rtol=1e-6, atol=1e-9)


@some
@given(seeds)
def test_mirrored_books_give_mirrored_features(seed: int) -> None:
    books = traded_books(seed)
    validate_books(books.mirrored())
    pivot = books.bid_px[0, 0] / books.px_scale
    features, mirrored = flow(books, SCALE), flow(books.mirrored(), SCALE)
    # bit for bit, but for VPIN (shares of the taker's sides are rounded) and the order of a sum
    np.testing.assert_allclose(mirrored, mirror_features(features, pivot), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mirror_features(mirrored, pivot), features, rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="40 features per tick"):
        mirror_features(features[:, :40], pivot)


@some
@given(seeds, st.sampled_from([1, 2**30, 2**53]), st.sampled_from([1e-8, 1.0, 1e9]))
def test_extremes_stay_finite(seed: int, size: int, scale: float) -> None:
    books = traded_books(seed, most=size)
    huge = {name: np.where(getattr(books, name) > 0, size, 0) for name in ("bid_lots", "ask_lots")}
    one = {name: np.where(np.arange(LEVELS) > 0, EMPTY_PRICE, getattr(books, name)) for name in ("bid_px", "ask_px")}
    lone = {name: np.where(np.arange(LEVELS) > 0, 0, lots) for name, lots in huge.items()}
    for changed in (books._replace(**huge), books._replace(**one, **lone)):
        validate_books(changed)
        features = flow(changed, scale)
        assert np.isfinite(features).all()
        vpin = features[:, FLOW_NAMES.index("vpin")]
        assert (vpin >= -1e-6).all() and (vpin <= 1 + 1e-6).all()
