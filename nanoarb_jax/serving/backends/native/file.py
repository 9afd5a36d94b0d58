"""The native step's weights as a file: the buffer of `pack`, then the model's card as JSON.

The buffer comes first, so that a program in any language may map the file into memory and hand its address to the step
as it is; the buffer's header says where it ends (`layout.Header.bytes`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.artifacts.card import FeatureSchema, ModelCard
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ConfigError, ExportError
from nanoarb_jax.files import json_checksum
from nanoarb_jax.serving.backends.native.layout import HEADER_BYTES, MAGIC, PRECISIONS, Header, aligned, read_header

CHECKSUM = "sha256"  # the entry that holds the checksum over the buffer and all other entries


class NativeFile(NamedTuple):
    """What a file holds.

    Attributes:
        weights: (bytes,) uint8, the buffer of `pack`.
        card: of the model.
    """

    weights: NDArray[np.uint8]
    card: ModelCard


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
        data, software: see `ModelCard`.
    """
    card = ModelCard(
        kind="native",
        version=version,
        config=config,
        features=FeatureSchema.of(config),
        precision=PRECISIONS[read_header(weights).precision],
        data=dict(data or {}),
        software=dict(software or {}),
    )
    buffer, entries = weights.tobytes(), card.to_dict()
    entries[CHECKSUM] = json_checksum(entries, CHECKSUM, buffer)
    return buffer + json.dumps(entries).encode()


def read_native_file(path: str | Path) -> NativeFile:
    """Read and verify a file of `export --kind native`; whether the weights fit the config is left to `NativeStep`.

    Raises:
        ExportError: missing, truncated, altered, of other make, or for a config or features of another version.
    """
    buffer, entries = _read(path)
    weights = aligned(len(buffer))
    weights[:] = np.frombuffer(buffer, np.uint8)
    try:
        return NativeFile(weights, ModelCard.from_dict(entries))
    except ConfigError as error:
        raise ExportError(f"{path}: {error}; export it anew") from error


def _read(path: str | Path) -> tuple[bytes, dict[str, Any]]:
    """The buffer's bytes and the entries that follow them, verified."""
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
            f"{path}: not a file of native weights of this version; give one of nanoarb-jax export --kind native (an "
            "ONNX step goes with backend 'onnx')"
        )
    try:
        entries = json.loads(content[header.bytes :])
        intact = entries[CHECKSUM] == json_checksum(entries, CHECKSUM, content[: header.bytes])
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise ExportError(f"{path}: truncated, altered or damaged; export it anew")
    return content[: header.bytes], entries
