"""Functions for compiled functions only are called by these, and refuse Python instead of ending the process."""

from __future__ import annotations

import pytest

from nanoarb_jax.market.compiled import compiled, internal


@internal
def doubled(x):  # type: ignore[no-untyped-def]
    return 2 * x


@compiled
def four_times(x):  # type: ignore[no-untyped-def]
    return doubled(doubled(x))


def test_python_is_refused_before_and_after_compiling() -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match="doubled is for compiled functions only"):
            doubled(3)
        assert four_times(3) == 12
