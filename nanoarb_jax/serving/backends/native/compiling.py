"""How the functions inside the native step are compiled: without allocation, hence without reference counts.

numba's reference counts are slow, see `nanoarb_jax.market.compiled`. Only the functions that are called from outside
are kept between processes; they hold all the others.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from nanoarb_jax.kernel_cache import kept
from nanoarb_jax.market.compiled import NOT_FROM_C, NOT_FROM_PYTHON, refuse_python


def entry_point(function: Any) -> Any:
    """Compile a function that is called from outside; it runs without the GIL and is kept between processes."""
    return kept(njit(error_model="numpy", nogil=True, _nrt=False, **NOT_FROM_C)(function))  # type: ignore[call-overload]


def kernel(function: Any) -> Any:
    """Compile a function of its own, with loops: a product, a layer norm."""
    made = njit(error_model="numpy", _nrt=False, **NOT_FROM_PYTHON)(function)  # type: ignore[call-overload]
    return refuse_python(made)


def inlined(function: Any) -> Any:
    """Compile a small function that LLVM makes part of its caller, so that its vectors stay in registers.

    It must not call a `kernel`: LLVM would copy that into the caller too. A step made of such copies had three times
    as much machine code, and was 4 % slower.
    """
    made = njit(error_model="numpy", forceinline=True, _nrt=False, **NOT_FROM_PYTHON)(function)  # type: ignore[call-overload]
    return refuse_python(made)


def stage(function: Any) -> Any:
    """Compile a function that numba makes part of its caller, for one that calls kernels.

    LLVM sees the caller as if it had been written in one piece, so a step can be read in stages at no cost.
    """
    made = njit(error_model="numpy", inline="always", _nrt=False, **NOT_FROM_PYTHON)(function)  # type: ignore[call-overload]
    return refuse_python(made)
