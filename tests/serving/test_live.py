"""The live predictor against the offline path: the same ticks, bit-equal features and probabilities, by every way."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray
from typer.testing import CliRunner

from nanoarb_jax.artifacts.checkpoint import load_checkpoint, named_arrays
from nanoarb_jax.cli.main import app
from nanoarb_jax.config import DataConfig, InputSpec, ModelConfig
from nanoarb_jax.data.events import read_events
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.features.clock import tick_clock
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.features.flow import OUTCOMES
from nanoarb_jax.features.live_state import read_state
from nanoarb_jax.market.book.state import empty_state
from nanoarb_jax.market.clocks.from_books import choose_rows
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.event import DEPTH, EVENT, LAST, mark_messages
from nanoarb_jax.market.series import EMPTY_PRICE, SIDE_COLUMNS, BookSeries
from nanoarb_jax.readers.sources import find_sources
from nanoarb_jax.serving.backends.native import NativeStep, pack
from nanoarb_jax.serving.backends.native.live import live_apply
from nanoarb_jax.serving.live import LivePredictor
from nanoarb_jax.simulation.config import PRESETS
from nanoarb_jax.simulation.market import synthetic_events
from support.book_twin import LOT, TICK, random_events
from support.examples import examples
from support.learning import recalibrated
from support.random_model import random_model
from support.series import as_quantities, joined, random_books

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "nano"
REAL = "data/binance/usdm/btcusdt_20240808.gz"
SPECS = [
    InputSpec("flow"),
    InputSpec("lob44", clock="bbo"),
    InputSpec("flow", clock="trade", timestamps="exchange"),
    InputSpec("flow", clock="time", clock_interval_ms=2e-6, session_gap_s=5e-9),  # in the twin's time, tens of ns
]


class Offline(NamedTuple):
    """What training and scoring make of a feed."""

    books: BookSeries
    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]


def offline(events: NDArray, spec: InputSpec, instrument: Instrument, step: NativeStep, policy: Any) -> Offline:
    """Ticks, their features in one go, and the model over them, anew in every session."""
    state = empty_state(instrument.tick_size, instrument.lot_size, policy=policy, clock=spec.timestamps)
    books = joined(list(tick_chunks([events], state, tick_clock(spec), "x")))
    assert books is not None
    kind = FEATURE_SETS[spec.feature_set]
    features = kind.rows(
        books, instrument.quantity_scale, kind.new_memory(), spread_scale=instrument.spread_scale,
        session_gap_ns=spec.session_gap_ns,
    )  # fmt: skip
    begins = np.flatnonzero(np.diff(books.ts_ns) > spec.session_gap_ns) + 1
    parts = []
    for session in np.split(features, begins):
        step.reset()
        parts.append(step.scan(session))
    return Offline(books, features, np.concatenate(parts))


@cache
def step_of(feature_set: Any) -> NativeStep:
    """Made when first asked for, since the step takes half a minute to compile: other workers then read it."""
    config = dataclasses.replace(ModelConfig.preset("nano"), feature_set=feature_set)
    return NativeStep(pack(named_arrays(random_model(config)), config), config, "v")


def one_by_one(live: LivePredictor, events: NDArray) -> tuple[NDArray, NDArray]:
    """Probabilities and features at every event that was a tick."""
    probabilities, features = [], []
    for event in events:
        if (prediction := live.apply(event)) is not None:
            probabilities.append(prediction.probabilities)
            features.append(live.features)
    return np.array(probabilities), np.array(features)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.clock)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_offline_path(spec: InputSpec, seed: int) -> None:
    """Dirty events, sessions that end, every clock; the book outgrows its first room."""
    events, step = random_events(seed, 600, prices=300, keys=100), step_of(spec.feature_set)
    instrument = Instrument(TICK, LOT, 3.0, 1.5)
    expected = offline(events, spec, instrument, step, "skip")
    live = LivePredictor(step, spec, instrument, policy="skip", levels=2, orders=4)
    at, probabilities = live.apply_many(events)
    np.testing.assert_array_equal(probabilities, expected.probabilities)
    assert len(at) == expected.books.rows and (np.diff(at) >= 0).all()
    live.reset()
    probabilities, features = one_by_one(live, events)
    if spec.clock == "time":  # of the ticks before one event, `apply` gives the last
        last = np.append(at[1:] != at[:-1], True)
        expected = Offline(expected.books, expected.features[last], expected.probabilities[last])
    np.testing.assert_array_equal(probabilities, expected.probabilities)
    np.testing.assert_array_equal(features, expected.features)


@njit
def predict_all(weights, state, events, probabilities):  # type: ignore[no-untyped-def]
    ticks = 0
    for i in range(len(events)):
        if live_apply(weights, state, events[i], probabilities[ticks]):
            ticks += 1
    return ticks


def test_a_real_day(shared: Path, tmp_path: Path) -> None:
    """One Binance day by every way there is: files, `predict`, event by event, at once, whole books, compiled code."""
    path, checkpoint = shared / REAL, load_checkpoint(CHECKPOINT)
    config = DataConfig(**checkpoint.data["config"])
    instrument = Instrument.measure(path, spec=config.input)
    books, report = read_books(find_sources([path])[0], config)
    kind = FEATURE_SETS[config.feature_set]
    features = kind.rows(books, instrument.quantity_scale, kind.new_memory(), spread_scale=instrument.spread_scale)
    live = LivePredictor.load(CHECKPOINT, instrument, levels=8192)
    expected = live._step.scan(features)

    start = ["predict", "--checkpoint", CHECKPOINT, "--data", path, "--scales-from", path]
    said = CliRunner().invoke(app, [str(word) for word in (*start, "--output", tmp_path / "p.npz")])
    assert said.exit_code == 0 and "of the time that is replayed" in said.stdout, said.output
    assert "learnt from btcusdt_20240808, or a part of it (same file)" in said.stdout
    with np.load(tmp_path / "p.npz") as file:
        np.testing.assert_array_equal(file["ts_ns"], books.ts_ns)
        np.testing.assert_array_equal(file["probabilities"], expected)

    events = read_events(path)
    assert len(events) == report.events
    probabilities, made = one_by_one(live, events)
    np.testing.assert_array_equal(made, features)
    np.testing.assert_array_equal(probabilities, expected)

    live.reset()
    at, probabilities = live.apply_many(events)
    np.testing.assert_array_equal(probabilities, expected)
    as_trained = LivePredictor.load(CHECKPOINT, series="binance_usdm_btcusdt_20240808")
    assert as_trained.instrument.name == "binance_usdm_btcusdt" and len(as_trained.apply_many(events)[0]) == len(at)
    assert (events["ival"][at] & LAST > 0).all()

    live.reset()
    for row in range(books.rows):
        prediction = live.apply_depth(*as_quantities(books, row))
        assert prediction is not None
        np.testing.assert_array_equal(prediction.probabilities, expected[row])
        np.testing.assert_array_equal(live.features, features[row])

    live.reset()
    out = np.zeros((len(events), 3, 3), np.float32)
    assert predict_all(live.weights, live.state, events, out) == books.rows
    np.testing.assert_array_equal(out[: books.rows], expected)


def test_learning_on_a_real_day(shared: Path) -> None:
    """The same by every way, and what offline recalibration makes of the same ticks; see `test_live_learning`."""
    path = shared / REAL
    config = DataConfig(**load_checkpoint(CHECKPOINT).data["config"])
    books, _ = read_books(find_sources([path])[0], config)
    instrument, events = Instrument.measure(path, spec=config.input), read_events(path)
    live = LivePredictor.load(CHECKPOINT, instrument, levels=8192)
    _, given = live.apply_many(events)
    live.reset()
    live.learn(forgetting=0.9999)
    _, learnt = live.apply_many(events)
    expected = recalibrated(given, books, instrument.spread_scale, 0.9999, config.input.session_gap_ns)
    np.testing.assert_allclose(learnt, expected, atol=1e-6)
    assert abs(learnt - given).max() > 0.05

    live.reset()
    np.testing.assert_array_equal(one_by_one(live, events)[0], learnt)
    live.reset()
    for row in range(books.rows):
        prediction = live.apply_depth(*as_quantities(books, row))
        assert prediction is not None
        np.testing.assert_array_equal(prediction.probabilities, learnt[row])
    live.reset()
    out = np.zeros((len(events), 3, 3), np.float32)
    predict_all(live.weights, live.state, events, out)
    np.testing.assert_array_equal(out[: books.rows], learnt)


def test_snapshots_at_random_places() -> None:
    """Also in the middle of messages: bit-equal to the uninterrupted run."""
    spec, instrument, step = SPECS[0], Instrument(TICK, LOT, 3.0, 1.5), step_of("flow")
    events = random_events(5, 1_000, prices=300, keys=100)
    whole = LivePredictor(step, spec, instrument, policy="skip")
    _, expected = whole.apply_many(events)
    places = sorted(random.Random(1).sample(range(len(events)), 20))
    assert any(events["ival"][place - 1] & LAST == 0 for place in places)
    one, other = (LivePredictor(step, spec, instrument, policy="skip", levels=2) for _ in range(2))
    parts, before = [], 0
    for place in [*places, len(events)]:
        parts.append(one.apply_many(events[before:place])[1])
        other.restore(one.snapshot())
        one, other, before = other, one, place
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    assert one.anomalies == whole.anomalies and one.ticks == whole.ticks


def test_snapshots_that_do_not_fit() -> None:
    spec, instrument, step = SPECS[0], Instrument(TICK, LOT, 3.0, 1.5), step_of("flow")
    live = LivePredictor(step, spec, instrument, policy="skip")
    live.apply_many(random_events(1))
    blob = live.snapshot()
    finer = LivePredictor(step, spec, dataclasses.replace(instrument, tick_size=TICK / 2), policy="skip")
    other_clock = LivePredictor(step, SPECS[3], instrument, policy="skip")
    for other in (finer, other_clock):
        before = other.snapshot()
        with pytest.raises(DataError, match=r"^snapshot: input .*; load the model it was taken from$"):
            other.restore(blob)
        assert other.snapshot() == before
    for damaged in (b"", blob[:-40], blob[: len(blob) // 2] + b"x" + blob[len(blob) // 2 + 1 :]):
        with pytest.raises(DataError, match=r"^snapshot: "):
            live.restore(damaged)
    assert live.snapshot() == blob


def test_ready_after_a_session_has_warmed_up() -> None:
    """After a gap features and model begin anew, and `ready` too; what was counted of the instrument stays."""
    live = LivePredictor(step_of("flow"), InputSpec("flow"), Instrument(TICK, LOT, 1.0, 1.0))
    books = [(t * 10**9, [10.0 + t % 2], [1.0], [12.0], [1.0]) for t in range(110)]
    said = [live.apply_depth(*books[0])]
    first = live.features
    said += [live.apply_depth(*book) for book in books[1:]]
    assert [p.ready for p in said if p is not None] == [False] * 99 + [True] * 11
    later = live.apply_depth(10**15, *books[0][1:])
    assert later is not None and not later.ready and live.ticks == 1
    np.testing.assert_array_equal(live.features[:OUTCOMES], first[:OUTCOMES])
    assert (live.features[OUTCOMES:] != first[OUTCOMES:]).any()


def test_events_without_message_ends_are_refused() -> None:
    events = synthetic_events(3_000, 1)
    events["ival"] &= ~np.int64(LAST)
    market = PRESETS["shallow"]
    live = LivePredictor(step_of("flow"), InputSpec("flow"), Instrument(market.tick_size, market.lot_size, 1.0, 1.0))
    with pytest.raises(DataError, match=r"none ended.*nanoarb_jax.mark_messages$"):
        live.apply_many(events)
    live.reset()
    assert len(live.apply_many(mark_messages(events))[0]) > 100


@pytest.mark.parametrize(
    ("book", "anomaly"),
    [
        (([10.0], [1.0], [9.0], [1.0]), "crossed"),
        (([10.0], [1.0], [10.0], [1.0]), "locked"),
        (([], [], [10.0], [1.0]), "one_sided"),
        (([np.nan], [1.0], [10.0], [1.0]), "one_sided"),
        (([10.0], [-1.0], [11.0], [1.0]), "invalid"),
        (([10.0], [np.inf], [11.0], [1.0]), "invalid"),
        (([10.0, 9.0], [1.0, -1.0], [11.0], [1.0]), "invalid"),
        (([10.0, 10.0], [1.0, 1.0], [11.0], [1.0]), "invalid"),
        (([10.01], [1.0], [11.0], [1.0]), "invalid"),
    ],
)
def test_books_that_are_wrong(book: Any, anomaly: str) -> None:
    live = LivePredictor(
        step_of("flow"), InputSpec("flow"), Instrument(TICK, LOT, 1.0, 1.0), policy={"invalid": "skip"}
    )
    met = live.apply_depth(1, *book)
    assert (met is None) == (anomaly != "locked")
    assert {name: count for name, count in live.anomalies.items() if count} == {anomaly: 1}


@settings(deadline=None, database=None, max_examples=examples(40))
@given(st.integers(0, 2**32 - 1), st.sampled_from(SPECS))
def test_books_equal_those_of_a_file(seed: int, spec: InputSpec) -> None:
    """Whole books, some of them wrong, late or repeated: the ticks that a reader's rows make."""
    rng, books = np.random.default_rng(seed), random_books(seed, 60)
    again = np.sort(rng.integers(0, books.rows, 80))  # some rows twice
    columns = {name: getattr(books, name)[again].copy() for name in ("ts_ns", *SIDE_COLUMNS)}
    columns["ts_ns"] = columns["ts_ns"] // 10**8 + rng.integers(-3, 4, 80)  # on the scale of the time clock; some late
    for name in ("bid_px", "ask_px"):
        wrong = rng.random(80) < 0.1
        columns[name][wrong, 0] += rng.integers(-4, 5, wrong.sum()) * books.tick
    empty = rng.random(80) < 0.05
    columns["bid_px"][empty], columns["bid_lots"][empty] = EMPTY_PRICE, 0
    bought, sold = rng.integers(0, 3, (2, 80))
    books = books._replace(**columns, bought=bought, sold=sold)
    anomalies: Counter[str] = Counter()
    rows = joined(list(choose_rows(iter([books]), tick_clock(spec), False, anomalies)))
    live = LivePredictor(
        step_of(spec.feature_set), spec, Instrument(books.tick_size, 1 / books.lots_per_unit, 3.0, 1.5),
        policy={"invalid": "skip"},
    )  # fmt: skip
    ticks = []
    for row in range(books.rows):
        if live.apply_depth(*as_quantities(books, row)) is not None:
            clock = read_state(live.state).clock
            ticks.append((int(clock.clock["ts_ns"][0]), int(clock.clock["bought"][0]), clock.top[0, 0] * books.tick))
    assert Counter(live.anomalies) == anomalies  # each once, whatever ticks of a time clock were due before the book
    expected = [] if rows is None or rows.bought is None else [
        (int(t), int(b), px) for t, b, px in zip(rows.ts_ns, rows.bought, rows.bid_px[:, 0], strict=True)
    ]  # fmt: skip
    if spec.clock == "time":  # of the ticks before one book, the last; and the clock has the next book by then
        assert {tick[:2] for tick in ticks} <= {tick[:2] for tick in expected}
    else:
        assert ticks == expected


