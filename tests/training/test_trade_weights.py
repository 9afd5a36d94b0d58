"""What a label weighs: more where a trade could have earned more after costs, with means that leave all else alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nanoarb_jax.config import DataConfig, TrainConfig
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.data.streams import make_stream, mirror_stream
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.training import trade_weights
from nanoarb_jax.training.trade_weights import gains, make_row_weights

DATA = DataConfig(feature_set="lob44", horizons=(2, 10), threshold_ticks=0.5, threshold_spreads=0.0)
STREAMS = [make_stream(synthetic_books(1_500 + 500 * i, i), DATA) for i in range(2)]
WEIGHTINGS: dict[str, Any] = {"capped": lambda gain: np.minimum(gain, 0.7), "root": np.sqrt, "log": np.log1p}


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_by_hand(weighting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trade_weights, "CHUNK_ROWS", 301)
    config = TrainConfig(magnitude_weight=weighting, magnitude_cap=0.7, fee_ticks=0.2, slippage_ticks=0.1)
    for stream in STREAMS:
        weigh = make_row_weights(stream, config)
        train = slice(*stream.train)
        gain = np.maximum(np.abs(stream.moves[train]) - stream.spread[train, None] - 0.3, 0)
        np.testing.assert_allclose(gains(stream, train, config), gain, rtol=1e-5, atol=1e-6)
        found, labels = weigh(train), stream.labels[train]
        assert found.dtype == np.float32 and found.shape == labels.shape
        for column in range(2):
            paid = gain[:, column] / gain[gain[:, column] > 0, column].mean()
            plain = 1 + WEIGHTINGS[weighting](paid)
            known = labels[:, column] != UNDEFINED
            np.testing.assert_allclose(found[known, column], plain[known] / plain[known].mean(), rtol=1e-4)
            assert found[known, column].mean() == pytest.approx(1.0, abs=1e-4)
        np.testing.assert_array_equal(weigh(slice(700, 750)), found[700 - train.start : 750 - train.start])


def test_the_unit_of_prices_does_not_matter() -> None:
    """With a tick a tenth as large, moves and spreads are ten times as many; the mirrored market weighs the same."""
    stream = STREAMS[0]
    finer = stream._replace(moves=10 * stream.moves, spread=10 * stream.spread)
    rows = slice(*stream.train)
    one, other, mirrored = (make_row_weights(s, TrainConfig())(rows) for s in (stream, finer, mirror_stream(stream)))
    np.testing.assert_allclose(one, other, rtol=1e-4)
    np.testing.assert_array_equal(one, mirrored)
    assert one.max() > 1.2 and (one > 0).all() and one.min() < 1


def test_where_no_trade_pays_all_weigh_the_same() -> None:
    for config in (TrainConfig(fee_ticks=1e4), TrainConfig(loss="cross-entropy")):
        assert (make_row_weights(STREAMS[1], config)(slice(0, 900)) == 1).all()
    empty = STREAMS[0]._replace(labels=np.full_like(STREAMS[0].labels, UNDEFINED))
    assert np.isfinite(make_row_weights(empty, TrainConfig())(slice(0, 900))).all()
    normalised = STREAMS[0]._replace(spread=-STREAMS[0].spread)  # of prices less their mean
    assert np.abs(gains(normalised, slice(0, 900), TrainConfig())).max() <= np.abs(STREAMS[0].moves[:900]).max()
