"""What is measured on: the machine's description, and one core of it kept for the measurement."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from nanoarb_jax.artifacts.card import software_versions
from nanoarb_jax.data.prepare import usable_cores


@contextlib.contextmanager
def one_core() -> Iterator[int | None]:
    """Keep every thread of this process on its last core; yields that core, or None where the system has no say."""
    threads = Path("/proc/self/task")
    if not hasattr(os, "sched_setaffinity") or not threads.is_dir():
        yield None
        return

    def keep_to(cores: set[int]) -> None:
        for thread in threads.iterdir():
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.sched_setaffinity(int(thread.name), cores)

    before = os.sched_getaffinity(0)
    keep_to({max(before)})
    try:
        yield max(before)
    finally:
        keep_to(before)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "device": str(jax.devices()[0]),
        "jax_async_dispatch": jax.config.read("jax_cpu_enable_async_dispatch"),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "onnxruntime_threads": 1,
        "versions": software_versions()
        | {name: metadata.version(name) for name in ("jaxlib", "onnxruntime", "numba", "llvmlite")},
    }
