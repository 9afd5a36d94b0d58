"""A model at rest: a folder with `arrays/` (orbax) and `checkpoint.json` (all that is not an array).

    checkpoint.json  format, version, config, feature schema, normaliser, metrics, data, software versions, checksums
                     of the files below arrays/ and of all this
    arrays/          parameters and frozen training statistics, by name

Folders are written beside their place and renamed into it, so that one that exists is whole; files are verified before
orbax reads them, since it leaves tracebacks behind when it fails. Nothing is pickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from nanoarb_jax.config import ModelConfig, config_from_dict
from nanoarb_jax.errors import CheckpointError, ConfigError
from nanoarb_jax.features.feature_set import FEATURE_SETS, feature_set_of
from nanoarb_jax.model.mamba import MambaLOB, abstract_model

FORMAT = 1
MANIFEST = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model and what is known about it.

    Args:
        model: the model, ready for inference.
        version: first 12 hex digits of the checksum over all arrays; what `Prediction.version` carries.
        metrics: validation metrics at the update it was kept at.
        data: streams it was trained on, with tick size, quantity scale, label threshold and row counts; and of the
            checkpoints it learnt from, `initial` weights and a `teacher`, their version and streams.
        training: training settings, and the update and epoch it was kept at.
        path: folder it was read from.
    """

    model: MambaLOB
    version: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @property
    def streams_seen(self) -> set[str]:
        """Names of all streams that its weights know of: its own, and those of the checkpoints it learnt from."""
        own = {stream["name"] for stream in self.data.get("streams", [])}
        return own.union(*(self.data.get(given, {}).get("streams", []) for given in ("initial", "teacher")))


def named_arrays(model: MambaLOB) -> dict[str, np.ndarray]:
    """Every parameter and statistic by its dotted name, float32."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model)))
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def model_version(arrays: Mapping[str, np.ndarray]) -> str:
    """Checksum that names a set of weights."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:12]


def software_versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {
        name: metadata.version(name) for name in ("nanoarb-jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy")
    }


