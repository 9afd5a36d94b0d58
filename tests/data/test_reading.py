"""Options of single sources, from a TOML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.data.reading import Reading, read_readings, reading_of
from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.feed import ReadOptions

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


def test_the_first_pattern_holds_and_the_rest_stays() -> None:
    common = Reading(ReadOptions(tick_size=1.0, symbol="X"), {"gap": "raise"})
    said = {"btc_*": {"tick_size": 0.1, "policy": {"crossed": "skip"}}, "*": {"tick_size": 0.2}}
    first = reading_of("btc_1", common, said)
    assert first.options == ReadOptions(tick_size=0.1, symbol="X")
    assert first.policy == {"gap": "raise", "crossed": "skip"}
    assert reading_of("eth_1", common, said).options.tick_size == 0.2
    assert reading_of("eth_1", common, None) == common


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("", "empty"),
        ("tick_size = 0.1", "'tick_size' = 0.1; expected tables"),
        ('["a"]\ntick = 0.1', "tick = 0.1; expected tables"),
        ('["a"]\ntick_size = true', "tick_size = True"),
        ('["a"]\nsort = 1', "sort = 1"),
        ('["a"]\npolicy = {crossed = "keep"}', "policy crossed=keep: expected one of heal"),
        ("[", "reading.toml: "),
    ],
)
def test_what_such_a_file_cannot_say(tmp_path: Path, text: str, met: str) -> None:
    (tmp_path / "reading.toml").write_text(text)
    with pytest.raises(DataError, match=f"^--reading .*{met}"):
        read_readings(tmp_path / "reading.toml")
    with pytest.raises(DataError, match=r"^--reading .*No such file"):
        read_readings(tmp_path / "none.toml")
