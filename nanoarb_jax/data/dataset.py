"""Datasets: labelled streams prepared once on disk (`prepare.py`), or made in memory from market data.

A prepared dataset is a folder with one memory-mappable `.npy` file of rows per stream and a `manifest.json` that says
how the rows were made. Nothing in it is pickled, and it holds no path of the machine that wrote it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.config import DataConfig, InputSpec, ModelConfig
from nanoarb_jax.data.declaration import Instruments, instrument_of
from nanoarb_jax.data.labelling import check_finite, split_rows
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.files import sha256
from nanoarb_jax.readers.sources import find_sources

SCHEMA_VERSION = 3
MANIFEST = "manifest.json"
ROW_COLUMNS = ("ts_ns", "mid", "features", "moves", "spread", "labels")
SIZES = ("tick_size", "lot_size", "quantity_scale", "spread_scale")
SCALARS = ("name", "instrument", "instrument_declared", *SIZES, "threshold_ticks")
SPLITS = ("train", "validation", "test")
# what reading a manifest raises that is cut, altered or lacks an entry
_DAMAGE = (OSError, KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError, ConfigError)


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


def open_dataset(
    path: str | Path,
    config: DataConfig | None = None,
    *,
    verify: bool = False,
    instruments: Instruments | None = None,
) -> Dataset:
    """Open a prepared dataset, memory-mapped, or make streams of market data in memory.

    Args:
        path: a prepared folder, a folder of market data, or one file of it, in any format of `readers.sources`.
        config: for market data, how to make streams of it (None: the defaults); for a prepared folder, None takes the
            settings it was made with, anything else must equal them.
        verify: also compare the sha256 of every stream file with the manifest, and look for features that are not
            finite, which reads all of it. Without, only the manifest and the columns that the splits need are read.
        instruments: of the series, see `declaration.instrument_of`; None: as declared when the dataset was prepared.

    Raises:
        DataError: nothing usable there, an altered or truncated file, another schema, other settings, or features
            that are NaN or infinite.
    """
    path = Path(path)
    if (path / MANIFEST).is_file():
        prepared = _open_prepared(path, config, verify)
        return prepared if instruments is None else _declare(prepared, instruments)
    config = config or DataConfig()
    sources = find_sources([path])
    files = [[file_entry(file) for file in source.files] for source in sources]
    streams = tuple(
        make_stream(read_books(source, config)[0], config, instruments, [file["sha256"] for file in entries])
        for source, entries in zip(sources, files, strict=True)
    )
    return Dataset(streams, config, [file for entries in files for file in entries])


def _declare(dataset: Dataset, instruments: Instruments) -> Dataset:
    """The dataset with its series' instruments as they are declared now."""
    declared = [(stream, instrument_of(stream.name, instruments)) for stream in dataset.streams]
    streams = [stream._replace(instrument=one.instrument, instrument_declared=one.declared) for stream, one in declared]
    return dataclasses.replace(dataset, streams=tuple(streams))


def check_fit(dataset: Dataset, model: ModelConfig) -> None:
    """Check that the dataset has the features and horizons of a model.

    Raises:
        DataError: the dataset's horizons or feature count are not the model's.
    """
    if tuple(dataset.horizons) != model.horizons:
        raise DataError(
            f"labels at horizons {tuple(dataset.horizons)}, the model predicts {model.horizons}; "
            "prepare the data with the model's horizons"
        )
    for stream in dataset.streams:
        if stream.features.shape[1] != model.input_dim:
            raise DataError(
                f"stream {stream.name!r}: {stream.features.shape[1]} features per tick, "
                f"the model expects {model.input_dim}; prepare the data anew"
            )


def check_input(dataset: Dataset, spec: InputSpec) -> None:
    """Check that the ticks of a dataset were made as a model reads them.

    Raises:
        DataError: another clock, time stamps, session gap or feature set.
    """
    made, names = dataset.config.input, [field.name for field in dataclasses.fields(InputSpec)]
    unused = {"clock_interval_ms"} if spec.clock != "time" else set()
    unused |= {"clock_levels"} if spec.clock != "book" else set()
    unlike = [name for name in names if getattr(made, name) != getattr(spec, name) and name not in unused]
    if unlike:
        met, wanted = (getattr(one, unlike[0]) for one in (made, spec))
        raise DataError(
            f"dataset: prepared with {unlike[0]}={met!r}, the model reads {wanted!r}; prepare the data anew with "
            f"--{unlike[0].replace('_', '-')} {wanted}"
        )


