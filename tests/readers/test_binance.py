"""Binance feeds put in order: snapshots, holes, trades, symbols, files that follow each other."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import BUY, CLEAR, KIND_MASK, LAST, MAYBE_BAD_BOOK, SELL, SNAPSHOT, TRADE
from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.binance import blocks, snapshots
from nanoarb_jax.readers.binance.feed import open_binance
from support.binance_lines import T0, diff, line, read, snapshot, trade, write


def told(events: NDArray[np.void]) -> list[tuple[int, bool]]:
    """Update ids of the messages (of a trade 0), and whether they say that something was lost before them."""
    ends = np.flatnonzero(events["ival"] & LAST)
    starts = np.r_[0, ends[:-1] + 1]
    assert len(ends) == 0 or ends[-1] == len(events) - 1
    lost = events["ival"] & MAYBE_BAD_BOOK != 0
    assert not np.delete(lost, starts).any(), "a hole is told by a message's first event"
    return list(zip(events["order_id"][ends].tolist(), lost[starts].tolist(), strict=True))


def test_snapshot_between_diffs(tmp_path: Path) -> None:
    """Older diffs are dropped; those that arrived before it and are newer come right after it, at its time."""
    lines = [
        trade(0, 1),
        diff(1, 5, 9, [(1, 1)], []),
        diff(2, 10, 12, [(99, 7)], [(101, 8)]),
        snapshot(3, 11),
        diff(4, 13, 13, [(100, 0)], []),
        diff(4, 13, 13, [(100, 0)], []),
        trade(5, 2, sell=True),
    ]
    events, feed = read(write(tmp_path, *lines))
    assert (feed.name, feed.format, feed.tick_size, feed.lot_size) == ("abc_20240101", "binance", 0.5, 0.001)
    assert told(events) == [(11, False), (12, False), (13, False), (0, False)]
    codes = [CLEAR | BUY, CLEAR | SELL, 4 | BUY, 4 | BUY, 4 | SELL, 1 | BUY, 1 | SELL, 1 | BUY, TRADE | SELL]
    assert events["ev"].tolist() == codes
    assert events["ival"].tolist() == [SNAPSHOT] * 4 + [SNAPSHOT | LAST, 0, LAST, LAST, LAST]
    assert ((events["local_ts"] - T0) / 1e6).tolist() == [3] * 7 + [4, 5]
    assert events["px"][2:].tolist() == [100, 99.5, 100.5, 99, 101, 100, 100]
    assert events["qty"][2:].tolist() == [1, 2, 3, 7, 8, 0, 0.5]
    # REST snapshots of spot have no exchange time: the local one stands for it
    assert events["exch_ts"][0] == T0 + 3_000_000 and events["exch_ts"][5] == 1_723_161_255_002 * 10**6
    assert feed.dropped == {
        "before the first snapshot": 1,
        "diff before the first snapshot's update": 1,
        "diff applied already": 1,
    }


# (first, last, pu) of diffs behind a snapshot at 10, and which of them are behind a hole
CHAINS = {
    "spot": ([(9, 10), (11, 12), (13, 13), (15, 16), (17, 17), (17, 17), (30, 31)], [16, 31]),
    "spot, first in time": ([(11, 12)], []),
    "spot, first late": ([(12, 12), (13, 14)], [12]),
    "futures": ([(8, 12, 7), (14, 15, 12), (19, 22, 17), (25, 26, 22), (25, 26, 22)], [22]),
    "futures, ids skip behind the snapshot": ([(15, 17, 10), (19, 20, 17)], []),
    "futures, snapshot between two diffs": ([(15, 17, 9)], []),
    "futures, first late": ([(15, 17, 12), (19, 20, 17)], [17]),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_holes_between_diffs(tmp_path: Path, chain: str) -> None:
    ids, lost = CHAINS[chain]
    lines = [diff(k, i[0], i[1], [(100, k)], [], *i[2:]) for k, i in enumerate(ids, 1)]
    events, feed = read(write(tmp_path, snapshot(0, 10), *lines))
    kept = list(dict.fromkeys(i[1] for i in ids))
    assert told(events) == [(10, False), *((last, last in lost) for last in kept)]
    assert feed.dropped["diff applied already"] == len(ids) - len(kept)


@pytest.mark.parametrize("pu", [None, 12])
@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("diff", [(17, True)]),
        ("trade, diff", [(0, True), (17, False)]),
        ("empty, diff", [(18, True)]),
        ("old, diff", [(17, True)]),
        ("snapshot, diff", [(16, False), (17, False)]),
        ("gap", [(22, True)]),
    ],
)
def test_empty_diff_behind_a_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pu: int | None, block: int, then: str, expected: list
) -> None:
    """It tells nothing itself: the next event bears the mark, and the sequence goes on from it."""
    monkeypatch.setattr(blocks, "_BLOCK", block)
    futures = pu is not None
    after = {
        "diff": diff(5, 17, 17 + ("empty" in then), [(99, 1)], [], 16 + ("empty" in then) if futures else None),
        "trade": trade(4, 1),
        "empty": diff(4, 17, 17, [], [], 16 if futures else None),
        "old": diff(4, 12, 14, [(98, 1)], [], 11 if futures else None),
        "snapshot": snapshot(4, 16),
        "gap": diff(5, 20, 22, [(99, 1)], [], 18 if futures else None),
    }
    if "empty" in then:
        after["diff"] = diff(5, 18, 18, [(99, 1)], [], 17 if futures else None)
    hole = diff(3, 15, 16, [], [], 14 if futures else None)
    path = write(tmp_path, snapshot(0, 12), hole, *(after[name] for name in then.split(", ")))
    assert told(read(path)[0]) == [(12, False), *expected]


def test_the_book_waits_for_the_next_snapshot(tmp_path: Path) -> None:
    """After a hole no book is known until a snapshot comes that is not older than the last diff."""
    lines = [snapshot(0, 10), diff(1, 11, 12, [(100, 5)], []), snapshot(2, 11)]
    lines += [diff(3, 20, 21, [(100, 6)], []), trade(4, 1), diff(5, 22, 22, [(100, 7)], [])]
    lines += [snapshot(6, 25, [(90, 1)], [(91, 1)]), diff(7, 24, 24, [], [(91, 0)]), diff(8, 26, 26, [(90, 3)], [])]
    events, feed = read(write(tmp_path, *lines))
    assert feed.dropped == {"snapshot older than the book": 1, "diff before the first snapshot's update": 1}
    book = OrderBook(0.5, 0.001)
    valid = [bool(book.apply(event)) for event in events]
    states = [v for v, event in zip(valid, events, strict=True) if event["ival"] & LAST]
    assert states == [True, True, False, False, False, True, True]
    assert {kind: n for kind, n in book.anomalies.items() if n} == {"gap": 1, "unsynced": 2}
    assert (book.best_bid, book.best_ask, book.depth) == (90, 91, (1, 1))


@pytest.mark.parametrize("block", [64, 300, 1 << 20])
@pytest.mark.parametrize("futures", [True, False])
def test_a_snapshot_behind_newer_diffs_mends_a_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, futures: bool
) -> None:
    """As collectors do: diffs are missing, a snapshot is asked for, and comes behind diffs that are newer than it."""
    monkeypatch.setattr(blocks, "_BLOCK", block)
    rng = np.random.default_rng(block)
    truth: list[dict[float, float]] = [{100: 1, 99.5: 2}, {101: 3}]
    books, lines = {10: [dict(side) for side in truth]}, []
    for u in range(11, 60):
        px, side = float(rng.integers(80, 100)), int(rng.integers(2))
        change = (px if side == 0 else 200 - px, float(rng.integers(0, 4)))
        truth[side][change[0]] = change[1]
        books[u] = [{px: qty for px, qty in levels.items() if qty} for levels in truth]
        lines.append(diff(u, u, u, [change] * (side == 0), [change] * side, u - 1 if futures else None))
    bids, asks = (sorted(side.items()) for side in books[40])
    too_old, mending = snapshot(35.5, 25, [(1, 1)], [(300, 1)]), snapshot(45.5, 40, bids[::-1], asks)
    feed = [snapshot(0, 10, [(100, 1), (99.5, 2)], [(101, 3)]), *lines[:10], *lines[20:25], too_old]
    events, read_feed = read(write(tmp_path, *feed, *lines[25:35], mending, *lines[35:]))
    assert read_feed.dropped == {"snapshot older than the book": 1}
    book = OrderBook(0.5, 0.001)
    seen = [(round((event["local_ts"] - T0) / 1e6, 1), book.apply(event)) for event in events]
    assert not any(valid for ms, valid in seen if 21 < ms < 45.5) and all(valid for ms, valid in seen if ms > 45.5)
    assert book.anomalies["gap"] == 1
    for side, levels in zip((book.top(60).bid_px, book.top(60).ask_px), books[59], strict=True):
        assert sorted(px * 0.5 for px in side[side != EMPTY_PRICE]) == sorted(levels)


def test_an_outage_that_a_snapshot_mends_is_counted(tmp_path: Path) -> None:
    """A collector that lost its connection begins anew with a snapshot: the book is right, the hole is told."""
    first = [snapshot(0, 10), diff(1, 11, 12, [(99, 1)], []), trade(2, 7)]
    again = [snapshot(5_000, 90), diff(5_001, 91, 91, [(98, 1)], []), trade(5_002, 17)]
    events, feed = read(write(tmp_path, *first, *again))
    assert feed.dropped == {"outage mended by a snapshot": 1, "missing trades": 9} and len(events) > 0
    # a snapshot in passing takes the place of updates in flight: nothing is lost
    passing = [snapshot(3, 14), diff(4, 13, 14, [(99, 2)], []), diff(5, 15, 15, [(99, 3)], [])]
    _, feed = read(write(tmp_path, *first, *passing, name="passing_20240101"))
    assert feed.dropped.keys() == {"diff applied already"} or feed.dropped.keys() == set()


def test_levels_need_their_commas(tmp_path: Path) -> None:
    """Without them a line would hold more events than there is room for."""
    packed = '["1","2"]' * 200_000
    line = f'{T0} {{"lastUpdateId":1,"bids":[{packed}],"asks":[["3","1"]]}}'
    with pytest.raises(DataError, match=r"line 2: .* is malformed"):
        read(write(tmp_path, snapshot(0, 1), line, trade(9, 1)))
    for levels in ('["1","2"],', ',["1","2"]', '["1","2"],,["3","4"]'):
        broken = f'{T0} {{"lastUpdateId":1,"bids":[{levels}],"asks":[]}}'
        with pytest.raises(DataError, match="is malformed"):
            read(write(tmp_path, broken, trade(9, 1), name="b_20240101"))


def test_no_snapshot_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for a snapshot is bounded: behind too much of it, the feed says that updates are missing."""
    monkeypatch.setattr(blocks, "_BLOCK", 200)
    monkeypatch.setattr(snapshots, "_MOST_BLOCKS", 2)
    lines = [diff(u, u, u, [(100, u)], [], u - 1) for u in range(11, 60)]
    events, _ = read(write(tmp_path, *lines, snapshot(59.5, 12), diff(60, 60, 60, [(100, 1)], [], 59)))
    assert told(events)[0] == (12, False) and told(events)[1][1]


