"""Datasets: labelled streams prepared once on disk, or made in memory from book files.

A prepared dataset is a folder with one memory-mappable `.npy` file of rows per stream and a `manifest.json` that says
how the rows were made. Nothing in it is pickled, and it holds no path of the machine that wrote it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.config import DataConfig
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.market.features import FEATURE_NAMES, FEATURE_SCHEMA, feature_hash
from nanoarb_jax.market.readers.book_npz import read_book_npz
from nanoarb_jax.streams import (
    Stream,
    check_finite,
    create_training_samples,
    describe_stream,
    make_stream,
    mirror_stream,
    split_rows,
)

__all__ = [
    "Dataset",
    "Stream",
    "create_training_samples",
    "describe_stream",
    "make_stream",
    "mirror_stream",
    "open_dataset",
    "prepare",
    "split_rows",
]

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_COLUMNS = ("ts_ns", "mid", "features", "moves", "spread", "labels")
_SCALARS = ("name", "instrument", "tick_size", "quantity_scale", "threshold_ticks")
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Dataset:
    """Streams made with one `DataConfig`, and the files they came from as {"name", "sha256"}."""

    streams: tuple[Stream, ...]
    config: DataConfig
    sources: list[dict[str, str]]

    @property
    def horizons(self) -> tuple[int, ...]:
        return self.config.horizons

    @property
    def rows(self) -> int:
        return sum(stream.rows for stream in self.streams)


def open_dataset(path: str | Path, config: DataConfig | None = None, *, verify: bool = False) -> Dataset:
    """Open a prepared dataset, memory-mapped, or prepare books in memory.

    Args:
        path: a prepared folder, a folder of book-npz files, or one such file.
        config: for books, how to make streams of them (None: the defaults); for a prepared folder, None takes the
            settings it was made with, anything else must equal them.
        verify: also compare the sha256 of every stream file with the manifest, which reads all of it.

    Raises:
        DataError: nothing usable there, an altered or truncated file, another schema, other settings, or features
            that are NaN or infinite.
    """
    path = Path(path)
    if (path / MANIFEST).is_file():
        return _open_prepared(path, config, verify)
    config = config or DataConfig()
    files = _book_files([path])
    streams = tuple(make_stream(read_book_npz(file), config) for file in files)
    return Dataset(streams, config, [_source(file) for file in files])


def prepare(
    sources: Sequence[Path],
    out: Path,
    config: DataConfig,
    progress: Callable[[int, int, str], None] | None = None,
) -> Dataset:
    """Write the dataset of book-npz files (or folders of them) into the folder `out`, all of it or nothing.

    Args:
        sources: files and folders; every file becomes one stream.
        out: a folder that does not exist yet, or is empty.
        config: how streams are made.
        progress: called with (streams done, streams in all, name) before each stream and once at the end.

    Returns:
        The dataset as `open_dataset(out)` gives it.

    Raises:
        DataError: `out` is taken, or a source is missing, damaged or too short.
    """
    out = Path(out).absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"dataset {out}: exists and is not an empty folder; nothing is overwritten, give another --out")
    files = _book_files(sources)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        entries = []
        for done, file in enumerate(files):
            if progress:
                progress(done, len(files), file.stem)
            entries.append(_write_stream(part, make_stream(read_book_npz(file), config), file))
        (part / MANIFEST).write_text(json.dumps(_manifest(entries, config), indent=2) + "\n")
        os.replace(part, out)  # atomic; an empty folder gives way
    except OSError as error:
        raise DataError(f"dataset {out}: cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if progress:
        progress(len(files), len(files), out.name)
    return open_dataset(out)


def _book_files(sources: Sequence[Path]) -> list[Path]:
    """The book-npz files named, and those in the folders named, in order; no two of one stream name."""
    files: list[Path] = []
    for source in sources:
        found = sorted(source.glob("*.npz")) if source.is_dir() else [source]
        if not found:
            raise DataError(
                f"data {source}: a folder without {MANIFEST} and without book-npz files; expected *.npz in it"
            )
        files += found
    if not files:
        raise DataError("data: no sources; name at least one book-npz file or folder")
    stems = [file.stem for file in files]
    for file in files:
        if not file.is_file():
            raise DataError(f"data {file}: no such file or folder; expected a prepared dataset or book-npz files")
        if stems.count(file.stem) > 1:
            raise DataError(f"data {file}: {stems.count(file.stem)} sources are called {file.stem!r}; rename one")
    return files


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _source(path: Path) -> dict[str, str]:
    return {"name": path.name, "sha256": _sha256(path)}


def _row_dtype(horizons: int) -> np.dtype:
    """One tick at rest, little-endian and 8-byte aligned, so that its fields are read in place."""
    kinds = ("<i8", "<f8", f"({len(FEATURE_NAMES)},)<f4", f"({horizons},)<f4", "<f4", f"({horizons},)i1")
    return np.dtype(list(zip(_COLUMNS, kinds, strict=True)), align=True)


def _write_stream(folder: Path, stream: Stream, source: Path) -> dict[str, Any]:
    """Write one stream's rows; returns its entry of the manifest."""
    rows = np.zeros(stream.rows, _row_dtype(stream.labels.shape[1]))
    for column in _COLUMNS:
        rows[column] = getattr(stream, column)
    path = folder / f"{stream.name}.npy"
    np.save(path, rows, allow_pickle=False)
    return {
        **{key: getattr(stream, key) for key in _SCALARS},
        "rows": stream.rows,
        "splits": {part: list(getattr(stream, part)) for part in _SPLITS},
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
        "source": _source(source),
    }


