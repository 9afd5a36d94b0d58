"""Features put into other scales are those that the books give in these scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.features.flow import VPIN
from nanoarb_jax.features.rescale import rescale
from support.examples import examples
from support.series import random_books


@settings(deadline=None, max_examples=examples(50))
@given(st.integers(0, 10_000), st.floats(0.05, 20.0), st.floats(0.05, 20.0), st.sampled_from(["lob44", "flow"]))
def test_equals_the_features_of_the_books(seed: int, before: float, after: float, name: str) -> None:
    """With trades, and in several sessions."""
    rng, books = np.random.default_rng(seed), random_books(seed, 80)
    bought, sold = rng.integers(0, 4_000, (2, 80))
    ts_ns = books.ts_ns + np.cumsum(rng.random(80) < 0.05) * 10**9
    books, found = books._replace(bought=bought, sold=sold, ts_ns=ts_ns), FEATURE_SETS[name]
    made, expected = (
        found.rows(books, scale, found.new_memory(), spread_scale=spread, session_gap_ns=5 * 10**8)
        for scale, spread in ((before, 1.0), (after, 2.5))
    )
    scaled = rescale(made, books.ts_ns, before / after, 2.5, 5 * 10**8)
    others = [column for column in range(made.shape[1]) if column != VPIN]
    np.testing.assert_allclose(scaled[:, others], expected[:, others], rtol=3e-7, atol=1e-30)
    if name == "flow":
        # a bucket that fills to the last bit in one computation and not in the other is one bucket of fifty late
        near = np.isclose(scaled[:, VPIN], expected[:, VPIN], atol=1e-5)
        assert near.mean() > 0.9


def test_features_without_scales_are_refused() -> None:
    with pytest.raises(DataError, match="rescale: 40 features per tick"):
        rescale(np.zeros((3, 40), np.float32), np.arange(3), 2.0, 1.0, 10)
