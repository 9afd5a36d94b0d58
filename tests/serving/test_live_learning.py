"""A live predictor that learns: the same as offline, whenever it begins, across sessions, snapshots and resets."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nanoarb_jax.config import InputSpec
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.features.clock import tick_clock
from nanoarb_jax.market.book.state import empty_state
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.serving.backends.native import NativeStep
from nanoarb_jax.serving.live import LivePredictor
from nanoarb_jax.simulation.config import PRESETS
from nanoarb_jax.simulation.market import synthetic_events
from support.learning import recalibrated
from support.series import as_quantities, joined

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "nano"
MARKET = PRESETS["shallow"]
INSTRUMENT = Instrument(MARKET.tick_size, MARKET.lot_size, 1.0, 1.0)
GAP_NS = InputSpec("flow").session_gap_ns
LABELS = {"label_rule": "move", "label_price": "mid"}


@cache
def step() -> NativeStep:
    return NativeStep.load(CHECKPOINT)


def predictor(**options: Any) -> LivePredictor:
    """A predictor of its own: a `NativeStep` is only asked for its weights."""
    return LivePredictor(step(), InputSpec("flow"), INSTRUMENT, **{"label_settings": LABELS, **options})


@cache
def feed() -> NDArray[np.void]:
    """Two sessions of about a thousand ticks each."""
    events = synthetic_events(4_000, 1)
    for name in ("exch_ts", "local_ts"):
        events[name][len(events) // 2 :] += 2 * GAP_NS
    return events


@cache
def recorded() -> tuple[BookSeries, NDArray[np.float32]]:
    """The books of the feed's ticks, and the model's predictions without learning."""
    state = empty_state(INSTRUMENT.tick_size, INSTRUMENT.lot_size)
    books = joined(list(tick_chunks([feed()], state, tick_clock(InputSpec("flow")), "x")))
    assert books is not None and (np.diff(books.ts_ns) > GAP_NS).sum() == 1
    return books, predictor().apply_many(feed())[1]


@pytest.mark.parametrize(
    ("forgetting", "threshold"), [(0.9999, None), (0.99, 2.0), (1.0, (0.5, 1.0, 3))], ids=("default", "fast", "each")
)
def test_equals_the_offline_recalibration(forgetting: float, threshold: Any) -> None:
    """From the first tick on, ready or not, in both sessions."""
    books, given = recorded()
    live = predictor()
    live.learn(forgetting, threshold)
    _, learnt = live.apply_many(feed())
    np.testing.assert_allclose(learnt, recalibrated(given, books, threshold or 1.0, forgetting, GAP_NS), atol=1e-6)
    assert abs(learnt - given).max() > 0.05
    np.testing.assert_allclose(learnt[:10], given[:10], atol=1e-6)  # no label was known


def test_learning_that_begins_later() -> None:
    """In the middle of a session, after which the book has outgrown its room as well."""
    books, given = recorded()
    live = predictor(levels=2, orders=4)
    half = len(feed()) // 4
    before = len(live.apply_many(feed()[:half])[0])
    live.learn(0.999)
    _, learnt = live.apply_many(feed()[half:])
    np.testing.assert_allclose(learnt, recalibrated(given, books, 1.0, 0.999, GAP_NS, before)[before:], atol=1e-6)


def test_event_by_event_and_by_whole_books() -> None:
    live, books = predictor(), recorded()[0]
    live.learn(0.999)
    _, expected = live.apply_many(feed())
    live.reset()
    said = [live.apply(event) for event in feed()]
    np.testing.assert_array_equal([one.probabilities for one in said if one is not None], expected)
    live.reset()
    said = [live.apply_depth(*as_quantities(books, row)) for row in range(books.rows)]
    np.testing.assert_array_equal([one.probabilities for one in said if one is not None], expected)


def test_reset_forgets_and_goes_on_learning() -> None:
    live = predictor()
    live.learn(0.999)
    first = live.apply_many(feed())[1]
    live.reset()
    np.testing.assert_array_equal(live.apply_many(feed())[1], first)


def test_learn_again_begins_anew() -> None:
    books, given = recorded()
    live, half = predictor(), len(feed()) // 4
    live.learn(0.95, 3.0)
    before = len(live.apply_many(feed()[:half])[0])
    live.learn(0.999)
    _, learnt = live.apply_many(feed()[half:])
    np.testing.assert_allclose(learnt, recalibrated(given, books, 1.0, 0.999, GAP_NS, before)[before:], atol=1e-6)


def test_snapshots_hold_what_was_learnt() -> None:
    """Restored into a predictor that has learnt something else; the book there had less room."""
    one, other = predictor(), predictor(levels=2)
    for live in (one, other):
        live.learn(0.999)
    expected = one.apply_many(feed())[1]
    one.reset()
    other.apply_many(feed()[:3_000])
    parts, places = [], [0, 700, 1_111, 2_500, len(feed())]
    for start, stop in pairwise(places):
        parts.append(one.apply_many(feed()[start:stop])[1])
        other.restore(one.snapshot())
        one, other = other, one
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_snapshots_of_predictors_that_learn_otherwise() -> None:
    live = predictor()
    live.learn(0.999)
    live.apply_many(feed()[:500])
    blob = live.snapshot()
    others = [predictor() for _ in range(3)]
    others[1].learn(0.99)
    others[2].learn(0.999, 2.0)
    for other in others:
        before = other.snapshot()
        with pytest.raises(DataError, match=r"^snapshot: input .* learning with forgetting=0\.999 and"):
            other.restore(blob)
        assert other.snapshot() == before
    with pytest.raises(DataError, match=r"^snapshot: input "):
        live.restore(others[0].snapshot())
    assert live.snapshot() == blob


def test_what_cannot_be_learnt() -> None:
    unknown, twice = predictor(label_settings=None), predictor(label_settings={**LABELS, "threshold_ticks": 2.0})
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: predictor().learn(0.5), r"^forgetting=0\.5: expected a factor"),
        (lambda: predictor().learn(threshold_ticks=0.0), r"^threshold_ticks=0\.0: expected a finite number above 0"),
        (lambda: predictor().learn(threshold_ticks=(1.0, 2.0)), "or 3 of them, one per horizon$"),
        (lambda: predictor().learn(threshold_ticks="one"), r"^threshold_ticks='one': "),  # type: ignore[arg-type]
        (
            unknown.learn,
            "^learn: which moves the model's labels call up or down is not known here; give ",
        ),
        (twice.learn, "give threshold_ticks"),
    ]
    for settings in ({"label_price": "microprice"}, {"label_rule": "smoothed"}):
        other = predictor(label_settings={**LABELS, **settings})
        cases.append((lambda other=other: other.learn(threshold_ticks=1.0), "only 'move' on 'mid' is learnt live$"))  # type: ignore[misc]
    for act, message in cases:
        with pytest.raises(ConfigError, match=message) as caught:
            act()
        assert "\n" not in str(caught.value)
    before = unknown.snapshot()
    unknown.learn(threshold_ticks=1.0)
    assert unknown.snapshot() != before
