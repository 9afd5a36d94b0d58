"""Units of work for tests: functions that another process can import, and what a folder of results holds."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path

import numpy as np

from nanoarb_jax.errors import DataError


def write_normals(folder: Path, seed: int, rows: int = 100) -> None:
    """Two files, one in a folder of its own."""
    values = np.random.default_rng(seed).normal(size=rows)
    np.save(folder / "normals.npy", values)
    (folder / "about").mkdir()
    (folder / "about" / "mean.txt").write_text(repr(float(values.mean())))


def write_day(folder: Path, day: Path, fees: int) -> None:
    """What the day's file holds, and the fees."""
    (folder / "day.txt").write_text(f"{day.read_text()} {fees}")


def write_slowly(folder: Path, seed: int, log: str, seconds: float = 0.25) -> None:
    """As `write_normals`, with a note of every beginning in a folder `log`."""
    (Path(log) / f"{seed}-{uuid.uuid4().hex}").write_text(str(os.getpid()))
    time.sleep(seconds)
    write_normals(folder, seed)


def begun(log: Path) -> list[int]:
    """The seeds of `write_slowly`, as often as they were begun, in order."""
    return sorted(int(path.name.partition("-")[0]) for path in log.iterdir())


def die_first(folder: Path, seed: int, log: str) -> None:
    """As `write_normals`; the process is killed in the midst of it the first time that seed 1 is met."""
    if seed == 1 and not (Path(log) / "died").exists():
        (folder / "normals.npy").write_bytes(b"a part")
        (Path(log) / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    write_normals(folder, seed)


def die_always(folder: Path, seed: int) -> None:
    """As `write_normals`, but seed 1 kills its process."""
    if seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    write_normals(folder, seed)


def fail_at(folder: Path, seed: int, failing: tuple[int, ...], mistake: bool = True) -> None:
    """As `write_normals`, but some seeds fail half-way: by a mistake of the user's, or by a bug."""
    write_normals(folder, seed)
    if seed in failing:
        raise DataError(f"seed {seed}: not a good one") if mistake else ZeroDivisionError(f"seed {seed}")


def write_nothing(folder: Path) -> None:
    """No file."""


def contents(output: Path) -> dict[str, bytes]:
    """{name: bytes} of all files of all results, hidden ones as well, except the lock."""
    files = (path for path in output.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in files}