def file_entry(path: Path) -> dict[str, str]:
    """A source file as manifests list it: its name without a folder, and its sha256."""
    return {"name": path.name, "sha256": sha256(path)}


def row_dtype(config: DataConfig) -> np.dtype:
    """One row of a stream file, little-endian and 8-byte aligned, so that its fields are read in place."""
    features, horizons = len(FEATURE_SETS[config.feature_set].names), len(config.horizons)
    kinds = ("<i8", "<f8", f"({features},)<f4", f"({horizons},)<f4", "<f4", f"({horizons},)i1")
    return np.dtype(list(zip(ROW_COLUMNS, kinds, strict=True)), align=True)


def manifest_head(config: DataConfig) -> dict[str, Any]:
    """The entries of a manifest that come before its streams: schema, features and settings."""
    features = FEATURE_SETS[config.feature_set]
    return {
        "schema_version": SCHEMA_VERSION,
        "feature_set": config.feature_set,
        "feature_names": list(features.names),
        "feature_hash": features.hash,
        "clock": config.clock,
        "config": dataclasses.asdict(config),
    }


def _open_prepared(folder: Path, config: DataConfig | None, verify: bool) -> Dataset:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        recorded = DataConfig(**manifest["config"]) if manifest["schema_version"] == SCHEMA_VERSION else DataConfig()
        head = manifest_head(recorded)
        keys = ("schema_version", "feature_set", "feature_hash")
        found, expected = [manifest[key] for key in keys], [head[key] for key in keys]
        if found != expected:
            raise DataError(
                f"dataset {folder}: schema, features and hash are {found}; expected {expected}; prepare it again"
            )
        _check_settings(folder, recorded, config)
        streams = tuple(_open_stream(folder, entry, recorded, verify) for entry in manifest["streams"])
        if not streams:
            raise DataError(f"dataset {folder}: {MANIFEST} lists no streams; prepare it again")
        return Dataset(streams, recorded, [file for entry in manifest["streams"] for file in entry["sources"]])
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"dataset {folder}: {MANIFEST} is damaged or incomplete ({reason}); prepare it again"
        ) from error


def _check_settings(folder: Path, recorded: DataConfig, config: DataConfig | None) -> None:
    for field in dataclasses.fields(DataConfig) if config else ():
        was, now = getattr(recorded, field.name), getattr(config, field.name)
        if was != now:
            raise DataError(
                f"dataset {folder}: prepared with data.{field.name}={was!r}, asked for {now!r}; prepare another "
                "dataset with these settings or use those it was made with"
            )


def _open_stream(folder: Path, entry: dict[str, Any], config: DataConfig, verify: bool) -> Stream:
    """One stream of a prepared dataset, its columns mapped from the file; `entry` is that of the manifest."""
    rows, path = _map_rows(folder, entry, config), folder / Path(entry["file"]).name
    if verify:
        check_finite(rows["features"], entry["name"], FEATURE_SETS[config.feature_set].names)
        if sha256(path) != entry["sha256"]:
            raise DataError(f"dataset {path}: its sha256 is not that of {MANIFEST}: altered; prepare it again")
    unknown = {"lot_size": math.nan, "instrument_declared": False}  # what earlier versions did not note
    fields: dict[str, Any] = {key: entry.get(key, unknown[key]) if key in unknown else entry[key] for key in SCALARS}
    fields["sources"] = tuple(file["sha256"] for file in entry["sources"])
    fields["threshold_ticks"] = tuple(entry["threshold_ticks"])
    fields |= {part: tuple(entry["splits"][part]) for part in SPLITS}
    fields |= {column: np.asarray(rows[column]) for column in ROW_COLUMNS}
    return Stream(**fields, session_gap_ns=config.input.session_gap_ns)


def _map_rows(folder: Path, entry: dict[str, Any], config: DataConfig) -> np.ndarray:
    """The rows of a stream file, which must be as the manifest says."""
    path = folder / Path(entry["file"]).name
    if not path.is_file():
        raise DataError(f"dataset {folder}: stream file {path.name} is missing; prepare it again")
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise DataError(
            f"dataset {path}: {size} bytes; expected {entry['bytes']}: truncated or altered; prepare it again"
        )
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"dataset {path}: not an array file ({error}); prepare it again") from error
    if (
        rows.dtype != row_dtype(config)
        or rows.shape != (entry["rows"],)
        or split_rows(len(rows), config, rows["ts_ns"]) != tuple(tuple(entry["splits"][part]) for part in SPLITS)
    ):
        raise DataError(f"dataset {path}: rows, splits or fields are not those of {MANIFEST}; prepare it again")
    return rows
