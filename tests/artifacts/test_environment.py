"""What a process's environment does to JAX and numba is said in one line, and names the variable."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.serving.predictor import StepPredictor
from support.fake_backend import FakeBackend

LOAD = "import sys; from nanoarb_jax.artifacts.checkpoint import load_checkpoint; load_checkpoint(sys.argv[1])"
POOL = """
import multiprocessing, sys
from nanoarb_jax.artifacts.checkpoint import load_checkpoint
def version(path):
    return load_checkpoint(path).version
if __name__ == "__main__":
    here = version(sys.argv[1])
    for method in ("spawn", "fork"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(pool.apply(version, (sys.argv[1],)) == here)
"""


def run(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("JAX_ENABLE_X64", "1", "DeviceError: JAX_ENABLE_X64 is set, but models are of float32; unset it"),
        ("JAX_PLATFORMS", "rocm", "DeviceError: JAX_PLATFORMS=rocm: Unable to initialize backend 'rocm'"),
        ("NUMBA_DISABLE_JIT", "1", "ConfigError: NUMBA_DISABLE_JIT is set, but books, features and the native step"),
    ],
)
def test_variables(nano_checkpoint: Path, variable: str, value: str, said: str) -> None:
    done = run(LOAD, nano_checkpoint, **{variable: value})
    assert done.returncode == 1 and said in done.stderr.strip().splitlines()[-1]


@pytest.mark.subprocess
def test_workers(nano_checkpoint: Path, tmp_path: Path) -> None:
    """Spawned ones load; a forked one would wait for ever, and says so."""
    (tmp_path / "pool.py").write_text(POOL)
    command = [sys.executable, str(tmp_path / "pool.py"), str(nano_checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n" and done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "this process was forked" in last and 'get_context("spawn")' in last


def test_predictors_are_not_pickled() -> None:
    with pytest.raises(ConfigError, match=r"^StepPredictor is not pickled: load it in the other process, .*snapshot"):
        pickle.dumps(StepPredictor(FakeBackend()))
