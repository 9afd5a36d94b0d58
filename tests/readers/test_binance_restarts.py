"""Update ids that begin anew, snapshots of other books, and captures that are no single book in order of time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import DEPTH_SNAPSHOT, KIND_MASK, MAYBE_BAD_BOOK
from nanoarb_jax.readers.binance import blocks
from nanoarb_jax.readers.sources import find_sources, open_source
from support.binance_lines import diff, line, read, snapshot, trade, write

ANEW, STRANGE = "update ids begin anew", "snapshot that the diffs do not lead to"


def chain(first: int, count: int, ms: float, s: str = "ABC") -> list[str]:
    return [diff(ms + 100 * k, first + k, first + k, [(100, k + 1)], [], s=s) for k in range(count)]


@pytest.fixture(params=[97, 1 << 20])
def _block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK", request.param)


@pytest.mark.usefixtures("_block")
@pytest.mark.parametrize(("before", "ms", "first"), [(0, 4000, 10), (4, 4000, 11), (4, 3000, 10)])
def test_a_restart_with_a_snapshot(tmp_path: Path, before: int, ms: float, first: int) -> None:
    """The new book with its diffs, also those that came before it within 1 s or later."""
    old = [snapshot(0, 1000), *chain(1001, 30, 1)]
    new = chain(8, 30, ms)
    new.insert(before, snapshot(ms + 100 * before - 50, 10))
    events, feed = read(write(tmp_path, *old, *new))
    assert feed.dropped[ANEW] == 1 and sum(feed.dropped.values()) == (3 if first == 10 else 1)
    books = events[np.flatnonzero(events["ev"] & KIND_MASK == DEPTH_SNAPSHOT)[-1] + 1 :]
    assert books["order_id"].tolist() == list(range(first, 38))


@pytest.mark.usefixtures("_block")
def test_a_restart_without_a_snapshot(tmp_path: Path) -> None:
    """A hole from 1 s on, until a snapshot comes; a repetition, which was sent before, is none."""
    old = [snapshot(0, 1000), *chain(1001, 30, 1)]
    events, feed = read(write(tmp_path, *old, *chain(8, 30, 10_000), snapshot(13_500, 30), *chain(38, 3, 14_000)))
    assert feed.dropped == {ANEW: 1} and (events["ival"] & MAYBE_BAD_BOOK > 0).sum() == 1
    assert events["order_id"][-3:].tolist() == [38, 39, 40]
    _, copied = read(write(tmp_path, *old, *old, *chain(1031, 3, 3100)))
    assert copied.dropped == {"diff applied already": 30, "snapshot older than the book": 1}


@pytest.mark.usefixtures("_block")
def test_a_snapshot_of_another_symbol_without_a_name(tmp_path: Path) -> None:
    """Far ahead of diffs that go on as before: it is not theirs. One that they reach is taken at its time."""
    lines = [snapshot(0, 1000), *chain(1001, 60, 1)]
    whole, _ = read(write(tmp_path, *lines))
    events, feed = read(write(tmp_path, *lines[:30], snapshot(2950, 77_000, [(50, 1)], [(51, 1)]), *lines[30:]))
    assert events.tobytes() == whole.tobytes() and feed.dropped == {STRANGE: 1}
    events, feed = read(write(tmp_path, *lines[:30], snapshot(2950, 1035), *lines[30:]))
    assert (events["order_id"] == 1035).sum() > 3 and feed.dropped == {"diff before the first snapshot's update": 5}


def test_lines_that_are_not_in_order(tmp_path: Path) -> None:
    lines = [snapshot(0, 1000), *chain(1001, 60, 1)]
    with pytest.raises(DataError, match=r"newest first \(59 of 61 lines are older than the one before\)"):
        read(write(tmp_path, lines[0], *lines[:0:-1]))
    mixed = np.random.default_rng(0).permutation(len(lines) * 4).tolist()
    apart = [diff(2000 * k, 1001 + k, 1001 + k, [(100, 1)], []) for k in mixed]
    with pytest.raises(DataError, match="not in order of time"):
        read(write(tmp_path, lines[0], *apart))


def test_spot_and_futures_of_one_name(tmp_path: Path) -> None:
    futures = [diff(k * 100 + 5, 9000 + k, 9000 + k, [(90, 1)], [], 8999 + k) for k in range(20)]
    mixed = [text for pair in zip(chain(1001, 20, 1), futures, strict=True) for text in pair]
    with pytest.raises(DataError, match=r"diffs of futures \(with pu\) and of spot \(without\) under one symbol"):
        read(write(tmp_path, snapshot(0, 1000), *mixed))


def test_days_of_two_symbols_are_two_series(tmp_path: Path) -> None:
    """Although their names make them one; opened as one they are refused with both symbols."""
    first = write(tmp_path, snapshot(0, 1000), *chain(1001, 9, 1, "BTC"), name="feed_20250101.txt")
    second = write(tmp_path, snapshot(0, 9000), *chain(9001, 9, 1, "ETH"), name="feed_20250102.txt")
    write(tmp_path, snapshot(0, 9100), *chain(9101, 9, 1, "ETH"), trade(1, 1, s="ETH"), name="feed_20250103.txt")
    sources = find_sources([tmp_path])
    assert [(source.name, len(source.files)) for source in sources] == [("feed_20250101", 1), ("feed_20250103", 2)]
    assert all(len(list(open_source(source).chunks)) for source in sources)
    with pytest.raises(DataError, match=r"is ETH, that of feed_20250101\.txt is BTC, .* name one of the files"):
        read(first, second)


def test_notes_on_copies_and_foreign_messages(tmp_path: Path) -> None:
    lines = [snapshot(0, 1000), *chain(1001, 9, 1)]
    first, copy = (write(tmp_path, *lines, name=f"feed_2025010{day}.txt") for day in (1, 2))
    _, feed = read(first, copy)
    assert feed.notes == ["feed_20250102.txt tells nothing that is new"]
    foreign = [line(5, e="kline")] * 10
    _, feed = read(write(tmp_path, *lines, *foreign))
    assert feed.notes == ['50 % of the messages are foreign, the first begins {"e":"kline"}']
