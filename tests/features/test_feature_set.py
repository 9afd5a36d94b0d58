"""The table of feature sets agrees with what settings say of it."""

from __future__ import annotations

import pytest

from nanoarb_jax.config.model import FEATURE_COUNTS
from nanoarb_jax.features.feature_set import FEATURE_SETS, feature_set_of


def test_settings_know_every_set_and_its_count() -> None:
    assert {name: len(known.names) for name, known in FEATURE_SETS.items()} == FEATURE_COUNTS


@pytest.mark.parametrize("name", FEATURE_COUNTS)
def test_a_set_is_found_by_its_count(name: str) -> None:
    assert feature_set_of(FEATURE_COUNTS[name]) is FEATURE_SETS[name]
    assert len(set(FEATURE_SETS[name].names)) == FEATURE_COUNTS[name]
