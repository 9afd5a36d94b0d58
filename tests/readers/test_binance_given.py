"""A snapshot in a file of its own, named by the user: before the first diff that is newer than it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.feed import EventFeed, ReadOptions
from nanoarb_jax.readers.sources import find_sources, open_source
from support.binance_lines import diff, partial, read, snapshot, trade, write

DIFFS = [diff(k, k + 10, k + 10, [(100, k)], [], k + 9) for k in range(1, 20)]


def begun(path: Path, given: Path) -> tuple[NDArray[np.void], EventFeed]:
    (source,) = find_sources([path])
    feed = open_source(source, ReadOptions(0.5, 0.001, snapshot=given))
    assert isinstance(feed, EventFeed)
    return np.concatenate(list(feed.chunks)), feed


@pytest.mark.parametrize("layout", ["capture", "bare", "pretty"])
def test_a_snapshot_in_a_file_of_its_own(tmp_path: Path, layout: str) -> None:
    """Read as if it had stood before the first diff that is newer, whatever its own time is."""
    text = snapshot(5000, 14)
    bare = json.loads(text.partition(" ")[2])
    given = tmp_path / "snapshot.json"
    given.write_text({"capture": text + "\n", "pretty": json.dumps(bare, indent=2)}.get(layout, json.dumps(bare)))
    capture = write(tmp_path, trade(0, 1), *DIFFS, trade(30, 2), name="depth_20240101")
    events, feed = begun(capture, given)
    whole, _ = read(write(tmp_path, *DIFFS[:4], snapshot(5, 14), *DIFFS[4:], trade(30, 2), name="whole"))
    for name in ("px", "qty", "local_ts", "order_id", "ival"):
        np.testing.assert_array_equal(events[name], whole[name])
    assert feed.notes == [f"begins with the snapshot {given}"]
    assert feed.dropped == {"before the first snapshot": 1, "diff before the first snapshot's update": 3}


def test_a_snapshot_before_all_diffs(tmp_path: Path) -> None:
    """Trades before the first diff are then kept, and a hole behind the snapshot is told by the update ids."""
    given = write(tmp_path, snapshot(-5, 10), name="snapshot.txt")
    events, feed = begun(write(tmp_path, trade(0, 1), *DIFFS), given)
    whole, _ = read(write(tmp_path, snapshot(0, 10), trade(0, 1), *DIFFS, name="whole"))
    np.testing.assert_array_equal(events["local_ts"], whole["local_ts"])
    np.testing.assert_array_equal(events["ival"], whole["ival"])
    assert not feed.dropped
    # diffs behind the snapshot in its own file are applied, too
    behind, _ = begun(write(tmp_path, *DIFFS[3:]), write(tmp_path, snapshot(-5, 10), *DIFFS[:3], name="before.txt"))
    assert behind["px"][-len(DIFFS) :].tolist() == whole["px"][-len(DIFFS) :].tolist()


def test_what_is_no_snapshot_of_the_capture(tmp_path: Path) -> None:
    capture = write(tmp_path, *DIFFS)
    with pytest.raises(DataError, match="name the snapshot's file with --snapshot"):
        read(capture)
    with pytest.raises(DataError, match="no depth snapshot of this symbol"):
        begun(capture, write(tmp_path, snapshot(0, 10, symbol="XYZ"), name="other.txt"))
    with pytest.raises(DataError, match="no diff in the data is newer than it"):
        begun(capture, write(tmp_path, snapshot(0, 99), name="late.txt"))
    books = write(tmp_path, *(partial(k, k, [(100, 1)] * 5, [(101, 1)] * 5) for k in range(5)), name="books")
    with pytest.raises(DataError, match="whole books, and no diffs; leave out --snapshot"):
        begun(books, write(tmp_path, snapshot(0, 10), name="snapshot.txt"))
