"""Strict settings for every test, and the shared data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# before anything imports jax; the tests' own subprocesses inherit them
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ.pop("COLUMNS", None)  # xdist's workers have one: a rich console that finds it keeps that width for good

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


@pytest.fixture(scope="module")
def compile_quickly() -> Iterator[None]:
    """Compile twice as fast, to slower programs: for tests of what is computed, not of how."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Share compiled programs within a module: for tests that train with equal settings again and again."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    for name, value in zip(names, (str(tmp_path_factory.mktemp("jax")), 0.2), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def look_at_every_update() -> Iterator[None]:
    """Training reports each update, so that a test can stop it at any."""
    from nanoarb_jax.training import loop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOOK_EVERY", 1)
        yield


@pytest.fixture(scope="session")
def nano_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the nano preset with random weights and statistics."""
    from nanoarb_jax.artifacts.checkpoint import save_checkpoint
    from nanoarb_jax.config import ModelConfig
    from support.random_model import random_model

    return save_checkpoint(tmp_path_factory.mktemp("nano") / "checkpoint", random_model(ModelConfig.preset("nano")))


@pytest.fixture(scope="session")
def nano_onnx(nano_checkpoint: Path) -> Path:
    """It exported, at the default opset."""
    from nanoarb_jax.artifacts.checkpoint import load_checkpoint
    from nanoarb_jax.exporters import export_window

    return export_window(load_checkpoint(nano_checkpoint), nano_checkpoint.parent / "window.onnx").path
