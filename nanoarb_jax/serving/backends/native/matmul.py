"""Products of a vector with a matrix as `matrices` stores it, for one stream or for a group of four.

`kind`, a number whose *type* is that of the stored weights, picks the precision at compile time.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.serving.backends.native.compiling import inlined, kernel, stage
from nanoarb_jax.serving.backends.native.layout import TILE
from nanoarb_jax.serving.backends.native.memory import cast, get, load, load_rows, offset, store
from nanoarb_jax.serving.backends.native.simd import LANES, fma, splat

_F32, _ZERO = np.float32(0), np.float32(0.0)
GROUP = 4  # streams that share what is read of the weights


@inlined
def _add_rows(w, cell, x0, x1, x2, x3, a, b):  # type: ignore[no-untyped-def]
    """Add four rows' products to the two halves of a sum, a and b."""
    w0, w1, w2, w3 = load_rows(w, cell)
    return fma(x2, w2, fma(x0, w0, a)), fma(x3, w3, fma(x1, w1, b))


@kernel
def matmul_one(matrix, kind, x, rows, outputs, plus, y):  # type: ignore[no-untyped-def]
    """y = x·W + plus; `rows` are a multiple of 4, `outputs` of 16."""
    scales, w = cast(matrix, _F32), cast(offset(matrix, 4 * outputs), kind)
    zero = splat(_ZERO)
    out, cell = 0, 0
    while out + TILE <= outputs:
        a0, a1, a2, a3, b0, b1, b2, b3 = zero, zero, zero, zero, zero, zero, zero, zero
        for row in range(0, rows, 4):
            x0, x1, x2, x3 = splat(get(x, row)), splat(get(x, row + 1)), splat(get(x, row + 2)), splat(get(x, row + 3))
            a0, b0 = _add_rows(w, cell, x0, x1, x2, x3, a0, b0)
            a1, b1 = _add_rows(w, cell + 1, x0, x1, x2, x3, a1, b1)
            a2, b2 = _add_rows(w, cell + 2, x0, x1, x2, x3, a2, b2)
            a3, b3 = _add_rows(w, cell + 3, x0, x1, x2, x3, a3, b3)
            cell += 4
        store(y, out, fma(a0 + b0, load(scales, out), load(plus, out)))
        store(y, out + 16, fma(a1 + b1, load(scales, out + 16), load(plus, out + 16)))
        store(y, out + 32, fma(a2 + b2, load(scales, out + 32), load(plus, out + 32)))
        store(y, out + 48, fma(a3 + b3, load(scales, out + 48), load(plus, out + 48)))
        out += TILE
    while out < outputs:
        a0, a1, b0, b1 = zero, zero, zero, zero
        for row in range(0, rows, 4):
            w0, w1, w2, w3 = load_rows(w, cell)
            a0, b0 = fma(splat(get(x, row)), w0, a0), fma(splat(get(x, row + 1)), w1, b0)
            a1, b1 = fma(splat(get(x, row + 2)), w2, a1), fma(splat(get(x, row + 3)), w3, b1)
            cell += 1
        store(y, out, fma((a0 + a1) + (b0 + b1), load(scales, out), load(plus, out)))
        out += LANES


@inlined
def _add_loaded_rows(w0, w1, w2, w3, x, row, a, b):  # type: ignore[no-untyped-def]
    """`_add_rows` with rows that were loaded already."""
    a = fma(splat(get(x, row + 2)), w2, fma(splat(get(x, row)), w0, a))
    return a, fma(splat(get(x, row + 3)), w3, fma(splat(get(x, row + 1)), w1, b))


@kernel
def _matmul_group(matrix, kind, starts, x, rows, outputs, plus, per_stream, y):  # type: ignore[no-untyped-def]
    """`matmul` for four streams: what is read of W serves all of them."""
    scales, w = cast(matrix, _F32), cast(offset(matrix, 4 * outputs), kind)
    zero, row_groups = splat(_ZERO), rows // 4
    s0, s1, s2, s3 = get(starts, 0), get(starts, 1), get(starts, 2), get(starts, 3)
    x0, x1, x2, x3 = offset(x, s0), offset(x, s1), offset(x, s2), offset(x, s3)
    for out in range(0, outputs, LANES):
        in_tiles = outputs // TILE * TILE
        stride = 4 if out < in_tiles else 1  # cells from one group of four rows to the next
        cell = (out // TILE * row_groups * 4 + out % TILE // LANES) if out < in_tiles else out // LANES * row_groups
        a0, a1, a2, a3, b0, b1, b2, b3 = zero, zero, zero, zero, zero, zero, zero, zero
        for row in range(0, rows, 4):
            w0, w1, w2, w3 = load_rows(w, cell)
            a0, b0 = _add_loaded_rows(w0, w1, w2, w3, x0, row, a0, b0)
            a1, b1 = _add_loaded_rows(w0, w1, w2, w3, x1, row, a1, b1)
            a2, b2 = _add_loaded_rows(w0, w1, w2, w3, x2, row, a2, b2)
            a3, b3 = _add_loaded_rows(w0, w1, w2, w3, x3, row, a3, b3)
            cell += stride
        scale = load(scales, out)
        store(y, s0 + out, fma(a0 + b0, scale, load(plus, per_stream * s0 + out)))
        store(y, s1 + out, fma(a1 + b1, scale, load(plus, per_stream * s1 + out)))
        store(y, s2 + out, fma(a2 + b2, scale, load(plus, per_stream * s2 + out)))
        store(y, s3 + out, fma(a3 + b3, scale, load(plus, per_stream * s3 + out)))


@kernel
def matmul(matrix, kind, starts, streams, x, rows, outputs, plus, per_stream, y):  # type: ignore[no-untyped-def]
    """y = x·W + plus for each stream of a group.

    Args:
        matrix: W in bytes; `rows` are a multiple of 4, `outputs` of 16.
        starts, streams: where each stream's floats begin, and how many streams there are: 1 or GROUP.
        x, y: where they lie for a stream that starts at 0; those of another stream lie its start further on.
        plus: the same for all streams, or, if `per_stream` is 1, found like x and y.
    """
    if streams == 1:
        start = get(starts, 0)
        matmul_one(matrix, kind, offset(x, start), rows, outputs, offset(plus, per_stream * start), offset(y, start))
    else:
        _matmul_group(matrix, kind, starts, x, rows, outputs, plus, per_stream, y)


@stage
def affine(part, kind, starts, streams, x, rows, outputs, y):  # type: ignore[no-untyped-def]
    """y = x·W + b for each stream of a group, where b, in float32, lies before W in `part`."""
    bias, matrix = cast(part, _F32), offset(part, 4 * outputs)
    matmul(matrix, kind, starts, streams, x, rows, outputs, bias, 0, y)
