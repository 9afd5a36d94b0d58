"""Zip archives and folders that hold more than data."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.stored import file_entry, is_dataset
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError, DataWarning
from nanoarb_jax.files import sha256
from nanoarb_jax.readers.sources import find_sources

NOON = 1_735_732_800 * 10**9
ROWS = [f"{NOON + row * 10**9},{99 - row % 2},1,{100 + row % 2},2" for row in range(40)]
TABLE = "\n".join(["ts_ns,bid_px_0,bid_sz_0,ask_px_0,ask_sz_0", *ROWS])


def packed(path: Path, members: dict[str, str], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_members_are_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(TABLE)
    packed(tmp_path / "a.zip", {"day/one.csv": TABLE, "two.csv": TABLE, "__MACOSX/._two.csv": "x", ".hidden": "y"})
    sources = find_sources([tmp_path])
    assert [source.name for source in sources] == ["one", "two", "b"]
    assert sources[0].files == (tmp_path / "a.zip" / "day" / "one.csv",)
    books = [read_books(source, DataConfig())[0] for source in sources]
    assert all((one.bid_px == books[2].bid_px).all() and one.rows == 40 for one in books)
    assert file_entry(sources[1].files[0]) == {"name": "two.csv", "sha256": sha256(tmp_path / "a.zip")}
    assert [source.name for source in find_sources([tmp_path / "a.zip"])] == ["one", "two"]


def test_what_is_left_alone_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(TABLE)
    (tmp_path / "readme.md").write_text("# about\n")
    (tmp_path / "condition.json").write_text("{}")
    with pytest.warns(
        DataWarning, match=r"2 of its files left alone, of no known format: condition\.json, readme\.md$"
    ):
        assert len(find_sources([tmp_path])) == 1
    with pytest.raises(DataError, match=r"readme\.md: not recognised"):
        find_sources([tmp_path / "b.csv", tmp_path / "readme.md"])  # who names a file means it
    (tmp_path / "b.csv").unlink()
    with pytest.warns(DataWarning), pytest.raises(DataError, match="no file of a known format; expected market data"):
        find_sources([tmp_path])
    packed(tmp_path / "a.zip", {"readme.md": "# about"})
    with pytest.warns(DataWarning), pytest.raises(DataError, match="no file of a known format"):
        find_sources([tmp_path / "a.zip"])


def test_damaged_archives(tmp_path: Path) -> None:
    whole = packed(tmp_path / "a.zip", {"one.csv": TABLE}, zipfile.ZIP_STORED).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"cut\.zip: damaged archive"):
        find_sources([tmp_path / "cut.zip"])
    (tmp_path / "flip.zip").write_bytes(whole.replace(b",99,1,", b",98,1,", 1))
    with pytest.raises(DataError, match=r"flip\.zip.*one\.csv.*damaged.*CRC"):
        for source in find_sources([tmp_path / "flip.zip"]):
            read_books(source, DataConfig())


def test_another_programs_manifest_is_no_dataset(tmp_path: Path) -> None:
    assert not is_dataset(tmp_path) and not is_dataset(tmp_path / "none")
    (tmp_path / "manifest.json").write_text(json.dumps({"job_id": "X", "files": []}))
    assert not is_dataset(tmp_path)
    for dataset in ({"schema_version": 3}, {"streams": []}):
        (tmp_path / "manifest.json").write_text(json.dumps(dataset))
        assert is_dataset(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema_version": 3, "stre')
    assert is_dataset(tmp_path)  # damaged, which is said when it is opened


def test_tables_of_something_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(TABLE)
    (tmp_path / "news.csv").write_text("date,headline\n2025-01-01,x\n")
    (tmp_path / "instruments.csv").write_text("symbol,price,tick\nA,1,2\n")
    (tmp_path / "fills.csv").write_text("time,price,qty\n1,2,3\n")
    with pytest.warns(DataWarning, match=r"3 of its files left alone, .*: fills\.csv, instruments\.csv, news\.csv$"):
        assert [source.name for source in find_sources([tmp_path])] == ["b"]
    with pytest.raises(DataError, match=r"fills\.csv"):  # who names it is told what is missing
        for source in find_sources([tmp_path / "fills.csv"]):
            read_books(source, DataConfig())
