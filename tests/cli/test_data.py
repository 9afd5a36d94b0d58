"""`nanoarb-jax data`: synth, prepare, inspect."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nanoarb_jax.cli.data import app
from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import open_dataset
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
    made = tmp_path / "synth.json"
    said = run("synth", "--output", books, "--rows", 3_000, "--streams", 2, "--seed", 7, "--json", made)
    assert "2 streams of 3,000 books" in said
    assert json.loads(made.read_text())["seed"] == 7
    assert sorted(file.name for file in books.iterdir()) == ["synthetic_00.npz", "synthetic_01.npz"]
    said = run("prepare", books, "--output", out, "--label-price", "microprice", "--threshold-ticks", 1.5)
    assert "2 streams, 6,000 rows" in said
    assert open_dataset(out).config == DataConfig(label_price="microprice", threshold_ticks=1.5)
    said = run("inspect", out, "--json", figures)
    assert "6,000 rows" in said and "synthetic_01" in said and "h100" in said
    shown = json.loads(figures.read_text())
    assert shown["config"]["label_price"] == "microprice"
    assert [stream["tick_size"] for stream in shown["streams"]] == [0.25, 0.01]
    assert sum(shown["streams"][0]["class_shares"]["h50"].values()) == pytest.approx(1)
    assert set(shown["streams"][0]["account"]) == {
        "format", "timed", "events", "messages", "ticks", "quantity_step", "notes", "dropped", "anomalies", "lost"
    }  # fmt: skip


def test_a_look_at_market_data(tmp_path: Path) -> None:
    run("synth", tmp_path / "events", "--events", "--market", "crypto", "--rows", 20_000, "--streams", 1)
    file, figures, picture = tmp_path / "events" / "synthetic_00.npz", tmp_path / "found.json", tmp_path / "book.png"
    said = run("inspect", file, "--json", figures, "--picture", picture)
    assert "hftbacktest" in said and "takers" in said and "spread" in said
    (found,) = json.loads(figures.read_text())["sources"]
    assert (found["tick_size"], found["lot_size"]) == (0.1, 0.001) and found["timed"] and found["events"] >= 20_000
    assert 0 < found["ticks"] <= found["messages"] and found["traded"]["bought"] > 0
    assert found["spread_ticks"]["p50"] >= 1 and found["invalid_share"] == 0
    assert picture.read_bytes()[:4] == b"\x89PNG" and picture.stat().st_size > 20_000
    refused("exists already", "inspect", file, "--picture", picture)
    refused("^--picture .*suffix '.txt'", "inspect", file, "--picture", tmp_path / "a.txt")
    refused("^--policy crosed=raise: no such anomaly", "inspect", file, "--policy", "crosed=raise")
    refused("^--policy crossed=keep: expected one of heal, ", "inspect", file, "--policy", "crossed=keep")
    refused("expected ANOMALY=POLICY", "inspect", file, "--policy", "crossed")
    refused("^--clock second: expected ", "inspect", file, "--clock", "second")
    shorter, day = found["last_tick"][:19], found["first_tick"][:10]  # its second alone
    said = run("inspect", file, "--from", shorter[11:], "--to", "9999-01-01", "--json", tmp_path / "zoom.json")
    (zoomed,) = json.loads((tmp_path / "zoom.json").read_text())["sources"]
    assert set(zoomed) == set(found) and zoomed["first_tick"] >= shorter > day
    assert 0 < zoomed["ticks"] < found["ticks"] == zoomed["ticks_read"] and zoomed["last_tick"] == found["last_tick"]
    assert f"{zoomed['ticks']:,} in the period, {found['ticks']:,} in all, of " in said
    refused("no tick lies there", "inspect", file, "--from", "1999-01-01", "--to", "1999-01-02")
    refused("^--from noon: expected a time", "inspect", file, "--from", "noon")
    out = tmp_path / "ds"
    run("prepare", file, "--output", out, "--feature-set", "flow", "--clock", "bbo", "--jobs", 1)
    made = open_dataset(out)
    assert made.streams[0].features.shape[1] == 101 and made.rows < found["ticks"]
    refused("datasets hold no books", "inspect", out, "--picture", tmp_path / "b.png")
    refused("datasets are shown as a whole", "inspect", out, "--to", "12:00")


def test_what_files_lack_and_what_was_assumed(tmp_path: Path) -> None:
    (tmp_path / "X_2012-06-21_34200000_57600000_orderbook_1.csv").write_text(
        "1000100,5,1000000,7\n1000200,5,1000000,7\n"
    )
    said = run("inspect", tmp_path, "--picture", tmp_path / "book.png")
    assert "lacks       trades, times, a definition (the tick size is inferred or assumed; --tick-size says it)" in said
    assert "notes       no message file: times and trades are not known; no trades" in said
    assert (tmp_path / "book.png").stat().st_size > 20_000


def test_the_same_books_with_and_without_events(tmp_path: Path) -> None:
    """Books of the simulated market are what the book makes of its events."""
    for kind in ("--events", "--rows"):
        run("synth", tmp_path / kind, *([kind] if kind == "--events" else []), "--rows", 30_000, "--streams", 1)
    ticks = {
        kind: run("inspect", tmp_path / kind, "--json", tmp_path / f"{kind}.json") for kind in ("--events", "--rows")
    }
    assert all("synthetic_00" in said for said in ticks.values())
    found = [json.loads((tmp_path / f"{kind}.json").read_text())["sources"][0] for kind in ("--events", "--rows")]
    assert found[0]["mid"]["first"] == found[1]["mid"]["first"]


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
        "--output",
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
    for form in ((taken,), ("--output", taken)):
        refused("^--output .*not an empty folder; nothing is overwritten, give another", "synth", *form)
    refused("^--output .*cannot be made", "synth", figures / "deeper")
    refused("^--output .*: .*books is given, too; leave one out", "synth", books, "--output", tmp_path / "ds")
    refused("^--output: missing; give a folder", "synth")
    refused("^--output .*nothing is overwritten, give another", "prepare", books, "--output", taken)
    refused("^--label-price last: expected ", "prepare", books, "--output", tmp_path / "ds", "--label-price", "last")
    refused("no such file", "prepare", tmp_path / "nowhere", "--output", tmp_path / "ds")
    refused("exists already", "inspect", books, "--json", figures)
    refused("no such folder", "inspect", books, "--json", tmp_path / "nowhere" / "x.json")
    assert figures.read_text() == "mine" and not (tmp_path / "ds").exists()
