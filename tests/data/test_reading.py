"""Options of single sources, from a TOML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.data.reading import Reading, join_readings, read_readings, reading_of
from nanoarb_jax.data.stored import read_accounts
from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import Source

NOON = 1_735_732_800 * 10**9


def table(path: Path, tick: float, symbol: str) -> None:
    rows = [
        f"{NOON + row * 10**9},{symbol},{100 - tick * (1 + row % 3)},{1 + row % 5},{100 + tick * (1 + row % 2)},2"
        for row in range(2_000)
    ]
    path.write_text("\n".join(["ts_ns,symbol,bid_px_0,bid_sz_0,ask_px_0,ask_sz_0", *rows]))


def test_each_source_as_its_table_says(tmp_path: Path) -> None:
    table(tmp_path / "a_20250101.csv", 0.5, "A")
    table(tmp_path / "b_20250101.csv", 0.5, "B")
    toml = tmp_path / "reading.toml"
    toml.write_text('["a_*"]\ntick_size = 0.25\nlot_size = 0.5\n["b_*"]\nsort = true\npolicy = {locked = "skip"}\n')
    readings = read_readings(toml)
    made = prepare([tmp_path / "a_20250101.csv", tmp_path / "b_20250101.csv"], tmp_path / "out", DataConfig(),
                   readings=readings)  # fmt: skip
    assert [stream.tick_size for stream in made.streams] == [0.25, 0.5]
    assert made.streams[0].lot_size == 0.5


def test_series_are_named_and_cut_by_folder(tmp_path: Path) -> None:
    """Two markets call their files the same; of one a period is wanted."""
    for market, tick in (("spot", 0.5), ("usdm", 0.25)):
        (tmp_path / market).mkdir()
        table(tmp_path / market / "btc_20250101.csv", tick, "A")
    said = {"spot/*": {"name": "spot_x"}, "usdm/usdm_btc_*": {"name": "x_*", "from": "12:05", "to": "12:30"}}
    folders = [tmp_path / "spot", tmp_path / "usdm"]
    made = prepare(folders, tmp_path / "out", DataConfig(), readings=said)
    assert [stream.name for stream in made.streams] == ["spot_x", "x_usdm_btc_20250101"]
    assert [stream.rows for stream in made.streams] == [2_000, 1_501]
    assert [int(ns) - NOON for ns in made.streams[1].ts_ns[[0, -1]]] == [300 * 10**9, 1_800 * 10**9]
    assert "1,501 of 2,000 ticks kept, from 2025-01-01T12:05:00Z to 2025-01-01T12:30:00Z" in str(
        read_accounts(tmp_path / "out")["x_usdm_btc_20250101"]["notes"]
    )
    for wrong, met in (
        ({"*": {"name": "y"}}, "2 sources are called 'y'"),
        ({"usdm/*": {"from": "2026-01-01"}}, "from 2026-01-01T00:00:00Z: no tick lies there"),
        ({"usdm/*": {"from": "12:05", "timed": False}}, "from and to: the files have no real times"),
        ({"cm/*": {"name": "y"}}, "no series is read by 'cm/"),
    ):
        with pytest.raises(DataError, match=met):
            prepare(folders, tmp_path / "other", DataConfig(), readings=wrong)


def test_the_first_pattern_holds_and_the_rest_stays() -> None:
    common = Reading(ReadOptions(tick_size=1.0, symbol="X"), {"gap": "raise"})
    said = {"btc_*": {"tick_size": 0.1, "policy": {"crossed": "skip"}}, "*": {"tick_size": 0.2}}
    btc, eth = (Source(name, "table", (Path(f"{name}.csv"),)) for name in ("btc_1", "eth_1"))
    first = reading_of(btc, common, said)
    assert first.options == ReadOptions(tick_size=0.1, symbol="X")
    assert first.policy == {"gap": "raise", "crossed": "skip"}
    assert reading_of(eth, common, said).options.tick_size == 0.2
    assert reading_of(eth, common, None) == common


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("", "empty"),
        ("tick_size = 0.1", "'tick_size' = 0.1; expected tables"),
        ('["a"]\ntick = 0.1', "tick = 0.1; expected tables"),
        ('["a"]\ntick_size = true', "tick_size = True"),
        ('["a"]\nsort = 1', "sort = 1"),
        ('["a"]\npolicy = {crossed = "keep"}', "policy crossed=keep: expected one of heal"),
        ('["a"]\nfrom = "noon"', "--from noon: expected a time"),
        ('["a"]\ntimed = 0', "timed = 0"),
        ("[", "reading.toml: "),
    ],
)
def test_what_such_a_file_cannot_say(tmp_path: Path, text: str, met: str) -> None:
    (tmp_path / "reading.toml").write_text(text)
    with pytest.raises(DataError, match=f"^--reading .*{met}"):
        read_readings(tmp_path / "reading.toml")
    with pytest.raises(DataError, match=r"^--reading .*No such file"):
        read_readings(tmp_path / "none.toml")


def test_a_pattern_in_two_files_is_refused(tmp_path: Path) -> None:
    one, other, third = (tmp_path / name for name in ("one.toml", "other.toml", "third.toml"))
    for file, pattern in ((one, "btc*"), (other, "eth*"), (third, "btc*")):
        file.write_text(f'["{pattern}"]\ntick_size = 0.1\n', encoding="utf-8")
    assert list(join_readings([one, other])) == ["btc*", "eth*"]
    with pytest.raises(DataError, match=r"third\.toml: \['btc\*'\] stands in an earlier file, too"):
        join_readings([one, other, third])


@pytest.mark.parametrize("name", ["", "../outside", "spot/x", "a\\\\b"])
def test_names_that_are_no_names_of_files(tmp_path: Path, name: str) -> None:
    file = tmp_path / "reading.toml"
    file.write_text(f'["btc*"]\nname = "{name}"\n', encoding="utf-8")
    with pytest.raises(DataError, match="expected letters, digits"):
        read_readings(file)
