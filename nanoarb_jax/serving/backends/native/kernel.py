"""One tick of the model in compiled code, without Python, allocation or JAX; the plain twin is `MambaLOB.step`.

`step_group` runs the stages one after the other. A stage finds its weights, the streams' states and its intermediate
results by the offsets of `layout`. `kind`, a number whose *type* is that of the stored weights, picks the precision at
compile time.

    weights     the whole buffer, in bytes
    starts      where each stream's state begins, counted in floats from `states`
    streams     how many there are: 1 or GROUP
    at, room    `WeightOffsets` and `StateOffsets`
    layer       the weights of one layer
    memory      what a layer keeps from tick to tick, for a stream that starts at 0; others lie their start further on
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.serving.backends.native.compiling import inlined, kernel, stage
from nanoarb_jax.serving.backends.native.layout import (
    CELL_ROWS,
    HEADER_WORDS,
    Header,
    state_offsets,
    weight_offsets,
    whole,
)
from nanoarb_jax.serving.backends.native.matmul import affine, matmul
from nanoarb_jax.serving.backends.native.memory import cast, get, load, offset, put, store
from nanoarb_jax.serving.backends.native.simd import LANES, flush_denormals, fma, horizontal_sum, splat
from nanoarb_jax.serving.backends.native.transform import transform_features
from nanoarb_jax.serving.backends.native.vector_math import exp, exp2, gelu, silu, softplus

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_F32, _BF16, _INT8, _INT64 = np.float32(0), np.uint16(0), np.int8(0), np.int64(0)
_LAYER_NORM_EPSILON = np.float32(1e-5)
# a state that has faded to this size adds nothing to a float32 sum; below 1e-38 it would be denormal
_SMALLEST_STATE = np.float32(1e-30)


@kernel
def layer_norm(x, width, used, y):  # type: ignore[no-untyped-def]
    """y = (x - mean) / √(variance + ε) over the used lanes; the others hold 0 and stay 0. x and y may be the same."""
    sums = splat(_ZERO)
    for i in range(0, width, LANES):
        sums = sums + load(x, i)
    mean = splat(horizontal_sum(sums) / np.float32(used))
    for i in range(0, width, LANES):
        store(y, i, load(x, i) - mean)
    for i in range(used, width):
        put(y, i, _ZERO)
    squares = splat(_ZERO)
    for i in range(0, width, LANES):
        squares = fma(load(y, i), load(y, i), squares)
    scale = splat(_ONE / np.sqrt(horizontal_sum(squares) / np.float32(used) + _LAYER_NORM_EPSILON))
    for i in range(0, width, LANES):
        store(y, i, load(y, i) * scale)


@kernel
def convolve(weights, inner, taps, tail, u):  # type: ignore[no-untyped-def]
    """u = SiLU(convolution of the last inputs and u); the tail (taps - 1, inner) moves on by a tick."""
    w = cast(weights, _F32)
    for i in range(0, inner, LANES):
        newest = load(u, i)
        row = i * (taps + 1)
        sums = fma(newest, load(w, row + (taps - 1) * LANES), load(w, row + taps * LANES))
        for k in range(taps - 1):
            met = load(tail, k * inner + i)
            sums = fma(met, load(w, row + k * LANES), sums)
            if k > 0:
                store(tail, (k - 1) * inner + i, met)
        store(tail, (taps - 2) * inner + i, newest)
        store(u, i, silu(sums))


@kernel
def selective_step(weights, inner, state_size, h, u, z, delta, B, C):  # type: ignore[no-untyped-def]
    """One tick of the selective scan (`model.ssm.selective_step`) and its gate; the result goes where u was.

    `weights` hold A·log2(e) and D; `delta` is taken before softplus.
    """
    w = cast(weights, _F32)
    for i in range(0, inner, LANES):
        row, block = i * (state_size + 1), i * state_size
        x = load(u, i)
        d = softplus(load(delta, i))
        dx = d * x
        y = x * load(w, row + state_size * LANES)
        for n in range(state_size):
            decay = exp2(d * load(w, row + n * LANES))
            met = fma(load(h, block + n * LANES), decay, dx * splat(get(B, n)))
            met = flush_denormals(met, _SMALLEST_STATE)
            store(h, block + n * LANES, met)
            y = fma(met, splat(get(C, n)), y)
        store(u, i, y * silu(load(z, i)))


@kernel
def _softmax(logits, horizons, out):  # type: ignore[no-untyped-def]
    """Softmax over the three logits of each horizon."""
    for h in range(horizons):
        a, b, c = get(logits, 3 * h), get(logits, 3 * h + 1), get(logits, 3 * h + 2)
        most = max(a, max(b, c))
        put(logits, 3 * h, a - most)
        put(logits, 3 * h + 1, b - most)
        put(logits, 3 * h + 2, c - most)
    for i in range(0, 3 * horizons, LANES):
        store(logits, i, exp(load(logits, i)))
    for h in range(horizons):
        a, b, c = get(logits, 3 * h), get(logits, 3 * h + 1), get(logits, 3 * h + 2)
        scale = _ONE / (a + b + c)
        put(out, 3 * h, a * scale)
        put(out, 3 * h + 1, b * scale)
        put(out, 3 * h + 2, c * scale)


@kernel
def _read_tick(statistics, transform, count, features, flag, previous, inputs):  # type: ignore[no-untyped-def]
    """Keep a tick's features in the state, and write the model's inputs; the first tick is its own predecessor."""
    if transform > 0:
        before = previous if get(flag, 0) > _ZERO else features
        transform_features(statistics, transform, features, before, inputs)
    else:
        for i in range(count):
            put(inputs, i, get(features, i))
    for i in range(count):
        put(previous, i, get(features, i))
    put(flag, 0, _ONE)


@stage
def _read_ticks(weights, header, at, room, starts, streams, states, features):  # type: ignore[no-untyped-def]
    """Each stream's features to the model's inputs."""
    count, statistics = header.features, offset(weights, at.statistics)
    for s in range(streams):
        state, x = offset(states, get(starts, s)), offset(features, s * count)
        flag, previous, inputs = offset(state, room.flag), offset(state, room.previous), offset(state, room.inputs)
        _read_tick(statistics, header.transform, count, x, flag, previous, inputs)


@stage
def _project(weights, header, at, room, starts, streams, states):  # type: ignore[no-untyped-def]
    """Inputs to the residual stream: projection and layer norm."""
    hidden, residual = header.hidden, offset(states, room.residual)
    inputs = offset(states, room.inputs)
    affine(offset(weights, at.projection), _F32, starts, streams, inputs, header.inputs, hidden, residual)
    scale = cast(offset(weights, at.projection_norm), _F32)
    shift = offset(scale, hidden)
    for s in range(streams):
        x = offset(residual, get(starts, s))
        layer_norm(x, hidden, header.hidden_used, x)
        for i in range(0, hidden, LANES):
            store(x, i, fma(load(x, i), load(scale, i), load(shift, i)))


@stage
def _layer_input(layer, kind, header, at, room, starts, streams, states, memory):  # type: ignore[no-untyped-def]
    """First half of a layer: layer norm, in_proj and convolution, from the residual stream to u and z."""
    hidden, inner = header.hidden, header.inner
    residual, normed, u = offset(states, room.residual), offset(states, room.normed), offset(states, room.u)
    for s in range(streams):
        start = get(starts, s)
        layer_norm(offset(residual, start), hidden, header.hidden_used, offset(normed, start))
    # z lies behind u, as in the matrix
    affine(offset(layer, at.in_proj), kind, starts, streams, normed, hidden, 2 * inner, u)
    conv, tail = offset(layer, at.conv), offset(memory, room.tail)
    for s in range(streams):
        start = get(starts, s)
        convolve(conv, inner, header.taps, offset(tail, start), offset(u, start))


@stage
def _layer_output(layer, kind, header, at, room, starts, streams, states, memory):  # type: ignore[no-untyped-def]
    """Second half of a layer: Δ, B and C, the selective scan and out_proj, from u and z to the residual stream."""
    inner, rank = header.inner, header.rank
    u, z, delta = offset(states, room.u), offset(states, room.z), offset(states, room.delta)
    mixed, h = offset(states, room.mixed), offset(memory, room.recurrence)
    for s in range(streams):
        for i in range(0, header.mixed, LANES):
            store(mixed, get(starts, s) + i, splat(_ZERO))
    matmul(offset(layer, at.x_proj), kind, starts, streams, u, inner, header.mixed, mixed, 1, mixed)
    affine(offset(layer, at.dt_proj), _F32, starts, streams, mixed, whole(rank, CELL_ROWS), inner, delta)
    scan = offset(layer, at.scan)
    for s in range(streams):
        start = get(starts, s)
        B = offset(mixed, start + rank)
        C = offset(B, header.states)
        selective_step(
            scan, inner, header.states, offset(h, start), offset(u, start), offset(z, start), offset(delta, start), B, C
        )
    residual = offset(states, room.residual)
    matmul(offset(layer, at.out_proj), kind, starts, streams, u, inner, header.hidden, residual, 1, residual)


@stage
def _predict(weights, kind, header, at, room, starts, streams, states, probabilities):  # type: ignore[no-untyped-def]
    """Residual stream to probabilities: the heads of all horizons at once, the linear term if any, and softmax."""
    horizons, width = header.horizons, header.horizons * header.head
    residual, head, logits = offset(states, room.residual), offset(states, room.head), offset(states, room.logits)
    affine(offset(weights, at.head_in), kind, starts, streams, residual, header.hidden, width, head)
    for s in range(streams):
        x = offset(head, get(starts, s))
        for i in range(0, width, LANES):
            store(x, i, gelu(load(x, i)))
    affine(offset(weights, at.head_out), kind, starts, streams, head, width, header.logits, logits)
    if header.term > 0:
        # the residual stream lies behind the inputs, as in the matrix
        inputs, rows = offset(states, room.inputs), header.inputs + header.hidden
        matmul(offset(weights, at.term), _F32, starts, streams, inputs, rows, header.logits, logits, 1, logits)
    for s in range(streams):
        _softmax(offset(logits, get(starts, s)), horizons, offset(probabilities, 3 * horizons * s))


@inlined
def _header(weights):  # type: ignore[no-untyped-def]
    words = cast(weights, _INT64)
    return Header(
        get(words, 0), get(words, 1), get(words, 2), get(words, 3), get(words, 4), get(words, 5), get(words, 6),
        get(words, 7), get(words, 8), get(words, 9), get(words, 10), get(words, 11), get(words, 12), get(words, 13),
        get(words, 14), get(words, 15), get(words, 16), get(words, 17), get(words, 18), get(words, 19),
    )  # fmt: skip


@kernel
def _step(weights, kind, starts, streams, states, features, probabilities):  # type: ignore[no-untyped-def]
    """One tick of one stream, or of GROUP streams, in one precision."""
    header = _header(weights)
    at, room = weight_offsets(header), state_offsets(header)
    _read_ticks(weights, header, at, room, starts, streams, states, features)
    _project(weights, header, at, room, starts, streams, states)
    for i in range(header.layers):
        layer = offset(weights, at.layers + i * at.layer_stride)
        memory = offset(states, room.layers + i * room.layer_stride)
        _layer_input(layer, kind, header, at, room, starts, streams, states, memory)
        _layer_output(layer, kind, header, at, room, starts, streams, states, memory)
    _predict(weights, kind, header, at, room, starts, streams, states, probabilities)


@kernel
def step_group(weights, starts, streams, states, features, probabilities):  # type: ignore[no-untyped-def]
    """One tick of one stream, or of GROUP streams, in the precision of the weights.

    Args:
        features, probabilities: rows of the streams, one after the other.
    """
    precision = _header(weights).precision
    if precision == 0:
        _step(weights, _F32, starts, streams, states, features, probabilities)
    elif precision == 1:
        _step(weights, _BF16, starts, streams, states, features, probabilities)
    else:
        _step(weights, _INT8, starts, streams, states, features, probabilities)


@inlined
def first(weights):  # type: ignore[no-untyped-def]
    """`starts` of a single stream, whose state begins where `states` does: a 0, the last word of every header."""
    return offset(cast(weights, _INT64), HEADER_WORDS - 1)
