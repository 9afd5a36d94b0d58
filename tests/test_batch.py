"""The rows of an update: those the plan names, mirrored where it says so, moves and costs in label thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from nanoarb_jax.config import DataConfig, TrainConfig
from nanoarb_jax.dataset import make_stream, mirror_stream
from nanoarb_jax.market.synthetic import synthetic_books
from nanoarb_jax.training.batch import gather
from nanoarb_jax.training.plan import Plan

DATA = DataConfig(horizons=(2, 5), threshold_ticks=0.5, threshold_spreads=0.0)
STREAMS = [
    make_stream(synthetic_books(1_200 + 300 * i, i), DATA)._replace(train=(100, 700), threshold_ticks=(0.5, 2.0))
    for i in range(2)
]
PLAN = Plan(*(np.array([row]) for row in ([1, 0, 1], [0, 7, 472], [False, True, True], [0, 128, 0])))


@pytest.mark.parametrize("mirror", [False, True])
def test_gather(mirror: bool) -> None:
    batch = gather(STREAMS, PLAN, 0, 128, TrainConfig(mirror=mirror, fee_ticks=0.5, slippage_ticks=0.25))
    assert batch.features.shape == (3, 128, 44) and batch.labels.dtype == np.int32
    assert batch.features.dtype == batch.moves.dtype == batch.costs.dtype == np.float32
    assert batch.labels.shape == batch.moves.shape == batch.costs.shape == (3, 128, 2)
    np.testing.assert_array_equal(batch.fresh, [True, False, True])
    for lane, (number, start, flipped) in enumerate(((1, 100, False), (0, 107, True), (1, 572, True))):
        stream = mirror_stream(STREAMS[number]) if flipped and mirror else STREAMS[number]
        rows = slice(start, start + 128)
        np.testing.assert_array_equal(batch.features[lane], stream.features[rows])
        np.testing.assert_array_equal(batch.labels[lane], stream.labels[rows])
        np.testing.assert_allclose(batch.moves[lane], stream.moves[rows] / [0.5, 2.0])
        np.testing.assert_allclose(batch.costs[lane], (stream.spread[rows, None] + 0.75) / [0.5, 2.0])
        assert len(np.unique(batch.labels[lane])) > 1
    assert batch.counted.shape == (3, 128) and batch.counted.all()


def test_the_burn_in_of_a_lane_goes_on_in_its_next_chunk() -> None:
    for burn_in, uncounted in ((100, (100, 0, 100)), (200, (128, 72, 128))):
        counted = gather(STREAMS, PLAN, 0, 128, TrainConfig(burn_in=burn_in)).counted
        for lane, first in enumerate(uncounted):
            np.testing.assert_array_equal(counted[lane], np.arange(128) >= first)
