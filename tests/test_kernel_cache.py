"""Compiled functions are kept between processes, never past a change of what they are made of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nanoarb_jax

PACKAGE = Path(nanoarb_jax.__file__).parent
# the spread is written in lob44.py, by a function that flow.py calls and that has become part of its compiled code
CODE = """
import numpy as np
from nanoarb_jax.features.flow import flow
from nanoarb_jax.features.lob44 import SPREAD
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries
px, lots = np.full((1, 10), EMPTY_PRICE), np.zeros((1, 10), np.int64)
bid, ask, one = px.copy(), px.copy(), lots.copy()
bid[0, 0], ask[0, 0], one[0, 0] = 100, 103, 5
books = BookSeries(np.zeros(1, np.int64), bid, one, ask, one, px_scale=1.0, lots_per_unit=1.0, tick=1, name="x")
print(flow(books, 1.0)[0, SPREAD])
"""


def run(package: Path, cache: Path, code: str = CODE) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(package.parent)}
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment)


@pytest.mark.subprocess
def test_a_change_in_another_file_is_noticed(tmp_path: Path) -> None:
    package = shutil.copytree(PACKAGE, tmp_path / "nanoarb_jax", ignore=shutil.ignore_patterns("__pycache__"))
    assert run(package, tmp_path / "cache").stdout == "3.0\n"
    kept = {path for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert kept and not [path for path in package.rglob("*.nb?")]
    source = package / "features" / "lob44.py"
    text = source.read_text()
    assert "out[2] = (ask - bid) / scale.tick" in text
    source.write_text(text.replace("out[2] = (ask - bid) / scale.tick", "out[2] = (ask - bid) / scale.tick + 4.0"))
    assert run(package, tmp_path / "cache").stdout == "7.0\n"
    source.write_text(text)
    assert run(package, tmp_path / "cache").stdout == "3.0\n"


@pytest.mark.subprocess
def test_where_nothing_can_be_kept(tmp_path: Path) -> None:
    """It works, and one line says what it costs."""
    (tmp_path / "file").write_text("")
    done = run(PACKAGE, tmp_path / "file" / "cache")
    assert (done.returncode, done.stdout) == (0, "3.0\n")
    assert done.stderr.count("compiled functions cannot be kept in") == 1 and "Traceback" not in done.stderr
