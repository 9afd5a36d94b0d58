"""Binance files cut into blocks anywhere, damaged, shuffled: the same events, or one clear error."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.book.state import empty_state
from nanoarb_jax.market.clocks.clock import TickClock
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.readers.binance import blocks
from nanoarb_jax.readers.binance.feed import open_binance
from support.binance_lines import SIZES, diff, line, read, snapshot, trade
from support.examples import examples

scarce = settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])


def session(futures: bool) -> list[str]:
    """Diffs, trades and tickers around two snapshots, with a hole between them."""
    lines = [trade(0, 1), diff(1, 90, 99, [(1, 1)], []), diff(2, 100, 101, [(99, 7)], [], 99 if futures else None)]
    lines += [snapshot(3, 100)]
    last = 101
    for k in range(4, 40):
        lost = 5 if k == 20 else 0
        pu = last + lost if futures else None
        bids, asks = [(100 - k % 3 / 2, k % 4)], [(100.5 + k % 5 / 2, k % 2)]
        lines.append(diff(k, last + lost + 1, last + lost + 1 + k % 3, bids, [] if k % 7 else asks, pu))
        last += lost + 1 + k % 3
        if k % 4 == 0:
            lines.append(trade(k, k // 4, sell=k % 8 == 0))
        if k % 5 == 0:
            lines.append(line(k, u=last, s="ABC", b="99.50", B="1.000", a="100.50", A="2.000"))
        if k == 30:
            lines.append(snapshot(k, last))
    return lines


@pytest.mark.parametrize("futures", [False, True])
@pytest.mark.parametrize("tickers", [False, True])
def test_block_borders_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, futures: bool, tickers: bool
) -> None:
    path = tmp_path / "abc"
    path.write_text("\n".join(session(futures)))
    events, feed = read(path, tickers=tickers)
    assert feed.dropped["diff before the first snapshot's update"] == 1 and len(events) > 60
    for block in (1, 7, 64, 500, 3000):
        monkeypatch.setattr(blocks, "_BLOCK", block)
        again, small = read(path, tickers=tickers)
        assert again.tobytes() == events.tobytes()
        assert small.dropped == feed.dropped


def through_the_book(path: Path) -> tuple[int, int]:
    """Ticks, and messages that were left out; nothing but a DataError of one line may happen."""
    try:
        feed = open_binance([path], SIZES)
        policy = {"invalid": "skip"}
        state = empty_state(feed.tick_size, feed.lot_size, policy=policy)  # type: ignore[arg-type]
        ticks = sum(books.rows for books in tick_chunks(feed.chunks, state, TickClock(), feed.name))
    except DataError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return 0, 0
    return ticks, sum(feed.dropped.values())


def flipped(data: bytes, bits: list[int]) -> bytes:
    damaged = bytearray(data)
    for bit in bits:
        damaged[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(damaged)


@scarce
@given(st.booleans(), st.integers(0, 10**6), st.lists(st.integers(0, 10**6), max_size=3))
def test_damaged_text(tmp_path: Path, futures: bool, end: int, bits: list[int]) -> None:
    data = "\n".join(session(futures)).encode()
    path = tmp_path / "abc"
    path.write_bytes(flipped(data, bits)[: end % (2 * len(data))])
    through_the_book(path)


@scarce
@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**6), max_size=2))
def test_damaged_gzip(tmp_path: Path, end: int, bits: list[int]) -> None:
    """Only an undamaged file is read to its end."""
    data = gzip.compress("\n".join(session(True)).encode(), mtime=0)
    damaged = flipped(data, bits)[: end % (2 * len(data))]
    path = tmp_path / "abc.gz"
    path.write_bytes(damaged)
    try:
        read(path)
    except DataError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        # the name, time and flags of a gzip header say nothing about the data
        assert damaged[10:] == data[10:]


@scarce
@given(st.randoms(use_true_random=False), st.booleans())
def test_shuffled_lines(tmp_path: Path, random: object, futures: bool) -> None:
    lines = session(futures)
    random.shuffle(lines)  # type: ignore[attr-defined]
    path = tmp_path / "abc"
    path.write_text("\n".join(lines))
    ticks, dropped = through_the_book(path)
    # the first diff is older than both snapshots
    assert ticks == 0 or dropped > 0


@scarce
@given(st.lists(st.integers(0, 60), max_size=20))
def test_repeated_lines(tmp_path: Path, repeated: list[int]) -> None:
    """A line that was written twice is dropped the second time, and counted; the events are the same."""
    once = [text for text in session(True) if '"lastUpdateId"' not in text]
    start = [snapshot(0, 99)]
    twice = [text for i, text in enumerate(once) for _ in range(2 if i in repeated else 1)]
    events = []
    for lines in (once, twice):
        path = tmp_path / "abc"
        path.write_text("\n".join(start + lines))
        events.append(read(path))
    assert events[0][0].tobytes() == events[1][0].tobytes()
    assert sum(events[1][1].dropped.values()) - sum(events[0][1].dropped.values()) == len(twice) - len(once)
