"""Prepared datasets on disk, as `prepare.py` writes them: a folder that is opened without being read.

It has one memory-mappable `.npy` file of rows per stream and a `manifest.json` that says how the rows were made.
Nothing in it is pickled, and it holds no path of the machine that wrote it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.labelling import check_finite, session_gap_ns, split_rows
from nanoarb_jax.data.mapped import MappedColumn, MappedRows, MappedStream
from nanoarb_jax.data.report import warn_of_losses
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.files import check_open_files, sha256
from nanoarb_jax.readers.archives import archive_of

SCHEMA_VERSION = 3
MANIFEST = "manifest.json"
ROW_COLUMNS = ("ts_ns", "mid", "features", "moves", "spread", "labels")
SIZES = ("tick_size", "lot_size", "quantity_scale", "spread_scale")
SCALARS = ("name", "instrument", "instrument_declared", *SIZES, "threshold_ticks", "timed")
SPLITS = ("train", "validation", "test")
# what reading a manifest raises that is cut, altered or lacks an entry
_DAMAGE = (OSError, KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError, ConfigError)


class Stored(NamedTuple):
    """What a folder holds, see `Dataset`."""

    streams: tuple[Stream, ...]
    config: DataConfig
    sources: list[dict[str, str]]


def is_dataset(path: Path) -> bool:
    """Whether a folder is a prepared dataset: other programs leave a manifest.json, too, such as Databento's."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True  # a damaged one, which is said when it is opened
    return not isinstance(manifest, dict) or "schema_version" in manifest or "streams" in manifest


def read_accounts(folder: Path) -> dict[str, dict[str, Any]]:
    """What was read of every stream of a prepared dataset, by its name, see `report.ReadReport.as_dict`."""
    manifest = json.loads((folder / MANIFEST).read_text())
    return {entry["name"]: {"notes": [], **entry["account"]} for entry in manifest["streams"]}


def file_entry(path: Path) -> dict[str, str]:
    """A source file as manifests list it: its name without a folder, and its sha256, of a zip member its archive's."""
    return {"name": path.name, "sha256": sha256(archive_of(path) or path)}


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


def open_stored(folder: Path, config: DataConfig | None, verify: bool) -> Stored:
    """Open a prepared dataset; see `open_dataset`.

    Raises:
        DataError: an altered or truncated file, another schema, other settings, or features that are not finite.
    """
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
        for entry in manifest["streams"]:
            warn_of_losses(entry["name"], entry["account"])
        return Stored(streams, recorded, [file for entry in manifest["streams"] for file in entry["sources"]])
    except _DAMAGE as error:
        check_open_files(error)
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
    path = folder / Path(entry["file"]).name
    rows = _map_rows(path, entry, config)
    if verify:
        check_finite(rows.column("features"), entry["name"], FEATURE_SETS[config.feature_set].names)
        if sha256(path) != entry["sha256"]:
            raise DataError(f"dataset {path}: its sha256 is not that of {MANIFEST}: altered; prepare it again")
    timed = entry["account"].get("timed", True)
    unknown = {"lot_size": math.nan, "instrument_declared": False, "timed": timed}  # what earlier versions did not note
    fields: dict[str, Any] = {key: entry.get(key, unknown[key]) if key in unknown else entry[key] for key in SCALARS}
    fields["sources"] = tuple(file["sha256"] for file in entry["sources"])
    fields["threshold_ticks"] = tuple(entry["threshold_ticks"])
    fields |= {part: tuple(entry["splits"][part]) for part in SPLITS}
    fields |= {column: MappedColumn(rows, column) for column in ROW_COLUMNS}
    return MappedStream(**fields, session_gap_ns=session_gap_ns(config, fields["timed"]))


def _map_rows(path: Path, entry: dict[str, Any], config: DataConfig) -> MappedRows:
    """The rows of a stream file, which must be as the manifest says."""
    if not path.is_file():
        raise DataError(f"dataset {path.parent}: stream file {path.name} is missing; prepare it again")
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise DataError(
            f"dataset {path}: {size} bytes; expected {entry['bytes']}: truncated or altered; prepare it again"
        )
    mapped = MappedRows(path)
    rows = mapped.rows()
    if (
        rows.dtype != row_dtype(config)
        or rows.shape != (entry["rows"],)
        or split_rows(len(rows), config, rows["ts_ns"]) != tuple(tuple(entry["splits"][part]) for part in SPLITS)
    ):
        raise DataError(f"dataset {path}: rows, splits or fields are not those of {MANIFEST}; prepare it again")
    return mapped
