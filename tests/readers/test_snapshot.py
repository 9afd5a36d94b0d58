"""Events that begin in the middle, and the file that holds the book at their beginning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import nanoarb_jax as nj
from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event as ev
from nanoarb_jax.market.series import COLUMNS, BookSeries
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import find_sources
from nanoarb_jax.simulation.config import MarketConfig
from nanoarb_jax.simulation.market import synthetic_events

MARKET = MarketConfig.preset("es")


def ticks(path: Path, **options: object) -> BookSeries:
    given = ReadOptions(MARKET.tick_size, MARKET.lot_size, **options)  # type: ignore[arg-type]
    return read_books(find_sources([path])[0], DataConfig(), given)[0]


def cut(events: NDArray[np.void], at: int) -> int:
    """The first event behind message end number `at`."""
    return int(np.flatnonzero(events["ival"] & ev.LAST)[at]) + 1


@pytest.mark.parametrize("level", ["l2", "l3"])
def test_the_book_of_another_file_and_then_the_events(tmp_path: Path, level: str) -> None:
    events = synthetic_events(6_000, 0, MARKET, level=level)  # type: ignore[arg-type]
    middle = cut(events, 800)
    for name, part in (("whole", events), ("before", events[:middle]), ("after", events[middle:])):
        np.savez(tmp_path / f"{name}.npz", data=part)
    with pytest.raises(DataError, match="begins without a snapshot"):
        ticks(tmp_path / "after.npz")
    begun, whole = ticks(tmp_path / "after.npz", snapshot=tmp_path / "before.npz"), ticks(tmp_path / "whole.npz")
    rows = begun.rows - 1  # the first tick is the snapshot itself
    for column in COLUMNS[:5]:
        np.testing.assert_array_equal(getattr(begun, column)[1:], getattr(whole, column)[-rows:])
    read = nj.read_events(tmp_path / "after.npz", snapshot=tmp_path / "before.npz", tick_size=MARKET.tick_size)
    assert read["ev"][0] & ev.KIND_MASK == ev.CLEAR and len(read) > len(events) - middle


def test_a_row_of_books_as_the_beginning(tmp_path: Path) -> None:
    events = synthetic_events(4_000, 1, MARKET, level="l2")
    middle = cut(events, 500)
    np.savez(tmp_path / "before.npz", data=events[:middle])
    np.savez(tmp_path / "after.npz", data=events[middle:])
    books = ticks(tmp_path / "before.npz")
    write_book_npz(tmp_path / "row.npz", books.part(books.rows - 1, books.rows))
    begun = ticks(tmp_path / "after.npz", snapshot=tmp_path / "row.npz")
    assert begun.rows > 100 and (begun.bid_px[0] == books.bid_px[-1]).all()


def test_what_is_no_beginning(tmp_path: Path) -> None:
    events = synthetic_events(3_000, 0, MARKET, level="l3")
    levels = synthetic_events(3_000, 0, MARKET, level="l2")
    middle = cut(events, 300)
    parts = {"before": events[:middle], "after": events[middle:], "levels": levels[: cut(levels, 100)]}
    for name, part in parts.items():
        np.savez(tmp_path / f"{name}.npz", data=part)
    with pytest.raises(DataError, match="levels, but the events are of orders; expected a snapshot of orders"):
        ticks(tmp_path / "after.npz", snapshot=tmp_path / "levels.npz")
    with pytest.raises(DataError, match=r"lies behind that of the first event, .*; expected the book before it"):
        ticks(tmp_path / "before.npz", snapshot=tmp_path / "after.npz")
    (tmp_path / "books.csv").write_text("ts_ns,bid_px_0,bid_sz_0,ask_px_0,ask_sz_0\n1735732800000000000,1,1,2,1\n")
    with pytest.raises(DataError, match="table-books holds whole books; leave out --snapshot"):
        read_books(find_sources([tmp_path / "books.csv"])[0], DataConfig(), ReadOptions(snapshot=tmp_path / "x"))
    with pytest.raises(DataError, match="no such file"):
        ticks(tmp_path / "after.npz", snapshot=tmp_path / "none.npz")
