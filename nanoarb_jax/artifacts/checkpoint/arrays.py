"""The arrays of a model by name, and what names a set of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from nanoarb_jax.model.mamba import MambaLOB


def named_arrays(model: MambaLOB) -> dict[str, np.ndarray]:
    """Every parameter and statistic by its dotted name, float32."""
    return {name: np.asarray(leaf) for name, leaf in named_leaves(model).items()}


def named_leaves(model: MambaLOB) -> dict[str, Any]:
    """The same of any model: of one that was made by `abstract_model`, shapes and dtypes."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(nnx.state(model)))
    return {_name(path): leaf for path, leaf in leaves}


def fill_model(model: MambaLOB, arrays: Mapping[str, np.ndarray]) -> None:
    """Put arrays into the places that their names say."""
    state = nnx.state(model)
    filled = jax.tree_util.tree_map_with_path(lambda path, _: jnp.asarray(arrays[_name(path)]), nnx.to_pure_dict(state))
    nnx.replace_by_pure_dict(state, filled)
    nnx.update(model, state)


def model_version(arrays: Mapping[str, np.ndarray]) -> str:
    """First 12 hex digits of the checksum over all arrays and their names: what tells sets of weights apart."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:12]


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(str(getattr(part, "key", part)) for part in path)
