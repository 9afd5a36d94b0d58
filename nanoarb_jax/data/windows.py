"""Windows of raw features with direction labels, for models that read a fixed number of ticks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.labelling import first_medians
from nanoarb_jax.data.labels import direction_labels
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.lob44 import SESSION_GAP_NS, lob44
from nanoarb_jax.market.series import BookSeries, validate_books
from nanoarb_jax.readers.sources import find_sources


def create_training_samples(
    updates: BookSeries | str | Path,
    sequence_length: int = 100,
    prediction_horizons: Sequence[int] = (10, 50, 100),
    *,
    quantity_scale: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Windows of raw features and their direction labels, for every anchor tick that has both.

    A window *includes* its anchor tick, X[i, -1], the last book known when the prediction is made; the PyTorch
    original's windows end one tick before it. The label is 2 (up) or 0 (down) where the mid moves at least one tick
    from the anchor to anchor + horizon, else 1.

    Args:
        updates: books of one instrument and session, or the path of a file of them in any format of
            `readers.sources` (its ticks by the book clock).
        sequence_length: ticks per window.
        prediction_horizons: in ticks.
        quantity_scale: quantity that counts as 1; None means the median level-1 quantity of the first 70 % of rows.

    Returns:
        X (N, sequence_length, 44) float32 and y (N, h) int64, with N = n - max(prediction_horizons) - sequence_length
        + 1 for every session of n ticks: no sample reaches across half an hour without a tick. Of one session X is a
        read-only view that costs no memory until a batch is copied out of it, of several a copy.

    Raises:
        DataError: the books are not valid, or too few for one sample.

    >>> X, y = nj.create_training_samples("books/synthetic_00.npz")  # of `nanoarb-jax data synth --output books`
    >>> X.shape[1:], y.shape[1:], len(X) == len(y)
    ((100, 44), (3,), True)
    """
    books = updates if isinstance(updates, BookSeries) else _read_one(Path(updates))
    validate_books(books)
    horizons = tuple(prediction_horizons)
    if sequence_length < 1 or not horizons or min(horizons) < 1 or not (quantity_scale is None or quantity_scale > 0):
        met = f"{sequence_length=}, prediction_horizons={horizons}, {quantity_scale=}"
        raise DataError(f"{met}: expected a length of at least 1, positive horizons and a positive scale or None")
    sessions = _sessions(books, sequence_length, max(horizons))
    if quantity_scale is None:
        quantity_scale = first_medians(books, DataConfig().train_fraction).qty
    windows = sliding_window_view(lob44(books, quantity_scale), sequence_length, axis=0).transpose(0, 2, 1)
    labels, _ = direction_labels(books.mid / books.tick_size, horizons, threshold_ticks=1.0)
    reach = sequence_length - 1 + max(horizons)  # rows of a sample beside its first
    if len(sessions) == 1:
        ((start, stop),) = sessions
        chosen: slice | NDArray[np.int64] = slice(start, stop - reach)
    else:
        chosen = np.concatenate([np.arange(start, stop - reach) for start, stop in sessions])
    return windows[chosen], labels[sequence_length - 1 :][chosen].astype(np.int64)


def _sessions(books: BookSeries, sequence_length: int, longest: int) -> list[tuple[int, int]]:
    """The sessions (first row, past the last) that are long enough for a sample, of which there must be one."""
    begins = np.flatnonzero(np.diff(books.ts_ns) > SESSION_GAP_NS) + 1
    sessions = list(pairwise([0, *begins.tolist(), books.rows]))
    enough = [(start, stop) for start, stop in sessions if stop - start >= longest + sequence_length]
    if not enough:
        rows = max(stop - start for start, stop in sessions)
        where = "rows" if len(sessions) == 1 else f"rows in the longest of {len(sessions)} sessions"
        raise DataError(
            f"books {books.name!r}: {rows} {where} give no sample; expected at least {sequence_length + longest} "
            f"(sequence_length {sequence_length} + longest horizon {longest})"
        )
    return enough


def _read_one(path: Path) -> BookSeries:
    sources = find_sources([path])
    if len(sources) > 1:
        names = ", ".join(source.name for source in sources)
        raise DataError(f"data {path}: {len(sources)} sources ({names}); expected one, windows never cross sources")
    return read_books(sources[0], DataConfig())[0]
