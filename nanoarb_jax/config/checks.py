"""Checks that all settings share: a file or a command line may hold anything, and what is wrong is named."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

from nanoarb_jax.errors import SettingError

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "an integer"),
    "float": ((int, float), "a finite number"),
    "bool": ((bool,), "true or false"),
}


def require(condition: bool, key: str, value: object, expected: str) -> None:
    """Refuse a setting unless a condition holds.

    Args:
        condition: holds if the value is fine.
        key, value, expected: see `SettingError`.

    Raises:
        SettingError: the condition does not hold.
    """
    if not condition:
        raise SettingError(key, value, expected)


def check_types(table: str, settings: Any) -> None:
    """Refuse values of another type than their field's annotation says: numbers, switches, and words of a `Literal`."""
    hints = get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        key, value = f"{table}.{field.name}", getattr(settings, field.name)
        kind, _, optional = str(field.type).partition(" | ")
        if get_origin(hints[field.name]) is Literal:
            words = get_args(hints[field.name])
            require(isinstance(value, str) and value in words, key, value, alternatives(words))
        elif kind in _KINDS and not (optional and value is None):
            types, expected = _KINDS[kind]
            fits = isinstance(value, types) and isinstance(value, bool) == (kind == "bool")
            infinite = isinstance(value, float) and not math.isfinite(value)
            require(fits and not infinite, key, value, expected)


def alternatives(words: tuple[str, ...]) -> str:
    """
    >>> from nanoarb_jax.config.checks import alternatives
    >>> alternatives(("mid", "microprice")), alternatives(("a", "b", "c"))
    ('"mid" or "microprice"', '"a", "b" or "c"')
    """
    *others, last = (f'"{word}"' for word in words)
    return f"{', '.join(others)} or {last}"


def check_horizons(table: str, settings: Any) -> None:
    """Keep the horizons as a tuple of ascending ticks."""
    met = settings.horizons
    ticks = tuple(met) if isinstance(met, list | tuple) else ()
    fits = bool(ticks) and all(type(t) is int and t >= 1 for t in ticks) and list(ticks) == sorted(set(ticks))
    require(fits, f"{table}.horizons", met, "ascending positive ticks, e.g. (10, 50, 100)")
    object.__setattr__(settings, "horizons", ticks)
