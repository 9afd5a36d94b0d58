"""A model's weights as one aligned buffer, laid out as `layout` says. Imports no JAX.

What is constant is folded: the layer norms' scale and bias into the projections behind them, the input statistics into
one multiplication, A and its exponential's base into one factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ConfigError
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.serving.backends.native.layout import (
    CELL_ROWS,
    HEADER_BYTES,
    MAGIC,
    PRECISIONS,
    Header,
    WeightOffsets,
    aligned,
    state_offsets,
    weight_offsets,
    whole,
)
from nanoarb_jax.serving.backends.native.matrices import stored_matrix
from nanoarb_jax.serving.backends.native.simd import LANES

LOG2_E = 1.4426950408889634
TRANSFORMS = ("identity", "lob44", "flow")

Arrays = Mapping[str, NDArray[np.float32]]
Part = tuple[int, tuple[NDArray[Any], ...]]  # where it begins in the buffer, and its pieces one behind the other


def channel_order(transform: str) -> tuple[int, ...]:
    """Which channel of a transform lies in each lane of the model's inputs: each of its two kinds fills whole vectors,
    -1 where a lane holds none."""
    channels = FEATURE_SETS[transform].channels
    kinds = (channels.logged, channels.plain)
    return tuple(channel for kind in kinds for channel in (*kind, *[-1] * (whole(len(kind)) - len(kind))))


def header_of(config: ModelConfig, precision: str) -> Header:
    """The header of a model's weights.

    Raises:
        ConfigError: no such precision.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    kind = config.input_transform
    shape = Header(
        magic=MAGIC,
        precision=PRECISIONS.index(precision),
        bytes=0,
        state=0,
        room=0,
        features=config.input_dim,
        transform=TRANSFORMS.index(kind),
        inputs=whole(config.input_dim) if kind == "identity" else len(channel_order(kind)),
        hidden=whole(config.hidden_dim),
        hidden_used=config.hidden_dim,
        inner=whole(config.d_inner),
        states=config.d_state,
        taps=config.d_conv,
        rank=config.rank,
        mixed=whole(config.rank + 2 * config.d_state),
        layers=config.num_layers,
        horizons=len(config.horizons),
        head=whole(max(config.hidden_dim // 2, 1)),
        logits=whole(3 * len(config.horizons)),
        term=int(config.linear_term),
    )
    state = state_offsets(shape)
    return shape._replace(bytes=weight_offsets(shape).end, state=state.inputs, room=state.end)


def pack(arrays: Arrays, config: ModelConfig, precision: str = "fp32") -> NDArray[np.uint8]:
    """Lay a model's weights out for `step`.

    Args:
        arrays: every parameter and statistic by its dotted name, as in a checkpoint.
        config: the model's shape.
        precision: of the matrices, all but two small ones – "fp32", "bf16" or "int8", with a scale per output. Sums
            stay float32.

    Returns:
        (bytes,) uint8, aligned to 64 bytes.

    Raises:
        ConfigError: no such precision.
    """
    header = header_of(config, precision)
    at, buffer = weight_offsets(header), aligned(header.bytes)
    buffer[:HEADER_BYTES].view(np.int64)[: len(header)] = header
    layers = (part for i in range(header.layers) for part in _layer_parts(arrays, i, header, at))
    inputs, heads = _input_parts(arrays, config.input_transform, header, at), _head_parts(arrays, header, at)
    term = _term_parts(arrays, config.input_transform, header, at) if header.term else ()
    for start, pieces in (*inputs, *layers, *heads, *term):
        for piece in pieces:
            buffer[start : start + piece.nbytes] = np.ascontiguousarray(piece).reshape(-1).view(np.uint8)
            start += piece.nbytes
    return buffer


def _input_parts(arrays: Arrays, transform: str, header: Header, at: WeightOffsets) -> Iterator[Part]:
    """Input transform, projection and layer norm."""
    inputs, hidden = header.inputs, header.hidden
    if transform != "identity":
        order = np.array(channel_order(transform))
        known = order >= 0
        mean, inverse = np.zeros(inputs, np.float32), np.zeros(inputs, np.float32)
        mean[known], inverse[known] = arrays["transform.mean"][order[known]], 1 / arrays["transform.std"][order[known]]
        yield at.statistics, (mean, inverse)
    projection = _in_lanes(arrays["input_proj.kernel"], transform)
    # inputs are up to 8 deviations large, so their small matrix stays exact
    matrix = stored_matrix(_padded(projection, inputs, hidden), "fp32")
    yield at.projection, (_padded(arrays["input_proj.bias"], hidden), *matrix)
    yield at.projection_norm, tuple(_padded(arrays[f"input_norm.{name}"], hidden) for name in ("scale", "bias"))


def _layer_parts(arrays: Arrays, i: int, header: Header, at: WeightOffsets) -> Iterator[Part]:
    """The i-th layer."""
    start, precision = at.layers + i * at.layer_stride, PRECISIONS[header.precision]
    hidden, inner = header.hidden, header.inner
    prefix = f"blocks.{i}."
    layer = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    scale, bias = (_padded(arrays[f"norms.{i}.{name}"], hidden) for name in ("scale", "bias"))
    u, z = (_padded(half, hidden, inner) for half in np.split(layer["in_proj.kernel"], 2, axis=1))
    wide = np.concatenate([u, z], axis=1)
    yield start + at.in_proj, (bias @ wide, *stored_matrix(scale[:, None] * wide, precision))
    yield start + at.conv, (_blocks(np.concatenate([layer["conv_kernel"], layer["conv_bias"][None]]), inner),)
    yield start + at.x_proj, stored_matrix(_padded(layer["x_proj.kernel"], inner, header.mixed), precision)
    # Δ sets how long the model remembers, so its small matrix stays exact
    matrix = stored_matrix(_padded(layer["dt_proj.kernel"], whole(header.rank, CELL_ROWS), inner), "fp32")
    yield start + at.dt_proj, (_padded(layer["dt_proj.bias"], inner), *matrix)
    decay = -np.exp(layer["A_log"].astype(np.float64).T) * LOG2_E
    yield start + at.scan, (_blocks(np.concatenate([decay, layer["D"][None]]), inner),)
    yield start + at.out_proj, stored_matrix(_padded(layer["out_proj.kernel"], inner, hidden), precision)


def _head_parts(arrays: Arrays, header: Header, at: WeightOffsets) -> Iterator[Part]:
    """The heads of all horizons side by side."""
    precision, horizons, head = PRECISIONS[header.precision], header.horizons, header.head
    first = np.concatenate([_padded(kernel, header.hidden, head) for kernel in arrays["heads.kernel_in"]], axis=1)
    second = np.zeros((horizons * head, header.logits), np.float32)
    for i, kernel in enumerate(arrays["heads.kernel_out"]):
        second[i * head : i * head + len(kernel), 3 * i : 3 * i + 3] = kernel
    yield at.head_in, (_padded(arrays["heads.bias_in"], horizons, head), *stored_matrix(first, precision))
    bias = _padded(arrays["heads.bias_out"].ravel(), header.logits)
    yield at.head_out, (bias, *stored_matrix(second, precision))


def _term_parts(arrays: Arrays, transform: str, header: Header, at: WeightOffsets) -> Iterator[Part]:
    """The linear term of all horizons side by side: rows of the inputs, then of the last features."""
    width = header.logits
    of_inputs, of_last = (np.concatenate(arrays[f"linear_term.{name}_kernel"], axis=1) for name in ("input", "last"))
    rows = _padded(_in_lanes(of_inputs, transform), header.inputs, width), _padded(of_last, header.hidden, width)
    # fitted to an instrument on inputs that are up to 8 deviations large, so it stays exact
    yield at.term, stored_matrix(np.concatenate(rows), "fp32")


def _in_lanes(rows: NDArray[np.float32], transform: str) -> NDArray[np.float32]:
    """Rows of the input channels in the order of the lanes that hold them, zero where a lane holds none."""
    if transform == "identity":
        return rows
    order = np.array(channel_order(transform))
    return np.where((order >= 0)[:, None], rows[order], 0)


def _padded(array: NDArray[Any], *shape: int) -> NDArray[np.float32]:
    """Filled up with zeros at the end of each axis."""
    out = np.zeros(shape, np.float32)
    out[tuple(slice(n) for n in array.shape)] = array
    return out


def _blocks(rows: NDArray[Any], width: int) -> NDArray[np.float32]:
    """(r, channels) as (blocks of 16 channels, r, 16)."""
    padded = _padded(rows, len(rows), width)
    return np.ascontiguousarray(padded.reshape(len(rows), -1, LANES).swapaxes(0, 1))
