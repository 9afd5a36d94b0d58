"""Where everything lies in a weight buffer and in a packed state. Writer, reader and compiled step share this file.

Both are laid out by the numbers of the buffer's header alone, so no stage needs to know where another one stopped:

    weights     header, then the parts of `WeightOffsets`
    state       what outlives a tick, then room for intermediate results: the parts of `StateOffsets`

Widths are padded with zeros to whole vectors of 16 lanes: a padded channel stays 0 through the whole model. So every
part is a multiple of 64 bytes long, and begins at one where the buffer does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.serving.backends.native.simd import LANES

PRECISIONS = ("fp32", "bf16", "int8")
# to be raised whenever the order or form of what follows the header changes. The linear term needed no raise: only some
# models have it, it lies at the end, and the word of the header that says so is 0 in every older buffer
LAYOUT = 2
MAGIC = 0x4E414E4F41524200 + LAYOUT  # "NANOARB" and the layout
ALIGNMENT = 64  # bytes: a cache line, and the widest vector
HEADER_WORDS = 32  # int64, of which the first are `Header`; the rest are 0
HEADER_BYTES = 8 * HEADER_WORDS
TILE = 64  # outputs that the kernel sums up at once
CELL_ROWS = 4  # of a cell


class Header(NamedTuple):
    """The 64-bit integers at the start of a weight buffer; counts are rounded up to whole vectors, except "exactly"."""

    magic: int
    precision: int  # index in PRECISIONS
    bytes: int  # of the whole buffer
    state: int  # floats of a state that outlive a tick
    room: int  # floats of a state, with room for intermediate results
    features: int  # raw features, exactly
    transform: int  # index in TRANSFORMS
    inputs: int  # of the first projection
    hidden: int
    hidden_used: int  # hidden, exactly
    inner: int
    states: int  # d_state, exactly
    taps: int  # d_conv, exactly
    rank: int  # dt_rank, exactly
    mixed: int  # rank and twice d_state together
    layers: int  # exactly
    horizons: int  # exactly
    head: int  # units of one horizon's head
    logits: int  # of all horizons
    term: int  # 1 if the logits have a linear term, else 0


class WeightOffsets(NamedTuple):
    """Where each part begins, in bytes; those of a layer count from the layer's first byte.

    A matrix is its scale per output, then its cells, see `matrices`.
    """

    statistics: int  # of the input transform, none for "identity": mean and 1/std (inputs)
    projection: int  # bias (hidden), float32 matrix inputs × hidden
    projection_norm: int  # layer norm's scale and bias (hidden)
    layers: int
    layer_stride: int  # from one layer to the next
    in_proj: int  # bias (2·inner), matrix hidden × 2·inner: u beside z
    conv: int  # per block of 16 channels: taps, oldest first, and bias (k + 1, 16)
    x_proj: int  # matrix inner × (rank, B, C)
    dt_proj: int  # bias (inner), float32 matrix rank × inner
    scan: int  # per block of 16 channels: A·log2(e) and D (n + 1, 16)
    out_proj: int  # matrix inner × hidden
    head_in: int  # bias, matrix hidden × horizons·m
    head_out: int  # bias, matrix horizons·m × 3·horizons, a block for each horizon
    term: int  # float32 matrix (inputs, hidden) × 3·horizons, if the logits have a linear term
    end: int


class StateOffsets(NamedTuple):
    """Where each part begins, in floats; those of a layer count from the layer's first float."""

    flag: int  # 1 once a tick was read
    previous: int  # features of the tick before
    layers: int
    layer_stride: int  # from one layer to the next
    tail: int  # the convolution's last inputs (k - 1, inner)
    recurrence: int  # h, per block of 16 channels (n, 16)
    # from here on intermediate results of a tick
    inputs: int
    residual: int  # the stream of `hidden` numbers that every layer adds to; behind the inputs, as `term` needs it
    normed: int
    u: int
    z: int
    delta: int
    mixed: int  # rank, B, C
    head: int
    logits: int
    end: int


