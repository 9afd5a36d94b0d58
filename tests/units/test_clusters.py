"""The same units on real clusters on loopback, one worker of which is killed on the way."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.errors import ConfigError
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.units.run import make_unit, run_units
from nanoarb_jax.units.workers import Workers
from support.unit_work import begun, contents, die_first, write_slowly

ROOT = Path(__file__).parents[2]
HERE = Workers("serial")
needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="dask[distributed] is missing")
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is missing; see docs/clusters.md")
pytestmark = pytest.mark.subprocess


def start(*words: object) -> subprocess.Popen[bytes]:
    """A process of the cluster, which imports what this one does and works in another folder."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.Popen(command, env=environment, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Address of a scheduler on loopback, and its two workers, of one process each."""
    file = tmp_path_factory.mktemp("dask") / "scheduler.json"
    here = ("--host", "127.0.0.1", "--no-dashboard")
    processes = [start("distributed.cli.dask_scheduler", *here, "--port", 0, "--scheduler-file", file)]
    try:
        worker = ("distributed.cli.dask_worker", *here, "--scheduler-file", file, "--no-nanny", "--nthreads", 1)
        places = ("--local-directory", file.parent)
        processes += [start(*worker, *places) for _ in range(2)]
        deadline = time.monotonic() + 30
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"], processes[1:]
    finally:
        end(processes[::-1])


@needs_dask
def test_a_killed_dask_worker_changes_no_byte(
    dask: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed with a unit under way, which the other one makes; relative paths mean the same to both."""
    address, (first, _) = dask
    log = tmp_path / "log"
    log.mkdir()
    monkeypatch.chdir(tmp_path)
    units = [make_unit(str(seed), write_slowly, seed, "log") for seed in range(8)]

    def kill(text: str) -> None:
        if text.startswith("2/8 units"):
            wait_for(lambda: str(first.pid) in {path.read_text() for path in log.iterdir()})
            first.send_signal(signal.SIGKILL)

    results = run_units(units, "dask", Workers("dask", address=address), kill)
    assert first.wait() == -signal.SIGKILL and [one.state for one in results] == ["made"] * 8
    workers = {path.read_text() for path in log.iterdir()}
    assert len(workers) == 2 and str(os.getpid()) not in workers and len(begun(log)) > 8
    run_units(units, "serial", HERE)
    assert contents(tmp_path / "dask") == contents(tmp_path / "serial")
    assert [one.state for one in run_units(units, "dask", Workers("dask", address=address))] == ["kept"] * 8


def wait_for(condition: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.02)


@needs_dask
def test_a_dataset_prepared_by_dask(dask: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path) -> None:
    for number in range(2):
        write_book_npz(tmp_path / f"market_{number}.npz", synthetic_books(2_000, number))
    config, files = DataConfig(feature_set="lob44", horizons=(5, 20)), sorted(tmp_path.glob("*.npz"))
    prepare(files, tmp_path / "here", config)
    prepare(files, tmp_path / "dask", config, workers=Workers("dask", address=dask[0]))
    assert contents(tmp_path / "dask") == contents(tmp_path / "here")


@needs_dask
def test_no_scheduler(tmp_path: Path) -> None:
    import dask.config

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(ConfigError, match="no Dask"),
    ):
        run_units([make_unit("1", write_slowly, 1, "log")], tmp_path, Workers("dask", address="tcp://127.0.0.1:1"))


@needs_ray
def test_no_ray_cluster(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no Ray cluster at 127\.0\.0\.1:1: "):
        run_units([make_unit("1", write_slowly, 1, "log")], tmp_path, Workers("ray", address="127.0.0.1:1"))


@needs_ray
def test_a_killed_ray_worker_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    (tmp_path / "log").mkdir()
    units = [make_unit(str(seed), die_first, seed, str(tmp_path / "log")) for seed in range(4)]
    run_units(units, tmp_path / "ray", Workers("ray", jobs=2))
    assert (tmp_path / "log" / "died").exists()
    run_units(units, tmp_path / "serial", HERE)
    assert contents(tmp_path / "ray") == contents(tmp_path / "serial")


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for executor, package in (("dask", "distributed"), ("ray", "ray")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ConfigError, match=rf"executor {executor}: package {package} .* nanoarb-jax\[cluster\]"):
            run_units([make_unit("1", write_slowly, 1, "log")], tmp_path, Workers(executor))  # type: ignore[arg-type]
