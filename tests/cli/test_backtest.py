"""`backtest` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from nanoarb_jax.cli.main import app
from nanoarb_jax.simulation.market import synthetic_events

pytest.importorskip("hftbacktest", reason="needs the package hftbacktest")
pytestmark = pytest.mark.filterwarnings("default")  # what hftbacktest warns of when it is compiled is not ours to judge
NANO = Path(__file__).parents[2] / "checkpoints" / "nano"
KEYS = {"net_pnl", "gross_pnl", "fees", "trades", "sharpe", "max_drawdown", "latency_ns_charged", "predictions"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["backtest", *map(str, arguments)])


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic market whose quantities are whole contracts."""
    path = tmp_path_factory.mktemp("feed") / "coin_20240101.npz"
    np.savez(path, data=synthetic_events(9_000, 5))
    return path


def test_a_run_and_what_stands_beside_it(feed: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="needs the package plotly")
    page, figures = tmp_path / "page.html", tmp_path / "figures.json"
    fees = ("--maker-fee", 0.0001, "--taker-fee", 0.0002, "--threshold", 0.35)
    options = (*fees, "--horizon", 100, "--inference", 2000, "--seeds", 3, "--sweep", "threshold=0.35,0.4")
    result = run("--checkpoint", NANO, "--data", feed, *options, "--report", page, "--json", figures)
    assert result.exit_code == 0, result.output
    assert not [line for line in result.stdout.splitlines() if len(line) > 80 and "/" not in line], result.stdout
    made = read(figures)
    assert made.keys() >= KEYS
    assert made["latency_ns_p50"] == 2000 and made["trades"] > 0
    assert abs(made["gross_pnl"] - made["fees"] - made["net_pnl"]) < 1e-6
    assert made["reconciliation"]["equity_relative_to_traded"] < 1e-9
    assert len(made["controls"]["random"]["net_pnl"]) == 3 and set(made["rivals"]) == {"queue_imbalance"}
    assert made["queue_models"]["risk-averse"]["net_pnl"] == made["net_pnl"]
    assert made["sweep"]["tried"] == 2 and made["sweep"]["rows"][0]["net_pnl"] == made["net_pnl"]
    assert np.shape(made["heat_map"]["net_pnl"]) == (6, 4)
    assert made["settings"]["scales"].startswith("its own first 1,000 ticks")
    html = page.read_text()
    assert "coin_20240101" in html and made["checkpoint"]["version"] in html and "--threshold 0.35" not in html[:1000]


def test_another_backend_trades_alike(feed: Path, tmp_path: Path) -> None:
    """Its probabilities differ in the sixth digit, so that it makes the same orders."""
    made = []
    for backend in ("native", "jax"):
        path = tmp_path / f"{backend}.json"
        options = ("--threshold", 0.37, "--horizon", 100, "--inference", 0, "--quick", "--backend", backend)
        result = run("--checkpoint", NANO, "--data", feed, *options, "--json", path)
        assert result.exit_code == 0, result.output
        made.append(read(path))
    assert made[0]["trades"] > 0
    for key in ("trades", "net_pnl", "orders", "predictions", "ready_share"):
        assert made[0][key] == pytest.approx(made[1][key], rel=1e-9), key


def test_faults_are_told_in_one_line_and_nothing_is_run(feed: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "none_20240101.npz", data=synthetic_events(9_000, 5)[:0])
    model, data = ("--checkpoint", NANO), ("--data", feed)
    faults = {
        "expected taker, maker or FILE.py:NAME": (*model, *data, "--strategy", "momentum"),
        "no setting 'spread'": (*model, *data, "--set", "spread=1", "--inference", 0),
        "expected measured, sampled, or ns": (*model, *data, "--inference", "fast"),
        "trades in steps of 1": (*model, *data, "--order-qty", 0.5, "--inference", 0),
        "give --output FOLDER": (*model, *data, "--walk-forward", 2, "--inference", 0),
        "expected a share of the value": (*model, *data, "--taker-fee", 5),
        "none_20240101": (*model, "--data", tmp_path / "none_20240101.npz"),
        "nowhere": ("--checkpoint", tmp_path / "nowhere", *data),
    }
    for expected, arguments in faults.items():
        result = run(*arguments)
        assert result.exit_code == 2, (expected, result.output)
        assert expected in result.stderr and len(result.stderr.strip().splitlines()) == 1, result.stderr
