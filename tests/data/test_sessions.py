"""Nights and holes: no label and no flow feature looks across half an hour without a tick."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from nanoarb_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from nanoarb_jax.data.counts import Counts
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.data.declaration import instrument_of
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.data.windows import create_training_samples
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.scoring import make_score, score_streams, score_windows
from nanoarb_jax.features.flow import OUTCOMES, SECONDS, flow
from nanoarb_jax.features.lob44 import SESSION_GAP_NS
from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.training.plan import training_sessions
from nanoarb_jax.training.run_plan import plan_run
from support.random_model import random_model

pytestmark = pytest.mark.usefixtures("compile_quickly")
BOOKS = synthetic_books(6_000, 5)
CUT = 2_500


def with_a_night(books: BookSeries, gap_ns: int) -> BookSeries:
    """The rows from CUT on, that much later than the row before."""
    ts_ns = books.ts_ns.copy()
    ts_ns[CUT:] += ts_ns[CUT - 1] + gap_ns - ts_ns[CUT]
    return books._replace(ts_ns=ts_ns)


@pytest.mark.parametrize("rule", ["move", "smoothed", "deeplob", "tlob"])
@pytest.mark.parametrize("block", [700, 1 << 16])
def test_labels(monkeypatch: pytest.MonkeyPatch, rule: str, block: int) -> None:
    monkeypatch.setattr("nanoarb_jax.data.labelling.BLOCK", block)
    config = DataConfig(horizons=(5, 40), label_rule=rule, smoothing_ticks=7 if rule == "tlob" else None)  # type: ignore[arg-type]
    plain, night = (make_stream(with_a_night(BOOKS, gap), config) for gap in (SESSION_GAP_NS, SESSION_GAP_NS + 1))
    back = {"move": (0, 0), "smoothed": (0, 0), "deeplob": (5, 40), "tlob": (7, 7)}[rule]
    assert (plain.labels[:-40] != UNDEFINED).sum() > 5_900
    for column, horizon in enumerate((5, 40)):
        across = slice(CUT - horizon, CUT + back[column])
        assert (night.labels[across, column] == UNDEFINED).all() and (night.moves[across, column] == 0).all()
        for rows in (slice(0, across.start), slice(across.stop, None)):
            np.testing.assert_array_equal(night.labels[rows, column], plain.labels[rows, column])
            np.testing.assert_array_equal(night.moves[rows, column], plain.moves[rows, column])


def test_flow_features_begin_anew() -> None:
    books = with_a_night(BOOKS, 10 * SESSION_GAP_NS)
    whole, second = flow(books, 3.0), flow(books.part(CUT, books.rows), 3.0)
    # what followed books like each one is counted across sessions
    np.testing.assert_array_equal(whole[CUT:, :OUTCOMES], second[:, :OUTCOMES])
    np.testing.assert_array_equal(whole[:CUT], flow(BOOKS, 3.0)[:CUT])
    assert not np.array_equal(flow(BOOKS, 3.0)[CUT:, :OUTCOMES], second[:, :OUTCOMES])


def test_windows_stay_within_a_session() -> None:
    horizons, length = (5, 20), 30
    whole = create_training_samples(BOOKS, length, horizons, quantity_scale=3.0)
    X, y = create_training_samples(with_a_night(BOOKS, SESSION_GAP_NS + 1), length, horizons, quantity_scale=3.0)
    parts = [
        create_training_samples(part, length, horizons, quantity_scale=3.0)
        for part in (BOOKS.part(0, CUT), BOOKS.part(CUT, BOOKS.rows))
    ]
    np.testing.assert_array_equal(X, np.concatenate([part[0] for part in parts]))
    np.testing.assert_array_equal(y, np.concatenate([part[1] for part in parts]))
    assert len(whole[0]) == len(X) + length - 1 + max(horizons)
    with pytest.raises(DataError, match="3500 rows in the longest of 2 sessions give no sample"):
        create_training_samples(with_a_night(BOOKS, SESSION_GAP_NS + 1), 4_000, horizons)


def test_a_gap_of_ones_own() -> None:
    """What counts as a gap is a setting: of labels, features, sessions."""
    config = DataConfig(horizons=(5, 40), feature_set="flow", session_gap_s=60.0)
    plain, night = (make_stream(with_a_night(BOOKS, gap), config) for gap in (60 * 10**9, 60 * 10**9 + 1))
    assert (night.labels[CUT - 5 : CUT, 0] == UNDEFINED).all() and (plain.labels[CUT - 5 : CUT, 0] != UNDEFINED).all()
    assert night.features[CUT, SECONDS] == 0 < plain.features[CUT, SECONDS]
    assert plain.sessions(0, plain.rows) == [(0, plain.rows)]
    assert night.sessions(100, night.rows) == [(100, CUT), (CUT, night.rows)]
    assert night.sessions(CUT, CUT + 10) == [(CUT, CUT + 10)]


def test_no_chunk_runs_across_a_night() -> None:
    config = DataConfig(feature_set="lob44", horizons=(5, 40))
    night = make_stream(with_a_night(BOOKS, SESSION_GAP_NS + 1), config)
    tail = night._replace(train=(CUT - 60, night.train[1]))  # its first session is shorter than a chunk
    assert training_sessions([night, tail], 64, "x") == (
        (0, 0, CUT),
        (0, CUT, night.train[1] - CUT),
        (1, 60, night.train[1] - CUT),
    )
    settings = Config(
        ModelConfig(hidden_dim=8, d_state=4, num_layers=1, horizons=(5, 40)), config,
        TrainConfig(chunk_length=64, batch_size=4),
    )  # fmt: skip
    plan = plan_run(settings, Dataset((night, tail), config, []), jax.devices()[:1]).epoch(0)
    first = np.array([night.train[0], tail.train[0]])[plan.stream] + plan.start
    assert not ((first < CUT) & (first + 64 > CUT)).any() and (first >= CUT).any() and (first < CUT).any()


def test_scores_begin_anew_after_a_night() -> None:
    config = DataConfig(feature_set="lob44", horizons=(10, 50, 100))
    model = random_model(ModelConfig.preset("nano"))
    night, plain = (make_stream(books, config) for books in (with_a_night(BOOKS, SESSION_GAP_NS + 1), BOOKS))
    score, params = make_score(model), nnx.state(model, nnx.Param)
    met, before = (
        score_streams(score, params, model, [stream], [(CUT - 300, CUT + 300)])[0] for stream in (night, plain)
    )
    (alone,) = score_streams(score, params, model, [plain], [(CUT, CUT + 300)])
    np.testing.assert_allclose(met[:300], before[:300], atol=1e-5)
    np.testing.assert_allclose(met[300:], alone, atol=1e-5)
    assert np.abs(met[300] - before[300]).max() > 1e-3


def test_windows_do_not_reach_across_a_night() -> None:
    """At the first ticks of a session its first one is repeated, as in `WindowPredictor`."""
    config = DataConfig(feature_set="lob44", horizons=(10, 50, 100))
    model = random_model(ModelConfig.preset("nano"))
    night = make_stream(with_a_night(BOOKS, SESSION_GAP_NS + 1), config)
    (met,) = score_windows(model, [night], [[(CUT - 2, CUT + 3)]])
    window = np.maximum(np.arange(CUT + 2 - 99, CUT + 3), CUT)
    expected = jax.nn.log_softmax(model(night.features[window][None]))[0]
    np.testing.assert_allclose(met[CUT + 2], expected, atol=1e-5)
    before = jax.nn.log_softmax(model(night.features[CUT - 100 : CUT][None]))[0]
    np.testing.assert_allclose(met[CUT - 1], before, atol=1e-5)


def test_unknown_labels_teach_nothing() -> None:
    import jax.numpy as jnp

    from nanoarb_jax.model.losses import transaction_cost_aware_loss as loss

    logits = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32))
    targets = jnp.asarray([[0, 1], [2, -1], [1, 1], [-1, -1], [2, 0], [1, 2]])
    costs = {"spread_penalty": 0.0, "slippage_estimate": 0.0}
    known = np.asarray(targets) >= 0
    cells = zip(*np.nonzero(known), strict=True)
    flat = [loss(logits[i, j][None, None], targets[i, j][None, None], **costs) for i, j in cells]
    np.testing.assert_allclose(loss(logits, targets, **costs), np.mean(flat), rtol=1e-6)
    assert loss(logits[3:4], targets[3:4], **costs) == 0


def test_counts_stay_bounded() -> None:
    values = np.random.default_rng(1).integers(0, 2**40, 600_000)
    counts = Counts()
    for block in np.split(values, 6):
        counts.add(block)
    found = counts.sorted()
    assert len(found.values) < 300_000 and found.counts.sum() == 600_000
    assert found.median() == pytest.approx(np.median(values), rel=1 / 8_000)
    assert found.quantile(0.9) == pytest.approx(np.quantile(values, 0.9), rel=1 / 8_000)


def test_instruments() -> None:
    names = {
        "btcusdt_20240808": "btcusdt",
        "AAPL_2012-06-21_first1000_orderbook_10": "AAPL",
        "esh4-glbx-mdp3-20231225.mbo": "esh4-glbx-mdp3",
        "mine": "mine",
    }
    assert {name: instrument_of(name).instrument for name in names} == names
    assert make_stream(BOOKS._replace(name="x_20240101"), dataclasses.replace(DataConfig())).instrument == "x"
