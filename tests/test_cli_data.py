"""`nanoarb-jax data`: synth, prepare, inspect."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nanoarb_jax.cli.data import app
from typer.testing import CliRunner

from nanoarb_jax.config import DataConfig
from nanoarb_jax.dataset import open_dataset
from nanoarb_jax.errors import NanoarbError


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(message: str, *arguments: object) -> None:
    with pytest.raises(NanoarbError, match=message):
        CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_from_synthetic_books_to_a_dataset(tmp_path: Path) -> None:
    books, out, figures = tmp_path / "books", tmp_path / "ds", tmp_path / "figures.json"
    said = run("synth", books, "--rows", 3_000, "--streams", 2, "--seed", 7, "--json", tmp_path / "synth.json")
    assert "2 streams of 3,000 books" in said
    assert json.loads((tmp_path / "synth.json").read_text())["seed"] == 7
    assert sorted(file.name for file in books.iterdir()) == ["synthetic_00.npz", "synthetic_01.npz"]
    said = run("prepare", books, "--out", out, "--label-price", "microprice", "--threshold-ticks", 1.5)
    assert "2 streams, 6,000 rows" in said
    assert open_dataset(out).config == DataConfig(label_price="microprice", threshold_ticks=1.5)
    said = run("inspect", out, "--json", figures)
    assert "6,000 rows" in said and "synthetic_01" in said and "h100" in said
    shown = json.loads(figures.read_text())
    assert shown["config"]["label_price"] == "microprice"
    assert [stream["tick_size"] for stream in shown["streams"]] == [0.25, 0.01]
    assert sum(shown["streams"][0]["class_shares"]["h50"].values()) == pytest.approx(1)
    assert "3,000 rows" in run("inspect", books / "synthetic_00.npz")


def test_same_seed_same_books_and_other_streams_differ(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run("synth", tmp_path / name, "--rows", 500, "--streams", 2)
    load = {(n, i): np.load(tmp_path / n / f"synthetic_0{i}.npz")["bid_sz"] for n in "ab" for i in (0, 1)}
    np.testing.assert_array_equal(load["a", 0], load["b", 0])
    assert not np.array_equal(load["a", 0], load["a", 1])


def test_settings_from_a_file(tmp_path: Path) -> None:
    run("synth", tmp_path / "books", "--rows", 2_000, "--streams", 1)
    (tmp_path / "c.toml").write_text("[model]\nhorizons = [5, 20]\n[data]\nhorizons = [5, 20]\nthreshold_ticks = 2.0\n")
    run(
        "prepare",
        tmp_path / "books",
        "--out",
        tmp_path / "ds",
        "--config",
        tmp_path / "c.toml",
        "--threshold-spreads",
        0,
    )
    assert open_dataset(tmp_path / "ds").config == DataConfig(
        horizons=(5, 20), threshold_ticks=2.0, threshold_spreads=0.0
    )


def test_mistakes_are_named_and_nothing_is_overwritten(tmp_path: Path) -> None:
    books, taken = tmp_path / "books", tmp_path / "taken"
    run("synth", books, "--rows", 2_000, "--streams", 1)
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    figures = taken / "notes.txt"
    refused("give another folder", "synth", taken)
    refused("cannot be created", "synth", figures / "deeper")
    refused("give another --out", "prepare", books, "--out", taken)
    refused("label_price='last'", "prepare", books, "--out", tmp_path / "ds", "--label-price", "last")
    refused("no such file", "prepare", tmp_path / "nowhere", "--out", tmp_path / "ds")
    refused("exists already", "inspect", books, "--json", figures)
    refused("no such folder", "inspect", books, "--json", tmp_path / "nowhere" / "x.json")
    assert figures.read_text() == "mine" and not (tmp_path / "ds").exists()