def test_empty_snapshots(tmp_path: Path) -> None:
    """They void the book, and what they say is dated by themselves."""
    path = write(tmp_path, snapshot(0, 10), snapshot(1, 20, [], []), trade(2, 1), diff(3, 21, 21, [(5, 1)], [(6, 1)]))
    events, _ = read(path)
    assert told(events) == [(10, False), (20, False), (0, False), (21, False)]
    void = events[5:7]
    assert (void["ev"] & KIND_MASK).tolist() == [CLEAR] * 2 and ((void["local_ts"] - T0) / 1e6).tolist() == [1, 1]
    only = write(tmp_path, snapshot(0, 10, [], []), name="only")
    with pytest.raises(DataError, match="no price to infer the tick size from"):
        open_binance([only])
    assert len(read(only)[0]) == 2


def test_trades(tmp_path: Path) -> None:
    """Each is told once, and only those of the market are."""
    numbers = [7, 8, 7, 8, 9, 9]
    lines = [trade(k, n, X="MARKET", q=f"{n}.5") for k, n in enumerate(numbers, 1)]
    lines += [trade(9, 10, X="INSURANCE_FUND"), trade(9, 11, X="NA"), line(9, e="markPriceUpdate", s="ABC", p="1")]
    events, feed = read(write(tmp_path, snapshot(0, 10), *lines))
    assert events["qty"][events["ev"] & KIND_MASK == TRADE].tolist() == [7.5, 8.5, 9.5]
    assert feed.dropped == {"trade reported already": 3, "not a market trade": 2, "foreign message": 1}


