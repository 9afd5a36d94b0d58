"""Where compiled functions are kept between processes: one folder, whose name changes with any source of theirs.

numba's own cache looks only at the file of the cached function, so it went on with the old code of a function whose
callee in another file had changed; and it lies inside the package, where an uninstalled wheel leaves it behind. Here a
fingerprint of all sources that hold compiled code, and of numba and llvmlite, names a folder in the user's cache
directory (or in NUMBA_CACHE_DIR, where that is set). numba adds the processor to the key of every function.

Where no folder can be written, functions are compiled anew in every process, and one warning says so.
"""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import platformdirs
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

_PACKAGE = Path(__file__).parent
_FOLDERS = (
    "config",
    "market",
    "features",
    "readers",
    "simulation",
    "serving",
    "trading",
    "bench",
)  # with compiled code


@functools.cache
def fingerprint() -> str:
    """16 hex digits that change with every source of compiled code, and with the compiler's version."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for folder in _FOLDERS:
        for path in sorted((_PACKAGE / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(_PACKAGE)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def folder() -> Path | None:
    """The folder of this fingerprint, made if need be; None where it cannot be written."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    path = Path(chosen or platformdirs.user_cache_path("nanoarb-jax")) / f"kernels-{fingerprint()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK)
    except OSError:
        writable = False
    if writable:
        return path
    warnings.warn(
        f"compiled functions cannot be kept in {path}, so every process compiles them anew; make it writable, or name "
        "another folder in NUMBA_CACHE_DIR",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


@functools.cache
def _source_stamp(path: str) -> str:
    """Of the function's own file, which may lie outside the package."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class _Locator(_CacheLocator):
    """Tells numba where a function is kept, and what distinguishes it from others of its name."""

    def __init__(self, function: Callable[..., Any], path: str, place: Path):
        self._path, self._place, self._line = path, str(place), function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator | None:
        place = folder()
        return None if place is None else cls(py_func, py_file, place)

    def get_cache_path(self) -> str:
        return self._place

    def get_source_stamp(self) -> str:
        return _source_stamp(self._path)

    def get_disambiguator(self) -> str:
        return f"{hashlib.sha256(self._path.encode()).hexdigest()[:8]}-{self._line}"


class _Impl(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # type: ignore[list-item]  # noqa: RUF012


class _Cache(FunctionCache):
    _impl_class = _Impl


def kept(compiled: Any) -> Any:
    """Keep what numba compiles of a function between processes.

    Args:
        compiled: what `njit` or `CFunc` made, not compiled yet.
    """
    function = getattr(compiled, "py_func", None) or compiled._pyfunc
    if folder() is not None:
        compiled._cache = _Cache(function)
    return compiled
