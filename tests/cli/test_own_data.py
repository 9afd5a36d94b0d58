"""`adapt --curve`: what is printed, drawn and written, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from nanoarb_jax.artifacts.checkpoint import Checkpoint
from nanoarb_jax.cli.main import app
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.errors import DataError
from nanoarb_jax.reports.own_data import LINES
from nanoarb_jax.studies import own_data as studied
from support.own_data import curve
from support.random_model import random_model
from support.training_runs import DATASET, MODEL

LOSSES = {judge: [0.9, 0.9, 0.9, 0.9] for judge in LINES} | {
    "adapted": [0.8, 0.7, 0.6, 0.5],
    "fine_tuned": [0.9, 0.9, 0.6, 0.4],
    "gradient_boosting": [5.0, 0.9, 0.95, 0.91],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Where runs are to be kept; what is asked is answered at once."""
    calls: list[Any] = []
    model = Checkpoint(random_model(MODEL), "abc", data={"streams": [{"name": "market_0"}]})

    def answer(met: Checkpoint, data: Dataset, work_dir: Path, *, note: Any) -> dict[str, Any]:
        assert met is model and data is DATASET
        calls.append(work_dir)
        result = curve(LOSSES)
        result["durations"][2]["left_out"]["market_1"] = "stream 'market_1': only 7.0 minutes before its test part"
        return result

    monkeypatch.setattr("nanoarb_jax.artifacts.checkpoint.load_checkpoint", lambda _: model)
    monkeypatch.setattr("nanoarb_jax.data.dataset.open_dataset", lambda *_, **__: DATASET)
    monkeypatch.setattr(studied, "own_data_curve", answer)
    monkeypatch.chdir(tmp_path)
    return calls


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["adapt", "--checkpoint", "c", "--data", "d", *map(str, arguments)])


def test_the_curve_is_told_drawn_and_written(asked: list[Any], tmp_path: Path) -> None:
    result = command("--curve", "curve.png", "--json", "curve.json")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("the model learnt from market_0, or a part of it")
    assert max(map(len, lines[1:])) <= 80
    heads = "own data model + prior adapted fine-tuned logistic boosting on flow"
    begin = next(i for i, line in enumerate(lines) if " ".join(line.split()) == heads)
    assert lines[begin + 1].split() == ["1", "min", "0.900", "0.900", "0.800", "0.900", "0.900", "5.000", "0.900"]
    assert lines[begin + 4].split()[0] == "all"
    for sentence in (
        "adapting beats the model as it is: at every duration, from 1 min on",
        "boosting beats the model as it is: at no duration, nor with all",
        "fine-tuning beats adapting: with all own data only",
        "15 min: without stream 'market_1': only 7.0 minutes before its test part",
    ):
        assert sentence in lines
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "curve.json").read_text())
    assert figures["of"] == "abc" and figures["common"]["series"] == ["one", "other"]
    assert asked == [Path("runs/own-data_abc")]
    assert command("--curve", "again.svg", "--output", "mine").exit_code == 0 and asked[1:] == [Path("mine")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "error: --output: missing; give a folder"),
        (("--curve", "curve.gif"), "error: --curve"),
        (("--curve", "gone/curve.png"), "error: --curve"),
    ],
)
def test_refused_before_the_work(arguments: tuple[str, ...], words: str, asked: list[Any]) -> None:
    result = command(*arguments)
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2 and line.startswith(words) and not asked


def test_what_the_study_refuses_is_one_line(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise DataError("own-data curve: no series with real times")

    monkeypatch.setattr(studied, "own_data_curve", refuse)
    result = command("--curve", "curve.png")
    assert result.exit_code == 2 and result.stderr == "error: own-data curve: no series with real times\n"
