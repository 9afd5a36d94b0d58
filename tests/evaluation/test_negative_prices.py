"""Prices through 0 and below it – calendar spreads, oil in April 2020 – from the feed to the profit.

A market is shifted by a number of ticks. What counts in ticks stays as it was, and every figure is finite.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import nanoarb_jax as nj
from nanoarb_jax.artifacts.checkpoint import Checkpoint
from nanoarb_jax.cli.main import app
from nanoarb_jax.config import DataConfig, ModelConfig
from nanoarb_jax.data.dataset import Dataset, open_dataset
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.evaluation.validation import evaluate
from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.simulation.market import synthetic_books, synthetic_events
from support.random_model import random_model

pytestmark = pytest.mark.usefixtures("compile_quickly")
NANO = Path(__file__).parents[2] / "checkpoints" / "nano"
HORIZONS = (3, 10)
DATA = DataConfig(horizons=HORIZONS, threshold_ticks=0.5, threshold_spreads=0.0)
MODEL = random_model(ModelConfig(hidden_dim=8, d_state=4, num_layers=1, horizons=HORIZONS))
BOOKS = synthetic_books(1_500, seed=0)
EVENTS = synthetic_events(20_000, seed=1)
TICK = 0.25
# judges that see no price, so that they decide the same at every level of prices
PRICELESS = ("persistence", "majority", "queue_imbalance", "ofi_logistic")


def lowered_books(ticks: int) -> BookSeries:
    return BOOKS._replace(bid_px=BOOKS.bid_px - ticks, ask_px=BOOKS.ask_px - ticks)


def lowered_events(ticks: int) -> NDArray[np.void]:
    events = EVENTS.copy()
    events["px"] -= ticks * TICK
    return events


def through_zero() -> int:
    """Ticks to lower the books by for 0 to lie in the middle of the test part's prices."""
    start, stop = make_stream(BOOKS, DATA).test
    return int(np.median(BOOKS.bid_px[start:stop, 0]))


def numbers(tree: Any) -> Iterator[float]:
    """Every number of a JSON tree."""
    if isinstance(tree, dict | list):
        for one in tree.values() if isinstance(tree, dict) else tree:
            yield from numbers(one)
    elif isinstance(tree, int | float):
        yield float(tree)


def judged(stream: Stream) -> dict[str, Any]:
    return evaluate(Checkpoint(MODEL, "random", data={"streams": []}), Dataset((stream,), DATA, []), window_mode=True)


@pytest.mark.parametrize("level", ["through 0", "below 0"])
def test_evaluate(level: str) -> None:
    above = make_stream(BOOKS, DATA)
    stream = make_stream(lowered_books(through_zero() if level == "through 0" else 40_000), DATA)
    test = slice(*stream.test)
    assert stream.mid[test].min() < 0 and (stream.mid[test].max() > 0) == (level == "through 0")
    np.testing.assert_array_equal(stream.labels, above.labels)
    np.testing.assert_array_equal(stream.moves, above.moves)
    result, expected = judged(stream), judged(above)
    assert all(math.isfinite(one) for one in numbers(result))
    judges, others = result["series"]["synthetic"], expected["series"]["synthetic"]
    assert judges.keys() == others.keys() > set(PRICELESS)
    for judge in judges:
        for horizon, met in judges[judge].items():
            ticks, points = met["profit_per_trade_ticks"], met["profit_per_trade_bp"]
            if points is not None and level == "below 0":  # a sum over prices that differ little
                assert math.copysign(1, ticks) == math.copysign(1, points)
            if judge in PRICELESS:
                other = others[judge][horizon]
                assert ticks == other["profit_per_trade_ticks"] and met["trades"] == other["trades"]
                assert met["gross_per_trade_ticks"] == other["gross_per_trade_ticks"]
    assert any(met["trades"] for judge in PRICELESS for met in judges[judge].values())


def done(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert (result.exit_code, result.exception) == (0, None), result.output
    return result.output


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feed and its dataset, as it is and lowered: `NAME.npz` and the folder `NAME`."""
    folder = tmp_path_factory.mktemp("levels")
    middle = round(float(np.median(EVENTS["px"])) / TICK)
    for name, ticks in (("above", 0), ("through", middle), ("below", 40_000)):
        np.savez(folder / f"{name}.npz", data=lowered_events(ticks))
        done("data", "prepare", folder / f"{name}.npz", "--output", folder / name, "--feature-set", "flow", "--jobs", 1)
    return folder


@pytest.mark.parametrize("name", ["through", "below"])
def test_prepare(prepared: Path, name: str) -> None:
    stream, above = (open_dataset(prepared / one).streams[0] for one in (name, "above"))
    assert stream.mid.min() < 0 and (stream.mid.max() > 0) == (name == "through")
    assert stream.rows == above.rows > 1_000 and np.isfinite(stream.features).all()
    np.testing.assert_array_equal(stream.labels, above.labels)
    np.testing.assert_array_equal(stream.features[:, 2:], above.features[:, 2:])  # all but the two prices
    assert (stream.tick_size, stream.spread_scale) == (above.tick_size, above.spread_scale)
    met, expected = (json.loads((prepared / one / "manifest.json").read_text()) for one in (name, "above"))
    assert met["streams"][0]["account"] == expected["streams"][0]["account"]  # nothing is an anomaly for its price
    done("data", "inspect", prepared / f"{name}.npz")
    done("data", "inspect", prepared / name)


@pytest.mark.parametrize("name", ["through", "below"])
def test_evaluate_command(prepared: Path, name: str, tmp_path: Path) -> None:
    met = {}
    for one in (name, "above"):
        done("evaluate", "--checkpoint", NANO, "--data", prepared / one, "--json", tmp_path / f"{one}.json")
        (met[one],) = json.loads((tmp_path / f"{one}.json").read_text())["series"].values()
    assert all(math.isfinite(number) for number in numbers(met[name]))
    for judge in PRICELESS:
        for horizon, figures in met[name][judge].items():
            assert figures["profit_per_trade_ticks"] == met["above"][judge][horizon]["profit_per_trade_ticks"]


@pytest.mark.parametrize("name", ["through", "below"])
def test_predict_and_live(prepared: Path, name: str, tmp_path: Path) -> None:
    """The command's predictions of the feed are finite, and those of the live predictor, event by event."""
    feed, instrument = prepared / f"{name}.npz", nj.Instrument.measure(prepared / name)
    done("predict", "--checkpoint", NANO, "--data", prepared / name, "--output", tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as file:
        expected = file["probabilities"]  # (n, h, 3)
    assert np.isfinite(expected).all()
    done("predict", "--checkpoint", NANO, "--data", feed, "--output", tmp_path / "of_feed.npz")
    with np.load(tmp_path / "of_feed.npz") as file:
        assert file["probabilities"].shape == expected.shape and np.isfinite(file["probabilities"]).all()
    live = nj.LivePredictor.load(NANO, instrument)
    _, probabilities = live.apply_many(nj.read_events(feed))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
