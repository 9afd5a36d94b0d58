"""The synthetic market: seeded, valid, stationary, honest in its intensities, and worth learning from."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest

from nanoarb_jax.data.labels import direction_labels
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries, validate_books
from nanoarb_jax.simulation.arrivals import advance, intensities
from nanoarb_jax.simulation.config import MarketConfig, Preset
from nanoarb_jax.simulation.market import begin, synthetic_books, synthetic_events
from nanoarb_jax.simulation.oracle import ClassProbabilities, class_probabilities
from nanoarb_jax.simulation.queues import MAX_PARTS, TYPES

PRESETS = get_args(Preset)
HORIZONS = (10, 50, 100)


@pytest.fixture(scope="module")
def long_runs() -> dict[str, BookSeries]:
    return {name: synthetic_books(200_000, 1, MarketConfig.preset(name)) for name in PRESETS}


@pytest.fixture(scope="module")
def oracle() -> ClassProbabilities:
    return class_probabilities(MarketConfig(), 3, np.arange(500, 500 + 400 * 500, 500), futures=150)


def test_same_seed_same_market() -> None:
    first, again, other = (synthetic_books(2_000, seed) for seed in (5, 5, 6))
    for was, now in zip(first, again, strict=True):
        np.testing.assert_array_equal(was, now)
    assert not np.array_equal(first.bid_px, other.bid_px)
    # a longer run begins like a shorter one
    np.testing.assert_array_equal(synthetic_books(3_000, 5).ask_lots[:2_000], first.ask_lots)
    events, longer = synthetic_events(1_000, (5, 1)), synthetic_events(2_000, (5, 1))
    np.testing.assert_array_equal(longer[: len(events)], events)


@pytest.mark.parametrize("tick_size", [0.25, 0.01, 1.0])
def test_books_are_valid(tick_size: float) -> None:
    books = synthetic_books(20_000, (1, 2), tick_size=tick_size, name="x")
    validate_books(books)
    assert books.name == "x" and books.rows == 20_000
    assert books.tick_size == pytest.approx(tick_size)
    assert (books.mid > 0).all() and (books.spread_ticks >= 1).all()


def test_prices_stay_positive_in_a_cheap_market() -> None:
    wild = dataclasses.replace(MarketConfig(), pull=0.0, order_lots=30.0)
    for seed in range(3):
        books = synthetic_books(60_000, seed, wild, start_ticks=1_000)
        assert books.bid_px[books.bid_px != EMPTY_PRICE].min() > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_stationary_and_plausible(preset: Preset, long_runs: dict[str, BookSeries]) -> None:
    books = long_runs[preset]
    validate_books(books)
    first, second = slice(0, 100_000), slice(100_000, 200_000)
    spread = books.spread_ticks
    assert spread[first].mean() == pytest.approx(spread[second].mean(), rel=0.1)
    assert books.bid_lots[first].mean() == pytest.approx(books.ask_lots[second].mean(), rel=0.15)
    assert abs(books.bid_px[-1, 0] / books.bid_px[0, 0] - 1) < 0.05
    assert ((books.bought == 0) | (books.sold == 0)).all()
    assert 0.03 < ((books.bought + books.sold) > 0).mean() < 0.3
    seconds = (books.ts_ns - books.ts_ns[0]) // 10**9
    per_second = np.bincount(seconds)[:-1]
    assert per_second.var() / per_second.mean() > 2  # clustered; Poisson has 1


def test_presets_look_like_their_markets(long_runs: dict[str, BookSeries]) -> None:
    es, crypto = long_runs["es"], long_runs["crypto"]
    assert es.tick_size == 0.25 and (es.spread_ticks == 1).mean() > 0.97
    assert 10 < es.rows / ((es.ts_ns[-1] - es.ts_ns[0]) * 1e-9) < 50
    assert 30 < np.median(es.bid_lots[:, 0]) < 300
    assert crypto.tick_size == pytest.approx(0.1) and crypto.lots_per_unit == 1_000
    assert 0.3 < (crypto.spread_ticks == 1).mean() < 0.9 and np.quantile(crypto.spread_ticks, 0.99) >= 5
    gaps = np.diff(-crypto.bid_px, axis=1)[(crypto.bid_px != EMPTY_PRICE).all(axis=1)]
    assert (gaps > 1).mean() > 0.1


@pytest.mark.parametrize("preset", PRESETS)
def test_events_make_the_books(preset: Preset) -> None:
    """The replayed feed shows row i after message i, and trades are those between two rows."""
    config = MarketConfig.preset(preset)
    events = synthetic_events(6_000, 9, config)
    ends = np.flatnonzero(events["ival"] & event.LAST)
    books = synthetic_books(len(ends) - 1, 9, config)
    sides: dict[bool, dict[int, int]] = {True: {}, False: {}}
    traded, row = {True: 0, False: 0}, -1
    for e in events:
        kind, buy = int(e["ev"]) & event.KIND_MASK, bool(int(e["ev"]) & event.BUY)
        px, lots = round(e["px"] * books.px_scale), round(e["qty"] * books.lots_per_unit)
        assert e["px"] == px / books.px_scale and e["qty"] == lots / books.lots_per_unit
        if kind in (event.DEPTH, event.DEPTH_SNAPSHOT):
            sides[buy][px] = lots
        elif kind == event.TRADE:
            traded[buy] += lots
            assert 0 < lots <= sides[not buy][px]
        if e["ival"] & event.LAST:
            if row >= 0:
                best = [sorted((p, s) for p, s in sides[b].items() if s) for b in (True, False)]
                bids, asks = best[0][::-1][:10], best[1][:10]
                for levels, prices, sizes in (
                    (bids, books.bid_px, books.bid_lots),
                    (asks, books.ask_px, books.ask_lots),
                ):
                    assert [p for p, _ in levels] == prices[row, : len(levels)].tolist()
                    assert [s for _, s in levels] == sizes[row, : len(levels)].tolist()
                assert (traded[True], traded[False]) == (books.bought[row], books.sold[row])
                assert e["exch_ts"] == books.ts_ns[row]
            traded, row = {True: 0, False: 0}, row + 1
    assert row == books.rows


def test_layout_of_events() -> None:
    events = synthetic_events(5_000, 0, MarketConfig.preset("es"))
    assert events.dtype == event.EVENT and 5_000 <= len(events) < 5_000 + MAX_PARTS
    kinds = events["ev"] & event.KIND_MASK
    snapshot = (events["ival"] & event.SNAPSHOT) != 0
    count = snapshot.sum()
    assert snapshot[:count].all() and set(kinds[snapshot]) == {event.CLEAR, event.DEPTH_SNAPSHOT}
    assert np.flatnonzero(events["ival"] & event.LAST)[0] == count - 1 and events["ival"][-1] & event.LAST
    assert set(kinds[count:]) == {event.DEPTH, event.TRADE}
    assert (events["ev"] & event.BOTH_SEE == event.BOTH_SEE).all()
    assert (((events["ev"] & event.BUY) != 0) != ((events["ev"] & event.SELL) != 0)).all()
    assert (np.diff(events["exch_ts"]) >= 0).all() and (events["local_ts"] - events["exch_ts"] == 1_000_000).all()
    trades = np.flatnonzero(kinds == event.TRADE)
    np.testing.assert_array_equal(events["px"][trades], events["px"][trades + 1])
    assert (kinds[trades + 1] == event.DEPTH).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_orders_make_the_books(preset: Preset) -> None:
    """L3: the orders of a level add up to the books, the oldest is filled first, no id comes twice."""
    config = MarketConfig.preset(preset)
    events = synthetic_events(6_000, 9, config, level="l3")
    books = synthetic_books(int((events["ival"] & event.LAST != 0).sum()) - 1, 9, config)
    resting: dict[int, tuple[bool, int, int]] = {}
    newest, row, filled = 0, -1, {True: 0, False: 0}
    for e in events[2:]:  # without the two CLEARs
        kind, buy, number = int(e["ev"]) & event.KIND_MASK, bool(int(e["ev"]) & event.BUY), int(e["order_id"])
        px, lots = round(e["px"] * books.px_scale), round(e["qty"] * books.lots_per_unit)
        if kind == event.ADD:
            assert lots > 0 and number == newest + 1
            newest, resting[number] = number, (buy, px, lots)
        elif kind == event.FILL:
            filled[not buy] += lots
            assert number == min(i for i, (b, p, _) in resting.items() if (b, p) == (buy, px))
            assert 0 < lots <= resting[number][2]
        elif kind == event.CANCEL:
            assert resting.pop(number) == (buy, px, lots)
        elif kind == event.MODIFY:
            assert 0 < lots < resting[number][2]
            resting[number] = (buy, px, lots)
        if e["ival"] & event.LAST:
            if row >= 0:
                assert (filled[True], filled[False]) == (books.bought[row], books.sold[row])
                for bid, prices, sizes in ((True, books.bid_px, books.bid_lots), (False, books.ask_px, books.ask_lots)):
                    best = sum(s for b, p, s in resting.values() if b == bid and p == prices[row, 0])
                    assert best == sizes[row, 0]
            filled, row = {True: 0, False: 0}, row + 1
    assert row == books.rows
    longer = synthetic_events(9_000, 9, config, level="l3")
    np.testing.assert_array_equal(longer[: len(events)], events)


def test_waits_follow_the_intensities() -> None:
    """Time rescaling: the integrated intensity between orders is exponential with mean 1, whatever the state."""
    rules, states = begin(MarketConfig.preset("crypto"), 4)
    base, journal = np.empty(TYPES), np.empty((MAX_PARTS, 4), np.int64)
    state, waits = states[0], np.empty(20_000)
    fast_decay, slow_decay = rules["fast_decay"][0], rules["slow_decay"][0]
    for i in range(len(waits)):
        constant, eager, fast, slow = intensities(state, rules[0], base)
        before = int(state["clock_ns"])
        advance(state, rules[0], base, journal)
        seconds = (int(state["clock_ns"]) - before + 0.5) * 1e-9
        waits[i] = (constant + eager) * seconds - fast / fast_decay * np.expm1(-fast_decay * seconds)
        waits[i] -= slow / slow_decay * np.expm1(-slow_decay * seconds)
    uniform = np.sort(-np.expm1(-waits))
    distance = np.abs(uniform - (np.arange(len(waits)) + 0.5) / len(waits)).max()
    assert distance < 1.63 / np.sqrt(len(waits))  # Kolmogorov-Smirnov, 1 %
    assert abs(np.corrcoef(waits[1:], waits[:-1])[0, 1]) < 0.025


def test_a_copied_state_goes_on_alike() -> None:
    rules, states = begin(MarketConfig(), 8)
    base, journals = np.empty(TYPES), [np.zeros((MAX_PARTS, 4), np.int64) for _ in range(2)]
    for _ in range(100):
        advance(states[0], rules[0], base, journals[0])
    copy = states.copy()
    for _ in range(500):
        told = [advance(s[0], rules[0], base, j) for s, j in zip((states, copy), journals, strict=True)]
        assert told[0] == told[1]
        np.testing.assert_array_equal(journals[0][: told[0][0]], journals[1][: told[0][0]])
    np.testing.assert_array_equal(states, copy)


def test_worth_learning_from(long_runs: dict[str, BookSeries]) -> None:
    """Classes are not degenerate, the book says something, and its past says more."""
    books = long_runs["shallow"]
    mid = books.mid / books.tick_size
    labels, moves = direction_labels(mid, HORIZONS, 1.0)
    shares = np.bincount(labels[:-100, 1], minlength=3) / len(labels[:-100])
    assert shares.min() > 0.1
    imbalance = (books.bid_lots[:, 0] - books.ask_lots[:, 0]) / (books.bid_lots[:, 0] + books.ask_lots[:, 0])
    assert 0.1 < np.corrcoef(imbalance[:-100], moves[:-100, 0])[0, 1] < 0.6
    past = mid[100:-100] - mid[:-200]
    assert 0.1 < np.corrcoef(past, moves[100:-100, 2])[0, 1] < 0.8
    flow = np.cumsum((books.bought > 0).astype(int) - (books.sold > 0))
    assert 0.2 < np.corrcoef(flow[100:-100] - flow[:-200], moves[100:-100, 2])[0, 1] < 0.8


def test_oracle_labels_are_those_of_the_series(oracle: ClassProbabilities) -> None:
    books = synthetic_books(int(oracle.ticks[-1]) + 101, 3)
    labels, _ = direction_labels(books.mid / books.tick_size, HORIZONS, 1.0)
    np.testing.assert_array_equal(labels[oracle.ticks], oracle.labels)
    micro = class_probabilities(MarketConfig(), 3, [7, 70], (5,), 0.5, futures=20, label_price="microprice")
    expected, _ = direction_labels(books.microprice[:200] / books.tick_size, (5,), 0.5)
    np.testing.assert_array_equal(expected[[7, 70]], micro.labels)


def test_oracle_is_calibrated(oracle: ClassProbabilities) -> None:
    p = oracle.probabilities
    np.testing.assert_allclose(p.sum(axis=2), 1.0, atol=1e-12)
    np.testing.assert_allclose(oracle.standard_errors, np.sqrt(p * (1 - p) / 150))
    for column in range(len(HORIZONS)):
        came = oracle.labels[:, column, None] == np.arange(3)
        surprise = (came - p[:, column]).sum(axis=0) / np.sqrt((p[:, column] * (1 - p[:, column])).sum(axis=0))
        assert np.abs(surprise).max() < 3.5
        tilt, direction = p[:, column, 2] - p[:, column, 0], oracle.labels[:, column].astype(float) - 1
        assert 0.7 < np.polyfit(tilt, direction, 1)[0] < 1.3


def test_oracle_beats_class_frequencies(oracle: ClassProbabilities) -> None:
    for column in range(len(HORIZONS)):
        labels = oracle.labels[:, column].astype(int)
        frequencies = np.bincount(labels, minlength=3) / len(labels)
        best = -oracle.log_probabilities[np.arange(len(labels)), column, labels].mean()
        assert best < 0.93 * -np.log(frequencies[labels]).mean()


def test_oracle_is_deterministic() -> None:
    first, again = (class_probabilities(MarketConfig.preset("es"), 1, [3, 50], (5, 9), futures=40) for _ in range(2))
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    alone = class_probabilities(MarketConfig.preset("es"), 1, [3], (5, 9), futures=40)
    np.testing.assert_array_equal(alone.probabilities[0], first.probabilities[0])


@pytest.mark.parametrize(
    "bad", [{"ticks": [5, 5]}, {"ticks": [-1]}, {"ticks": []}, {"horizons": (0,)}, {"futures": 0}, {"label_price": "x"}]
)
def test_oracle_arguments_out_of_range(bad: dict[str, object]) -> None:
    arguments: dict[str, object] = {"config": MarketConfig(), "seed": 0, "ticks": [1]} | bad
    with pytest.raises(DataError, match=next(iter(bad))):
        class_probabilities(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad", [{"rows": 0}, {"start_ticks": 10}, {"tick_size": 0.0}, {"tick_size": float("nan")}, {"seed": -1}]
)
def test_arguments_out_of_range(bad: dict[str, float]) -> None:
    with pytest.raises((DataError, ConfigError), match=next(iter(bad))):
        synthetic_books(**{"rows": 10, "seed": 0} | bad)
    with pytest.raises(DataError, match="level='l4'"):
        synthetic_events(10, 0, level="l4")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="events=0"):
        synthetic_events(0, 0)


@pytest.mark.parametrize(
    "bad",
    [
        {"depth": 9},
        {"depth": 65},
        {"occupancy": 0.0},
        {"limit_rate": 0.0},
        {"order_lots": 0.5},
        {"slow_decay": float("inf")},
    ],
)
def test_settings_out_of_range(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        dataclasses.replace(MarketConfig(), **bad)


def test_orders_may_not_multiply_without_end() -> None:
    with pytest.raises(ConfigError, match=r"branching_ratio=1\."):
        MarketConfig(slow_excitation=0.7)
    with pytest.raises(ConfigError, match="expected one of shallow, es, crypto"):
        MarketConfig.preset("nasdaq")  # type: ignore[arg-type]
    assert all(MarketConfig.preset(name).branching_ratio < 1 for name in PRESETS)
