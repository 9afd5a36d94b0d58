"""One tick of the model in compiled code, without Python, allocation or JAX; the plain twin is `MambaLOB.step`.

Weights are read in the order in which `native_weights.pack` lays them out: a pointer walks through the buffer from
stage to stage. `kind`, a number whose *type* is that of the stored weights, picks the precision at compile time.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.serving.backends.native.simd import (
    LANES,
    ahead,
    behind,
    cast,
    fma,
    get,
    load,
    load_rows,
    maximum,
    minimum,
    put,
    splat,
    store,
    total,
    without_traces,
)
from nanoarb_jax.serving.backends.native.vector_math import (
    exp,
    exp2_below,
    gelu,
    inlined,
    kernel,
    signed_log,
    silu,
    softplus,
)
from nanoarb_jax.serving.backends.native.weights import CELL, HEADER, TILE, TRANSFORMS, Header, whole

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_FOUR, _TWENTY, _HUNDRED, _THOUSAND = np.float32(4.0), np.float32(20.0), np.float32(100.0), np.float32(1000.0)
_F32, _BF16, _INT8, _INT64 = np.float32(0), np.uint16(0), np.int8(0), np.int64(0)
_LAYER_NORM_EPSILON, _PRICE_UNIT, _TINY, _CLIP = np.float32(1e-5), np.float32(1e-6), np.float32(1e-12), np.float32(8.0)
# a state that has faded to this size adds nothing to a float32 sum; below 1e-38 it would be denormal
_TRACE = np.float32(1e-30)
_HEADER_BYTES = 8 * HEADER
_LAST_PLACE = HEADER - 1
_LOB44 = TRANSFORMS.index("lob44")
_LOB44_LOGGED, _LOB44_PLAIN, _FLOW_LOGGED, _FLOW_PLAIN = (
    whole(len(kind))
    for channels in (FEATURE_SETS["lob44"].channels, FEATURE_SETS["flow"].channels)
    for kind in (channels.logged, channels.plain)
)
GROUP = 4  # streams that share what is read of the weights
(
    _PRECISION, _STATE, _FEATURES, _TRANSFORM, _INPUTS, _HIDDEN, _HIDDEN_USED, _INNER, _STATES, _TAPS, _RANK, _MIXED,
    _LAYERS, _HORIZONS, _HEAD, _LOGITS,
) = (
    int(place)
    for place in (
        Header.PRECISION, Header.STATE, Header.FEATURES, Header.TRANSFORM, Header.INPUTS, Header.HIDDEN,
        Header.HIDDEN_USED, Header.INNER, Header.STATES, Header.TAPS, Header.RANK, Header.MIXED, Header.LAYERS,
        Header.HORIZONS, Header.HEAD, Header.LOGITS,
    )
)  # fmt: skip


@inlined
def _add_rows(w, cell, x0, x1, x2, x3, a, b):  # type: ignore[no-untyped-def]
    """Add four rows' products to the two halves of a sum, a and b."""
    w0, w1, w2, w3 = load_rows(w, cell)
    return fma(x2, w2, fma(x0, w0, a)), fma(x3, w3, fma(x1, w1, b))


@kernel
def _matmul_one(at, kind, x, rows, outputs, plus, y):  # type: ignore[no-untyped-def]
    """y = x·W + plus, where `at` points to W; returns where W ends. `rows` are a multiple of 4, `outputs` of 16."""
    scales, w = cast(at, _F32), cast(ahead(at, 4 * outputs), kind)
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
    return behind(w, cell * CELL)


@inlined
def _add_four(w0, w1, w2, w3, x, row, a, b):  # type: ignore[no-untyped-def]
    """`_add_rows` with rows that were read already."""
    a = fma(splat(get(x, row + 2)), w2, fma(splat(get(x, row)), w0, a))
    return a, fma(splat(get(x, row + 3)), w3, fma(splat(get(x, row + 1)), w1, b))


