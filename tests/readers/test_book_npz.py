"""`book-npz` as a feed: fewer levels, invalid rows by policy, units of times, order of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.ticks import read_ticks
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import COLUMNS, EMPTY_PRICE, BookSeries, validate_books
from nanoarb_jax.readers import book_npz
from nanoarb_jax.readers.book_npz import read_book_npz, write_book_npz
from nanoarb_jax.readers.feed import BookFeed, ReadOptions
from nanoarb_jax.readers.sources import find_sources, open_source
from nanoarb_jax.simulation.market import synthetic_books
from support.examples import examples
from support.series import joined, random_books

SIZES = ("bid_px", "bid_sz", "ask_px", "ask_sz")


def write(path: Path, books: BookSeries, change: Callable[[dict[str, Any]], Any] = lambda fields: None) -> Path:
    """The books' fields, changed, whether they are valid or not."""
    write_book_npz(path.with_suffix(".first"), books)
    with np.load(path.with_suffix(".first")) as file:
        fields = dict(file)
    change(fields)
    with path.open("wb") as out:
        np.savez(out, **fields)
    path.with_suffix(".first").unlink()
    return path


def feed_of(path: Path, **options: Any) -> BookFeed:
    (source,) = find_sources([path])
    feed = open_source(source, ReadOptions(**options))
    assert isinstance(feed, BookFeed) and feed.format == "book-npz"
    return feed


def cut(levels: int) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.update({key: fields[key][:, :levels] for key in SIZES})


@pytest.mark.parametrize("levels", [1, 3, 10])
def test_fewer_levels_are_filled_with_empty_ones(tmp_path: Path, levels: int) -> None:
    whole = synthetic_books(200, seed=1)
    books = read_book_npz(write(tmp_path / "b.npz", whole, cut(levels)))
    validate_books(books)
    np.testing.assert_array_equal(books.bid_px[:, :levels], whole.bid_px[:, :levels])
    assert (books.ask_px[:, levels:] == EMPTY_PRICE).all() and (books.ask_lots[:, levels:] == 0).all()
    feed = joined(list(feed_of(tmp_path / "b.npz").chunks))
    assert feed is not None
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(feed, name), getattr(books, name))


def test_levels_filled_with_zeros_are_empty(tmp_path: Path) -> None:
    whole = synthetic_books(50, seed=1)

    def without_depth(fields: dict[str, Any]) -> None:
        for key in SIZES:
            fields[key][:, 4:] = 0

    books = read_book_npz(write(tmp_path / "b.npz", whole, without_depth))
    assert (books.bid_px[:, 4:] == EMPTY_PRICE).all() and (books.bid_px[:, 3] != EMPTY_PRICE).all()


def test_invalid_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    whole = synthetic_books(300, seed=2)

    def spoil(fields: dict[str, Any]) -> None:
        fields["bid_px"][5, 0] = fields["ask_px"][5, 0] + 1  # crossed, and so on
        fields["bid_sz"][7, 0] = -1
        fields["ask_px"][9], fields["ask_sz"][9] = EMPTY_PRICE, 0
        fields["ask_px"][11, 3] = fields["ask_px"][11, 2]
        fields["ts_ns"][20] = fields["ts_ns"][10]

    path = write(tmp_path / "b.npz", whole, spoil)
    (source,) = find_sources([path])
    ticks, report = read_ticks(source, DataConfig())
    books = joined(list(ticks))
    assert books is not None and books.rows == 296
    validate_books(books)
    counted = {kind: count for kind, count in report.anomalies.items() if count and kind != "locked"}
    assert counted == {"crossed": 1, "one_sided": 1, "invalid": 2, "backwards": 1}
    for kind in ("crossed", "invalid"):
        ticks, _ = read_ticks(source, DataConfig(), policy={kind: "raise"})  # type: ignore[dict-item]
        with pytest.raises(DataError, match=f"{kind} book"):
            list(ticks)
    with pytest.raises(DataError, match="row 20: time goes backwards"):
        read_book_npz(path)  # as ever


