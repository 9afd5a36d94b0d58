"""Weights of NanoARB's PyTorch model, read from plain arrays (torch itself is not needed)."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import CheckpointError, ConfigError
from nanoarb_jax.model.mamba import Heads, MambaBlock, MambaLOB, abstract_model


def load_torch_state_dict(mapping: Mapping[str, np.ndarray]) -> MambaLOB:
    """Build the model that a PyTorch Mamba-LOB state dict describes.

    Args:
        mapping: tensor name → array in PyTorch layout (`nn.Linear.weight` is (out, in), `conv1d.weight` (d, 1, k));
            `A_log` may be (n,), shared by all channels, or (d, n). Sizes are read from the shapes, horizons are taken
            as (10, 50, 100) for three heads and 1, 2, … otherwise.

    Raises:
        CheckpointError: a tensor is missing, left over, not finite, or of another shape than the others imply.

    Example:
        >>> with np.load("weights.npz") as file:  # made by np.savez(…, **{name: tensor.numpy()})
        ...     model = nj.load_torch_state_dict({name: file[name] for name in file.files})
        >>> model.config.horizons
        (10, 50, 100)
    """
    tensors = {name: np.asarray(array) for name, array in mapping.items()}
    model = abstract_model(_config(tensors))
    theirs = _StateDict(tensors)
    theirs.put_linear(model.input_proj, "input_proj")
    theirs.put_norm(model.input_norm, "input_norm")
    for i, (block, norm) in enumerate(zip(model.blocks, model.norms, strict=True)):
        theirs.put_block(block, f"layers.{i}")
        theirs.put_norm(norm, f"norms.{i}")
    theirs.put_heads(model.heads)
    theirs.check_all_taken()
    return model


class _StateDict:
    """Tensors of a state dict by name, each of which is taken once.

    Args:
        tensors: in PyTorch layout.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        self._rest = dict(tensors)

    def take(self, name: str, *shapes: tuple[int, ...]) -> np.ndarray:
        """The tensor of that name, which must have one of the shapes and be finite."""
        if name not in self._rest:
            raise CheckpointError(f"PyTorch state dict: tensor {name!r} is missing; give the whole state dict")
        array = self._rest.pop(name)
        if array.shape not in shapes:
            expected = " or ".join(str(shape) for shape in shapes)
            raise CheckpointError(f"PyTorch tensor {name!r}: shape {array.shape}; the others imply {expected}")
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise CheckpointError(
                f"PyTorch tensor {name!r}: {array.dtype}, or NaN or infinite; expected finite numbers"
            )
        return array

    def put_linear(self, layer: nnx.Linear, name: str) -> None:
        _put(layer.kernel, self.take(f"{name}.weight", layer.kernel.shape[::-1]).T)
        if layer.bias is not None:
            _put(layer.bias, self.take(f"{name}.bias", layer.bias.shape))

    def put_norm(self, layer: nnx.LayerNorm, name: str) -> None:
        for ours, part in (("scale", "weight"), ("bias", "bias")):
            variable = getattr(layer, ours)
            _put(variable, self.take(f"{name}.{part}", variable.shape))

    def put_block(self, layer: MambaBlock, name: str) -> None:
        (d, n), k = layer.A_log.shape, layer.conv_kernel.shape[0]
        _put(layer.A_log, np.broadcast_to(self.take(f"{name}.A_log", (n,), (d, n)), (d, n)))
        _put(layer.D, self.take(f"{name}.D", (d,)))
        _put(layer.conv_kernel, self.take(f"{name}.conv1d.weight", (d, 1, k))[:, 0].T)
        _put(layer.conv_bias, self.take(f"{name}.conv1d.bias", (d,)))
        for projection in ("in_proj", "x_proj", "dt_proj", "out_proj"):
            self.put_linear(getattr(layer, projection), f"{name}.{projection}")

    def put_heads(self, heads: Heads) -> None:
        """PyTorch has a network per head – Linear, GELU, Dropout, Linear, numbered 0 to 3 –, this model one for all."""
        for variable, part in (
            (heads.kernel_in, "0.weight"),
            (heads.bias_in, "0.bias"),
            (heads.kernel_out, "3.weight"),
            (heads.bias_out, "3.bias"),
        ):
            count, shape = variable.shape[0], variable.shape[:0:-1]
            _put(variable, np.stack([self.take(f"output_heads.{i}.{part}", shape).T for i in range(count)]))

    def check_all_taken(self) -> None:
        if self._rest:
            raise CheckpointError(
                f"PyTorch state dict: unexpected tensor {sorted(self._rest)[0]!r}; not a Mamba-LOB of this shape"
            )


def _put(variable: nnx.Variable, array: np.ndarray) -> None:
    variable.set_value(jnp.array(array, jnp.float32))  # a copy: the mapping may change later


def _config(tensors: Mapping[str, np.ndarray]) -> ModelConfig:
    """Read the sizes from the tensors that have them."""

    def size(name: str, axis: int) -> int:
        if name not in tensors:
            raise CheckpointError(f"PyTorch state dict: tensor {name!r} is missing; is this a Mamba-LOB state dict?")
        shape = tensors[name].shape
        if not -len(shape) <= axis < len(shape):
            raise CheckpointError(f"PyTorch tensor {name!r}: shape {shape}; expected more axes")
        return shape[axis]

    hidden_dim = size("input_proj.weight", 0)
    heads = sum(name.startswith("output_heads.") and name.endswith(".0.weight") for name in tensors)
    try:
        return ModelConfig(
            feature_set=size("input_proj.weight", 1),
            hidden_dim=hidden_dim,
            d_state=size("layers.0.A_log", -1),
            d_conv=size("layers.0.conv1d.weight", -1),
            expand=size("layers.0.D", 0) // max(hidden_dim, 1),
            num_layers=sum(name.startswith("layers.") and name.endswith(".A_log") for name in tensors),
            horizons=(10, 50, 100) if heads == 3 else tuple(range(1, heads + 1)),
            dt_rank=size("layers.0.dt_proj.weight", 1),
        )
    except ConfigError as error:
        raise CheckpointError(f"PyTorch state dict: the shapes of its tensors give no model ({error})") from error
