"""The rows of an update: those the plan names, mirrored where it says so, with the weights of their labels."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from nanoarb_jax.config import DataConfig, TrainConfig
from nanoarb_jax.data.streams import make_stream, mirror_stream
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.training import source
from nanoarb_jax.training.batch import Batch, Picks, TrainingRows, gather
from nanoarb_jax.training.plan import EpochPlan
from nanoarb_jax.training.source import make_source
from nanoarb_jax.training.trade_weights import make_row_weights

DATA = DataConfig(feature_set="lob44", horizons=(2, 5), threshold_ticks=0.5, threshold_spreads=0.0)
STREAMS = [
    make_stream(synthetic_books(1_200 + 300 * i, i), DATA)._replace(train=(100, 700), threshold_ticks=(0.5, 2.0))
    for i in range(2)
]
PLAN = EpochPlan(*(np.array([row]) for row in ([1, 0, 1], [0, 7, 472], [False, True, True], [0, 128, 0])))


def batch_of(config: TrainConfig) -> Batch:
    rows, picks = make_source(STREAMS, 128, config, jax.device_put)(PLAN)
    one = Picks(*(column[0] for column in picks))
    return Batch(*map(np.asarray, jax.jit(lambda *given: gather(*given, 128, config))(rows, one)))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("mirror", [False, True])
def test_gather(mirror: bool, resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not resident:
        monkeypatch.setattr(source, "RESIDENT_BYTES", 2 * 600 * 44 * 4 - 1)
    config = TrainConfig(mirror=mirror)
    batch = batch_of(config)
    assert batch.features.shape == (3, 128, 44) and batch.labels.dtype == np.int32
    assert batch.features.dtype == batch.weights.dtype == np.float32
    assert batch.labels.shape == batch.weights.shape == (3, 128, 2)
    np.testing.assert_array_equal(batch.fresh, [True, False, True])
    for lane, (number, start, flipped) in enumerate(((1, 100, False), (0, 107, True), (1, 572, True))):
        stream = mirror_stream(STREAMS[number]) if flipped and mirror else STREAMS[number]
        rows = slice(start, start + 128)
        np.testing.assert_array_equal(batch.features[lane], stream.features[rows])
        np.testing.assert_array_equal(batch.labels[lane], stream.labels[rows])
        np.testing.assert_array_equal(batch.weights[lane], make_row_weights(STREAMS[number], config)(rows))
        assert len(np.unique(batch.labels[lane])) > 1
    assert batch.counted.shape == (3, 128) and batch.counted.all()


def test_what_is_sent_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """All training rows, once; or, of more of them than are to stay there, those that are shown, each time."""
    sent: list[int] = []

    def put(rows: TrainingRows) -> TrainingRows:
        sent.append(len(rows.features))
        return rows

    for limit, expected in ((2 * 600 * 44 * 4, [1200]), (2 * 600 * 44 * 4 - 1, [3 * 128, 3 * 128])):
        monkeypatch.setattr(source, "RESIDENT_BYTES", limit)
        read = make_source(STREAMS, 128, TrainConfig(), put)
        read(PLAN), read(PLAN)
        assert sent == expected
        sent.clear()


def test_the_burn_in_of_a_lane_goes_on_in_its_next_chunk() -> None:
    for burn_in, uncounted in ((100, (100, 0, 100)), (200, (128, 72, 128))):
        counted = batch_of(TrainConfig(burn_in=burn_in)).counted
        for lane, first in enumerate(uncounted):
            np.testing.assert_array_equal(counted[lane], np.arange(128) >= first)