def test_a_silence_within_a_message_is_no_missing_mark() -> None:
    """A thousand ticks of a time clock are due before the event that ends the message."""
    events = random_events(3, 60, dirt=0.0)
    events["ival"][-2:] = 0, LAST
    events["local_ts"][-1] += 10_000
    spec = InputSpec("flow", clock="time", clock_interval_ms=2e-6)
    live = LivePredictor(step_of("flow"), spec, Instrument(TICK, LOT, 3.0, 1.5), policy="skip")
    assert len(live.apply_many(events)[0]) > 4_000


def test_a_book_that_is_refused_is_named() -> None:
    live = LivePredictor(step_of("flow"), InputSpec("flow"), Instrument(TICK, LOT, 1.0, 1.0), policy="raise")
    with pytest.raises(DataError, match=r"^book: crossed; check the feed .* another policy for 'crossed'$"):
        live.apply_depth(1, [10.0], [1.0], [9.0], [1.0])


def test_mistakes(tmp_path: Path, nano_checkpoint: Path) -> None:
    instrument = Instrument(TICK, LOT, 1.0, 1.0)
    cases: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: LivePredictor.load(nano_checkpoint, instrument), ConfigError, "does not say what its model reads"),
        (
            lambda: LivePredictor.load(CHECKPOINT, "feed.gz"),  # type: ignore[arg-type]
            ConfigError,
            "'feed.gz': expected an Instrument",
        ),
        (lambda: LivePredictor.load(CHECKPOINT), ConfigError, "give an instrument, or a series"),
        (
            lambda: LivePredictor.load(CHECKPOINT, instrument, series="x"),
            ConfigError,
            "give an instrument, or a series",
        ),
        (lambda: LivePredictor.load(CHECKPOINT, series="x"), ConfigError, "no series 'x' .* expected one of"),
        (
            lambda: LivePredictor(step_of("flow"), InputSpec("lob44"), instrument),
            ConfigError,
            "expected 'lob44', the input's",
        ),
        (lambda: Instrument(0.0, 1.0, 1.0, 1.0), DataError, "tick_size=0.0; expected a finite number above 0"),
    ]
    for act, error, message in cases:
        with pytest.raises(error, match=message) as caught:
            act()
        assert "\n" not in str(caught.value)
    live = LivePredictor(step_of("flow"), InputSpec("flow"), instrument)
    for wrong in (np.zeros(1, EVENT), np.zeros(1)[0], "event", np.zeros(1, [("ev", "u8")])[0]):
        with pytest.raises(DataError, match=r"expected one record of nanoarb_jax\.EVENT"):
            live.apply(wrong)  # type: ignore[arg-type]
    invalid = np.zeros(1, EVENT)
    invalid["ev"], invalid["ival"], invalid["px"] = DEPTH, LAST, 1.0
    with pytest.raises(DataError, match=r"order book, event 1: invalid"):
        live.apply(invalid[0])
