"""Figures are those of all ticks, not of the thinned ones that are drawn; sources that change are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.period import parse_period
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.data.survey import survey
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import BUY, DEPTH, DEPTH_SNAPSHOT, EVENT, LAST, SELL, TRADE
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import find_sources
from nanoarb_jax.simulation.market import synthetic_books

BOOKS = synthetic_books(10_001, 3, name="x_20240101")


def test_figures_are_of_every_tick(tmp_path: Path) -> None:
    write_book_npz(tmp_path / "x_20240101.npz", BOOKS)
    (source,) = find_sources([tmp_path])
    figures, sample, timed = survey(source)
    assert timed and figures["ticks"] == 10_001 and 2_000 < sample.rows <= 4_096
    assert figures["mid"] == {"first": BOOKS.mid[0], "last": BOOKS.mid[-1]}
    assert figures["span_s"] == (BOOKS.ts_ns[-1] - BOOKS.ts_ns[0]) / 1e9 and figures["instrument"] == "x"
    assert figures["spread_ticks"]["max"] == BOOKS.spread_ticks.max()
    assert figures["median_best_quantity"] == np.median(np.r_[BOOKS.bid_lots[:, 0], BOOKS.ask_lots[:, 0]])
    assert BOOKS.bought is not None and sample.bought is not None
    assert figures["traded"]["bought"] == BOOKS.bought.sum()
    # the sample's trades are all those up to its last row
    upto = np.searchsorted(BOOKS.ts_ns, sample.ts_ns[-1], side="right")
    assert sample.bought.sum() == BOOKS.bought[:upto].sum()


def test_trades_without_a_side(tmp_path: Path) -> None:
    events = np.zeros(6, EVENT)
    events["ev"] = [DEPTH | BUY, DEPTH | SELL, TRADE, TRADE | BUY, DEPTH | BUY, DEPTH | SELL]
    events["px"], events["qty"], events["ival"] = [10, 10.25, 10, 10.25, 9.75, 10.5], [1, 2, 7, 3, 4, 5], LAST
    events["local_ts"] = events["exch_ts"] = 10**18 + np.arange(6) * 10**9
    np.save(tmp_path / "e.npy", events)
    traded = survey(find_sources([tmp_path])[0], policy={"incomplete": "keep"}).figures["traded"]
    assert traded == {"bought": 3, "sold": 0, "unsided": pytest.approx(7)}
    np.save(tmp_path / "e.npy", events[[0, 1, 4, 5]])
    assert survey(find_sources([tmp_path])[0], policy={"incomplete": "keep"}).figures["traded"] is None


def test_a_source_that_changes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_book_npz(path, BOOKS)

    def replace(done: int, total: int, name: str) -> None:
        if "ticks" in name and path.stat().st_size:
            path.unlink()
            write_book_npz(path, synthetic_books(3_000, 4))

    with pytest.raises(DataError, match="changed while it was read"):
        prepare([path], tmp_path / "out", DataConfig(), replace)
    assert not (tmp_path / "out").exists()


def test_what_files_lack(tmp_path: Path) -> None:
    write_book_npz(tmp_path / "a.npz", BOOKS)
    figures = survey(find_sources([tmp_path])[0]).figures
    assert figures["lacks"] == [] and figures["period"] is None and figures["ticks_read"] == figures["ticks"]
    write_book_npz(tmp_path / "b.npz", BOOKS._replace(bought=None, sold=None))
    found = survey(find_sources([tmp_path / "b.npz"])[0])
    assert found.figures["lacks"] == ["trades"] and found.sample.bought is None
    # trades that the files could hold, and do not: those of events
    events = np.zeros(2, EVENT)
    events["ev"], events["ival"], events["px"], events["qty"] = (
        [DEPTH_SNAPSHOT | BUY, DEPTH_SNAPSHOT | SELL],
        LAST,
        [10, 10.25],
        1,
    )
    events["local_ts"] = events["exch_ts"] = np.arange(2) * 10**9
    np.save(tmp_path / "e.npy", events)
    (source,) = find_sources([tmp_path / "e.npy"])
    found = survey(source)
    assert found.figures["lacks"] == ["trades", "definition"] and found.sample.bought is None
    assert survey(source, options=ReadOptions(tick_size=0.25)).figures["lacks"] == ["trades"]


def test_books_without_times(tmp_path: Path) -> None:
    quotes = [f"{1_000_100 + 100 * (i % 2)},5,{1_000_000 + 100 * (i % 2)},{7 + i}" for i in range(6)]
    (tmp_path / "X_2012-06-21_34200000_57600000_orderbook_1.csv").write_text("\n".join(quotes) + "\n")
    (source,) = find_sources([tmp_path])
    figures, sample, timed = survey(source)
    assert figures["lacks"] == ["trades", "times", "definition"] and not timed
    assert sample.ts_ns.tolist() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(
        DataError, match=r"orderbook_1\.csv: --from and --to: the files have no real times; leave them out$"
    ):
        survey(source, period=parse_period("10:00", None))
