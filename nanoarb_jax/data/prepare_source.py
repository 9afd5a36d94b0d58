"""The stream file of one source, in two passes and bounded memory.

The first pass reads the ticks of the source into a temporary file of books. The second knows how many there are, learns
scales and thresholds from the training part, and writes features and labels block by block.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.declaration import Instruments, instrument_of
from nanoarb_jax.data.labelling import StreamFacts, measure_stream, stream_blocks
from nanoarb_jax.data.period import Period, PeriodCut
from nanoarb_jax.data.report import ReadReport
from nanoarb_jax.data.spool import Spool, spool_ticks
from nanoarb_jax.data.stored import ROW_COLUMNS, SCALARS, SPLITS, file_entry, manifest_head, row_dtype
from nanoarb_jax.data.streams import stream_scalars
from nanoarb_jax.data.ticks import no_ticks, read_ticks
from nanoarb_jax.errors import DataError, ShortSeriesError
from nanoarb_jax.files import replace_file, sha256
from nanoarb_jax.market.anomaly import Policy
from nanoarb_jax.market.series import BookSeries, validate_books
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import Source, find_sources


class Job(NamedTuple):
    """One source and how it is prepared."""

    source: Source
    config: DataConfig
    options: ReadOptions
    policy: Mapping[str, Policy]
    instruments: Instruments | None = None
    period: Period | None = None

    def files(self) -> list[dict[str, str]]:
        """The source's files as manifests list them, with those beside them that it is read with; reads all of them."""
        beside: list[Path] = []
        if self.options.snapshot is not None:
            beside = [file for source in find_sources([self.options.snapshot]) for file in source.files]
        return [file_entry(file) for file in (*self.source.files, *self.source.companions, *beside)]

    def key(self, files: list[dict[str, str]]) -> str:
        """Checksum of these files and of every setting: a stream made under the same key is still good."""
        version = metadata.version("nanoarb-jax")
        instrument = instrument_of(self.source.name, self.instruments)
        read = [self.options._asdict(), dict(self.policy), self.period]
        settings = [version, *read, manifest_head(self.config), instrument]
        return hashlib.sha256(json.dumps([self.source.name, files, settings], default=str).encode()).hexdigest()


def prepare_source(job: Job, folder: Path, tell: Callable[[int], None] = lambda rows: None) -> dict[str, Any]:
    """Write the stream file of a source, or keep the one that an earlier run has finished.

    A note beside the file, NAME.json, holds the key under which it was made.

    Args:
        job: the source and its settings.
        folder: where the stream file is written.
        tell: called with the number of ticks read so far.

    Returns:
        the stream's entry in the manifest.

    Raises:
        DataError: a source that is damaged, too short, without ticks, or that changes while it is read.
    """
    files, note = job.files(), folder / f"{job.source.name}.json"
    key = job.key(files)
    kept = _finished_entry(note, key)
    if kept is not None:
        return kept
    books = folder / f"{job.source.name}.books"
    try:
        ticks, report = read_ticks(job.source, job.config, job.options, job.policy)
        cut = PeriodCut(job.period)
        spool = spool_ticks(_in_period(ticks, cut, job.source, report), books, job.source.name, tell)
        if spool is None:
            raise ShortSeriesError(no_ticks(job.source, report))
        entry = {**_write_stream(job, spool, report, folder), "sources": files}
        del spool  # unmaps the file
    finally:
        books.unlink(missing_ok=True)
    if job.files() != files:
        raise DataError(f"data {job.source.files[0]}: changed while it was read; wait until it is whole, run it again")
    replace_file(note, json.dumps({"key": key, "entry": entry}).encode())
    return entry


def _in_period(ticks: Iterator[BookSeries], cut: PeriodCut, source: Source, report: ReadReport) -> Iterator[BookSeries]:
    """The ticks that lie in the period; what lies before is read, too, since the book is made of it.

    Raises:
        DataError: ticks without times, or none in the period.
    """
    if cut.period is not None and not report.timed:
        raise DataError(f"data {source.files[0]}: from and to: the files have no real times; leave them out")
    kept = 0
    for chunk in ticks:
        wanted = cut.cut(chunk)
        if wanted.rows:
            kept += wanted.rows
            yield wanted
    if cut.period is not None and report.ticks:
        if not kept:
            raise DataError(f"data {source.files[0]}: {cut.nothing()}")
        report.notes.append(f"{kept:,} of {report.ticks:,} ticks kept, {_bounds(cut)}")


def _bounds(cut: PeriodCut) -> str:
    return " ".join(f"{word} {time}" for word, time in (cut.bounds or {}).items() if time is not None)


def prepare_or_leave(job: Job, folder: Path, tell: Callable[[int], None] = lambda rows: None) -> dict[str, Any] | str:
    """As `prepare_source`; but of an instrument that nobody named, in files of several, and that has too few ticks, why
    it is left out."""
    try:
        return prepare_source(job, folder, tell)
    except ShortSeriesError as error:
        if job.source.symbol is None:
            raise
        return str(error)


def _finished_entry(note: Path, key: str) -> dict[str, Any] | None:
    """The entry of a stream that was made under this key and is still whole; None: it must be made."""
    if note.is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):  # a damaged note counts as none
            kept = json.loads(note.read_text())
            entry = kept["entry"]
            if kept["key"] == key and sha256(note.parent / entry["file"]) == entry["sha256"]:
                return entry
    return None


def _write_stream(job: Job, spool: Spool, report: ReadReport, folder: Path) -> dict[str, Any]:
    """Second pass: the stream file of the ticks; returns its entry in the manifest."""
    facts = measure_stream(spool.books, job.config)
    path = folder / f"{job.source.name}.npy"
    _write_rows(path, spool, job.config, facts)
    instrument = instrument_of(job.source.name, job.instruments)
    scalars = stream_scalars(spool.books, facts, instrument)
    return {
        **{key: scalars[key] for key in SCALARS},
        "rows": spool.books.rows,
        "splits": {name: list(scalars[name]) for name in SPLITS},
        "account": report.as_dict(),
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
    }


def _write_rows(path: Path, spool: Spool, config: DataConfig, facts: StreamFacts) -> None:
    """Features and labels as a `.npy` file, block by block; the books of each block are validated."""
    books, dtype = spool.books, row_dtype(config)
    with path.open("wb") as file:
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (books.rows,)}
        npy.write_array_header_1_0(file, header)
        for start, block in stream_blocks(books, config, facts):
            validate_books(books.part(max(start - 1, 0), start + len(block.ts_ns)))
            rows = np.zeros(len(block.ts_ns), dtype)
            for column in ROW_COLUMNS:
                rows[column] = getattr(block, column)
            file.write(rows.data)
            spool.forget()