@register_jitable
def whole(count: int, unit: int = LANES) -> int:
    """`count` rounded up to whole units."""
    return (count + unit - 1) // unit * unit


@register_jitable
def _matrix_bytes(rows: int, outputs: int, number_bytes: int) -> int:
    return 4 * outputs + rows * outputs * number_bytes


@register_jitable
def weight_offsets(header: Header) -> WeightOffsets:
    """Where the parts of a weight buffer begin, by its precision and shape; in Python as in compiled code."""
    narrow = 4 >> header.precision  # bytes of a number: 4, 2, 1
    inputs, hidden, inner, mixed = header.inputs, header.hidden, header.inner, header.mixed
    head, logits = header.horizons * header.head, header.logits
    statistics = HEADER_BYTES
    projection = statistics + (4 * 2 * inputs if header.transform > 0 else 0)
    projection_norm = projection + 4 * hidden + _matrix_bytes(inputs, hidden, 4)
    layers = projection_norm + 4 * 2 * hidden
    in_proj = 0
    conv = in_proj + 4 * 2 * inner + _matrix_bytes(hidden, 2 * inner, narrow)
    x_proj = conv + 4 * inner * (header.taps + 1)
    dt_proj = x_proj + _matrix_bytes(inner, mixed, narrow)
    scan = dt_proj + 4 * inner + _matrix_bytes(whole(header.rank, CELL_ROWS), inner, 4)
    out_proj = scan + 4 * inner * (header.states + 1)
    layer_stride = out_proj + _matrix_bytes(inner, hidden, narrow)
    head_in = layers + header.layers * layer_stride
    head_out = head_in + 4 * head + _matrix_bytes(hidden, head, narrow)
    term = head_out + 4 * logits + _matrix_bytes(head, logits, narrow)
    end = term + header.term * _matrix_bytes(inputs + hidden, logits, 4)
    return WeightOffsets(
        statistics, projection, projection_norm, layers, layer_stride,
        in_proj, conv, x_proj, dt_proj, scan, out_proj, head_in, head_out, term, end,
    )  # fmt: skip


@register_jitable
def state_offsets(header: Header) -> StateOffsets:
    """Where the parts of a state begin, by the shape in the header; in Python as in compiled code."""
    hidden, inner = header.hidden, header.inner
    flag, previous = 0, LANES
    layers = previous + whole(header.features)
    tail = 0
    recurrence = tail + (header.taps - 1) * inner
    layer_stride = recurrence + header.states * inner
    inputs = layers + header.layers * layer_stride
    residual = inputs + header.inputs
    normed = residual + hidden
    u = normed + hidden
    z = u + inner
    delta = z + inner
    mixed = delta + inner
    head = mixed + header.mixed
    logits = head + header.horizons * header.head
    end = logits + header.logits
    return StateOffsets(
        flag, previous, layers, layer_stride, tail, recurrence,
        inputs, residual, normed, u, z, delta, mixed, head, logits, end,
    )  # fmt: skip


def read_header(weights: NDArray[np.uint8]) -> Header:
    """What a weight buffer says of itself.

    Raises:
        DataError: not a weight buffer of `pack`.
    """
    if not isinstance(weights, np.ndarray) or weights.dtype != np.uint8 or weights.ndim != 1:
        raise DataError(f"native weights of type {type(weights).__name__}: expected (bytes,) uint8 from pack()")
    if weights.size >= HEADER_BYTES:
        header = Header(*weights[:HEADER_BYTES].view(np.int64)[: len(Header._fields)].tolist())
        if header.magic == MAGIC and header.bytes == weights.size:
            return header
    raise DataError(f"native weights: {weights.size} bytes that pack() did not make, or not whole; pack them anew")


def aligned(count: int) -> NDArray[np.uint8]:
    """Zeroed bytes that begin at a multiple of 64."""
    room: NDArray[Any] = np.zeros(count + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + count]
