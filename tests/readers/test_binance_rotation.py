"""Captures that are rotated by the day, the hour or less: which files are one feed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import MAYBE_BAD_BOOK
from nanoarb_jax.readers.feed import EventFeed
from nanoarb_jax.readers.sources import find_sources, open_source
from support.binance_lines import SIZES, diff, snapshot, write

# names of files, and how many of them each series has
ROTATIONS = {
    "hours": (["btcusdt_20250101_02.jsonl", "btcusdt_20250101_03.jsonl"], [2]),
    "over midnight": (["a-2024-12-31_23.jsonl", "a-2025-01-01_00.jsonl"], [2]),
    "minutes": (["a_20250101-0210", "a_20250101-0211", "a_20250101-0212"], [3]),
    "seconds": (["a_20250101_023000.gz", "a_20250101_024512.gz", "a_20250101_031059.gz"], [3]),
    "ISO": (["a-2025-01-01T02.json", "a-2025-01-01T03.json"], [2]),
    "ISO to seconds": (["a_2025-01-01T02-00-00Z.txt", "a_2025-01-01T03-00-00Z.txt"], [2]),
    "ISO with colons": (["a_2025-01-01T02:00:00.txt", "a_2025-01-01T03:00:00.txt"], [2]),
    "compact": (["a_2025010102", "a_2025010103"], [2]),
    "Python's logging": (["a.jsonl.2025-01-01_02-00", "a.jsonl.2025-01-01_03-00"], [2]),
    "an hour that is missing": (["a_20250101_02", "a_20250101_04"], [2]),
    "another day": (["a_20250101_02", "a_20250103_04"], [1, 1]),
    "two symbols": (["a_20250101_02", "b_20250101_02", "a_20250101_03", "b_20250101_03"], [2, 2]),
    "a day among hours": (["a_20250101", "a_20250102_00"], [1, 1]),
    "days": (["a_20250101", "a_20250102", "a_20250104"], [2, 1]),
    "no time": (["a_20250101_99", "a_20259901_02"], [1, 1]),
    "a number": (["a_0", "a_1"], [1, 1]),
}


@pytest.mark.parametrize("case", ROTATIONS)
def test_files_that_follow_each_other(tmp_path: Path, case: str) -> None:
    names, series = ROTATIONS[case]
    for name in sorted(names, reverse=True):
        write(tmp_path, snapshot(0, 10), name=name)
    found = find_sources([tmp_path])
    assert [len(source.files) for source in found] == series
    assert all([file.name for file in source.files] == sorted(file.name for file in source.files) for source in found)


def read_all(folder: Path) -> tuple[np.ndarray, EventFeed]:
    (source,) = find_sources([folder])
    feed = open_source(source, SIZES)
    assert isinstance(feed, EventFeed)
    return np.concatenate(list(feed.chunks)), feed


def test_the_book_goes_on_from_hour_to_hour(tmp_path: Path) -> None:
    """The next hour needs no snapshot; where one is missing, the update ids tell, and a snapshot begins anew."""
    write(tmp_path, snapshot(0, 10), diff(1, 11, 11, [(99, 1)], []), name="abc_20250101_02.jsonl")
    write(tmp_path, diff(2, 12, 12, [(99, 2)], []), name="abc_20250101_03.jsonl")
    events, feed = read_all(tmp_path)
    assert (feed.name, len(events)) == ("abc_20250101_03", 7) and not feed.dropped
    write(tmp_path, diff(9, 90, 90, [(99, 2)], []), name="abc_20250101_05.jsonl")
    events, feed = read_all(tmp_path)
    assert (events["ival"] & MAYBE_BAD_BOOK != 0).tolist() == [False] * 7 + [True]
    write(tmp_path, snapshot(9, 90), diff(9, 91, 91, [(99, 2)], []), name="abc_20250101_05.jsonl")
    events, feed = read_all(tmp_path)
    assert not (events["ival"] & MAYBE_BAD_BOOK).any() and feed.dropped == {"outage mended by a snapshot": 1}


def test_the_error_tells_how_files_are_made_one_feed(tmp_path: Path) -> None:
    write(tmp_path, snapshot(0, 10), name="part1.jsonl")
    path = write(tmp_path, diff(2, 12, 12, [(99, 2)], []), name="part2.jsonl")
    (source,) = find_sources([path])
    with pytest.raises(DataError, match=r"one folder and are called NAME_YYYYMMDD or NAME_YYYYMMDD_HH, .*; else join"):
        open_source(source, SIZES)
