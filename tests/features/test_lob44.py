"""Books are checked at the boundary; one definition of the 44 features, per tick and mirrored."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError, OutputError
from nanoarb_jax.features.feature_set import FEATURE_SETS, mirror_features
from nanoarb_jax.features.lob44 import FEATURE_NAMES, FeatureScale, lob44, lob44_row
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries, validate_books
from nanoarb_jax.readers.book_npz import read_book_npz, write_book_npz
from support.examples import examples
from support.series import random_books

SHARED = Path(__file__).parents[3] / "shared"
TOP10 = SHARED / "data" / "derived_top10"
seeds = st.integers(0, 2**32 - 1)
quick = settings(deadline=None, max_examples=examples(40), database=None)


def two_level_book() -> BookSeries:
    """bid 100.00 x 3, 99.75 x 5 · ask 100.50 x 1, 101.00 x 2."""
    px, lots = np.full((1, LEVELS), EMPTY_PRICE), np.zeros((1, LEVELS), np.int64)
    bid_px, bid_lots, ask_px, ask_lots = px.copy(), lots.copy(), px.copy(), lots.copy()
    bid_px[0, :2], bid_lots[0, :2] = (10_000, 9_975), (30, 50)
    ask_px[0, :2], ask_lots[0, :2] = (10_050, 10_100), (10, 20)
    return BookSeries(
        np.array([1]), bid_px, bid_lots, ask_px, ask_lots, px_scale=100.0, lots_per_unit=10.0, tick=25, name="hand"
    )


def test_hand_computed_row() -> None:
    row = lob44(two_level_book(), quantity_scale=2.0)[0]
    weighted_mid = (100 * 3 + 0.5 * 99.75 * 5 + 100.5 * 1 + 0.5 * 101 * 2) / (3 + 2.5 + 1 + 1)
    expected = np.zeros(44)
    expected[:4] = (100 * 1 + 100.5 * 3) / 4, weighted_mid, 2.0, (3 - 1) / 4
    expected[4:6], expected[14:16] = (1.5, 2.5), (0.5, 1.0)
    expected[24:34], expected[34:44] = [1.5, *[4.0] * 9], [0.5, *[1.5] * 9]
    np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_names_are_the_contract() -> None:
    assert len(FEATURE_NAMES) == len(set(FEATURE_NAMES)) == 44
    assert FEATURE_NAMES[:5] == ("microprice", "weighted_mid", "spread_ticks", "imbalance", "bid_quantity_0")
    assert [FEATURE_NAMES[i] for i in (14, 24, 34, 43)] == [
        "ask_quantity_0",
        "bid_cumulative_0",
        "ask_cumulative_0",
        "ask_cumulative_9",
    ]
    known = FEATURE_SETS["lob44"]
    assert known.names == FEATURE_NAMES and known.hash == "1a9371e6092f5010"
    assert dataclasses.replace(known, names=FEATURE_NAMES[::-1]).hash != known.hash


@quick
@given(seeds)
def test_one_row_at_a_time_is_the_same(seed: int) -> None:
    books = random_books(seed)
    out = np.empty((books.rows, 44), np.float32)
    for i in range(books.rows):
        sides = books.bid_px[i], books.bid_lots[i], books.ask_px[i], books.ask_lots[i]
        lob44_row(*sides, FeatureScale.of(books, 0.25), out[i])
    np.testing.assert_array_equal(out, lob44(books, 0.25))
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[:, 0], books.microprice, rtol=1e-6)


@quick
@given(seeds)
def test_mirror_is_the_mirrored_market(seed: int) -> None:
    books = random_books(seed)
    validate_books(books.mirrored())
    features = lob44(books, 0.25)
    pivot = books.bid_px[0, 0] / books.px_scale
    mirrored = mirror_features(features, pivot)
    np.testing.assert_allclose(mirrored, lob44(books.mirrored(), 0.25), rtol=1e-6)
    np.testing.assert_allclose(mirror_features(mirrored, pivot), features, rtol=1e-6)
    # what it was given stays as it was
    np.testing.assert_array_equal(features, lob44(books, 0.25))


def spoil(field: str, index: tuple[int, ...], value: int) -> BookSeries:
    books = random_books(3)
    array = getattr(books, field).copy()
    array[index] = value
    return books._replace(**{field: array})


@pytest.mark.parametrize(
    ("field", "index", "value", "message"),
    [
        ("ts_ns", (7,), -1, "row 7: time goes backwards"),
        ("bid_px", (7, 0), EMPTY_PRICE, "row 7: a side is empty"),
        ("ask_lots", (7, 0), 0, "row 7: a side is empty"),
        ("bid_px", (7, 0), 10**7, "row 7: the book is crossed"),
        ("bid_lots", (7, 1), -5, "row 7: a quantity is negative"),
        ("bid_px", (7, 1), 10**7, "row 7: levels are out of order"),
        ("ask_px", (7, 1), 1, "row 7: levels are out of order"),
    ],
)
def test_validation_names_the_first_bad_row(field: str, index: tuple[int, ...], value: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        validate_books(spoil(field, index, value))


def test_validation_of_the_layout() -> None:
    books = random_books(0)
    validate_books(books)
    with pytest.raises(DataError, match=r"bid_px is float64 .* expected int64"):
        validate_books(books._replace(bid_px=books.bid_px.astype(float)))
    with pytest.raises(DataError, match=r"ask_lots is int64 \(30, 5\); expected int64 \(30, 10\)"):
        validate_books(books._replace(ask_lots=books.ask_lots[:, :5]))
    with pytest.raises(DataError, match="tick=0"):
        validate_books(books._replace(tick=0))
    none = {name: getattr(books, name)[:0] for name in ("ts_ns", "bid_px", "bid_lots", "ask_px", "ask_lots")}
    with pytest.raises(DataError, match="no rows"):
        validate_books(books._replace(**none))
    ghost = books.bid_px.copy()
    ghost[:, -1] = EMPTY_PRICE
    with pytest.raises(DataError, match="a quantity without a price"):
        validate_books(books._replace(bid_px=ghost, bid_lots=np.full_like(ghost, 7)))


def test_book_npz_round_trip_and_no_overwrite(tmp_path: Path) -> None:
    books = random_books(1)
    path = tmp_path / "random.npz"
    write_book_npz(path, books)
    back = read_book_npz(path)
    for was, now in zip(books, back, strict=True):
        np.testing.assert_array_equal(was, now)
    written = path.read_bytes()
    with pytest.raises(OutputError, match="never overwritten"):
        write_book_npz(path, books)
    assert path.read_bytes() == written


def test_book_npz_that_is_none(tmp_path: Path) -> None:
    books = random_books(1)
    write_book_npz(tmp_path / "good.npz", books)
    with np.load(tmp_path / "good.npz") as good:
        fields = dict(good)
    path = tmp_path / "x.npz"
    with pytest.raises(DataError, match="no such file"):
        read_book_npz(path)
    bad = {
        "key 'tick' is missing": {name: value for name, value in fields.items() if name != "tick"},
        "bid_px is float64; expected int64": fields | {"bid_px": books.bid_px * 1.0},
        re.escape("ask_px is int64 (30, 4)"): fields | {"ask_px": books.ask_px[:, :4]},
        "px_scale is int64": fields | {"px_scale": np.arange(3)},
        "tick=0.5": fields | {"tick": 0.5},
        "damaged": fields | {"ts_ns": np.array([{}], object)},
    }
    for message, content in bad.items():
        with path.open("wb") as file:
            np.savez(file, **content)
        with pytest.raises(DataError, match=message):
            read_book_npz(path)
    for content in (b"", b"not an archive", b"PK\x03\x04 nor this"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged or not a book-npz archive"):
            read_book_npz(path)
    with path.open("wb") as file:
        np.save(file, books.ts_ns)
    with pytest.raises(DataError, match="damaged or not a book-npz archive"):
        read_book_npz(path)


def test_truncated_or_altered_book_npz(tmp_path: Path) -> None:
    books = random_books(2)
    path = tmp_path / "whole.npz"
    write_book_npz(path, books)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for stop in (*rng.integers(1, len(whole) - 1, 10), len(whole) - 1):
        path.write_bytes(whole[:stop])
        with pytest.raises(DataError, match="damaged"):
            read_book_npz(path)
    for position in rng.integers(0, len(whole), 40):
        altered = bytearray(whole)
        altered[position] ^= 0xFF
        path.write_bytes(altered)
        try:  # a byte that nobody reads may change; anything else is a DataError
            read_book_npz(path)
        except DataError:
            continue


@pytest.mark.skipif(not TOP10.is_dir(), reason=f"real books not found in {TOP10}")
def test_every_real_series_reads() -> None:
    files = sorted(TOP10.glob("*.npz"))
    assert len(files) == 11
    for file in files:
        books = read_book_npz(file)
        features = lob44(books, 1.0)
        assert features.shape == (books.rows, 44) and np.isfinite(features).all()
        assert (features[:, 2] >= 0).all() and (np.abs(features[:, 3]) <= 1).all()
        bid, ask = books.bid_px[:, 0] / books.px_scale, books.ask_px[:, 0] / books.px_scale
        assert (features[:, 0] >= bid * (1 - 1e-6)).all() and (features[:, 0] <= ask * (1 + 1e-6)).all()
