"""Training on eight devices of a CPU: the lanes are shared out, and the numbers are those of one device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FLAGS = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "OMP_NUM_THREADS": "1"}


@pytest.mark.subprocess
def test_eight_devices(tmp_path: Path) -> None:
    """In a process of its own, since devices are counted once; what it checks stands in the script."""
    tests = Path(__file__).parents[1]
    script = tests / "support" / "eight_devices.py"
    command = [sys.executable, "-W", "error", str(script), str(tmp_path)]
    search_path = os.pathsep.join(filter(None, [str(tests), os.environ.get("PYTHONPATH")]))
    environment = os.environ | FLAGS | {"PYTHONPATH": search_path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
