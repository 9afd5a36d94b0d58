"""Reading a checkpoint. All is verified before orbax reads it, since orbax leaves tracebacks behind when it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from nanoarb_jax.artifacts.card import TrainedOn
from nanoarb_jax.artifacts.checkpoint.arrays import fill_model, model_version, named_leaves
from nanoarb_jax.artifacts.checkpoint.environment import check_environment
from nanoarb_jax.artifacts.checkpoint.manifest import Manifest, find_checkpoint, read_manifest
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import CheckpointError
from nanoarb_jax.files import check_open_files, first_line, sha256
from nanoarb_jax.model.mamba import MambaLOB, abstract_model


@dataclass(frozen=True)
class Checkpoint(TrainedOn):
    """A loaded model and what is known about it.

    Args:
        model: the model, ready for inference.
        version: see `model_version`; what `Prediction.version` carries.
        metrics, data, training: see `ModelCard`.
        path: folder it was read from.
    """

    model: MambaLOB
    version: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def config(self) -> ModelConfig:  # type: ignore[override]  # not a field here: the model has it
        return self.model.config


def load_checkpoint(path: str | Path, dtype: jnp.dtype = jnp.float32) -> Checkpoint:
    """Read a model checkpoint and verify it.

    Args:
        path: see `find_checkpoint`.
        dtype: of the projections' operands, see `MambaLOB`.

    Raises:
        CheckpointError: missing, truncated, altered, of another format, or made for other features.
        DeviceError: see `check_environment`.
    """
    folder = find_checkpoint(path)
    check_environment()
    manifest = read_manifest(folder)
    card = manifest.card
    model = abstract_model(card.config, dtype)
    fill_model(model, _read_verified(folder, manifest, model))
    return Checkpoint(model, card.version, card.metrics or {}, card.data, card.training or {}, folder)


def _read_verified(folder: Path, manifest: Manifest, model: MambaLOB) -> dict[str, np.ndarray]:
    """The arrays of the model, whose shapes, files and values are those that the manifest says."""
    expected = named_leaves(model)
    for name in sorted(expected.keys() | manifest.shapes):
        if name not in expected or expected[name].shape != manifest.shapes.get(name):
            raise CheckpointError(
                f"checkpoint {folder}: array {name!r} does not fit its config; fetch or train it anew"
            )
    for name, checksum in manifest.files.items():
        if not (folder / name).is_file() or sha256(folder / name) != checksum:
            raise CheckpointError(
                f"checkpoint {folder}: {name} is missing, truncated or altered; fetch or train it anew"
            )
    arrays = _read_arrays(folder, {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in expected.items()})
    if model_version(arrays) != manifest.card.version:
        raise CheckpointError(f"checkpoint {folder}: the arrays read are not those saved; fetch or train it anew")
    return arrays


def _read_arrays(folder: Path, expected: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    try:
        with ocp.StandardCheckpointer() as checkpointer:
            arrays = checkpointer.restore((folder / "arrays").absolute(), expected)
    except Exception as error:  # orbax and tensorstore raise many kinds on a damaged folder
        check_open_files(error)
        raise CheckpointError(
            f"checkpoint {folder}: arrays/ cannot be read ({first_line(error)}); fetch or train it anew"
        ) from error
    return {name: np.asarray(array) for name, array in arrays.items()}
