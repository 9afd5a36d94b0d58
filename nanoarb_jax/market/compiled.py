"""How functions are compiled, and kept between processes, see `nanoarb_jax.kernel_cache`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import njit

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.kernel_cache import kept

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ConfigError("NUMBA_DISABLE_JIT is set, but books, features and the native step only run compiled; unset it")


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that allocates nothing and keeps no array beyond its call.

    Such a function needs no reference counts. numba's are atomic, and counting every array that a function takes out of
    a tuple costs four times as much as the whole rest of an event (530 against 124 ns), so they are left out (`_nrt`).
    A function that does allocate fails to compile with it. Divisions by zero give infinities, as in numpy.
    """
    return kept(njit(error_model="numpy", _nrt=False)(function))  # type: ignore[call-overload]


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function as `compiled` does, as a part of every compiled function that calls it.

    For the steps of a longer function that take a whole book: a call passes every field of every array of the tuple,
    about ninety values, and LLVM does not always inline the call.
    """
    return kept(njit(error_model="numpy", _nrt=False, inline="always")(function))  # type: ignore[call-overload]


def allocating(function: Callable[..., Any]) -> Any:
    """Compile a function that makes arrays; divisions by zero are errors, as in Python."""
    return kept(njit(function))
