"""A model's weights as one aligned buffer, in the order in which the native step reads them. Imports no JAX.

Everything is padded with zeros to whole vectors of 16 lanes: a padded channel stays 0 through the whole model. What is
constant is folded: the layer norms' scale and bias into the projections behind them, the input statistics into one
multiplication, A and its exponential's base into one factor.

    header      32 int64, see `Header`
    transform   mean, 1/std (inputs)
    projection  bias (hidden), matrix inputs × hidden in float32; layer norm scale, bias (hidden)
    layer       bias (2·inner), matrix hidden × 2·inner: u beside z
                per block of 16 channels: convolution taps, oldest first, and bias (k + 1, 16)
                matrix inner × (rank, B, C); bias (inner), matrix rank × inner in float32
                per block of 16 channels: A·log2(e) and D (n + 1, 16)
                matrix inner × hidden
    heads       bias, matrix hidden × horizons·m; bias, matrix horizons·m × 3·horizons (a block for each horizon)

A matrix is its scale per output (float32), then its cells of 4 rows × 16 outputs, stored as `simd.load_rows` reads
them: for every tile of 64 outputs (16 at the end), for every 4 rows, the tile's 4 cells (1 at the end) in a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ConfigError
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.serving.backends.native.simd import LANES

PRECISIONS = ("fp32", "bf16", "int8")
LAYOUT = 2  # to be raised whenever the order or form of what follows the header changes
MAGIC = 0x4E414E4F41524200 + LAYOUT  # "NANOARB" and the layout
ALIGNMENT = 64  # bytes: a cache line, and the widest vector
HEADER = 32
TILE = 64  # outputs that the kernel sums up at once
ROWS = 4  # of a cell
CELL = ROWS * LANES
LOG2_E = 1.4426950408889634
TRANSFORMS = ("identity", "lob44", "flow")


class Header(IntEnum):
    """Places in the header; widths are in whole vectors where the name does not say otherwise."""

    MAGIC = 0
    PRECISION = 1  # index in PRECISIONS
    BYTES = 2  # of the whole buffer
    STATE = 3  # floats of a state that outlive a tick
    ROOM = 4  # floats of a state, with room for intermediate results
    FEATURES = 5  # raw features, exactly
    TRANSFORM = 6  # index in TRANSFORMS
    INPUTS = 7
    HIDDEN = 8
    HIDDEN_USED = 9  # exactly
    INNER = 10
    STATES = 11  # d_state, exactly
    TAPS = 12  # d_conv, exactly
    RANK = 13  # dt_rank, exactly
    MIXED = 14  # rank and twice d_state together
    LAYERS = 15
    HORIZONS = 16
    HEAD = 17  # units of one horizon's head
    LOGITS = 18  # of all horizons


def whole(count: int, unit: int = LANES) -> int:
    """`count` rounded up to whole units."""
    return -(-count // unit) * unit


def channel_order(transform: str) -> tuple[int, ...]:
    """Which channel of a transform lies in each lane of the model's inputs: each of its two kinds fills whole vectors,
    -1 where a lane holds none."""
    channels = FEATURE_SETS[transform].channels
    kinds = (channels.logged, channels.plain)
    return tuple(channel for kind in kinds for channel in (*kind, *[-1] * (whole(len(kind)) - len(kind))))


def sizes(config: ModelConfig) -> dict[Header, int]:
    """What the header says of a model's shape."""
    kind = config.input_transform
    shape = {
        Header.FEATURES: config.input_dim,
        Header.TRANSFORM: TRANSFORMS.index(kind),
        Header.INPUTS: whole(config.input_dim) if kind == "identity" else len(channel_order(kind)),
        Header.HIDDEN: whole(config.hidden_dim),
        Header.HIDDEN_USED: config.hidden_dim,
        Header.INNER: whole(config.d_inner),
        Header.STATES: config.d_state,
        Header.TAPS: config.d_conv,
        Header.RANK: config.rank,
        Header.MIXED: whole(config.rank + 2 * config.d_state),
        Header.LAYERS: config.num_layers,
        Header.HORIZONS: len(config.horizons),
        Header.HEAD: whole(max(config.hidden_dim // 2, 1)),
        Header.LOGITS: whole(3 * len(config.horizons)),
    }
    layer = (config.d_conv - 1 + config.d_state) * shape[Header.INNER]
    state = LANES + whole(config.input_dim) + config.num_layers * layer
    head = shape[Header.HORIZONS] * shape[Header.HEAD]
    scratch = shape[Header.INPUTS] + 2 * shape[Header.HIDDEN] + 3 * shape[Header.INNER] + shape[Header.MIXED]
    return shape | {Header.STATE: state, Header.ROOM: state + scratch + head + shape[Header.LOGITS]}


def pack(arrays: Mapping[str, NDArray[np.float32]], config: ModelConfig, precision: str = "fp32") -> NDArray[np.uint8]:
    """Lay a model's weights out for `native.step`.

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
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    shape = sizes(config)
    parts = [part for stage in _stages(arrays, config, shape, precision) for part in stage]
    starts = np.cumsum([HEADER * 8, *(whole(part.nbytes, ALIGNMENT) for part in parts)])
    header = np.zeros(HEADER, np.int64)
    for place, value in shape.items():
        header[place] = value
    header[Header.MAGIC], header[Header.PRECISION] = MAGIC, PRECISIONS.index(precision)
    header[Header.BYTES] = starts[-1]
    buffer = aligned(int(starts[-1]))
    buffer[: HEADER * 8] = header.view(np.uint8)
    for start, part in zip(starts, parts, strict=False):
        buffer[start : start + part.nbytes] = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
    return buffer


def aligned(count: int) -> NDArray[np.uint8]:
    """Zeroed bytes that begin at a multiple of 64."""
    room = np.zeros(count + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + count]


def _stages(
    arrays: Mapping[str, NDArray[np.float32]], config: ModelConfig, shape: Mapping[Header, int], precision: str
) -> Iterator[tuple[NDArray[Any], ...]]:
    """The parts of the buffer behind the header, in order."""
    hidden, inner, inputs = shape[Header.HIDDEN], shape[Header.INNER], shape[Header.INPUTS]
    head, horizons = shape[Header.HEAD], shape[Header.HORIZONS]

    def matrix(weights: NDArray[np.float32], rows: int, outputs: int) -> tuple[NDArray[Any], ...]:
        return _matrix(_padded(weights, whole(rows, ROWS), outputs), precision)

    projection = arrays["input_proj.kernel"]
    if config.input_transform != "identity":
        order = np.array(channel_order(config.input_transform))
        known = order >= 0
        mean, inverse = np.zeros(inputs, np.float32), np.zeros(inputs, np.float32)
        mean[known], inverse[known] = arrays["transform.mean"][order[known]], 1 / arrays["transform.std"][order[known]]
        projection = np.where(known[:, None], projection[order], 0)
        yield mean, inverse
    # inputs are up to 8 deviations large, Δ sets how long the model remembers: their small matrices stay exact
    first = _matrix(_padded(projection, inputs, hidden), "fp32")
    yield _padded(arrays["input_proj.bias"], hidden), *first
    yield _padded(arrays["input_norm.scale"], hidden), _padded(arrays["input_norm.bias"], hidden)
    for i in range(config.num_layers):
        layer = {name.partition(f"blocks.{i}.")[2]: a for name, a in arrays.items() if name.startswith(f"blocks.{i}.")}
        scale, bias = arrays[f"norms.{i}.scale"], arrays[f"norms.{i}.bias"]
        wide = np.concatenate(
            [_padded(half, hidden, inner) for half in np.split(layer["in_proj.kernel"], 2, axis=1)], 1
        )
        yield (_padded(bias, hidden) @ wide, *matrix(_padded(scale, hidden)[:, None] * wide, hidden, 2 * inner))
        yield (_blocks(np.concatenate([layer["conv_kernel"], layer["conv_bias"][None]]), inner),)
        yield matrix(layer["x_proj.kernel"], inner, shape[Header.MIXED])
        steps = _matrix(_padded(layer["dt_proj.kernel"], whole(config.rank, ROWS), inner), "fp32")
        yield _padded(layer["dt_proj.bias"], inner), *steps
        decay = -np.exp(layer["A_log"].astype(np.float64).T) * LOG2_E
        yield (_blocks(np.concatenate([decay, layer["D"][None]]), inner),)
        yield matrix(layer["out_proj.kernel"], inner, hidden)
    heads = np.concatenate([_padded(kernel, hidden, head) for kernel in arrays["heads.kernel_in"]], axis=1)
    second = np.zeros((horizons * head, shape[Header.LOGITS]), np.float32)
    for i, kernel in enumerate(arrays["heads.kernel_out"]):
        second[i * head : i * head + len(kernel), 3 * i : 3 * i + 3] = kernel
    yield (_padded(arrays["heads.bias_in"], horizons, head), *matrix(heads, hidden, horizons * head))
    yield (_padded(arrays["heads.bias_out"].ravel(), shape[Header.LOGITS]),)
    yield matrix(second, horizons * head, shape[Header.LOGITS])


def _padded(array: NDArray[Any], *shape: int) -> NDArray[np.float32]:
    """Filled up with zeros at the end of each axis."""
    out = np.zeros(shape, np.float32)
    out[tuple(slice(n) for n in array.shape)] = array
    return out


def _blocks(rows: NDArray[Any], width: int) -> NDArray[np.float32]:
    """(r, channels) as (blocks of 16 channels, r, 16)."""
    padded = _padded(rows, len(rows), width)
    return np.ascontiguousarray(padded.reshape(len(rows), -1, LANES).swapaxes(0, 1))


def _matrix(weights: NDArray[np.float32], precision: str) -> tuple[NDArray[Any], ...]:
    """(scale per output, cells) of a matrix of whole rows and outputs."""
    outputs = weights.shape[1]
    scales: NDArray[np.float32] = np.ones(outputs, np.float32)
    if precision == "bf16":
        scales = _bfloat16_scales(weights)
    elif precision == "int8":
        scales = np.maximum(np.abs(weights).max(axis=0) / 127, np.float32(1e-30)).astype(np.float32)
    groups = weights.reshape(-1, ROWS, outputs) / scales  # (g, 4, o)
    stored = {"fp32": lambda g: g, "bf16": _bfloat16_words, "int8": _int8_words}[precision](groups)  # (g, words, o)
    in_tiles = outputs // TILE * TILE
    cells = [
        part.reshape(*part.shape[:2], -1, width // LANES, LANES).transpose(2, 0, 3, 1, 4).ravel()
        for part, width in ((stored[..., :in_tiles], TILE), (stored[..., in_tiles:], LANES))
    ]
    # an int8 comes out of its word in units of 2**-24
    return scales * np.float32(2.0**-24 if precision == "int8" else 1.0), np.concatenate(cells)


def _bfloat16_scales(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scale of each output, in [1, 2), with which rounding its weights costs least, summed over their squares.

    Where the numbers of a column lie between two bfloat16s is a matter of luck, and a scale is another throw: the best
    of 32 takes away a third or more of a model's mean error.
    """
    best: NDArray[np.float32] = np.ones(weights.shape[1], np.float32)
    least: NDArray[np.float32] = np.full(weights.shape[1], np.inf, np.float32)
    for scale in np.exp2(np.arange(32) / 32).astype(np.float32):
        rounded = (_to_bfloat16(weights / scale) << 16).view(np.float32) * scale
        error = np.square(rounded - weights).sum(axis=0)
        best = np.where(error < least, scale, best).astype(np.float32)
        least = np.minimum(error, least)
    return best


def _to_bfloat16(array: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The upper halves of float32 numbers, rounded to nearest even."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16).astype(np.uint32)


def _bfloat16_words(groups: NDArray[np.float32]) -> NDArray[np.uint32]:
    """(g, 4, o) rows as (g, 2, o) pairs: rows 0 and 1, 2 and 3, the first of each pair in the lower half."""
    halves = _to_bfloat16(groups)
    return (halves[:, 0::2] | halves[:, 1::2] << 16).astype(np.uint32)


def _int8_words(groups: NDArray[np.float32]) -> NDArray[np.uint32]:
    """(g, 4, o) rows in units of the scale as (g, 1, o) words, row 0 in the lowest byte.

    The kernel does not mask: a row's value is its byte and, as a fraction, the bytes below it. So each byte is rounded
    after that fraction is taken off, and no row is further from its value than half a unit.
    """
    word = np.zeros((len(groups), 1, groups.shape[2]), np.int64)
    for row in range(ROWS):
        byte = np.rint(groups[:, row : row + 1] - word / (1 << 8 * row))
        word |= (np.clip(byte, -128, 127).astype(np.int64) & 0xFF) << 8 * row
    return word.astype(np.uint32)
