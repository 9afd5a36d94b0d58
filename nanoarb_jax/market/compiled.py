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

# numba makes two more functions of each: one that Python calls and one that C calls. They unpack every array of a book,
# and to compile them takes two thirds as long as the function itself (`apply_event` and all it calls: 25 s or 15 s).
NOT_FROM_C = {"no_cfunc_wrapper": True}
NOT_FROM_PYTHON = {"no_cpython_wrapper": True, **NOT_FROM_C}


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function that allocates nothing and keeps no array beyond its call.

    Such a function needs no reference counts. numba's are atomic, and counting every array that a function takes out of
    a tuple costs four times as much as the whole rest of an event (530 against 124 ns), so they are left out (`_nrt`).
    A function that does allocate fails to compile with it. Divisions by zero give infinities, as in numpy.
    """
    return kept(njit(error_model="numpy", _nrt=False, **NOT_FROM_C)(function))  # type: ignore[call-overload]


def internal(function: Callable[..., Any]) -> Any:
    """Compile a function as `compiled` does, but only for compiled functions to call, which takes less time."""
    made = njit(error_model="numpy", _nrt=False, **NOT_FROM_PYTHON)(function)  # type: ignore[call-overload]
    return kept(refuse_python(made))


def refuse_python(made: Any) -> Any:
    """Raise where Python calls a function compiled with NOT_FROM_PYTHON: numba would jump to address 0.

    Args:
        made: what `njit` made, not compiled yet.
    """

    def add_overload(result: Any) -> None:  # not in the table in which numba looks up what Python calls
        made.overloads[tuple(result.signature.args)] = result

    def refuse(*_: Any, **__: Any) -> None:
        raise TypeError(
            f"{made.py_func.__name__} is for compiled functions only; make it `compiled` to call it from Python"
        )

    made.add_overload, made._compile_for_args = add_overload, refuse
    return made


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function as `compiled` does, as a part of every compiled function that calls it.

    For the steps of a longer function that take a whole book: a call passes every field of every array of the tuple,
    about ninety values, and left to itself LLVM makes most of these calls. numba's own `inline="always"` compiles
    longer, and its code is slower: 54 against 46 ns an event of an L2 feed with its ticks, 500 against 235 ns where
    nearly every event makes a tick.
    """
    return kept(njit(error_model="numpy", _nrt=False, forceinline=True, **NOT_FROM_C)(function))  # type: ignore[call-overload]


def allocating(function: Callable[..., Any]) -> Any:
    """Compile a function that makes arrays; divisions by zero are errors, as in Python."""
    return kept(njit(**NOT_FROM_C)(function))  # type: ignore[call-overload]
