"""Preparing datasets: market data of any size into labelled streams on disk, in bounded memory, resumable.

Two passes per source. The first reads its ticks into a file of books; the second knows how many there are, learns
scales and thresholds from the training part, and writes features and labels block by block. Finished streams wait in a
hidden folder beside the dataset, so that a second run goes on where the first was stopped; the dataset itself appears
all at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import mmap
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib import metadata
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import (
    MANIFEST,
    ROW_COLUMNS,
    SCALARS,
    SPLITS,
    Dataset,
    checksum,
    manifest_head,
    open_dataset,
    row_dtype,
    sha256,
)
from nanoarb_jax.data.labelling import plan_stream, stream_blocks
from nanoarb_jax.data.streams import stream_scalars
from nanoarb_jax.data.ticks import Account, no_ticks, ticks_of
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.anomaly import Policy
from nanoarb_jax.market.series import COLUMNS, LEVELS, SIDE_COLUMNS, BookSeries, validate_books
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import Source, find_sources

Progress = Callable[[int, int, str], None]
_SIDE = f"({LEVELS},)i8"
BOOK_ROW = np.dtype(
    [
        ("ts_ns", "i8"),
        *((side, _SIDE) for side in SIDE_COLUMNS),
        ("bought", "i8"),
        ("sold", "i8"),
    ]
)


class Job(NamedTuple):
    """One source and how it is prepared."""

    source: Source
    config: DataConfig
    options: ReadOptions
    policy: Mapping[str, Policy]

    def key(self) -> str:
        """Changes with the files' bytes and with every setting: what makes a finished stream still good."""
        version = metadata.version("nanoarb-jax")
        settings = [version, self.options._asdict(), dict(self.policy), manifest_head(self.config)]
        files = [checksum(file) for file in self.source.files]
        return hashlib.sha256(json.dumps([self.source.name, files, settings], default=str).encode()).hexdigest()


def prepare(
    sources: Sequence[Path],
    out: Path,
    config: DataConfig,
    progress: Progress | None = None,
    *,
    options: ReadOptions = ReadOptions(),  # noqa: B008
    policy: Mapping[str, Policy] | None = None,
    jobs: int = 1,
) -> Dataset:
    """Write the dataset of market data into the folder `out`, all of it or nothing.

    Args:
        sources: files and folders; see `readers.sources` for formats and for which files are one series.
        out: a folder that does not exist yet, or is empty.
        config: how streams are made.
        progress: called with (streams done, streams in all, what is being done).
        options: what the files do not say; holds for all of them.
        policy: about anomalies of the book, see `anomaly.policies`.
        jobs: processes at work on different sources.

    Returns:
        The dataset as `open_dataset(out)` gives it.

    Raises:
        DataError: `out` is taken, another run is writing it, or a source is missing, damaged or too short. Streams
            finished by then are kept: mend or leave out the source and run it again.
    """
    out = Path(out).absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"dataset {out}: exists and is not an empty folder; nothing is overwritten, give another --out")
    found = find_sources(sources)
    work = [Job(source, config, options, policy or {}) for source in found]
    part = out.with_name(f".{out.name}.part")
    tell = progress or (lambda done, total, name: None)
    try:
        part.mkdir(parents=True, exist_ok=True)
        with _sole_writer(part, out):
            entries = _run(work, part, jobs, tell)
            said = {"reading": {**options._asdict(), "policy": dict(policy or {})}, "streams": entries}
            (part / MANIFEST).write_text(json.dumps(manifest_head(config) | said, indent=2) + "\n")
            _keep_only(part, {MANIFEST, *(entry["file"] for entry in entries)})
            os.replace(part, out)  # atomic; an empty folder gives way
    except OSError as error:
        raise DataError(f"dataset {out}: cannot be written ({error.strerror})") from error
    tell(len(work), len(work), out.name)
    return open_dataset(out)


@contextlib.contextmanager
def _sole_writer(part: Path, out: Path) -> Iterator[None]:
    """Two runs must not write one dataset; the lock goes with its process, however that ends."""
    with (part / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"dataset {out}: another run is preparing it; wait for it, or give another --out") from None
        try:
            yield
        finally:
            if part.is_dir() and not any(part.glob("*.json")):
                shutil.rmtree(part)


