"""Preparing datasets: market data of any size into labelled streams on disk, in bounded memory, resumable.

Every source becomes one stream file (`prepare_source.py`). Finished streams wait in a hidden folder beside the dataset,
so that a second run goes on where the first was stopped; the dataset itself appears all at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import Dataset, open_dataset
from nanoarb_jax.data.declaration import Instruments, instrument_of
from nanoarb_jax.data.prepare_source import Job, prepare_or_leave
from nanoarb_jax.data.reading import Reading, Readings, check_patterns, reading_of
from nanoarb_jax.data.stored import MANIFEST, manifest_head
from nanoarb_jax.errors import DataError, DataWarning
from nanoarb_jax.files import claim_folder
from nanoarb_jax.market.anomaly import Policy
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import Source, check_snapshots, check_unique, find_sources
from nanoarb_jax.units.pools import run_tasks
from nanoarb_jax.units.tasks import Task
from nanoarb_jax.units.workers import Workers

Progress = Callable[[int, int, str], None]


def prepare(
    sources: Sequence[Path],
    out: Path,
    config: DataConfig,
    progress: Progress | None = None,
    *,
    options: ReadOptions = ReadOptions(),  # noqa: B008
    policy: Mapping[str, Policy] | None = None,
    instruments: Instruments | None = None,
    readings: Readings | None = None,
    workers: Workers = Workers("serial"),  # noqa: B008
) -> Dataset:
    """Write the dataset of market data into the folder `out`, all of it or nothing.

    Args:
        sources: files and folders; see `readers.sources` for formats and for which files are one source.
        out: a folder that does not exist yet, or is empty.
        config: how streams are made.
        progress: called with (streams done, streams in all, what is being done).
        options: what the files do not say; holds for all of them.
        policy: about anomalies of the book, see `anomaly.policies`.
        readings: options and policies of single series, which go before those, see `reading.reading_of`.
        instruments: of the series, see `declaration.instrument_of`; None: the symbol that is wanted, if one is.
        workers: at work on different sources, which they must see under the same names.

    Returns:
        The dataset as `open_dataset(out)` gives it.

    Raises:
        OutputError: `out` is a file, or a folder that is not empty.
        DataError: another run is writing `out`, or a source is missing, damaged or too short. Streams finished by
            then are kept: mend or leave out the source and run it again.
        DeviceError: a source whose worker died again and again.
        ConfigError: no such cluster.
    """
    out = Path(out).absolute()
    claim_folder(out, "dataset")
    work = _plan(sources, config, Reading(options, policy or {}), readings, instruments or options.symbol)
    part = out.with_name(f".{out.name}.part")
    tell = progress or (lambda done, total, name: None)
    try:
        part.mkdir(parents=True, exist_ok=True)
        with _sole_writer(part, out):
            here = workers.only_here(len(work))
            made = _run_in_turn(work, part, tell) if here else _run_elsewhere(work, part, workers, tell)
            entries = _kept(made)
            reading = {**options._asdict(), "policy": dict(policy or {}), "sources": dict(readings or {})}
            manifest = manifest_head(config) | {"reading": reading, "streams": entries}
            (part / MANIFEST).write_text(json.dumps(manifest, indent=2, default=str) + "\n")
            _keep_only(part, {MANIFEST, *(entry["file"] for entry in entries)})
            os.replace(part, out)  # atomic; replaces an empty folder
    except OSError as error:
        raise DataError(f"dataset {out}: cannot be written ({error.strerror})") from error
    tell(len(work), len(work), out.name)
    return open_dataset(out)


def _plan(
    sources: Sequence[Path],
    config: DataConfig,
    common: Reading,
    readings: Readings | None,
    instruments: Instruments | None,
) -> list[Job]:
    """What is to be prepared; what is said wrongly is told before anything is read."""
    found = find_sources(sources, common.options.symbol)
    check_patterns(readings, found)
    jobs = [_job(source, config, reading_of(source, common, readings), instruments) for source in found]
    # a symbol said of single series chooses among those of a file that holds several instruments
    jobs = [job for job in jobs if job.source.symbol is None or job.options.symbol in (None, job.source.symbol)]
    check_unique([job.source for job in jobs])
    check_snapshots((job.source, job.options.snapshot) for job in jobs)
    for job in jobs:
        instrument_of(job.source.name, instruments)  # refuses a series that is not declared
    return jobs


def _job(source: Source, config: DataConfig, reading: Reading, instruments: Instruments | None) -> Job:
    named = source._replace(name=reading.name or source.name)
    return Job(named, config, reading.options, reading.policy, instruments, reading.period)


def usable_cores() -> int:
    """Processor cores that this process may use; all of them where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _sole_writer(part: Path, out: Path) -> Iterator[None]:
    """Keep a second run from writing the same dataset; the lock is released when its process ends, however it ends."""
    try:
        with FileLock(part / ".lock", blocking=False):
            try:
                yield
            finally:
                if part.is_dir() and not any(part.glob("*.json")):  # no stream was finished
                    shutil.rmtree(part)
    except Timeout:
        raise DataError(f"dataset {out}: another run is preparing it; wait for it, or give another folder") from None


def _kept(made: list[dict[str, Any] | str]) -> list[dict[str, Any]]:
    """The entries of the manifest; the instruments that were left out are told.

    Raises:
        DataError: all of them were.
    """
    left = [reason for reason in made if isinstance(reason, str)]
    entries = [entry for entry in made if not isinstance(entry, str)]
    if not entries:
        raise DataError(left[0])
    for reason in left:
        warnings.warn(f"left out: {reason}", DataWarning, stacklevel=3)
    return entries


def _keep_only(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()


def _run_in_turn(work: list[Job], part: Path, tell: Progress) -> list[dict[str, Any] | str]:
    """Prepare the sources one after the other; returns the entries of the manifest, or why there is none."""
    entries = []
    for done, job in enumerate(work):
        name = job.source.name

        def tell_rows(rows: int, done: int = done, name: str = name) -> None:
            tell(done, len(work), f"{name}: {rows:,} ticks")

        tell(done, len(work), name)
        entries.append(prepare_or_leave(job, part, tell_rows))
    return entries


def _run_elsewhere(work: list[Job], part: Path, workers: Workers, tell: Progress) -> list[dict[str, Any] | str]:
    """Prepare as many sources at once as there are workers; as `_run_in_turn`, in the sources' order."""
    tasks = [Task(job.source.name, prepare_or_leave, (job, part), part / f".{job.source.name}.lock") for job in work]
    tell(0, len(tasks), f"{len(tasks)} to go")
    return run_tasks(tasks, workers, lambda done, total, name: tell(done, total, f"{total - done} to go"))
