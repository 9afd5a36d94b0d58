"""Days of hftbacktest written by us: its book is ours at any time, and our reader reads what was written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from nanoarb_jax.cli.data import app
from nanoarb_jax.data.convert import convert_to_hftbacktest
from nanoarb_jax.data.events import read_events
from nanoarb_jax.errors import DataError, OutputError
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import BUY, DEPTH, EVENT, LOCAL_EVENT, SELL
from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import find_sources
from nanoarb_jax.simulation.config import MarketConfig
from nanoarb_jax.simulation.market import synthetic_books, synthetic_events
from support.captures import STEP, Message, lines_of, market, write

hftbacktest = pytest.importorskip("hftbacktest")
LEVELS = 8


def their_books(day: Path, snapshot: Path | None, tick: float, lot: float, times: NDArray[np.int64]) -> list:
    """Best levels, in ticks and lots, that hftbacktest's receiver knows at these times."""
    asset = (
        hftbacktest.BacktestAsset()
        .data([str(day)])
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .power_prob_queue_model(2.0)
        .no_partial_fill_exchange()
        .trading_value_fee_model(0, 0)
        .tick_size(tick)
        .lot_size(lot)
    )
    if snapshot is not None:
        asset.initial_snapshot(str(snapshot))
    backtest = hftbacktest.HashMapMarketDepthBacktest([asset])
    books = []
    assert backtest.elapse(1) == 0  # the clock starts at the first event
    for time in times.tolist():
        assert backtest.elapse(time - backtest.current_timestamp) == 0
        depth = backtest.depth(0)
        books.append(
            [
                levels(depth.best_bid_tick, -1, depth.bid_qty_at_tick, lot),
                levels(depth.best_ask_tick, 1, depth.ask_qty_at_tick, lot),
            ]
        )
    backtest.close()
    return books


def levels(best: int, step: int, quantity_at: object, lot: float) -> list[tuple[int, int]]:
    if abs(best) > 2**40:
        return []
    found = ((best + step * i, round(quantity_at(best + step * i) / lot)) for i in range(40))  # type: ignore[operator]
    return [(px, lots) for px, lots in found if lots][:LEVELS]


def our_books(events: NDArray[np.void], tick: float, lot: float, times: NDArray[np.int64]) -> list:
    book, books, at = OrderBook(tick, lot), [], 0
    local = events["local_ts"]
    for time in times.tolist():
        end = int(np.searchsorted(local, time, side="right"))
        book.apply_all(events[at:end])
        at, top = end, book.top(LEVELS)
        sides = ((top.bid_px, top.bid_lots), (top.ask_px, top.ask_lots))
        near = []
        for px, lots in sides:
            kept = (px != EMPTY_PRICE) & (np.abs(px - px[0]) < 40)
            near.append(list(zip(px[kept].tolist(), lots[kept].tolist(), strict=True)))
        books.append(near)
    return books