def test_symbols(tmp_path: Path) -> None:
    other, own = diff(1, 11, 11, [(7, 7)], [], s="XYZ"), diff(2, 11, 11, [(100, 7)], [])
    with pytest.raises(
        DataError, match=r"several symbols \(ABC, XYZ\); choose one with symbol, on the command line --symbol$"
    ):
        read(write(tmp_path, snapshot(0, 10), own, other))
    # whose snapshot is it?
    for lines in ((snapshot(0, 10), other, own), (other, own, snapshot(3, 10))):
        with pytest.raises(DataError, match="a snapshot that does not say whose it is; give the right symbol, "):
            read(write(tmp_path, *lines), symbol="abc")
    others = snapshot(0, 500, [(7, 1)], [(8, 1)], symbol="XYZ"), snapshot(1, 10, symbol="ABC")
    events, feed = read(write(tmp_path, other, *others, own, other, trade(4, 1, s="XYZ")), symbol="abc")
    assert told(events) == [(10, False), (11, False)]
    assert feed.dropped == {"another symbol": 3, "before the first snapshot": 1}
    with pytest.raises(DataError, match="no depth snapshot"):
        read(write(tmp_path, own, others[0]), symbol="ABC")


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no depth snapshot .* put the file that holds it before this one"):
        read(write(tmp_path, diff(1, 1, 2, [(1, 1)], []), trade(2, 1)))
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none")
    good = snapshot(0, 10)
    for before in ((), (good,), ("", good, "", "")):
        path = write(tmp_path, *before, f"{T0} {{broken}}", good)
        with pytest.raises(DataError, match=rf"line {len(before) + 1}: '\d+ {{broken}}' .* is malformed") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_malformed_line_behind_the_first_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK", 100)
    path = write(tmp_path, snapshot(0, 10), "", trade(1, 1), trade(2, 2), "nonsense", trade(3, 3))
    with pytest.raises(DataError, match="line 5: 'nonsense'"):
        read(path)


