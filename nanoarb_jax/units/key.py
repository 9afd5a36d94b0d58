"""What the result of a unit depends on, as one checksum: settings, the content of files, and the software."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.files import sha256

PACKAGES = ("numpy", "numba", "llvmlite", "scikit-learn", "jax", "jaxlib", "onnxruntime", "hftbacktest")
_LIBRARY = Path(__file__).parents[1]


def unit_key(settings: object, inputs: Iterable[str | Path] = ()) -> str:
    """The name of a result: sha256 of the settings, of what files hold, and of the software.

    The order of a mapping's entries makes no difference, and neither does the folder that a file lies in. A renamed
    file makes another key, since names of files become names of series.

    Args:
        settings: None, numbers, text, sequences, mappings from text, sets, enums, numpy arrays and scalars, and
            dataclasses and NamedTuples of these, which count with the name of their class. A `Path` among them is an
            input; a text is not, even if it names a file. Functions count with the file that defines them.
        inputs: further files and folders, in order. All files below a folder count, except hidden ones.

    Returns:
        64 hex digits.

    Raises:
        ConfigError: a setting is of another kind, so that nobody knows when it changes.
        DataError: an input is missing.

    Example:
        >>> from nanoarb_jax.units.key import unit_key
        >>> unit_key({"lr": 0.1, "seed": 1}) == unit_key({"seed": 1, "lr": 0.1}) != unit_key({"lr": 0.1, "seed": 2})
        True
    """
    what = [_plain(settings, "settings"), [_input(Path(path)) for path in inputs], software()]
    return hashlib.sha256(json.dumps(what, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@functools.cache
def software() -> Mapping[str, str]:
    """{what: version} of all that computes: Python, `PACKAGES`, and this library's sources without its commands."""
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "nanoarb-jax": _fingerprint()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def _fingerprint() -> str:
    """Of the library's sources: a checkout changes without its version."""
    digest = hashlib.sha256()
    for path in sorted(_LIBRARY.rglob("*.py")):
        name = path.relative_to(_LIBRARY)
        if name.parts[0] != "cli":
            digest.update(f"{name.as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _plain(value: Any, place: str) -> Any:
    """The value as JSON keeps it; what JSON has no kind for becomes a mapping from "", which no other value does."""
    if isinstance(value, Enum):
        return _fields(value, {"value": value.value}, place)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return {"": ["file", *_input(value)]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value, {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}, place)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _fields(value, {name: getattr(value, name) for name in value._fields}, place)
    if isinstance(value, np.ndarray | np.generic):
        return _array(np.asarray(value), place)
    if isinstance(value, list | tuple):
        return [_plain(one, f"{place}[{number}]") for number, one in enumerate(value)]
    if isinstance(value, set | frozenset):
        return {"": ["set", *sorted(json.dumps(_plain(one, place), sort_keys=True) for one in value)]}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {f".{key}": _plain(one, f"{place}[{key!r}]") for key, one in value.items()}
    if inspect.isfunction(value):
        return {"": _function(value, place)}
    raise ConfigError(
        f"{place}: {type(value).__name__} {value!r:.60} cannot be part of a unit's key; expected numbers, text, paths, "
        "sequences, mappings from text, arrays, module-level functions or dataclasses of these"
    )


def _fields(value: Any, fields: dict[str, Any], place: str) -> dict[str, Any]:
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    return {"": [name, {key: _plain(one, f"{place}.{key}") for key, one in fields.items()}]}


def _array(value: np.ndarray, place: str) -> dict[str, Any]:
    if value.dtype.hasobject:
        raise ConfigError(f"{place}: an array of objects cannot be part of a unit's key; expected one of numbers")
    content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    return {"": ["array", str(np.lib.format.dtype_to_descr(value.dtype)), list(value.shape), content]}


def _function(function: Callable[..., Any], place: str) -> list[str]:
    """Name of a module-level function and, if it is none of ours, checksum of its file.

    Raises:
        ConfigError: another process could not import it.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    if "<" in function.__qualname__ or function.__closure__ is not None:
        raise ConfigError(f"{place}: {name} is made inside a function; expected one that a module defines at its top")
    if name.startswith("nanoarb_jax."):
        return ["function", name]  # the software's fingerprint holds it
    source = inspect.getsourcefile(function)
    if source is None or not Path(source).is_file():
        raise ConfigError(f"{place}: {name} has no source file; expected a function of a module in a file")
    return ["function", name, sha256(source)]


def _input(path: Path) -> list[Any]:
    """Name and content of a file, or of all files below a folder.

    Raises:
        DataError: there is neither, or it cannot be read.
    """
    try:
        if not path.is_dir():
            return [path.name, _checksum(path)]
        names = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
        seen = [name for name in names if not any(part.startswith(".") for part in name.parts)]
        return [path.name, {name.as_posix(): _checksum(path / name) for name in seen}]
    except OSError as error:
        raise DataError(f"input {path}: {error.strerror}; give a file or folder that can be read") from error


def _checksum(path: Path) -> str:
    """sha256 of a file, computed once while the file stays as it is: many units read the same one."""
    status = path.stat()
    return _known_checksum(path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(4096)
def _known_checksum(path: Path, inode: int, size: int, mtime_ns: int) -> str:
    return sha256(path)
