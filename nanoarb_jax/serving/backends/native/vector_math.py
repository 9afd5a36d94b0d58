"""Elementary functions of 16 float32 at a time, for use inside `@njit` code; each accurate to a few 1e-7.

Polynomials are Chebyshev interpolants of the functions named beside them, fitted in float64.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.serving.backends.native.compiling import inlined
from nanoarb_jax.serving.backends.native.simd import (
    absolute,
    copysign,
    fma,
    maximum,
    minimum,
    scale_by_power,
    splat,
    split_power,
)

LOG2_E = np.float32(1.4426950408889634)
_LN_2 = np.float32(0.6931471805599453)
_ROUND = np.float32(12582912.0)  # 1.5·2**23: a float32 added to it is rounded to an integer in its low bits
_LEAST_POWER, _MOST_POWER = np.float32(-126.0), np.float32(126.0)
_ZERO, _ONE, _HALF, _TWO = np.float32(0.0), np.float32(1.0), np.float32(0.5), np.float32(2.0)
# (2**f - 1) / f on [-½, ½]
_P0, _P1, _P2, _P3, _P4 = (np.float32(c) for c in (0.69314718, 0.24022349, 0.05550381, 0.00966637, 0.00133813))
# atanh(√z) / √z on [0, ((√2-1)/(√2+1))²]
_A0, _A1, _A2, _A3 = (np.float32(c) for c in (1.0, 0.33333408, 0.19987417, 0.14962416))
# log(1+t) / t on [0, 1]
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8, _L9 = (
    np.float32(c)
    for c in (
        0.99999999, -0.49999893, 0.3332971, -0.24951616, 0.19663274,
        -0.15269667, 0.10543624, -0.05637361, 0.01954253, -0.00317606,
    )
)  # fmt: skip
# erf by Abramowitz & Stegun, Handbook of Mathematical Functions, 7.1.26: |error| <= 1.5e-7
_E, _E1, _E2, _E3, _E4, _E5 = (
    np.float32(c) for c in (0.3275911, 0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
)
_ROOT_HALF = np.float32(0.7071067811865476)


@inlined
def exp2(z):  # type: ignore[no-untyped-def]
    """2**z for z <= 126; below -126 it stays at 2**-126. Exact at 0, so that slow decays stay slow."""
    z = maximum(z, splat(_LEAST_POWER))
    magic = z + splat(_ROUND)
    f = z - (magic - splat(_ROUND))
    p = fma(splat(_P4), f, splat(_P3))
    p = fma(p, f, splat(_P2))
    p = fma(p, f, splat(_P1))
    p = fma(p, f, splat(_P0))
    return scale_by_power(fma(p, f, splat(_ONE)), magic)


@inlined
def exp(x):  # type: ignore[no-untyped-def]
    """e**x, at most 2**126."""
    return exp2(minimum(x * splat(LOG2_E), splat(_MOST_POWER)))


@inlined
def silu(x):  # type: ignore[no-untyped-def]
    """x / (1 + e**-x)."""
    return x / (splat(_ONE) + exp(splat(_ZERO) - x))


@inlined
def softplus(x):  # type: ignore[no-untyped-def]
    """log(1 + e**x)."""
    t = exp2(absolute(x) * splat(-LOG2_E))  # (0, 1]
    p = fma(splat(_L9), t, splat(_L8))
    p = fma(p, t, splat(_L7))
    p = fma(p, t, splat(_L6))
    p = fma(p, t, splat(_L5))
    p = fma(p, t, splat(_L4))
    p = fma(p, t, splat(_L3))
    p = fma(p, t, splat(_L2))
    p = fma(p, t, splat(_L1))
    p = fma(p, t, splat(_L0))
    return fma(p, t, maximum(x, splat(_ZERO)))


@inlined
def signed_log(x):  # type: ignore[no-untyped-def]
    """sign(x) · log(1 + |x|), see `nanoarb_jax.model.transform.signed_log`."""
    a = absolute(x)
    y = a + splat(_ONE)
    m, e = split_power(y)
    s = (m - splat(_ONE)) / (m + splat(_ONE))
    z = s * s
    p = fma(splat(_A3), z, splat(_A2))
    p = fma(p, z, splat(_A1))
    p = fma(p, z, splat(_A0))
    lost = a - (y - splat(_ONE))  # what rounding 1 + a took away
    log = fma(e, splat(_LN_2), (s + s) * p) + lost / y
    return copysign(log, x)


@inlined
def gelu(x):  # type: ignore[no-untyped-def]
    """x · Φ(x), the exact form: Φ(x) = (1 + erf(x/√2)) / 2."""
    a = absolute(x) * splat(_ROOT_HALF)
    t = splat(_ONE) / fma(a, splat(_E), splat(_ONE))
    p = fma(splat(_E5), t, splat(_E4))
    p = fma(p, t, splat(_E3))
    p = fma(p, t, splat(_E2))
    p = fma(p, t, splat(_E1))
    erf = splat(_ONE) - p * t * exp(splat(_ZERO) - a * a)
    return splat(_HALF) * x * (splat(_ONE) + copysign(erf, x))
