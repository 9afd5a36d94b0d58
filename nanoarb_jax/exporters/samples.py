"""The streams that an exported file and the JAX model are compared on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import Dataset, check_fit
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import feature_set_of
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.simulation.market import synthetic_books

SAMPLE_ROWS = 2_000  # of each series


class Sample(NamedTuple):
    """A stream to compare on: features (n, f) float32; labels (n, h) int8, or None where there are none."""

    features: np.ndarray
    labels: np.ndarray | None


def choose_samples(model: MambaLOB, data: Dataset | None, parity_data: np.ndarray | None) -> tuple[list[Sample], str]:
    """What to compare on, and what that is in words.

    Args:
        model: that is exported.
        data: labelled series; their test parts are taken.
        parity_data: raw feature streams (b, l, f), taken instead.

    Raises:
        DataError: see `labelled_samples`.
    """
    if parity_data is not None:
        return [Sample(x, None) for x in parity_data], "given streams"
    if data is not None:
        return labelled_samples(model, data), f"test part of {len(data.streams)} series"
    return [synthetic_sample(model)], "a simulated market, seed 0"


def labelled_samples(model: MambaLOB, data: Dataset) -> list[Sample]:
    """The test part of each series, `SAMPLE_ROWS` rows at most; a window of rows before it where it is shorter.

    Raises:
        DataError: the dataset has other features or horizons, or a series shorter than a window.
    """
    check_fit(data, model.config)
    samples = []
    for stream in data.streams:
        start, stop = stream.test
        start = max(0, min(start, stop - model.config.window))
        rows = slice(start, min(stop, start + SAMPLE_ROWS))
        if rows.stop - start < model.config.window:
            raise DataError(f"stream {stream.name!r}: {stop} rows; expected a window of {model.config.window} at least")
        samples.append(Sample(np.ascontiguousarray(stream.features[rows]), stream.labels[rows]))
    return samples


def synthetic_sample(model: MambaLOB) -> Sample:
    """A labelled stream of a seeded simulated market; noise where the features have no names."""
    config, made = model.config, feature_set_of(model.config.input_dim)
    if made is None:
        return Sample(np.random.default_rng(0).standard_normal((SAMPLE_ROWS, config.input_dim), np.float32), None)
    rows = max(SAMPLE_ROWS, config.window, 20 * max(config.horizons))
    stream = make_stream(synthetic_books(rows, seed=0), DataConfig(horizons=config.horizons, feature_set=made.name))
    return Sample(stream.features[-SAMPLE_ROWS:], stream.labels[-SAMPLE_ROWS:])