def _manifest(entries: list[dict[str, Any]], config: DataConfig) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "feature_set": FEATURE_SCHEMA,
        "feature_names": list(FEATURE_NAMES),
        "feature_hash": feature_hash(FEATURE_NAMES),
        "clock": "book",
        "config": dataclasses.asdict(config),
        "streams": entries,
    }


def _open_prepared(folder: Path, config: DataConfig | None, verify: bool) -> Dataset:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        found = (manifest["schema_version"], manifest["feature_set"], manifest["feature_hash"])
        expected = (SCHEMA_VERSION, FEATURE_SCHEMA, feature_hash(FEATURE_NAMES))
        if found != expected:
            raise DataError(
                f"dataset {folder}: schema, features and hash are {found}; expected {expected}; prepare it again"
            )
        recorded = DataConfig(**manifest["config"])
        _compare(folder, recorded, config)
        streams = tuple(_open_stream(folder, entry, recorded, verify) for entry in manifest["streams"])
        if not streams:
            raise DataError(f"dataset {folder}: {MANIFEST} lists no streams; prepare it again")
        return Dataset(streams, recorded, [entry["source"] for entry in manifest["streams"]])
    except (
        OSError,
        KeyError,
        TypeError,
        AttributeError,
        UnicodeDecodeError,
        json.JSONDecodeError,
        ConfigError,
    ) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"dataset {folder}: {MANIFEST} is damaged or incomplete ({reason}); prepare it again"
        ) from error


def _compare(folder: Path, recorded: DataConfig, config: DataConfig | None) -> None:
    for field in dataclasses.fields(DataConfig) if config else ():
        was, now = getattr(recorded, field.name), getattr(config, field.name)
        if was != now:
            raise DataError(
                f"dataset {folder}: prepared with data.{field.name}={was!r}, asked for {now!r}; prepare another "
                "dataset with these settings or use those it was made with"
            )


def _open_stream(folder: Path, entry: dict[str, Any], config: DataConfig, verify: bool) -> Stream:
    path = folder / Path(entry["file"]).name
    if not path.is_file():
        raise DataError(f"dataset {folder}: stream file {path.name} is missing; prepare it again")
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise DataError(
            f"dataset {path}: {size} bytes; expected {entry['bytes']}: truncated or altered; prepare it again"
        )
    if verify and _sha256(path) != entry["sha256"]:
        raise DataError(f"dataset {path}: its sha256 is not that of {MANIFEST}: altered; prepare it again")
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"dataset {path}: not an array file ({error}); prepare it again") from error
    dtype = _row_dtype(len(config.horizons))
    if (
        rows.dtype != dtype
        or rows.shape != (entry["rows"],)
        or split_rows(len(rows), config) != tuple(tuple(entry["splits"][part]) for part in _SPLITS)
    ):
        raise DataError(f"dataset {path}: rows, splits or fields are not those of {MANIFEST}; prepare it again")
    check_finite(rows["features"], entry["name"])
    fields: dict[str, Any] = {key: entry[key] for key in _SCALARS}
    fields |= {part: tuple(entry["splits"][part]) for part in _SPLITS}
    fields |= {column: np.asarray(rows[column]) for column in _COLUMNS}
    return Stream(**fields)
