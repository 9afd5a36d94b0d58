"""The strategy that a user names, with the settings that the user gives."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.trading.contract import Strategy
from nanoarb_jax.trading.maker import MakerSettings, maker
from nanoarb_jax.trading.taker import TakerSettings, taker
from nanoarb_jax.trading.user_file import load_strategy


def make_strategy(
    name: str, given: Mapping[str, Any], horizons: Sequence[int], moves_ticks: ArrayLike | None = None
) -> Strategy:
    """A strategy for a model.

    Args:
        name: "taker", "maker" or "FILE.py:NAME", see `load_strategy`.
        given: settings by name; the others are the defaults. `threshold` is the maker's `pull_threshold`.
        horizons: (h,) of the model, in ticks.
        moves_ticks: (h, 3) of a calibration table, see `taker` and `maker`.

    Raises:
        ConfigError: no such strategy or setting, or a value out of range.

    >>> from nanoarb_jax.trading.choose import make_strategy
    >>> make_strategy("taker", {"threshold": 0.7}, (10, 50, 100)).settings.threshold
    0.7
    """
    if name == "maker":
        named = {("pull_threshold" if key == "threshold" else key): value for key, value in given.items()}
        named.pop("taker_fee", None)  # a maker does not take
        return maker(_settings(MakerSettings, named, name), horizons, moves_ticks)
    if name != "taker" and ":" not in name:
        raise ConfigError(f"strategy {name!r}: expected taker, maker or FILE.py:NAME")
    settings = _settings(TakerSettings, given, name)
    return (
        taker(settings, horizons, moves_ticks)
        if name == "taker"
        else load_strategy(name, settings, horizons, moves_ticks)
    )


def _settings(kind: type[Any], given: Mapping[str, Any], strategy: str) -> Any:
    known = [field.name for field in dataclasses.fields(kind)]
    for name in given:
        if name not in known:
            raise ConfigError(f"strategy {strategy}: no setting {name!r}; it has {', '.join(known)}")
    return kind(**given)


def read_setting(text: str) -> tuple[str, list[Any]]:
    """Name and values of "NAME=VALUE" or "NAME=VALUE,VALUE".

    Raises:
        ConfigError: another form, or a value that is no number.

    >>> from nanoarb_jax.trading.choose import read_setting
    >>> read_setting("threshold=0.5,0.6"), read_setting("hold_ticks=50")
    (('threshold', [0.5, 0.6]), ('hold_ticks', [50]))
    """
    name, equals, values = text.partition("=")
    try:
        found = [ast.literal_eval(value) for value in values.split(",")]
    except (ValueError, SyntaxError):
        found = []
    if not (equals and name.isidentifier() and found and all(isinstance(one, int | float) for one in found)):
        raise ConfigError(f"setting {text!r}: expected NAME=VALUE with a number, e.g. hold_ticks=50")
    return name, found
