"""The constants of a model, folded from its weights beforehand, so that no node of the graph computes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from flax import nnx

from nanoarb_jax.artifacts.checkpoint import named_arrays
from nanoarb_jax.exporters.channels import Quotients, quotients
from nanoarb_jax.model.mamba import MambaLOB


class BlockForm(NamedTuple):
    """A block's constants."""

    norm: nnx.LayerNorm
    to_u: np.ndarray  # (f, d) the halves of in_proj apart: two products cost less than one and a split
    to_z: np.ndarray  # (f, d)
    taps: np.ndarray  # (k, d) oldest first
    tap_bias: np.ndarray  # (d,)
    x_proj: np.ndarray  # (d, r + 2n)
    dt: np.ndarray  # (r, d)
    dt_bias: np.ndarray  # (d,)
    A: np.ndarray  # (n, d)
    D: np.ndarray  # (d,)
    out: np.ndarray  # (d, f)


class Form(NamedTuple):
    """A model's constants, folded."""

    channels: Quotients | None  # None: the features are the inputs as they are
    scale: np.ndarray  # (g,) standardisation as one multiply-add
    shift: np.ndarray  # (g,)
    project: np.ndarray  # (g, f)
    project_bias: np.ndarray  # (f,)
    norm: nnx.LayerNorm
    blocks: tuple[BlockForm, ...]
    heads_in: np.ndarray  # (f, h·m) all horizons side by side
    heads_in_bias: np.ndarray  # (h·m,)
    heads_out: np.ndarray  # (h·m, h·c) block diagonal; below it, (f + g, h·c), the linear term if there is one
    heads_out_bias: np.ndarray  # (h·c,)
    shape: tuple[int, int]  # h, c
    linear_term: bool


def fold(model: MambaLOB) -> Form:
    """Fold a model's weights into the constants of its form."""
    arrays, config, kind = named_arrays(model), model.config, model.transform.kind
    mean, std = (arrays.get(f"transform.{name}", np.zeros(0, np.float32)) for name in ("mean", "std"))
    h, f, m = arrays["heads.kernel_in"].shape
    return Form(
        channels=None if kind == "identity" else quotients(kind),
        scale=1 / std,
        shift=-mean / std,
        project=arrays["input_proj.kernel"],
        project_bias=arrays["input_proj.bias"],
        norm=model.input_norm,
        blocks=tuple(_fold_block(arrays, i, norm) for i, norm in enumerate(model.norms)),
        heads_in=arrays["heads.kernel_in"].transpose(1, 0, 2).reshape(f, h * m),
        heads_in_bias=arrays["heads.bias_in"].reshape(-1),
        heads_out=_fold_heads_out(arrays),
        heads_out_bias=arrays["heads.bias_out"].reshape(-1),
        shape=(h, config.num_classes),
        linear_term=config.linear_term,
    )


def _fold_heads_out(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """All that the logits of all horizons are products of, in one matrix."""
    h, m, c = arrays["heads.kernel_out"].shape
    out = np.zeros((h, m, h, c), np.float32)
    out[np.arange(h), :, np.arange(h)] = arrays["heads.kernel_out"]
    names = [name for name in ("linear_term.last_kernel", "linear_term.input_kernel") if name in arrays]
    term = [arrays[name].transpose(1, 0, 2).reshape(-1, h * c) for name in names]
    return np.concatenate([out.reshape(h * m, h * c), *term])


def _fold_block(arrays: dict[str, np.ndarray], i: int, norm: nnx.LayerNorm) -> BlockForm:
    def a(name: str) -> np.ndarray:
        return arrays[f"blocks.{i}.{name}"]

    to_u, to_z = np.split(a("in_proj.kernel"), 2, axis=1)
    return BlockForm(
        norm, to_u, to_z, a("conv_kernel"), a("conv_bias"), a("x_proj.kernel"), a("dt_proj.kernel"), a("dt_proj.bias"),
        -np.exp(a("A_log")).T, a("D"), a("out_proj.kernel"),
    )  # fmt: skip