def compare(path: Path, out: Path, options: ReadOptions, samples: int = 60) -> None:
    """Convert, run, and compare: hftbacktest's book, our book, and our book of what was written."""
    made = convert_to_hftbacktest(find_sources([path])[0], out, options)
    tick, lot = options.tick_size or made.tick_size, options.lot_size or made.lot_size
    events = read_events(path, tick_size=tick, lot_size=lot)
    day = np.load(out)["data"]
    assert made.events == len(day) and day.dtype == EVENT
    shift = int(day["local_ts"].max() - events["local_ts"].max())
    first, last = (int(day["local_ts"].min()) + 1, int(day["local_ts"].max()) - 1)
    times = first + np.arange(samples) * ((last - first) // samples)
    theirs = their_books(out, made.snapshot, tick, lot, times)
    ours = our_books(events, tick, lot, times - shift)
    assert any(len(side) > 3 for book in ours for side in book)
    for mine, their in zip(ours, theirs, strict=True):
        assert [side[: min(len(side), LEVELS)] for side in mine] == [
            t[: len(m)] for m, t in zip(mine, their, strict=True)
        ]
    again = read_events(out, tick_size=tick, lot_size=lot, snapshot=made.snapshot)
    seen = again[again["ev"] & np.uint64(LOCAL_EVENT) != 0]
    assert our_books(seen, tick, lot, times) == ours


def whole(message: Message) -> list[tuple[str, float, str]]:
    return [(side, px, message.book[side][px]) for side in message.book for px in message.book[side]]


@pytest.mark.parametrize("exchange", ["okx", "kraken"])
@pytest.mark.parametrize("lost", [False, True])
def test_captures(tmp_path: Path, exchange: str, lost: bool) -> None:
    """With a snapshot in the middle; a lost message before it leaves the book empty until then."""
    depth = 10 if exchange == "kraken" else None
    messages, others = list(market(80, depth=depth)), list(market(80, 9, depth=depth))
    lines = lines_of(exchange, [*messages, Message("snapshot", whole(others[0]), others[0].book), *others[1:]])
    if lost:
        update = next(i for i, message in enumerate(messages) if i > 30 and message.kind == "update")
        del lines[update]
    compare(write(tmp_path / "a.jsonl", lines), tmp_path / "out.npz", ReadOptions(0.1, 1e-8))
    made = find_sources([tmp_path / "a.jsonl"])[0]
    written = convert_to_hftbacktest(made, tmp_path / "again.npz", ReadOptions(0.1, 1e-8))
    assert (written.dropped["behind lost messages, until the next snapshot"] > 0) == lost


def test_simulated_events(tmp_path: Path) -> None:
    config = MarketConfig.preset("crypto")
    np.savez(tmp_path / "day.npz", data=synthetic_events(8_000, 3, config))
    compare(tmp_path / "day.npz", tmp_path / "out.npz", ReadOptions(config.tick_size))


def test_events_that_the_clocks_order_differently(tmp_path: Path) -> None:
    """Told twice, once for each; local times before the exchange's are moved behind them, and that is told."""
    events = read_events(write(tmp_path / "a.jsonl", lines_of("okx", list(market(60)))), tick_size=0.1, lot_size=1e-8)
    events["exch_ts"][np.isin(events["local_ts"], np.unique(events["local_ts"])[10::10])] -= 3 * STEP // 2
    events["exch_ts"] += 50_000_000
    np.save(tmp_path / "mixed.npy", events)
    made = convert_to_hftbacktest(
        find_sources([tmp_path / "mixed.npy"])[0], tmp_path / "out.npz", ReadOptions(0.1, 1e-8)
    )
    assert made.events > len(events) - made.levels
    assert any("ns later" in note for note in made.notes)
    day = np.load(tmp_path / "out.npz")["data"]
    assert (day["local_ts"] >= day["exch_ts"]).all()
    compare(tmp_path / "mixed.npy", tmp_path / "again.npz", ReadOptions(0.1, 1e-8))


def test_a_feed_without_a_snapshot(tmp_path: Path) -> None:
    events = np.zeros(4, EVENT)
    events["ev"] = [DEPTH | BUY, DEPTH | SELL, DEPTH | BUY, DEPTH | SELL]
    events["px"], events["qty"] = [10, 11, 9, 12], 1
    events["local_ts"] = events["exch_ts"] = 10**18 + np.arange(4)
    np.save(tmp_path / "e.npy", events)
    made = convert_to_hftbacktest(find_sources([tmp_path / "e.npy"])[0], tmp_path / "out.npz")
    assert made.snapshot is None and not (tmp_path / "out_snapshot.npz").exists()
    assert any("does not begin with a snapshot" in note for note in made.notes)


def test_the_command(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines_of("okx", list(market(30))))
    out, figures = tmp_path / "out.npz", tmp_path / "figures.json"
    words = ["convert", path, "--to", "hftbacktest", "--output", out, "--lot-size", "1e-8", "--json", figures]
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0 and "give it as initial_snapshot" in result.output
    told = json.loads(figures.read_text())
    assert told["levels"] == 60 and told["snapshot"] == str(tmp_path / "out_snapshot.npz")
    with pytest.raises(OutputError, match="exists already"):
        CliRunner().invoke(app, [str(word) for word in words[:-2]], catch_exceptions=False)
    with pytest.raises(OutputError, match=r"\.npz"):
        CliRunner().invoke(app, ["convert", str(path), "--output", str(tmp_path / "x.csv")], catch_exceptions=False)


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_book_npz(tmp_path / "books.npz", synthetic_books(100, 0, name="x"))
    with pytest.raises(DataError, match="hold books; expected events"):
        convert_to_hftbacktest(find_sources([tmp_path / "books.npz"])[0], tmp_path / "out.npz")
    (source,) = find_sources([write(tmp_path / "a.jsonl", lines_of("okx", list(market(0))))])
    with pytest.raises(DataError, match="no events behind the snapshot"):
        convert_to_hftbacktest(source, tmp_path / "out.npz")
    monkeypatch.setitem(sys.modules, "hftbacktest.data", None)
    with pytest.raises(DataError, match=r"pip install 'nanoarb-jax\[backtest\]'"):
        convert_to_hftbacktest(source, tmp_path / "out.npz")
