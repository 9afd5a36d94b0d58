"""Scoring and the protocol: streams side by side, tau from the validation part, nothing from the test part."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.artifacts.checkpoint import Checkpoint
from nanoarb_jax.config import DataConfig, ModelConfig
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation import scoring
from nanoarb_jax.evaluation.baselines import baseline_forecasts, baselines_for
from nanoarb_jax.evaluation.judging import judge, judge_streams
from nanoarb_jax.evaluation.lanes import CHUNKS
from nanoarb_jax.evaluation.scoring import make_score, score_streams, score_windows
from nanoarb_jax.evaluation.validation import evaluate, validation_loss, validation_mcc
from nanoarb_jax.simulation.market import synthetic_books
from support.random_model import random_model

HORIZONS = (3, 10)
DATA = DataConfig(feature_set="lob44", horizons=HORIZONS, threshold_ticks=0.5, threshold_spreads=0.0)
STREAMS = tuple(make_stream(synthetic_books(1_100 + 250 * i, i, name=f"market_{i}"), DATA) for i in range(2))
DATASET = Dataset(STREAMS, DATA, [])
MODEL = random_model(ModelConfig(hidden_dim=8, d_state=4, num_layers=1, horizons=HORIZONS))
# a teacher's streams are seen, too
CHECKPOINT = Checkpoint(MODEL, "0123456789ab", data={"streams": [], "teacher": {"streams": ["market_0"]}})
ALL = [(0, stream.rows) for stream in STREAMS]

pytestmark = pytest.mark.usefixtures("compile_quickly")
score = make_score(MODEL)


def scores(streams: tuple, rows: list[tuple[int, int]]) -> list[np.ndarray]:
    return score_streams(score, nnx.state(MODEL, nnx.Param), MODEL, streams, rows)


@pytest.fixture(scope="module")
def judged() -> dict:
    return evaluate(CHECKPOINT, DATASET, window_mode=True)


def test_scores_are_of_one_scan_over_each_stream() -> None:
    """Streams of different lengths, cut into chunks with the state carried, each as if it were alone."""
    scored = scores(STREAMS, ALL)
    assert STREAMS[0].rows > 2 * CHUNKS[1]
    scan = jax.jit(lambda x: jax.nn.log_softmax(MODEL.scan(x)[0]))
    for stream, log_p in zip(STREAMS, scored, strict=True):
        assert log_p.shape == (stream.rows, 2, 3)
        rest = STREAMS[1].rows - stream.rows  # one shape for both; what follows a stream does not matter
        expected = scan(np.pad(stream.features, ((0, rest), (0, 0)), mode="edge")[None])[0, : stream.rows]
        np.testing.assert_allclose(log_p, expected, rtol=1e-5, atol=1e-5)


def test_scores_of_a_part_begin_with_a_fresh_state() -> None:
    scored = scores(STREAMS, [(200, 900), (650, 700)])
    assert [len(log_p) for log_p in scored] == [700, 50]
    for stream, start, log_p in zip(STREAMS, (200, 650), scored, strict=True):
        other = stream._replace(features=stream.features[start:])
        expected = scores((other, other), [(0, len(log_p))] * 2)[0]
        np.testing.assert_allclose(log_p, expected, atol=1e-6)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8))
def test_streams_in_lanes_are_scored_as_if_alone(lengths: list[int]) -> None:
    """Any lengths in any lanes: every session begins with a fresh state, and no row knows of another lane."""
    plain = STREAMS[0]
    night = plain._replace(ts_ns=plain.ts_ns + np.where(np.arange(plain.rows) < 77, 0, 10**15))
    streams = [night if i % 2 else plain for i in range(len(lengths))]
    rows = [(10 * i, 10 * i + length) for i, length in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "choose_shape", lambda _: (3, 32))
        scored = scores(tuple(streams), rows)
    for stream, (start, stop), log_p in zip(streams, rows, scored, strict=True):
        assert log_p.shape == (stop - start, 2, 3)
        for first, last in stream.sessions(start, stop):
            expected = one_scan(first)[: last - first]
            np.testing.assert_allclose(log_p[first - start : last - start], expected, atol=1e-6)


scan = jax.jit(lambda x: jax.nn.log_softmax(MODEL.scan(x)[0]))


@functools.cache
def one_scan(first: int) -> np.ndarray:
    """Scores of the first stream's rows from this one on by a plain scan; a row does not depend on later ones."""
    return np.asarray(scan(STREAMS[0].features[first : first + 200][None]))[0]


