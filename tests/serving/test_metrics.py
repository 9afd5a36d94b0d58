"""What is counted is what was recorded, and the histogram keeps three digits of every latency."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nanoarb_jax as nj
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.serving.metrics import LONGEST_NS, ModelMetrics
from nanoarb_jax.serving.prediction import make_prediction

UP = make_prediction(np.array([[0.1, 0.2, 0.7], [0.9, 0.05, 0.05]], np.float32), True, "v")
NEUTRAL = make_prediction(np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], np.float32), False, "v")


def test_counts_accuracy_and_confidence_of_the_shortest_horizon() -> None:
    metrics = ModelMetrics()
    assert (metrics.total, metrics.accuracy, metrics.average_confidence) == (0, None, None)
    metrics.record(UP, 1, 1_000)
    metrics.record(UP, -1, 1_000)
    metrics.record(UP, 0, 1_000)
    metrics.record(NEUTRAL, 0, 1_000)
    assert (metrics.total, metrics.judged, metrics.correct, metrics.accuracy) == (4, 4, 2, 0.5)
    assert metrics.average_confidence == pytest.approx((3 * 0.7 + 0.5) / 4)


def test_another_horizon() -> None:
    metrics = ModelMetrics(horizon=1)
    metrics.record(UP, -1, 5)
    metrics.record(NEUTRAL, 0, 5)
    assert (metrics.correct, metrics.judged) == (1, 2)
    assert metrics.average_confidence == pytest.approx((0.9 + 0.8) / 2)


def test_an_unknown_outcome_is_not_judged() -> None:
    metrics = ModelMetrics()
    metrics.record(UP, None, 700)
    assert (metrics.total, metrics.judged, metrics.accuracy) == (1, 0, None)
    metrics.record(UP, 1, 700)
    assert (metrics.total, metrics.judged, metrics.accuracy) == (2, 1, 1.0)
    assert metrics.latency.get_total_count() == 2


def test_percentiles_to_three_digits() -> None:
    latencies = np.random.default_rng(0).lognormal(10, 1.5, 20_000).astype(int)
    metrics = ModelMetrics()
    for latency in latencies:
        metrics.record(UP, None, latency)
    figures = metrics.snapshot()["latency_ns"]
    ordered = np.sort(latencies)
    for name, percentile in {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p999": 99.9, "max": 100}.items():
        exact = ordered[round(percentile / 100 * len(ordered)) - 1]
        assert figures[name] == pytest.approx(exact, rel=1e-3), name
    assert figures["mean"] == pytest.approx(latencies.mean(), rel=1e-3)


def test_a_snapshot_is_plain_values() -> None:
    metrics = ModelMetrics()
    empty = {"total": 0, "judged": 0, "correct": 0, "accuracy": None, "average_confidence": None}
    names = ("mean", "p50", "p90", "p95", "p99", "p999", "max")
    assert metrics.snapshot() == {**empty, "latency_ns": dict.fromkeys(names)}
    metrics.record(UP, np.int8(1), np.int64(123))
    snapshot = metrics.snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot
    assert snapshot["accuracy"] == 1.0
    assert [snapshot["latency_ns"][name] for name in names] == [123] * 7
    metrics.reset()
    assert metrics.snapshot() == {**empty, "latency_ns": dict.fromkeys(names)}


@pytest.mark.parametrize("latency_ns", [0, 1, LONGEST_NS])
def test_the_ends_of_the_range_are_kept(latency_ns: int) -> None:
    metrics = ModelMetrics()
    metrics.record(UP, 1, latency_ns)
    assert metrics.snapshot()["latency_ns"]["max"] == pytest.approx(latency_ns, rel=1e-3)


@pytest.mark.parametrize(
    ("actual", "latency_ns", "words"),
    [
        (1, -1, "latency_ns=-1: expected 0 to"),
        (1, LONGEST_NS + 1, "expected 0 to"),
        (1, float("nan"), "latency_ns=nan"),
        (2, 10, "actual=2: expected -1 down, 0 neutral, .1 up"),
        (0.5, 10, "actual=0.5"),
    ],
)
def test_what_is_refused_is_not_counted(actual: float, latency_ns: float, words: str) -> None:
    metrics = ModelMetrics()
    with pytest.raises(DataError, match=words):
        metrics.record(UP, actual, latency_ns)
    assert metrics.snapshot() == ModelMetrics().snapshot()
    assert metrics.latency.get_total_count() == 0


def test_a_horizon_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="horizon=-1"):
        ModelMetrics(horizon=-1)
    metrics = ModelMetrics(horizon=2)
    with pytest.raises(DataError, match="2 horizons: none at position 2"):
        metrics.record(UP, 1, 10)
    assert metrics.total == 0


def test_public_name() -> None:
    assert nj.ModelMetrics is ModelMetrics