def save_checkpoint(
    path: str | Path,
    model: MambaLOB,
    *,
    metrics: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model checkpoint, atomically.

    Args:
        path: folder to make; must not exist.
        model, metrics, data, training: see `Checkpoint`; plain JSON values.

    Raises:
        CheckpointError: the folder exists, or cannot be written.
    """
    path = Path(path).absolute()
    if path.exists():
        raise CheckpointError(f"checkpoint {path}: exists already; give another place or remove it first")
    arrays = named_arrays(model)
    transform = model.transform
    normaliser = None
    if transform.kind != "identity":
        normaliser = {"mean": np.asarray(transform.mean[...]).tolist(), "std": np.asarray(transform.std[...]).tolist()}
    manifest = {
        "format": FORMAT,
        "version": model_version(arrays),
        "config": dataclasses.asdict(model.config),
        "preset": model.config.preset_name,
        "features": _feature_schema(model.config.input_dim),
        "normaliser": normaliser,
        "metrics": dict(metrics or {}),
        "data": dict(data or {}),
        "training": dict(training or {}),
        "versions": software_versions(),
        "arrays": {name: {"shape": list(a.shape), "dtype": str(a.dtype)} for name, a in arrays.items()},
    }
    try:
        _write(path, arrays, manifest)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path}: cannot be written ({error.strerror})") from error
    return path


def _feature_schema(input_dim: int) -> dict[str, Any] | None:
    """Of the feature set with so many features; None where it is none of ours."""
    read = feature_set_of(input_dim)
    return None if read is None else {"schema": read.name, "names": list(read.names), "hash": read.hash}


def _write(path: Path, arrays: Mapping[str, np.ndarray], manifest: dict[str, Any]) -> None:
    import orbax.checkpoint as ocp

    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(scratch / "arrays", dict(arrays))
        files = sorted(file for file in (scratch / "arrays").rglob("*") if file.is_file())
        manifest = manifest | {"files": {file.relative_to(scratch).as_posix(): _sha256(file) for file in files}}
        manifest["checksum"] = _checksum(manifest)
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        scratch.chmod(0o755)
        os.rename(scratch, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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


def load_checkpoint(path: str | Path, dtype: jnp.dtype = jnp.float32) -> Checkpoint:
    """Read a model checkpoint and verify it.

    Args:
        path: see `find_checkpoint`.
        dtype: of the projections' operands, see `MambaLOB`.

    Raises:
        CheckpointError: missing, truncated, altered, of another format, or made for another feature schema.
    """
    folder = find_checkpoint(path)
    manifest = _read_manifest(folder)
    features = manifest["features"]
    ours = {name: feature_set.hash for name, feature_set in FEATURE_SETS.items()}
    if features is not None and features["hash"] != ours.get(features["schema"]):
        raise CheckpointError(
            f"checkpoint {folder}: made for features {features['schema']} ({features['hash']}), this version computes "
            f"{', '.join(f'{schema} ({digest})' for schema, digest in ours.items())}; train anew or use the version "
            "that made it"
        )
    horizons = manifest["config"]["horizons"]
    try:
        config = config_from_dict({"model": manifest["config"], "data": {"horizons": horizons}}, MANIFEST).model
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {folder}: its config is of another version ({error})") from error
    model = abstract_model(config, dtype)
    _restore(folder, manifest, model)
    return Checkpoint(model, manifest["version"], manifest["metrics"], manifest["data"], manifest["training"], folder)


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(str(getattr(part, "key", part)) for part in path)


def _checksum(manifest: Mapping[str, Any]) -> str:
    """Of everything else in the manifest, as it reads back from JSON."""
    rest = json.loads(json.dumps({key: value for key, value in manifest.items() if key != "checksum"}))
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {folder}: {MANIFEST} is damaged ({error}); fetch or train it anew"
        ) from error
    for key in ("format", "checksum"):
        if not isinstance(manifest, dict) or key not in manifest:
            raise CheckpointError(f"checkpoint {folder}: {MANIFEST} lacks {key!r}; fetch or train it anew")
    if manifest["format"] != FORMAT:
        raise CheckpointError(
            f"checkpoint {folder}: format {manifest['format']} met, {FORMAT} expected; update nanoarb-jax"
        )
    if manifest["checksum"] != _checksum(manifest):
        raise CheckpointError(
            f"checkpoint {folder}: {MANIFEST} fails its checksum, it was altered; fetch or train it anew"
        )
    return manifest


def _restore(folder: Path, manifest: Mapping[str, Any], model: MambaLOB) -> None:
    """Read the arrays into the model, all of it verified."""
    state = nnx.state(model)
    shapes = nnx.to_pure_dict(state)
    expected = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    recorded = {name: tuple(about["shape"]) for name, about in manifest["arrays"].items()}
    for name in sorted(expected.keys() | recorded):
        if name not in expected or expected[name].shape != recorded.get(name):
            raise CheckpointError(
                f"checkpoint {folder}: array {name!r} does not fit its config; fetch or train it anew"
            )
    for name, checksum in manifest["files"].items():
        if not (folder / name).is_file() or _sha256(folder / name) != checksum:
            raise CheckpointError(
                f"checkpoint {folder}: {name} is missing, truncated or altered; fetch or train it anew"
            )
    arrays = _read_arrays(folder, {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in expected.items()})
    if model_version(arrays) != manifest["version"]:
        raise CheckpointError(f"checkpoint {folder}: the arrays read are not those saved; fetch or train it anew")
    nnx.replace_by_pure_dict(
        state, jax.tree_util.tree_map_with_path(lambda path, _: jnp.asarray(arrays[_name(path)]), shapes)
    )
    nnx.update(model, state)


def _read_arrays(folder: Path, expected: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    try:
        with ocp.StandardCheckpointer() as checkpointer:
            arrays = checkpointer.restore((folder / "arrays").absolute(), expected)
    except Exception as error:  # orbax and tensorstore raise many kinds on a damaged folder
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"checkpoint {folder}: arrays/ cannot be read ({line[:200]}); fetch or train it anew"
        ) from error
    return {name: np.asarray(array) for name, array in arrays.items()}