@kernel
def _matmul_group(at, kind, group, x, rows, outputs, plus, own, y):  # type: ignore[no-untyped-def]
    """`_matmul` for four streams: what is read of W serves all of them."""
    scales, w = cast(at, _F32), cast(ahead(at, 4 * outputs), kind)
    zero, fours = splat(_ZERO), rows // 4
    g0, g1, g2, g3 = get(group, 0), get(group, 1), get(group, 2), get(group, 3)
    x0, x1, x2, x3 = ahead(x, g0), ahead(x, g1), ahead(x, g2), ahead(x, g3)
    for out in range(0, outputs, LANES):
        in_tiles = outputs // TILE * TILE
        apart = 4 if out < in_tiles else 1  # cells between one four of rows and the next
        cell = (out // TILE * fours * 4 + out % TILE // LANES) if out < in_tiles else out // LANES * fours
        a0, a1, a2, a3, b0, b1, b2, b3 = zero, zero, zero, zero, zero, zero, zero, zero
        for row in range(0, rows, 4):
            w0, w1, w2, w3 = load_rows(w, cell)
            a0, b0 = _add_four(w0, w1, w2, w3, x0, row, a0, b0)
            a1, b1 = _add_four(w0, w1, w2, w3, x1, row, a1, b1)
            a2, b2 = _add_four(w0, w1, w2, w3, x2, row, a2, b2)
            a3, b3 = _add_four(w0, w1, w2, w3, x3, row, a3, b3)
            cell += apart
        scale = load(scales, out)
        store(y, g0 + out, fma(a0 + b0, scale, load(plus, own * g0 + out)))
        store(y, g1 + out, fma(a1 + b1, scale, load(plus, own * g1 + out)))
        store(y, g2 + out, fma(a2 + b2, scale, load(plus, own * g2 + out)))
        store(y, g3 + out, fma(a3 + b3, scale, load(plus, own * g3 + out)))
    return behind(w, rows * outputs)


@kernel
def _matmul(at, kind, group, streams, x, rows, outputs, plus, own, y):  # type: ignore[no-untyped-def]
    """y = x·W + plus for each stream of a group; returns where W, which `at` points to, ends.

    Args:
        group, streams: where each stream's floats begin, and how many streams there are: 1 or GROUP.
        x, y: of a stream that begins at 0; `rows` are a multiple of 4, `outputs` of 16.
        plus: the same for all streams, or, if `own` is 1, of each.
    """
    if streams == 1:
        first = get(group, 0)
        return _matmul_one(at, kind, ahead(x, first), rows, outputs, ahead(plus, own * first), ahead(y, first))
    return _matmul_group(at, kind, group, x, rows, outputs, plus, own, y)


@kernel
def _normalise(x, width, used, y):  # type: ignore[no-untyped-def]
    """y = (x - mean) / √(variance + ε) over the used lanes; the others hold 0 and stay 0."""
    sums = splat(_ZERO)
    for i in range(0, width, LANES):
        sums = sums + load(x, i)
    mean = splat(total(sums) / np.float32(used))
    for i in range(0, width, LANES):
        store(y, i, load(x, i) - mean)
    for i in range(used, width):
        put(y, i, _ZERO)
    squares = splat(_ZERO)
    for i in range(0, width, LANES):
        squares = fma(load(y, i), load(y, i), squares)
    scale = splat(_ONE / np.sqrt(total(squares) / np.float32(used) + _LAYER_NORM_EPSILON))
    for i in range(0, width, LANES):
        store(y, i, load(y, i) * scale)


@inlined
def _lob44(x, before, out):  # type: ignore[no-untyped-def]
    """`model.transform.lob44_channels` in the order of its `Channels`, before their logarithms."""
    micro, weighted, spread = get(x, 0), get(x, 1), get(x, 2)
    price = abs(micro) * _PRICE_UNIT + _TINY
    level = (abs(get(x, 33)) + abs(get(x, 43))) / np.float32(20.0) + _TINY
    for i in range(20):
        put(out, i, get(x, 4 + i) / level)
        put(out, 20 + i, (get(x, 4 + i) - get(before, 4 + i)) / level)
    put(out, 40, (micro - get(before, 0)) / price)
    put(out, 41, (weighted - get(before, 1)) / price)
    put(out, 42, (weighted - micro) / price)
    put(out, 43, spread)
    put(out, 44, spread - get(before, 2))
    for i in range(45, 48):
        put(out, i, _ZERO)
    for i in range(10):
        bid, ask = get(x, 24 + i), get(x, 34 + i)
        put(out, 48 + i, (bid - ask) / (abs(bid) + abs(ask) + _TINY))
    for i in range(58, 64):
        put(out, i, _ZERO)


@inlined
def _flow(x, before, out):  # type: ignore[no-untyped-def]
    """`model.transform.flow_channels` in the order of its `Channels`, before their logarithms."""
    micro, weighted, spread, spread_scale = get(x, 0), get(x, 1), get(x, 2), get(x, 85)
    price, scale = abs(micro) * _PRICE_UNIT + _TINY, abs(spread_scale) + _TINY
    put(out, 0, (micro - get(before, 0)) / price)
    put(out, 1, (weighted - get(before, 1)) / price)
    put(out, 2, (weighted - micro) / price)
    put(out, 3, _TWENTY * (spread - get(before, 2)) / scale)
    put(out, 4, get(x, 84) / scale)
    put(out, 5, _FOUR * get(x, 44) / scale)
    put(out, 6, _TWENTY * spread / scale)
    put(out, 7, _THOUSAND * get(x, 83) / scale)
    put(out, 8, spread_scale)
    put(out, 9, _THOUSAND * get(x, 81))
    for i in range(2):
        put(out, 10 + i, _HUNDRED * get(x, 4 + i))
        put(out, 12 + i, _HUNDRED * get(x, 14 + i))
    nearest = get(x, 45) + get(x, 46) + get(x, 47)
    near = nearest + get(x, 48) + get(x, 49)
    for i in range(3):
        put(out, 14 + i, get(x, 45 + i))
    put(out, 17, near)
    put(out, 18, near + (get(x, 50) + get(x, 51) + get(x, 52) + get(x, 53) + get(x, 54)))
    put(out, 19, get(x, 55))
    put(out, 20, get(x, 56))
    for i in range(21, 32):
        put(out, i, _ZERO)
    for i in range(10):
        bid, ask = get(x, 24 + i), get(x, 34 + i)
        put(out, 32 + i, (bid - ask) / (abs(bid) + abs(ask) + _TINY))
    for i in range(6):
        put(out, 42 + i, get(x, 75 + i))


@inlined
def _standardise(at, logged, plain, out):  # type: ignore[no-untyped-def]
    """Take the logarithms of the first lanes, subtract the mean, divide by the deviation and clip."""
    width = logged + plain
    mean = cast(at, _F32)
    inverse = cast(behind(mean, width), _F32)
    for i in range(0, width, LANES):
        channels = signed_log(load(out, i)) if i < logged else load(out, i)
        standard = (channels - load(mean, i)) * load(inverse, i)
        store(out, i, maximum(minimum(standard, splat(_CLIP)), splat(-_CLIP)))
    return behind(inverse, width)


@kernel
def _transform(at, transform, x, before, out):  # type: ignore[no-untyped-def]
    """Raw features to standardised, clipped inputs, by the transform of that number."""
    if transform == _LOB44:
        _lob44(x, before, out)
        return _standardise(at, _LOB44_LOGGED, _LOB44_PLAIN, out)
    _flow(x, before, out)
    return _standardise(at, _FLOW_LOGGED, _FLOW_PLAIN, out)


@kernel
def _convolve(at, inner, taps, past, u):  # type: ignore[no-untyped-def]
    """u = SiLU(convolution of the last inputs and u); past (taps - 1, inner) moves on by a tick."""
    w = cast(at, _F32)
    for i in range(0, inner, LANES):
        newest = load(u, i)
        row = i * (taps + 1)
        sums = fma(newest, load(w, row + (taps - 1) * LANES), load(w, row + taps * LANES))
        for k in range(taps - 1):
            met = load(past, k * inner + i)
            sums = fma(met, load(w, row + k * LANES), sums)
            if k > 0:
                store(past, (k - 1) * inner + i, met)
        store(past, (taps - 2) * inner + i, newest)
        store(u, i, silu(sums))
    return behind(w, inner * (taps + 1))


@kernel
def _recur(at, inner, states, h, u, z, delta, B, C):  # type: ignore[no-untyped-def]
    """One tick of the selective scan (`model.ssm.recur`) and its gate; the result goes where u was."""
    w = cast(at, _F32)
    for i in range(0, inner, LANES):
        row, place = i * (states + 1), i * states
        x = load(u, i)
        d = softplus(load(delta, i))
        dx = d * x
        y = x * load(w, row + states * LANES)
        for n in range(states):
            decay = exp2_below(d * load(w, row + n * LANES))
            met = fma(load(h, place + n * LANES), decay, dx * splat(get(B, n)))
            met = without_traces(met, _TRACE)
            store(h, place + n * LANES, met)
            y = fma(met, splat(get(C, n)), y)
        store(u, i, y * silu(load(z, i)))
    return behind(w, inner * (states + 1))


@kernel
def _probabilities(logits, horizons, out):  # type: ignore[no-untyped-def]
    """Softmax over each three logits."""
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
def _read(at, transform, count, features, state, channels):  # type: ignore[no-untyped-def]
    """A tick's features into the state and, as the model's inputs, into `channels`."""
    previous = ahead(state, LANES)
    if transform > 0:
        at = _transform(at, transform, features, previous if get(state, 0) > _ZERO else features, channels)
    else:
        for i in range(count):
            put(channels, i, get(features, i))
    for i in range(count):
        put(previous, i, get(features, i))
    put(state, 0, _ONE)
    return at


@kernel
def _step(weights, kind, group, streams, states, features, probabilities):  # type: ignore[no-untyped-def]
    """One tick of one stream, or of GROUP streams, in one precision.

    Args:
        group: where each stream's state begins, counted in floats from `states`.
        features, probabilities: rows of the streams, one after the other.
    """
    header, start = cast(weights, _INT64), ahead(weights, _HEADER_BYTES)
    hidden, inner, size, taps = get(header, _HIDDEN), get(header, _INNER), get(header, _STATES), get(header, _TAPS)
    count, inputs, rank, used = (
        get(header, _FEATURES),
        get(header, _INPUTS),
        get(header, _RANK),
        get(header, _HIDDEN_USED),
    )
    horizons, logit_count, transform = get(header, _HORIZONS), get(header, _LOGITS), get(header, _TRANSFORM)
    head = horizons * get(header, _HEAD)
    past = ahead(states, (count + 2 * LANES - 1) // LANES * LANES)  # behind the flag and the previous features
    # intermediate results, behind what outlives the tick
    channels = ahead(states, get(header, _STATE))
    x = ahead(channels, inputs)
    normal = ahead(x, hidden)
    u = ahead(normal, hidden)
    z = ahead(u, inner)
    delta = ahead(z, inner)
    mixed = ahead(delta, inner)
    between = ahead(mixed, get(header, _MIXED))
    logits = ahead(between, head)

    at = start
    for s in range(streams):
        own = get(group, s)
        at = _read(start, transform, count, ahead(features, s * count), ahead(states, own), ahead(channels, own))
    bias = cast(at, _F32)
    at = _matmul(behind(bias, hidden), _F32, group, streams, channels, inputs, hidden, bias, 0, x)
    scale = cast(at, _F32)
    shift = cast(behind(scale, hidden), _F32)
    for s in range(streams):
        own = ahead(x, get(group, s))
        _normalise(own, hidden, used, own)
        for i in range(0, hidden, LANES):
            store(own, i, fma(load(own, i), load(scale, i), load(shift, i)))
    at = behind(shift, hidden)
    for _ in range(get(header, _LAYERS)):
        for s in range(streams):
            _normalise(ahead(x, get(group, s)), hidden, used, ahead(normal, get(group, s)))
        bias = cast(at, _F32)
        at = _matmul(behind(bias, 2 * inner), kind, group, streams, normal, hidden, 2 * inner, bias, 0, u)
        taps_at = at
        for s in range(streams):
            own = get(group, s)
            at = _convolve(taps_at, inner, taps, ahead(past, own), ahead(u, own))
            for i in range(0, get(header, _MIXED), LANES):
                store(mixed, own + i, splat(_ZERO))
        past = ahead(past, (taps - 1) * inner)
        at = _matmul(at, kind, group, streams, u, inner, get(header, _MIXED), mixed, 1, mixed)
        bias = cast(at, _F32)
        at = _matmul(behind(bias, inner), _F32, group, streams, mixed, (rank + 3) // 4 * 4, inner, bias, 0, delta)
        decays = at
        for s in range(streams):
            own = get(group, s)
            h, B = ahead(past, own), ahead(mixed, own + rank)
            at = _recur(decays, inner, size, h, ahead(u, own), ahead(z, own), ahead(delta, own), B, ahead(B, size))
        past = ahead(past, size * inner)
        at = _matmul(at, kind, group, streams, u, inner, hidden, x, 1, x)
    bias = cast(at, _F32)
    at = _matmul(behind(bias, head), kind, group, streams, x, hidden, head, bias, 0, between)
    for s in range(streams):
        own = ahead(between, get(group, s))
        for i in range(0, head, LANES):
            store(own, i, gelu(load(own, i)))
    bias = cast(at, _F32)
    _matmul(behind(bias, logit_count), kind, group, streams, between, head, logit_count, bias, 0, logits)
    for s in range(streams):
        _probabilities(ahead(logits, get(group, s)), horizons, ahead(probabilities, 3 * horizons * s))


@kernel
def step_group(weights, group, streams, states, features, probabilities):  # type: ignore[no-untyped-def]
    """`_step` in the precision of the weights."""
    precision = get(cast(weights, _INT64), _PRECISION)
    if precision == 0:
        _step(weights, _F32, group, streams, states, features, probabilities)
    elif precision == 1:
        _step(weights, _BF16, group, streams, states, features, probabilities)
    else:
        _step(weights, _INT8, group, streams, states, features, probabilities)


@inlined
def one(weights):  # type: ignore[no-untyped-def]
    """`group` of a single stream, whose state begins where `states` does: a 0 that every header ends with."""
    return ahead(cast(weights, _INT64), _LAST_PLACE)
