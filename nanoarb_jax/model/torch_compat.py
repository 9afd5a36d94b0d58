"""Weights of NanoARB's PyTorch model, read from plain arrays (torch itself is not needed)."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import CheckpointError
from nanoarb_jax.model.mamba import MambaBlock, MambaLOB


def load_torch_state_dict(mapping: Mapping[str, np.ndarray]) -> MambaLOB:
    """Build the model that a PyTorch Mamba-LOB state dict describes.

    Args:
        mapping: tensor name → array in PyTorch layout (`nn.Linear.weight` is (out, in), `conv1d.weight` (d, 1, k));
            `A_log` may be (n,), shared by all channels, or (d, n). Sizes are read from the shapes, horizons are taken
            as (10, 50, 100) for three heads and 1, 2, … otherwise.

    Raises:
        CheckpointError: a tensor is missing, left over, or has another shape than the others imply.

    Example:
        >>> with np.load("weights.npz") as file:
        ...     model = load_torch_state_dict({name: file[name] for name in file.files})
    """
    rest = {name: np.asarray(array) for name, array in mapping.items()}

    def take(name: str) -> np.ndarray:
        if name not in rest:
            raise CheckpointError(f"PyTorch state dict: tensor {name!r} is missing; give the whole state dict")
        return rest.pop(name)

    def put(variable: nnx.Variable | None, array: np.ndarray, name: str) -> None:
        if variable is None or variable.shape != array.shape:
            raise CheckpointError(f"PyTorch tensor {name!r}: shape {array.shape} does not fit the others")
        variable[...] = jnp.asarray(array, jnp.float32)

    def linear(layer: nnx.Linear, name: str) -> None:
        put(layer.kernel, take(f"{name}.weight").T, f"{name}.weight")
        if layer.use_bias:
            put(layer.bias, take(f"{name}.bias"), f"{name}.bias")

    def norm(layer: nnx.LayerNorm, name: str) -> None:
        put(layer.scale, take(f"{name}.weight"), f"{name}.weight")
        put(layer.bias, take(f"{name}.bias"), f"{name}.bias")

    def block(layer: MambaBlock, name: str) -> None:
        A_log = take(f"{name}.A_log")
        put(layer.A_log, np.broadcast_to(A_log, layer.A_log.shape), f"{name}.A_log")
        put(layer.D, take(f"{name}.D"), f"{name}.D")
        put(layer.conv_kernel, take(f"{name}.conv1d.weight")[:, 0].T, f"{name}.conv1d.weight")
        put(layer.conv_bias, take(f"{name}.conv1d.bias"), f"{name}.conv1d.bias")
        for projection in ("in_proj", "x_proj", "dt_proj", "out_proj"):
            linear(getattr(layer, projection), f"{name}.{projection}")

    model = MambaLOB(_config(rest), rngs=nnx.Rngs(0))
    linear(model.input_proj, "input_proj")
    norm(model.input_norm, "input_norm")
    for i, layer in enumerate(model.blocks):
        block(layer, f"layers.{i}")
        norm(model.norms[i], f"norms.{i}")
    heads = [[take(f"output_heads.{i}.{part}") for part in HEAD_PARTS] for i in range(len(model.config.horizons))]
    kernel_in, bias_in, kernel_out, bias_out = (np.stack(arrays) for arrays in zip(*heads, strict=True))
    put(model.heads.kernel_in, kernel_in.swapaxes(1, 2), "output_heads.*.0.weight")
    put(model.heads.bias_in, bias_in, "output_heads.*.0.bias")
    put(model.heads.kernel_out, kernel_out.swapaxes(1, 2), "output_heads.*.3.weight")
    put(model.heads.bias_out, bias_out, "output_heads.*.3.bias")
    if rest:
        raise CheckpointError(
            f"PyTorch state dict: unexpected tensor {sorted(rest)[0]!r}; not a Mamba-LOB of this shape"
        )
    return model


HEAD_PARTS = ("0.weight", "0.bias", "3.weight", "3.bias")


def _config(tensors: Mapping[str, np.ndarray]) -> ModelConfig:
    needed = ("input_proj.weight", "layers.0.A_log", "layers.0.D", "layers.0.conv1d.weight", "layers.0.dt_proj.weight")
    for name in needed:
        if name not in tensors:
            raise CheckpointError(f"PyTorch state dict: tensor {name!r} is missing; is this a Mamba-LOB state dict?")
    hidden_dim, input_dim = tensors["input_proj.weight"].shape
    heads = sum(name.startswith("output_heads.") and name.endswith(".0.weight") for name in tensors)
    return ModelConfig(
        input_dim=input_dim,
        hidden_dim=hidden_dim,
        d_state=tensors["layers.0.A_log"].shape[-1],
        d_conv=tensors["layers.0.conv1d.weight"].shape[-1],
        expand=tensors["layers.0.D"].shape[0] // hidden_dim,
        num_layers=sum(name.startswith("layers.") and name.endswith(".A_log") for name in tensors),
        horizons=(10, 50, 100) if heads == 3 else tuple(range(1, heads + 1)),
        dt_rank=tensors["layers.0.dt_proj.weight"].shape[1],
        input_transform="identity",
    )
