"""The block bootstrap against a plain loop, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from nanoarb_jax.evaluation import bootstrap
from nanoarb_jax.evaluation.bootstrap import (
    block_length,
    interval,
    over_instruments,
    paired,
    resampled_figures,
)


def test_block_length() -> None:
    assert [block_length(h) for h in (10, 50, 100)] == [100, 100, 200]


def resampled_mcc(labels: np.ndarray, decided: np.ndarray, block: int, seed: tuple[int, ...]) -> np.ndarray:
    return resampled_figures(labels, decided, np.zeros(decided.shape), block, seed)[..., 0]


@pytest.mark.parametrize(("rows", "block"), [(97, 10), (60, 20), (30, 25)])
def test_equals_a_plain_loop(rows: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 20)
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=rows)
    decided = np.where(rng.random((2, rows)) < 0.5, labels, rng.integers(3, size=(2, rows)))
    losses = rng.exponential(size=(2, rows))
    got = resampled_figures(labels, decided, losses, block, (4, 2))
    assert got.shape == (20, 2, 3)
    block = min(block, -(-rows // 4))
    starts = np.random.default_rng((4, 2)).integers(rows, size=(-(-rows // block), 20))
    for resample in range(20):
        drawn = np.concatenate([np.arange(start, start + block) for start in starts[:, resample]])[:rows] % rows
        for judge in range(2):
            mcc, macro_f1, loss = got[resample, judge]
            assert mcc == pytest.approx(matthews_corrcoef(labels[drawn], decided[judge, drawn]))
            assert macro_f1 == pytest.approx(f1_score(labels[drawn], decided[judge, drawn], average="macro"))
            assert loss == pytest.approx(losses[judge, drawn].mean())


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
    test = paired(0.5, samples, None, 1)
    assert test["difference"] == 0.5 and [test["low"], test["high"]] == interval(samples)
    assert test["p_value"] == pytest.approx(2 * 31 / 1001)
    assert paired(-0.5, -samples, None, 1)["p_value"] == test["p_value"]
    assert paired(0.0, np.zeros(1000), None, 1)["p_value"] == 1.0
    assert paired(1.0, np.ones(1999), None, 1)["p_value"] == pytest.approx(0.001)  # never 0
    assert [test[key] for key in ("low_instruments", "high_instruments", "p_value_instruments")] == [None] * 3
    both = paired(0.5, np.ones(1999), samples, 20)
    assert both["p_value"] == pytest.approx(0.001) and both["p_value_instruments"] == test["p_value"]
    assert [both["low_instruments"], both["high_instruments"]] == interval(samples)
    # whatever the rows say, few instruments that agree may do so by chance
    assert paired(1.0, np.ones(1999), np.ones(1999), 4)["p_value_instruments"] == 0.125


def test_instruments_are_drawn_with_all_of_their_series() -> None:
    """Two series of one instrument are together or not at all; every series that was drawn weighs the same."""
    samples = np.array([1.0, 2.0, 9.0])[None, :, None] * np.ones((4_000, 1, 1))
    over = over_instruments(samples, ("a", "a", "b"))
    assert over is not None
    values, counts = np.unique(over[:, 0].round(9), return_counts=True)
    np.testing.assert_allclose(values, [1.5, 4.0, 9.0])  # a twice, both, b twice
    np.testing.assert_allclose(counts / 4_000, [0.25, 0.5, 0.25], atol=0.03)
    assert over_instruments(samples, ("a", "a", "a")) is None


def test_an_instrument_drawn_twice_is_resampled_twice() -> None:
    """Noise within series counts once for each draw: of one instrument alone it would not average out."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(5_000, 8))
    over = over_instruments(noise, [str(i) for i in range(8)])
    assert over is not None
    # the mean of 8 independent draws of variance 1, and next to nothing between instruments whose means are alike
    assert over.std() == pytest.approx(8**-0.5, rel=0.1)


def test_instruments_that_differ_widen_the_interval() -> None:
    leads = np.array([0.2, -0.1, 0.15, -0.05, 0.1, 0.0])
    samples = leads + 0.01 * np.random.default_rng(0).normal(size=(2_000, 6))
    over = over_instruments(samples, list("abcdef"))
    assert over is not None
    blocks, both = interval(samples.mean(axis=1)), interval(over)
    assert both[0] < 0 < blocks[0] and both[1] - both[0] > 5 * (blocks[1] - blocks[0])
