"""`checkpoint.json`: found, read and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from nanoarb_jax.artifacts.card import ModelCard, check_format
from nanoarb_jax.errors import CheckpointError, ConfigError
from nanoarb_jax.files import check_open_files, json_checksum

MANIFEST = "checkpoint.json"
CHECKSUM = "checksum"  # the entry that holds the checksum over all others


class Manifest(NamedTuple):
    """What `checkpoint.json` says.

    Attributes:
        card: of the model.
        shapes: of the arrays, by name.
        files: {path below the folder: sha256}.
    """

    card: ModelCard
    shapes: dict[str, tuple[int, ...]]
    files: dict[str, str]


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint folder meant by `path`: itself, the best of a training run, or the newest of numbered ones.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if not path.is_dir():
        met = "a file" if path.exists() else "no such folder"
        raise CheckpointError(f"checkpoint {path}: {met}; give a folder with {MANIFEST} or a training output")
    for place in (path, path / "best"):
        if (place / MANIFEST).is_file():
            return place
        numbered = [p for p in place.glob("[0-9]*") if p.name.isdigit() and (p / MANIFEST).is_file()]
        if numbered:
            return max(numbered, key=lambda p: int(p.name))
    raise CheckpointError(f"checkpoint {path}: holds no {MANIFEST}; it is no checkpoint, or training kept none yet")


def read_manifest(folder: Path) -> Manifest:
    """Read a folder's `checkpoint.json` and verify it.

    Raises:
        CheckpointError: missing, damaged, altered, or of a format, a config or features of another version.
    """
    values = _read_json(folder)
    try:
        check_format(values)
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {folder}: {error}") from error
    if values[CHECKSUM] != json_checksum(values, CHECKSUM):
        raise CheckpointError(
            f"checkpoint {folder}: {MANIFEST} fails its checksum, it was altered; fetch or train it anew"
        )
    try:
        card = ModelCard.from_dict(values)
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {folder}: {error}; train anew or use the version that made it") from error
    shapes = {name: tuple(array["shape"]) for name, array in values["arrays"].items()}
    return Manifest(card, shapes, values["files"])


def _read_json(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        check_open_files(error)
        raise CheckpointError(
            f"checkpoint {folder}: {MANIFEST} is damaged ({error}); fetch or train it anew"
        ) from error
    for key in ("format", CHECKSUM):
        if not isinstance(values, dict) or key not in values:
            raise CheckpointError(f"checkpoint {folder}: {MANIFEST} lacks {key!r}; fetch or train it anew")
    return values
