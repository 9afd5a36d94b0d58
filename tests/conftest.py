"""Strict settings for every test, caches that all workers share, and the shared data.

pytest                       fewer generated examples, for every change
pytest --all-examples        as many as each property asks for
pytest -m "not subprocess"   without the tests that start processes of their own
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from nanoarb_jax.errors import DataWarning
from support import examples

# Before anything imports jax or numba. xdist's workers, and processes that tests start, inherit the environment: what
# one of them compiled the others read. A cache of its own for each run never holds what another version compiled.
CACHES = None
if "PYTEST_XDIST_WORKER" not in os.environ:
    CACHES = tempfile.mkdtemp(prefix="nanoarb_jax_tests_")
    os.environ["NUMBA_CACHE_DIR"] = f"{CACHES}/numba"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{CACHES}/jax"
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(4 << 30)  # bytes; with a limit, JAX locks the cache it writes
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ.pop("COLUMNS", None)  # xdist's workers have one: a rich console that finds it keeps that width for good

TESTS = Path(__file__).parent
# The longest first, so that no worker is left alone with one of them at the end. Files for which numba compiles and
# files for which JAX compiles take turns, so that two workers seldom compile the same function at the same time.
LONG_FILES = (
    "serving/test_live.py",
    "training/test_loop.py",
    "training/test_distillation.py",
    "cli/test_commands.py",
    "trading/test_native_in_hftbacktest.py",
    "training/test_update.py",
    "training/test_devices.py",
    "bench/test_bench.py",
    "exporters/test_export.py",
    "serving/test_predictor.py",
    "training/test_calibrate.py",
    "evaluation/test_below_zero.py",
    "evaluation/test_baselines.py",
    "cli/test_quickstart.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "try every property on as many examples as it asks for, not on a fifth of them"
    parser.addoption("--all-examples", action="store_true", help=help_text)


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples there are, before the tests that say so are read."""
    examples.every_one = config.getoption("--all-examples")
    reproducible = bool(os.environ.get("CI"))
    settings.register_profile("run", deadline=None, derandomize=reproducible, max_examples=examples.examples(100))
    settings.load_profile("run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, see `LONG_FILES`."""
    place = {name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: place.get(item.path.relative_to(TESTS).as_posix(), len(place)))


def pytest_unconfigure() -> None:
    """Remove the run's caches, once the workers are done."""
    if CACHES is not None:
        shutil.rmtree(CACHES, ignore_errors=True)


@pytest.fixture(autouse=True)
def _quiet_about_data() -> None:
    """Warnings are errors in tests, but small made feeds lose more than a warning's share; who asks for one sees it."""
    warnings.filterwarnings("ignore", category=DataWarning)


SHARED = TESTS.parents[1] / "shared"


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
def fit_quickly() -> Iterator[None]:
    """Baselines choose among few settings: for tests of what is done with forecasts, not of how good they are."""
    from nanoarb_jax.evaluation.baselines import baseline_forecasts
    from nanoarb_jax.evaluation.tuned_models import Tuning

    quick = Tuning(strengths=(1e-3,), leaves=(4,), most_rounds=25, patience=5, usual_rounds=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(baseline_forecasts.__kwdefaults__, "tuning", quick)
        yield


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
