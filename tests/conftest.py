"""Strict settings for every test, and the shared data."""

from __future__ import annotations

import os
from pathlib import Path

# before anything imports jax; the tests' own subprocesses inherit them
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

import pytest
from hypothesis import settings

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden numbers beside the repository; the test is skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED}: it stays outside the repository")
    return SHARED
