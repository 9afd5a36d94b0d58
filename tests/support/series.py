"""Series of books for tests: chunks joined, and random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.market.series import COLUMNS, EMPTY_PRICE, LEVELS, BookSeries
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.simulation.market import synthetic_books


def joined(chunks: list[BookSeries]) -> BookSeries | None:
    """All rows in one series; None without rows."""
    if not chunks:
        return None
    return chunks[0]._replace(**{name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in COLUMNS})


def random_books(seed: int, rows: int = 30) -> BookSeries:
    """Books with gaps between levels, locked ones, and empty levels at the far end."""
    rng = np.random.default_rng(seed)
    tick = int(rng.integers(1, 30))
    best = 5_000 + np.cumsum(rng.integers(-2, 3, rows))
    sides = {}
    for side, sign in (("bid", -1), ("ask", 1)):
        steps = rng.integers(1, 4, (rows, LEVELS))
        steps[:, 0] = rng.integers(0, 4, rows)
        px = (best[:, None] + sign * np.cumsum(steps, axis=1)) * tick
        lots = rng.integers(1, 500, (rows, LEVELS))
        empty = np.arange(LEVELS) >= rng.integers(1, LEVELS + 4, rows)[:, None]
        sides[f"{side}_px"], sides[f"{side}_lots"] = np.where(empty, EMPTY_PRICE, px), np.where(empty, 0, lots)
    ts_ns = np.cumsum(rng.integers(0, 10**9, rows))
    return BookSeries(ts_ns=ts_ns, **sides, px_scale=100.0, lots_per_unit=1000.0, tick=tick, name="random")


def as_quantities(books: BookSeries, row: int) -> tuple[Any, ...]:
    """A row of books in prices and quantities, as `apply_depth` takes it."""
    sides = []
    for px, lots in books.sides:
        there = px[row] != EMPTY_PRICE
        sides += [px[row][there] / books.px_scale, lots[row][there] / books.lots_per_unit]
    assert books.bought is not None and books.sold is not None
    return int(books.ts_ns[row]), *sides, books.bought[row] / books.lots_per_unit, books.sold[row] / books.lots_per_unit


def write_three_series(folder: Path) -> Path:
    """Files of two series long enough to be labelled, and of one of a wide spread that is not; returns the folder."""
    for name, rows, wider in (("long", 1_500, 0), ("longer", 1_600, 0), ("tiny", 300, 4)):
        books = synthetic_books(rows, seed=rows)
        write_book_npz(folder / f"{name}.npz", books._replace(ask_px=books.ask_px + wider * books.tick))
    return folder
