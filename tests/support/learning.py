"""What a learning live predictor must say: recorded predictions, recalibrated by the labels of recorded books."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.adaptation.online import recalibrate_stream
from nanoarb_jax.data.labels import direction_labels
from nanoarb_jax.market.series import BookSeries

HORIZONS = (10, 50, 100)


def recalibrated(
    probabilities: NDArray[np.float32],
    books: BookSeries,
    threshold_ticks: float | tuple[float, ...],
    forgetting: float,
    session_gap_ns: int,
    start: int = 0,
) -> NDArray[np.float32]:
    """Probabilities (n, 3, 3) of a model at every book, recalibrated from row `start` on."""
    mids = (books.bid_px[:, 0] + books.ask_px[:, 0]) / 2 / books.tick
    begins = np.flatnonzero(np.diff(books.ts_ns) > session_gap_ns) + 1
    labels = [direction_labels(session, HORIZONS, threshold_ticks)[0] for session in np.split(mids, begins)]
    starts = np.repeat([0, *begins], [len(session) for session in labels]).astype(np.int64)
    log_probs = np.log(probabilities.astype(np.float64))
    return np.exp(recalibrate_stream(log_probs, np.concatenate(labels), starts, HORIZONS, forgetting, start))
