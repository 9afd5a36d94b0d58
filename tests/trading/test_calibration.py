"""The calibration table: what it is made of, which series it is for, and its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.errors import DataError, OutputError
from nanoarb_jax.evaluation.trading import Decisions, trades
from nanoarb_jax.serving.feeds import Feeds
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.scales import scales_of
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.trading.calibrating import THRESHOLDS, calibrate, make_calibration, threshold_trades
from nanoarb_jax.trading.calibration import Calibration
from nanoarb_jax.trading.calibration_file import read_calibration, write_calibration
from nanoarb_jax.trading.outcomes import Outcomes, outcomes_of
from support.fake_backend import FakeBackend

HORIZONS = (10, 50, 100)


class Scanning(FakeBackend):
    """Sees the imbalance of the best level alone."""

    def step(self, features: np.ndarray) -> np.ndarray:
        return super().step(np.where(np.arange(self.features) == 3, 3 * features, 0))

    def scan(self, x: np.ndarray) -> np.ndarray:
        return np.stack([self.step(row) for row in x])


@pytest.fixture(scope="module")
def stream() -> Stream:
    """A gap of an hour divides its validation part into two sessions."""
    books = synthetic_books(3_000, seed=4, name="coin_20240101")
    books.ts_ns[2_200:] += 3_600 * 10**9
    return make_stream(books, DataConfig(feature_set="lob44"))


@pytest.fixture(scope="module")
def outcomes(stream: Stream) -> Outcomes:
    return outcomes_of(StepPredictor(Scanning("a", 20, 44)), stream, HORIZONS)


@pytest.fixture(scope="module")
def table(outcomes: Outcomes) -> Calibration:
    return make_calibration([outcomes], HORIZONS, "w1", 0.0001)


def test_outcomes(stream: Stream, outcomes: Outcomes) -> None:
    """As the predictor meets them tick by tick, in a fresh state for every session; nothing after the validation."""
    predictor, stop = StepPredictor(Scanning("a", 20, 44)), stream.validation[1]
    assert stream.validation[0] < 2_200 < stop
    for i in range(stop):
        if i == 2_200:
            predictor.reset()
        prediction = predictor.update(stream.features[i])
        assert outcomes.ready[i] == prediction.ready
        np.testing.assert_array_equal(outcomes.probabilities[i], prediction.probabilities)
    assert np.isnan(outcomes.probabilities[stop:]).all() and not outcomes.ready[stop:].any()
    moves = outcomes.moves_ticks[:, 1]
    assert np.flatnonzero(np.isnan(moves)).tolist() == [*range(2_150, 2_200), *range(2_950, 3_000)]
    assert moves[7] == pytest.approx((stream.mid[57] - stream.mid[7]) / stream.tick_size)
    np.testing.assert_array_equal(outcomes.labels, stream.labels)


def test_moves_are_means_of_the_training_part(outcomes: Outcomes, table: Calibration) -> None:
    for column in range(3):
        labels, moves = (of[: outcomes.train[1], column] for of in (outcomes.labels, outcomes.moves_ticks))
        for label in range(3):
            assert table.moves_ticks()[column, label] == pytest.approx(moves[labels == label].mean())
        assert table.pooled[column].class_rows == tuple(np.bincount(labels, minlength=3))
    assert (table.moves_ticks()[:, 0] < -0.9).all() and (table.moves_ticks()[:, 2] > 0.9).all()


def test_the_expected_move_is_the_mean_where_probabilities_are_calibrated() -> None:
    """Labels are drawn from the probabilities: E[move | p] is right where they were sure and where they were not."""
    rng, n = np.random.default_rng(0), 60_000
    p = rng.dirichlet([1.0, 1.0, 1.0], size=n)
    labels = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1)
    moves = np.array([-3.0, 0.5, 4.0])[labels] + rng.normal(size=n)
    flat = np.full(n, 100.0)
    one = Outcomes(
        "a", "a", 1.0, (0, n - 9), (n - 9, n - 5), p[:, None].astype(np.float32), np.ones(n, bool),
        labels[:, None].astype(np.int8), moves[:, None], flat, flat.astype(np.float32),
    )  # fmt: skip
    expected = p @ make_calibration([one], (1,), "w").moves_ticks()[0]
    for low, high in ((-3.0, -1.0), (-1.0, 1.0), (1.0, 4.0)):
        met = (expected >= low) & (expected < high)
        assert moves[met].mean() == pytest.approx(expected[met].mean(), abs=0.1)


@pytest.mark.parametrize("threshold", [0.5, 0.6])
def test_trades_are_those_of_the_evaluation(stream: Stream, outcomes: Outcomes, threshold: float) -> None:
    """From .5 on, where what reaches the threshold is also what is decided."""
    for column, horizon in enumerate(HORIZONS):
        rows = np.arange(*outcomes.validation)
        rows = rows[outcomes.ready[rows] & np.isfinite(outcomes.moves_ticks[rows, column])]
        p = outcomes.probabilities[rows, column]
        sure = p.max(axis=1) >= threshold
        decided = np.where(sure, p.argmax(axis=1), 1)
        expected = trades(stream, Decisions(rows, outcomes.labels[rows, column], decided, p.max(axis=1)), horizon)
        met = threshold_trades(outcomes, column, horizon, threshold)
        assert len(met) == expected["trades"] > 0
        means = [expected[f"{name}_per_trade_{unit}"] for name, unit in
                 (("gross", "ticks"), ("profit", "ticks"), ("profit", "bp"))]  # fmt: skip
        np.testing.assert_allclose(met.mean(axis=0), means)
        charged = threshold_trades(outcomes, column, horizon, threshold, 0.001)
        np.testing.assert_array_equal(charged[:, :2], met[:, :2])
        np.testing.assert_allclose(met[:, 2] - charged[:, 2], 20.0, rtol=0.01)  # 10 bp at either end


def test_thresholds(table: Calibration) -> None:
    for of in table.pooled:
        assert [row.threshold for row in of.thresholds] == list(THRESHOLDS)
        counts = [row.trades for row in of.thresholds]
        assert counts == sorted(counts, reverse=True) and counts[0] > 0
        for row in of.thresholds:
            assert (row.net_bp is None) == (row.trades == 0)
            assert row.trades == 0 or row.net_ticks < row.gross_ticks  # type: ignore[operator]


def test_the_test_part_is_not_read(stream: Stream, table: Calibration) -> None:
    last = stream.test[0]  # a trade that opens in the validation part ends before it
    mid, features = stream.mid.copy(), stream.features.copy()
    mid[last:], features[last:] = 1.0, np.nan
    other = stream._replace(mid=mid, features=features)
    made = make_calibration(
        [outcomes_of(StepPredictor(Scanning("a", 20, 44)), other, HORIZONS)], HORIZONS, "w1", 0.0001
    )
    assert made == table


def test_series_instruments_and_all(outcomes: Outcomes) -> None:
    doubled = outcomes._replace(name="coin_20240102", moves_ticks=2 * outcomes.moves_ticks)
    never_up = np.where(outcomes.labels == 2, -1, outcomes.labels).astype(np.int8)
    other = outcomes._replace(name="other_20240101", instrument="other", labels=never_up)
    table = make_calibration([outcomes, doubled, other], HORIZONS, "w1")
    own = table.moves_ticks("coin_20240101")
    np.testing.assert_allclose(table.moves_ticks("coin_20240102"), 2 * own)
    np.testing.assert_allclose(table.moves_ticks("coin_20240103"), 1.5 * own)
    assert [table.find(name)[1] for name in ("coin_20240101", "coin_20240103", "other_20240101", None)] == [
        "series coin_20240101", "instrument coin", "all series", "all series",
    ]  # fmt: skip
    np.testing.assert_allclose(table.moves_ticks("new")[:, 2], 1.5 * own[:, 2])
    for i in range(len(THRESHOLDS)):
        counts = [tables[0].thresholds[i].trades for tables in (table.series["coin_20240101"], table.pooled)]
        assert counts[1] == 3 * counts[0]
    with pytest.raises(DataError, match="no training row is labelled up at 10 ticks"):
        make_calibration([other], HORIZONS, "w1")


def test_feeds(stream: Stream, table: Calibration) -> None:
    config = DataConfig(feature_set="lob44")
    short = stream._replace(name="short", train=(0, 0), validation=(0, 0), test=(0, 0))
    scales = {one.name: scales_of(one, "") for one in (stream, short)}
    feeds = Feeds(Dataset((stream, short), config, []), {"short": "too short"}, scales, {})
    noted: list[str] = []
    predictor = StepPredictor(Scanning("a", 20, 44))
    made = calibrate(predictor, feeds, HORIZONS, 0.0001, noted.append)
    assert made.as_dict() == {**table.as_dict(), "version": "a"} and noted == [stream.name]
    with pytest.raises(DataError, match=r"labelled at \(10, 50, 100\) ticks, the model predicts \(5,\)"):
        calibrate(predictor, feeds, (5,))
    with pytest.raises(DataError, match="no series is long enough to learn from: too short"):
        calibrate(predictor, feeds._replace(dataset=Dataset((short,), config, [])), HORIZONS)


def test_file(table: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_calibration(path, table)
    assert read_calibration(path, "w1", HORIZONS) == table
    with pytest.raises(OutputError, match="exists already"):
        write_calibration(path, table)
    for version, horizons in (("w2", HORIZONS), ("w1", (10, 50))):
        with pytest.raises(DataError, match=r"made of weights 'w1' with horizons .*; make it anew"):
            read_calibration(path, version, horizons)
    with pytest.raises(DataError, match="no such file; make it with"):
        read_calibration(tmp_path / "gone.json", "w1", HORIZONS)


def at(path: str, value: Any) -> Callable[[Any], None]:
    """Puts a value in the place of an entry; None takes the entry out."""

    def change(values: Any) -> None:
        *way, last = path.split("/")
        for step in way:
            values = values[int(step) if step.isdigit() else step]
        if value is None:
            del values[last]
        else:
            values[int(last) if last.isdigit() else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (at("format", 2), "format 2; expected 1"),
        (at("version", None), "file: .* expected the entries format, version"),
        (at("more", 1), "file: .* expected the entries"),
        (at("version", 3), "version: 3; expected a text"),
        (at("horizons", [50, 10]), r"horizons: \[50, 10\]; expected ascending"),
        (at("taker_fee", "0"), "taker_fee: '0'; expected a finite number"),
        (at("series", []), "series: a list; expected an object"),
        (at("pooled/h50", None), "pooled: .* expected the entries h10, h50, h100"),
        (at("pooled/h50/moves_ticks/0", float("nan")), "NaN; expected finite numbers"),
        (at("pooled/h50/moves_ticks", [1.0]), "expected a list of 3"),
        (at("pooled/h50/class_rows/1", -1), "pooled.h50.class_rows: -1; expected a whole number"),
        (at("instruments/coin/h10/thresholds/0/trades", 1.5), "instruments.coin.h10.thresholds.trades: 1.5"),
        (at("instruments/coin/h10/thresholds/0/net_bp", True), "net_bp: True; expected a finite number"),
    ],
)
def test_a_damaged_file_is_refused(table: Calibration, tmp_path: Path, change: Any, said: str) -> None:
    values = json.loads(json.dumps(table.as_dict()))
    change(values)
    path = tmp_path / "table.json"
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=said) as refused:
        read_calibration(path, "w1", HORIZONS)
    assert str(refused.value).startswith(f"calibration {path}: ") and "\n" not in str(refused.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for content in (b"", b"\xff\xfe", b"[1, 2]", b'{"format": 1'):
        path = tmp_path / "table.json"
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a calibration table"):
            read_calibration(path, "w1", HORIZONS)
