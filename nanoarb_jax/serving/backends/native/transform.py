"""The input transform in compiled code; the plain twin is `nanoarb_jax.model.transform`."""

from __future__ import annotations

import numpy as np

from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.serving.backends.native.compiling import inlined, kernel
from nanoarb_jax.serving.backends.native.layout import whole
from nanoarb_jax.serving.backends.native.memory import cast, get, load, offset, put, store
from nanoarb_jax.serving.backends.native.simd import LANES, maximum, minimum, splat
from nanoarb_jax.serving.backends.native.vector_math import signed_log
from nanoarb_jax.serving.backends.native.weights import TRANSFORMS

_F32 = np.float32(0)
_ZERO, _FOUR, _TWENTY = np.float32(0.0), np.float32(4.0), np.float32(20.0)
_HUNDRED, _THOUSAND = np.float32(100.0), np.float32(1000.0)
_PRICE_UNIT, _TINY, _CLIP = np.float32(1e-6), np.float32(1e-12), np.float32(8.0)
_LOB44 = TRANSFORMS.index("lob44")
_LOB44_LOGGED, _LOB44_PLAIN, _FLOW_LOGGED, _FLOW_PLAIN = (
    whole(len(kind))
    for channels in (FEATURE_SETS["lob44"].channels, FEATURE_SETS["flow"].channels)
    for kind in (channels.logged, channels.plain)
)


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
    spread, spread_scale, offset_ticks = get(x, 2), get(x, 85), get(x, 44)
    scale = abs(spread_scale) + _TINY
    put(out, 0, _FOUR * (get(x, 84) + offset_ticks - get(before, 44)) / scale)
    put(out, 1, _TWENTY * (spread - get(before, 2)) / scale)
    put(out, 2, get(x, 84) / scale)
    put(out, 3, _FOUR * offset_ticks / scale)
    put(out, 4, _TWENTY * spread / scale)
    put(out, 5, _THOUSAND * get(x, 83) / scale)
    put(out, 6, spread_scale)
    put(out, 7, _THOUSAND * get(x, 81))
    for i in range(2):
        put(out, 8 + i, _HUNDRED * get(x, 4 + i))
        put(out, 10 + i, _HUNDRED * get(x, 14 + i))
    nearest = get(x, 45) + get(x, 46) + get(x, 47)
    near = nearest + get(x, 48) + get(x, 49)
    for i in range(3):
        put(out, 12 + i, get(x, 45 + i))
    put(out, 15, near)
    put(out, 16, near + (get(x, 50) + get(x, 51) + get(x, 52) + get(x, 53) + get(x, 54)))
    put(out, 17, get(x, 55))
    put(out, 18, get(x, 56))
    for i in range(15):
        put(out, 19 + i, get(x, 86 + i))
    for i in range(34, 48):
        put(out, i, _ZERO)
    for i in range(10):
        bid, ask = get(x, 24 + i), get(x, 34 + i)
        put(out, 48 + i, (bid - ask) / (abs(bid) + abs(ask) + _TINY))
    for i in range(6):
        put(out, 58 + i, get(x, 75 + i))


@inlined
def _standardise(statistics, logged, plain, out):  # type: ignore[no-untyped-def]
    """Take the logarithms of the first `logged` lanes; subtract the mean of all, divide by the deviation and clip."""
    width = logged + plain
    mean = cast(statistics, _F32)
    inverse = offset(mean, width)
    for i in range(0, width, LANES):
        channels = signed_log(load(out, i)) if i < logged else load(out, i)
        standard = (channels - load(mean, i)) * load(inverse, i)
        store(out, i, maximum(minimum(standard, splat(_CLIP)), splat(-_CLIP)))


@kernel
def transform_features(statistics, transform, x, before, out):  # type: ignore[no-untyped-def]
    """Raw features to standardised, clipped inputs.

    Args:
        statistics: mean and 1/std of the inputs.
        transform: index in TRANSFORMS, not that of "identity".
        x, before: features of this tick and of the one before.
    """
    if transform == _LOB44:
        _lob44(x, before, out)
        _standardise(statistics, _LOB44_LOGGED, _LOB44_PLAIN, out)
    else:
        _flow(x, before, out)
        _standardise(statistics, _FLOW_LOGGED, _FLOW_PLAIN, out)
