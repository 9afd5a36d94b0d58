"""`calibrate` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from nanoarb_jax.cli.main import app
from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.serving.feeds import open_feeds
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.trading.calibrating import calibrate
from nanoarb_jax.trading.calibration_file import read_calibration

LOB44, HORIZONS = DataConfig(feature_set="lob44"), (10, 50, 100)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of one instrument."""
    folder = tmp_path_factory.mktemp("books")
    for day in (1, 2):
        name = f"coin_2024010{day}"
        write_book_npz(folder / f"{name}.npz", synthetic_books(3_000, seed=day, name=name))
    return folder


def test_calibrate(nano_checkpoint: Path, books: Path, tmp_path: Path) -> None:
    """A table for strategies, and a screen that says what is in it."""
    files = ("--output", tmp_path / "table.json", "--json", tmp_path / "figures.json")
    result = run("--checkpoint", nano_checkpoint, "--data", books, *files, "--taker-fee", 0.0002)
    assert result.exit_code == 0 and result.stderr == "", result.output
    assert not [line for line in result.stdout.splitlines() if len(line) > 80 and "/" not in line], result.stdout
    predictor = StepPredictor.load(nano_checkpoint)
    table = read_calibration(tmp_path / "table.json", predictor.version, HORIZONS)
    assert table == calibrate(predictor, open_feeds(books, LOB44, split="validation"), HORIZONS, 0.0002)
    assert set(table.series) == {"coin_20240101", "coin_20240102"} and set(table.instruments) == {"coin"}
    figures = read(tmp_path / "figures.json")
    assert {name: figures[name] for name in read(tmp_path / "table.json")} == table.as_dict()
    assert set(figures["learnt"]) == set(table.series) and not any(figures["learnt"].values())
    lines = result.stdout.splitlines()
    assert lines[1].split()[:2] == ["10", "ticks"] and f"{table.moves_ticks()[0, 0]:+.2f}" in lines[1]
    assert any("less 2 bp of fees each way" in line for line in lines)
    assert lines[-1] == f"{tmp_path / 'table.json'}: table of 2 series, for weights {predictor.version}"
    with pytest.raises(DataError, match="the model has 'others'"):
        read_calibration(tmp_path / "table.json", "others", HORIZONS)


def test_a_dataset_and_a_series_that_is_too_short(nano_checkpoint: Path, books: Path, tmp_path: Path) -> None:
    prepare([books], tmp_path / "data", LOB44)
    start = ("--checkpoint", nano_checkpoint)
    assert run(*start, "--data", tmp_path / "data", "--output", tmp_path / "one.json").exit_code == 0
    (tmp_path / "books").mkdir()
    for file in books.iterdir():
        (tmp_path / "books" / file.name).symlink_to(file)
    write_book_npz(tmp_path / "books" / "short.npz", synthetic_books(150, seed=9, name="short"))
    result = run(*start, "--data", tmp_path / "books", "--output", tmp_path / "two.json")
    assert result.exit_code == 0 and "short has no table of its own: " in result.stdout
    assert read(tmp_path / "one.json") == read(tmp_path / "two.json")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--data {1} --output {2}/table.txt", ["--output", "suffix '.txt'", ".json"]),
        ("--data {1} --output {1}/coin_20240101.npz", ["exists already"]),
        ("--data {1} --output {2}/t.json --taker-fee 5", ["--taker-fee 5.0", "0.0005"]),
        ("--data {1} --output {2}/t.json --json {2}/gone/f.json", ["--json", "no such folder"]),
        ("--data {1}/gone --output {2}/t.json", ["gone", "no such file or folder"]),
        ("--data {2} --output {2}/t.json", ["no series is long enough", "short"]),
    ],
)
def test_a_mistake_is_one_line(
    nano_checkpoint: Path, books: Path, tmp_path: Path, arguments: str, said: list[str]
) -> None:
    write_book_npz(tmp_path / "short.npz", synthetic_books(150, seed=9, name="short"))
    result = run("--checkpoint", nano_checkpoint, *arguments.format(0, books, tmp_path).split())
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1, result.output
    assert all(word in result.stderr for word in said), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["short.npz"]
