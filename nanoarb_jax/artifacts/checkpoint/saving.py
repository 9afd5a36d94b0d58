"""Writing a checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.artifacts.card import FeatureSchema, ModelCard, software_versions
from nanoarb_jax.artifacts.checkpoint.arrays import model_version, named_arrays
from nanoarb_jax.artifacts.checkpoint.manifest import CHECKSUM, MANIFEST
from nanoarb_jax.errors import CheckpointError
from nanoarb_jax.files import claim_folder, json_checksum, sha256
from nanoarb_jax.model.mamba import MambaLOB


def save_checkpoint(
    path: str | Path,
    model: MambaLOB,
    *,
    metrics: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model checkpoint: all of it, or nothing.

    Args:
        path: folder to make.
        model: the model.
        metrics, data, training: see `Checkpoint`; plain JSON values.

    Raises:
        OutputError: the path is a file, or a folder that is not empty.
        CheckpointError: it cannot be written.
    """
    path = Path(path).absolute()
    claim_folder(path, "checkpoint")
    arrays = named_arrays(model)
    card = ModelCard(
        kind="checkpoint",
        version=model_version(arrays),
        config=model.config,
        features=FeatureSchema.of(model.config),
        data=dict(data or {}),
        software=software_versions(),
        metrics=dict(metrics or {}),
        training=dict(training or {}),
    )
    manifest = card.to_dict() | {
        "normaliser": _normaliser(model),
        "arrays": {name: {"shape": list(a.shape), "dtype": str(a.dtype)} for name, a in arrays.items()},
    }
    try:
        _write(path, arrays, manifest)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: cannot be written ({error.strerror})") from error
    return path


def _normaliser(model: MambaLOB) -> dict[str, list[float]] | None:
    """Mean and standard deviation of the input channels, for readers: the arrays hold them too."""
    transform = model.transform
    if transform.kind == "identity":
        return None
    return {"mean": np.asarray(transform.mean[...]).tolist(), "std": np.asarray(transform.std[...]).tolist()}


def _write(path: Path, arrays: Mapping[str, np.ndarray], manifest: dict[str, Any]) -> None:
    """Write the folder beside its place, then rename it."""
    import orbax.checkpoint as ocp

    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(scratch / "arrays", dict(arrays))
        files = sorted(file for file in (scratch / "arrays").rglob("*") if file.is_file())
        manifest = manifest | {"files": {file.relative_to(scratch).as_posix(): sha256(file) for file in files}}
        manifest[CHECKSUM] = json_checksum(manifest, CHECKSUM)
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        scratch.chmod(0o755)
        os.rename(scratch, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
