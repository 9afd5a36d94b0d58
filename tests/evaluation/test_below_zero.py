"""Markets that trade through 0, or below it: calendar spreads, oil in April 2020. Every command works on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from nanoarb_jax.cli.main import app
from nanoarb_jax.data.events import read_events
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.market.event import DEPTH, DEPTH_SNAPSHOT, TRADE
from nanoarb_jax.serving.live import LivePredictor
from nanoarb_jax.simulation.market import synthetic_events

NANO = Path(__file__).parents[2] / "checkpoints" / "nano"
SHIFTS = {"above": 0.0, "through": 1.0, "below": 2.0}  # in typical prices


def done(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, compile_quickly: None, fit_quickly: None) -> Path:
    """One market at three price levels: feeds, datasets, evaluations and predictions."""
    folder = tmp_path_factory.mktemp("below_zero")
    events = synthetic_events(6_500, seed=4)
    priced = np.isin(events["ev"] & 0xFF, [kind & 0xFF for kind in (DEPTH, DEPTH_SNAPSHOT, TRADE)])
    typical = np.median(events["px"][priced])
    for name, shift in SHIFTS.items():
        moved = events.copy()
        moved["px"][priced] = np.round(moved["px"][priced] - shift * typical, 6)
        np.savez(folder / f"{name}.npz", data=moved)
        feed, predicted = folder / f"{name}.npz", folder / f"{name}_p.npz"
        done("predict", "--checkpoint", NANO, "--data", feed, "--scales-from", feed, "--output", predicted)
    dataset = folder / "dataset"
    done("data", "prepare", *(folder / f"{name}.npz" for name in SHIFTS), "--output", dataset)
    done("evaluate", "--checkpoint", NANO, "--data", dataset, "--json", folder / "evaluation.json")
    return folder


def test_evaluations_are_whole(world: Path) -> None:
    """What does not depend on the price level is the same at all: labels, and what the queues say."""
    series: dict[str, Any] = json.loads((world / "evaluation.json").read_text())["series"]
    above = series["above"]["queue_imbalance"]
    for name in ("through", "below"):
        shifted = series[name]
        for horizon, metrics in shifted["queue_imbalance"].items():
            assert metrics["confusion"] == above[horizon]["confusion"]
            assert metrics["log_loss"] == pytest.approx(above[horizon]["log_loss"])
            ticks, expected = metrics["profit_per_trade_ticks"], above[horizon]["profit_per_trade_ticks"]
            assert ticks == pytest.approx(expected, rel=1e-6)
        for judge in shifted.values():
            for metrics in judge.values():
                ticks, bp = (metrics[f"profit_per_trade_{unit}"] for unit in ("ticks", "bp"))
                assert metrics["log_loss"] is None or np.isfinite(metrics["log_loss"])
                if name == "below" and ticks is not None and abs(ticks) > 0.05:
                    assert np.sign(ticks) == np.sign(bp)  # a loss is one below 0, too


@pytest.mark.parametrize("name", SHIFTS)
def test_live_is_offline(world: Path, name: str) -> None:
    feed = world / f"{name}.npz"
    live = LivePredictor.load(NANO, Instrument.measure(feed))
    _, probabilities = live.apply_many(read_events(feed))
    with np.load(world / f"{name}_p.npz") as file:
        assert np.isfinite(file["probabilities"]).all()
        np.testing.assert_array_equal(file["probabilities"], probabilities)
        assert (file["mid"].min() < 0) == (name != "above") and (file["mid"].max() > 0) == (name != "below")
