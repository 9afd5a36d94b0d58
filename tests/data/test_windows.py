"""Training samples: windows that end at their anchor tick, and labels of what follows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nanoarb_jax as nj
from nanoarb_jax.data.windows import create_training_samples
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.simulation.market import synthetic_books


def test_training_samples_end_at_their_anchor(tmp_path: Path) -> None:
    books = synthetic_books(1_000, 4)
    x, y = nj.create_training_samples(books)
    assert x.shape == (1_000 - 100 - 100 + 1, 100, 44) and x.dtype == np.float32
    assert y.shape == (801, 3) and y.dtype == np.int64 and set(np.unique(y)) <= {0, 1, 2}
    features = lob44(books, float(np.median(np.concatenate([books.bid_lots[:700, 0], books.ask_lots[:700, 0]]))))
    mid = books.mid / books.tick_size
    for i in (0, 17, 800):
        np.testing.assert_array_equal(x[i], features[i : i + 100])
        anchor = i + 99
        moves = mid[anchor + np.array([10, 50, 100])] - mid[anchor]
        np.testing.assert_array_equal(y[i], 1 + (moves > 0.75).astype(int) - (moves < -0.75))
    write_book_npz(tmp_path / "books.npz", books)
    again = create_training_samples(tmp_path / "books.npz", 20, (5,), quantity_scale=7.0)
    assert again[0].shape == (976, 20, 44)
    np.testing.assert_array_equal(again[0][0], lob44(books, 7.0)[:20])


def test_training_samples_too_few_or_senseless() -> None:
    books = synthetic_books(199, 4)
    with pytest.raises(DataError, match="199 rows give no sample; expected at least 200"):
        create_training_samples(books)
    assert len(create_training_samples(synthetic_books(200, 4))[0]) == 1
    for bad in ({"sequence_length": 0}, {"prediction_horizons": ()}, {"quantity_scale": 0.0}):
        with pytest.raises(DataError, match=next(iter(bad))):
            create_training_samples(books, **bad)
