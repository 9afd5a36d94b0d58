"""The block bootstrap against a plain loop, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef

from nanoarb_jax.evaluation import bootstrap
from nanoarb_jax.evaluation.bootstrap import block_length, interval, paired, resampled_mcc


def test_block_length() -> None:
    assert [block_length(h) for h in (10, 50, 100)] == [100, 100, 200]


@pytest.mark.parametrize(("rows", "block"), [(97, 10), (60, 20), (30, 25)])
def test_equals_a_plain_loop(rows: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 20)
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=rows)
    decided = np.where(rng.random((2, rows)) < 0.5, labels, rng.integers(3, size=(2, rows)))
    got = resampled_mcc(labels, decided, block, (4, 2))
    assert got.shape == (20, 2)
    block = min(block, -(-rows // 4))
    starts = np.random.default_rng((4, 2)).integers(rows, size=(-(-rows // block), 20))
    for resample in range(20):
        drawn = np.concatenate([np.arange(start, start + block) for start in starts[:, resample]])[:rows] % rows
        for judge in range(2):
            assert got[resample, judge] == pytest.approx(matthews_corrcoef(labels[drawn], decided[judge, drawn]))


def test_blocks_widen_intervals_of_rows_that_hang_together() -> None:
    """Fifty rows in a row alike are one observation: blocks of a hundred know it, single rows do not."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=60)
    decided = np.where(rng.random(60) < 0.5, labels, rng.integers(3, size=60))
    alike, alone = np.repeat([labels, decided], 50, axis=1), np.stack([labels, decided])
    widths = [
        np.diff(interval(resampled_mcc(y, d[None], block, (0,))[:, 0]))[0]
        for (y, d), block in ((alike, 100), (alike, 1), (alone, 1))
    ]
    assert widths[0] == pytest.approx(widths[2], rel=0.3)  # blocks that begin within fifty rows average a little
    assert widths[1] < widths[2] / 4


def test_judges_share_their_draws() -> None:
    rng = np.random.default_rng(0)
    labels, decided = rng.integers(3, size=400), rng.integers(3, size=(1, 400))
    alone = resampled_mcc(labels, decided, 100, (7,))
    among = resampled_mcc(labels, np.vstack([labels[None], decided, decided]), 100, (7,))
    np.testing.assert_array_equal(among[:, 0], 1.0)
    np.testing.assert_array_equal(among[:, 1:], np.hstack([alone, alone]))
    assert len(np.unique(alone)) > 1000


def test_paired_by_hand() -> None:
    samples = np.concatenate([np.full(30, -1.0), np.linspace(0.1, 2, 970)])
    test = paired(0.5, samples)
    assert test["difference"] == 0.5 and [test["low"], test["high"]] == interval(samples)
    assert test["p_value"] == pytest.approx(2 * 31 / 1001)
    assert paired(-0.5, -samples)["p_value"] == test["p_value"]
    assert paired(0.0, np.zeros(1000))["p_value"] == 1.0
    assert paired(1.0, np.ones(1999))["p_value"] == pytest.approx(0.001)  # never 0