def test_sorted(tmp_path: Path) -> None:
    whole = synthetic_books(300, seed=3)

    def turn(fields: dict[str, Any]) -> None:
        fields.update({key: value[::-1] for key, value in fields.items() if value.ndim})

    path = write(tmp_path / "b.npz", whole, turn)
    feed = feed_of(path, sort=True)
    books = joined(list(feed.chunks))
    assert books is not None
    np.testing.assert_array_equal(books.ts_ns, whole.ts_ns)
    np.testing.assert_array_equal(books.bid_lots, whole.bid_lots)
    assert feed.notes == ["rows sorted by time (newest first in the file)"]


def test_chunks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_npz, "CHUNK", 64)
    write_book_npz(tmp_path / "b.npz", synthetic_books(150, seed=3))
    assert [books.rows for books in feed_of(tmp_path / "b.npz").chunks] == [64, 64, 22]


@pytest.mark.parametrize(("unit", "ns"), [("µs", 10**3), ("ms", 10**6), ("s", 10**9)])
def test_times_of_another_unit_are_refused(tmp_path: Path, unit: str, ns: int) -> None:
    start = 1_735_700_000 * 10**9
    stamps = (start + np.arange(100) * 3 * 10**8) // ns

    def recount(fields: dict[str, Any]) -> None:
        fields["ts_ns"] = stamps

    path = write(tmp_path / "b.npz", synthetic_books(100, seed=1), recount)
    for reader in (read_book_npz, feed_of):
        with pytest.raises(DataError, match=f"looks like {unit} since 1970; expected ns"):
            reader(path)


def test_times_may_begin_anywhere(tmp_path: Path) -> None:
    for i, start in enumerate((-5, 0, 10, 5 * 10**8, 34_200 * 10**9)):
        books = random_books(i)
        write_book_npz(tmp_path / f"{i}.npz", books._replace(ts_ns=books.ts_ns + start))
        assert read_book_npz(tmp_path / f"{i}.npz").rows == books.rows


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: f.update(bid_px=f["bid_px"][:, :0]), r"bid_px \(30, 0\); expected \(n,\) and \(n, 1 to 10 levels\)"),
        (lambda f: f.update(bid_px=f["bid_px"].ravel()), r"bid_px \(300,\); expected"),
        (lambda f: f.update(ts_ns=f["ts_ns"][:0]), r"ts_ns is \(0,\)"),
        (lambda f: f.update(ts_ns=f["ts_ns"][:9]), r"bid_px is int64 \(30, 10\); expected int64 \(9, 10\)"),
        (lambda f: f.update(bid_px=np.zeros((30, 11), int)), r"expected \(n,\) and \(n, 1 to 10 levels\)"),
        (lambda f: f.update(bought=np.zeros(3, int), sold=np.zeros(30, int)), r"bought is int64 \(3,\)"),
        (lambda f: f.update(tick=0), "tick=0; expected a finite value above 0"),
        (lambda f: f.update(sz_scale=-1.0), r"sz_scale=-1\.0; expected a finite value above 0"),
        (lambda f: f.update(px_scale=np.nan), "px_scale=nan"),
        (lambda f: f.update(tick=np.inf), "tick=inf"),
    ],
)
def test_what_does_not_fit_together(tmp_path: Path, change: Callable[[dict[str, Any]], Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        feed_of(write(tmp_path / "b.npz", random_books(0), change))


@given(data=st.data())
@settings(max_examples=examples(100))
def test_mutated_prefixes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("mutated") / "b.npz"
    write_book_npz(path, random_books(data.draw(st.integers(0, 3))))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        for source in find_sources([path]):
            list(open_source(source, ReadOptions(sort=data.draw(st.booleans()))).chunks)
    except DataError as error:
        assert "\n" not in str(error)
