"""Class frequencies of the training rows, counted by hand."""

from __future__ import annotations

import numpy as np

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.training.balance import class_weights, log_prior

DATA = DataConfig(feature_set="lob44", horizons=(2, 10), threshold_ticks=0.5, threshold_spreads=0.0)
LONG, OTHER = (make_stream(synthetic_books(1_500, seed), DATA) for seed in (0, 1))
SHORT = LONG._replace(train=(0, 300))


def test_class_weights_are_inverse_frequencies() -> None:
    labels = np.concatenate([stream.labels[slice(*stream.train)].ravel() for stream in (LONG, OTHER)])
    inverse = len(labels) / np.bincount(labels, minlength=3)
    np.testing.assert_allclose(class_weights([LONG, OTHER]), inverse / inverse.mean(), rtol=1e-5)


def test_every_stream_counts_once_in_the_prior() -> None:
    found = log_prior([SHORT, OTHER])
    for column in range(2):
        counts = [np.bincount(s.labels[slice(*s.train), column], minlength=3) for s in (SHORT, OTHER)]
        np.testing.assert_allclose(found[column], np.log(np.mean([c / c.sum() for c in counts], axis=0)), rtol=1e-5)


def test_a_class_that_never_comes_is_finite() -> None:
    assert np.isfinite(log_prior([LONG._replace(labels=np.ones_like(LONG.labels))])).all()