def _keep_only(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()


def _run(work: list[Job], part: Path, jobs: int, tell: Progress) -> list[dict[str, Any]]:
    """Entries of the manifest, in the order of the sources."""
    if jobs <= 1 or len(work) == 1:
        entries = []
        for done, job in enumerate(work):
            name = job.source.name
            tell(done, len(work), name)
            entries.append(_finish(job, part, partial(_tell_rows, tell, done, len(work), name)))
        return entries
    workers = min(jobs, len(work))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        futures: list[Future[dict[str, Any]]] = [pool.submit(_finish, job, part) for job in work]
        try:
            waiting = set(futures)
            while waiting:
                tell(len(futures) - len(waiting), len(futures), f"{len(waiting)} to go")
                finished, waiting = wait(waiting, return_when="FIRST_COMPLETED")
                for future in finished:
                    future.result()
        except BrokenProcessPool as error:
            raise DataError(
                "prepare: a process died, perhaps for want of memory; run it again with fewer --jobs"
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _end_with_parent() -> None:
    """Workers of a run that is killed must not go on writing, nor wait for work for ever."""

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _tell_rows(tell: Progress, done: int, total: int, name: str, rows: int) -> None:
    tell(done, total, f"{name}: {rows:,} ticks")


def _finish(job: Job, part: Path, tell: Callable[[int], None] = lambda rows: None) -> dict[str, Any]:
    """The stream of one source: as an earlier run left it, or made now. Returns its entry of the manifest."""
    key, note = job.key(), part / f"{job.source.name}.json"
    if note.is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):  # anything but a whole one is made anew
            kept = json.loads(note.read_text())
            if kept["key"] == key and sha256(part / kept["entry"]["file"]) == kept["entry"]["sha256"]:
                return kept["entry"]
    books = part / f"{job.source.name}.books"
    try:
        spool, account = _collect(job, books, tell)
        entry = _write_stream(job, spool, account, part)
        del spool  # unmaps the file
    finally:
        books.unlink(missing_ok=True)
    if job.key() != key:
        raise DataError(f"data {job.source.files[0]}: changed while it was read; wait until it is whole, run it again")
    written = note.with_suffix(".new")
    written.write_text(json.dumps({"key": key, "entry": entry}))
    os.replace(written, note)
    return entry


class Spool:
    """A source's ticks in a file, seen as a series whose arrays are mapped, not held.

    Pages that were read count as this process's memory until `forget`.
    """

    def __init__(self, path: Path, template: BookSeries):
        with path.open("rb") as file:
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        rows = np.frombuffer(self._mapped, BOOK_ROW)
        columns: dict[str, Any] = {name: rows[name] for name in COLUMNS}
        if template.bought is None:
            columns["bought"] = columns["sold"] = None
        self.books = template._replace(**columns)

    def forget(self) -> None:
        """Give the pages read so far back."""
        self._mapped.madvise(mmap.MADV_DONTNEED)


def _collect(job: Job, path: Path, tell: Callable[[int], None]) -> tuple[Spool, Account]:
    """First pass: a source's ticks into a file of BOOK_ROW."""
    ticks, account = ticks_of(job.source, job.config, job.options, job.policy)
    template: BookSeries | None = None
    with path.open("wb") as file:
        for chunk in ticks:
            template = template or chunk.part(0, 0)._replace(name=job.source.name)
            rows = np.zeros(chunk.rows, BOOK_ROW)
            for name in COLUMNS:
                column = getattr(chunk, name)
                rows[name] = 0 if column is None else column
            file.write(rows.data)
            tell(account.ticks)
    if template is None:
        raise DataError(no_ticks(job.source, account))
    return Spool(path, template), account


def _write_stream(job: Job, spool: Spool, account: Account, part: Path) -> dict[str, Any]:
    """Second pass: features and labels; returns the entry of the manifest."""
    books, dtype = spool.books, row_dtype(job.config)
    plan = plan_stream(books, job.config)
    path = part / f"{job.source.name}.npy"
    with path.open("wb") as file:
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (books.rows,)}
        npy.write_array_header_1_0(file, header)
        for start, block in stream_blocks(books, job.config, plan):
            validate_books(books.part(max(start - 1, 0), start + len(block.ts_ns)))
            rows = np.zeros(len(block.ts_ns), dtype)
            for column in ROW_COLUMNS:
                rows[column] = getattr(block, column)
            file.write(rows.data)
            spool.forget()
    scalars = stream_scalars(books, plan)
    scalars["instrument"] = job.options.symbol or scalars["instrument"]
    return {
        **{key: scalars[key] for key in SCALARS},
        "rows": books.rows,
        "splits": {name: list(scalars[name]) for name in SPLITS},
        "account": account.as_dict(),
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
        "sources": [checksum(file) for file in job.source.files],
    }