def test_truncated_last_line(tmp_path: Path) -> None:
    """A collector that was stopped: counted, also where the next file goes on."""
    cut = write(tmp_path, snapshot(0, 10), trade(1, 1))
    cut.write_bytes(cut.read_bytes()[:-20])
    after = write(tmp_path, diff(2, 11, 11, [(100, 3)], []), name="abc_20240102")
    events, feed = read(cut, after)
    assert told(events) == [(10, False), (11, False)] and feed.dropped == {"truncated last line": 1}
    whole = write(tmp_path, snapshot(0, 10), trade(1, 1))
    whole.write_bytes(whole.read_bytes()[:-1])  # without its newline only
    assert read(whole)[1].dropped == {}


def test_the_book_goes_on_in_the_next_file(tmp_path: Path) -> None:
    days = [snapshot(0, 10), diff(1, 11, 11, [(100, 3)], [])], [diff(2, 12, 12, [(99, 1)], []), diff(3, 14, 14, [], [])]
    files = [write(tmp_path, *lines, name=f"abc_2024010{k}.gz") for k, lines in enumerate(days, 1)]
    files[1].write_bytes(gzip.compress(files[1].read_bytes()))
    events, feed = read(*files)
    assert told(events) == [(10, False), (11, False), (12, False)] and feed.name == "abc_20240102"
    early = write(tmp_path, diff(0, 9, 10, [(98, 1)], []), name="early")
    assert told(read(early, *files)[0]) == [(10, False), (10, False), (11, False), (12, False)]