def test_windows_are_scored_as_the_window_model_does() -> None:
    stream, window = STREAMS[0], MODEL.config.window
    (scored,) = score_windows(MODEL, [stream], [[(500, 640), (630, 650)]])
    asked = np.zeros(stream.rows, bool)
    asked[500:650] = True
    assert np.isnan(scored[~asked]).all()
    fresh = scores((stream, stream), [(row - window + 1, row + 1) for row in (500, 649)])
    np.testing.assert_allclose(scored[[500, 649]], [log_p[-1] for log_p in fresh], rtol=1e-5, atol=1e-5)
    with pytest.raises(DataError, match="stream 'market_0': row 98 has no window of 100 ticks; expected rows from 99"):
        score_windows(MODEL, [stream], [[(98, 120)]])


def test_keys_of_the_design(judged: dict) -> None:
    assert json.loads(json.dumps(judged)) == judged
    assert judged.keys() == {
        "protocol", "split", "version", "learnt", "unseen", "baseline_settings", "verdict", "series",
        "instruments", "mean", "pooled",
        "intervals", "paired", "best_baseline", "regimes", "hours",
    }  # fmt: skip
    assert (judged["protocol"], judged["split"], judged["version"]) == ("split", "test", "0123456789ab")
    assert judged["unseen"] == ["market_1"]
    assert judged["learnt"] == {"market_0": "same name; the model says no more"}
    assert judged["series"].keys() == {"market_0", "market_1"}
    for stream in STREAMS:
        judges = judged["series"][stream.name]
        assert list(judges) == ["model", "model_own_prior", "model_window", *baselines_for(STREAMS)]
        for horizons in judges.values():
            assert horizons.keys() == {"h3", "h10"}
            for horizon, metrics in horizons.items():
                assert {"n", "accuracy", "macro_f1", "mcc", "mcc_argmax", "ece", "confusion", "tau"} <= metrics.keys()
                # all rows of the test part whose future is known
                assert metrics["n"] == stream.test[1] - stream.test[0] - int(horizon[1:])
                assert np.sum(metrics["confusion"]) == metrics["n"]


def test_carried_state_and_windows_differ_little(judged: dict) -> None:
    """What a hundred ticks leave of an older state decides little, but it is another judge."""
    carried, windows = (judged["mean"][name]["h10"]["log_loss"] for name in ("model", "model_window"))
    assert carried != windows and carried == pytest.approx(windows, rel=0.05)


def test_nothing_from_the_test_part(judged: dict) -> None:
    """Another test part changes neither a τ nor a temperature nor anything that is said of the validation part."""
    rng, changed = np.random.default_rng(0), []
    for stream in STREAMS:
        features, labels = stream.features.copy(), stream.labels.copy()
        test = slice(*stream.test)
        features[test] *= rng.uniform(0.5, 2.0, features[test].shape).astype(np.float32)
        labels[test] = rng.choice(3, size=labels[test].shape)
        changed.append(stream._replace(features=features, labels=labels))
    judges, others = (
        {"model": scores(streams, ALL), **baseline_forecasts(streams, HORIZONS).log_probs}
        for streams in (STREAMS, changed)
    )
    before, after = (
        judge_streams(of, streams, HORIZONS, "validation") for of, streams in ((judges, STREAMS), (others, changed))
    )
    assert before == after
    for name, met in judge_streams(others, changed, HORIZONS)["series"].items():
        for who, horizons in met.items():
            for horizon, metrics in horizons.items():
                was = judged["series"][name][who][horizon]
                assert (metrics["tau"], metrics["temperature"]) == (was["tau"], was["temperature"])
                assert metrics["log_loss"] != was["log_loss"]


def test_validation_figures_are_those_of_the_protocol() -> None:
    scored = scores(STREAMS, ALL)
    parts = [log_p[slice(*stream.validation)] for stream, log_p in zip(STREAMS, scored, strict=True)]
    for measure, of in (("mcc", validation_mcc), ("log_loss", validation_loss)):
        got = of(STREAMS, parts, HORIZONS)
        for horizon in ("h3", "h10"):
            each = [judge(s, p, "validation", HORIZONS)[horizon][measure] for s, p in zip(STREAMS, scored, strict=True)]
            assert got[horizon] == pytest.approx(np.mean(each))
        assert got["mean"] == pytest.approx((got["h3"] + got["h10"]) / 2)
        assert got.keys() == {"mean", "h3", "h10"}


def test_unknown_part() -> None:
    with pytest.raises(DataError, match="split 'holdout': expected one of train, validation, test"):
        evaluate(CHECKPOINT, DATASET, "holdout")


def test_data_that_does_not_fit() -> None:
    config = dataclasses.replace(DATA, horizons=(3, 11))
    with pytest.raises(DataError, match=r"labels at horizons \(3, 11\), the model predicts \(3, 10\)"):
        evaluate(CHECKPOINT, dataclasses.replace(DATASET, config=config))
    narrow = (STREAMS[0], STREAMS[1]._replace(features=STREAMS[1].features[:, :40]))
    with pytest.raises(DataError, match=r"stream 'market_1': 40 features per tick, the model expects 44"):
        evaluate(CHECKPOINT, dataclasses.replace(DATASET, streams=narrow))
