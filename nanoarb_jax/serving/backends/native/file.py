"""The native step's weights as a file: the buffer of `pack`, then what it is as JSON.

The buffer comes first, so that a program in any language may map the file into memory and hand its address to the step
as it is; the buffer's header says where it ends (`layout.Header.bytes`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import ModelConfig, config_from_dict
from nanoarb_jax.errors import ConfigError, ExportError
from nanoarb_jax.features.feature_set import names_hash
from nanoarb_jax.serving.backends.native.layout import HEADER_BYTES, MAGIC, PRECISIONS, Header, aligned, read_header
from nanoarb_jax.serving.schema import check_schema, named_features

FORMAT = 1


class NativeFile(NamedTuple):
    """What a file holds."""

    weights: NDArray[np.uint8]  # (bytes,), aligned to 64 bytes
    config: ModelConfig
    version: str  # of the weights
    about: dict[str, Any]  # the JSON


def native_file(
    weights: NDArray[np.uint8],
    config: ModelConfig,
    version: str,
    *,
    data: Mapping[str, Any] | None = None,
    software: Mapping[str, str] | None = None,
) -> bytes:
    """A file's content.

    Args:
        weights: from `pack`.
        config: the model's shape.
        version: of the weights in the checkpoint.
        data: how the training data were made, see `backends.onnx.file.ModelInfo`.
        software: versions it was made with.
    """
    schema, names = named_features(config.input_dim)
    about = {
        "format": FORMAT,
        "kind": "native",
        "version": version,
        "precision": PRECISIONS[read_header(weights).precision],
        "preset": config.preset_name,
        "config": dataclasses.asdict(config),
        "classes": ["down", "neutral", "up"],
        "features": {"schema": schema, "names": names, "hash": names_hash(names)},
        "data": dict(data or {"config": None, "series": {}}),
        "software": dict(software or {}),
    }
    return weights.tobytes() + json.dumps(about | {"sha256": _checksum(weights.tobytes(), about)}).encode()


def _checksum(weights: bytes, about: Mapping[str, Any]) -> str:
    rest = json.loads(json.dumps({key: value for key, value in about.items() if key != "sha256"}))
    return hashlib.sha256(weights + json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_native_file(path: str | Path) -> NativeFile:
    """Read and verify a file of `export --kind native`; whether the weights are of the config's shape is not looked at.

    Raises:
        ExportError: missing, truncated, altered, of other make, or for other features than this version computes.
    """
    content, about = _read(path)
    weights = aligned(len(content))
    weights[:] = np.frombuffer(content, np.uint8)
    return NativeFile(weights, _config(path, about), about["version"], about)


def describe_native(path: str | Path) -> dict[str, Any]:
    """What such a file says of itself.

    Raises:
        ExportError: missing, truncated, altered or of other make.
    """
    return _read(path)[1]


def _read(path: str | Path) -> tuple[bytes, dict[str, Any]]:
    """The buffer's bytes and what follows them, verified."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ExportError(
            f"{path}: cannot be read ({error.strerror}); give a file of nanoarb-jax export --kind native"
        ) from error
    words = np.frombuffer(content[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0"), np.int64).tolist()
    header = Header(*words[: len(Header._fields)])
    if header.magic != MAGIC:
        raise ExportError(
            f"{path}: no native weights of this version; give a file of nanoarb-jax export --kind native (an ONNX file "
            "goes with backend 'onnx')"
        )
    try:
        about = json.loads(content[header.bytes :])
        intact = about["sha256"] == _checksum(content[: header.bytes], about)
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise ExportError(f"{path}: truncated, altered or damaged; export it anew")
    if about["format"] != FORMAT:
        raise ExportError(f"{path}: format {about['format']}, this version reads {FORMAT}; export it anew")
    return content[: header.bytes], about


def _config(path: str | Path, about: Mapping[str, Any]) -> ModelConfig:
    check_schema(path, about["features"]["schema"], about["features"]["names"])
    try:
        tables = {"model": about["config"], "data": {"horizons": about["config"]["horizons"]}}
        return config_from_dict(tables, str(path)).model
    except ConfigError as error:
        raise ExportError(f"{path}: its config is of another version ({error}); export it anew") from error
