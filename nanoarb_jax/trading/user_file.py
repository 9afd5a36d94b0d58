"""A user's own strategy: a function in a Python file, compiled and tried before a backtest begins."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.errors import NumbaError
from numba.extending import is_jitted
from numpy.typing import ArrayLike

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.files import first_line
from nanoarb_jax.trading.contract import Moment, Quotes, Strategy, as_tuple
from nanoarb_jax.trading.taker import TakerSettings, taker

PARAMETERS = ("settings", "state", "moment")
PREAMBLE = re.compile(r"Failed in \w+ mode pipeline|^-+$|^$")  # lines of numba's that do not say what is wrong


def load_strategy(
    text: str, settings: TakerSettings, horizons: Sequence[int], moves_ticks: ArrayLike | None = None
) -> Strategy:
    """The strategy of a user's file.

    The file is run as any module is. A plain function is compiled by numba and not kept between processes, since what
    it calls may lie in files of the user's; a compiled one is taken as it is. It is then called once.

    Args:
        text: "FILE.py:NAME". NAME is a `Strategy`, or a function `decide(settings, state, moment)`; that gets the
            settings of the taker, as `TakerNumbers`, and the state `()`.
        settings, horizons, moves_ticks: see `taker`.

    Raises:
        ConfigError: no such file or name, a file that fails, another number of parameters, a function that numba cannot
            compile, one that fails, or one that returns something else than `Quotes` and a state of the types given.

    Example:
        >>> from pathlib import Path
        >>> from nanoarb_jax.trading.taker import TakerSettings
        >>> from nanoarb_jax.trading.user_file import load_strategy
        >>> lines = ["from nanoarb_jax.trading.contract import NO_QUOTES", "def decide(settings, state, moment):"]
        >>> _ = Path("idle.py").write_text("\\n".join([*lines, "    return NO_QUOTES, state"]))
        >>> load_strategy("idle.py:decide", TakerSettings(), (10, 50, 100)).name
        'idle.py:decide'
    """
    file, _, name = text.rpartition(":")
    if not file or not name.isidentifier():
        raise ConfigError(f"strategy {text!r}: expected FILE.py:NAME, e.g. my.py:decide")
    module = _run(Path(file), text)
    found = getattr(module, name, None)
    if found is None:
        raise ConfigError(f"strategy {text}: no {name!r} in {file}; it has {_offered(module)}")
    if not isinstance(found, Strategy):
        if not callable(found):
            raise ConfigError(f"strategy {text}: a {type(found).__name__}; expected a function or a Strategy")
        found = Strategy(found, taker(settings, horizons, moves_ticks).settings, (), f"{Path(file).name}:{name}")
    _check_parameters(found.decide, text)
    return replace(found, decide=_compiled(found, text, len(horizons)))


def sample_moment(horizons: int) -> Moment:
    """A moment of the types that the backtest gives: flat, no orders, every class as likely as the others."""
    return Moment(
        tick=1_000, ts_ns=1_700_000_000_000_000_000, ready=True,
        bid_ticks=10_000, ask_ticks=10_001, bid_qty=1.0, ask_qty=1.0,
        probabilities=np.full((horizons, 3), 1 / 3, np.float32),
        position=0.0, entry_ticks=0.0, opened_ns=0, opened_tick=0,
        buy_ticks=0, buy_qty=0.0, sell_ticks=0, sell_qty=0.0,
    )  # fmt: skip


def _run(path: Path, text: str) -> ModuleType:
    """The module of a file, under a name that no other has."""
    if not path.is_file():
        raise ConfigError(f"strategy {text}: no such file {path}")
    name = f"nanoarb_user_{path.stem}_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"strategy {text}: {path.name} is not a Python file; expected FILE.py:NAME")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickled tuples look themselves up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file may raise
        del sys.modules[name]
        raise ConfigError(f"strategy {text}: {path} cannot be run ({_said(error)})") from error
    return module


def _offered(module: ModuleType) -> str:
    """Functions and strategies that a file defines itself."""
    own = [name for name, value in vars(module).items() if _is_own(value, module) and not name.startswith("_")]
    return ", ".join(own) or "no function and no Strategy"


def _is_own(value: Any, module: ModuleType) -> bool:
    function = getattr(value, "py_func", value)
    own_function = inspect.isfunction(function) and function.__module__ == module.__name__
    return isinstance(value, Strategy) or own_function


def _check_parameters(decide: Callable[..., Any], text: str) -> None:
    signature = inspect.signature(getattr(decide, "py_func", decide))
    try:
        signature.bind(*PARAMETERS)
    except TypeError:
        raise ConfigError(
            f"strategy {text}: takes {signature}; expected three parameters, ({', '.join(PARAMETERS)})"
        ) from None


def _compiled(strategy: Strategy, text: str, horizons: int) -> Callable[..., Any]:
    """The function compiled, once it has been called in Python, whose errors say most, and compiled."""
    decide, settings, moment = strategy.decide, as_tuple(strategy.settings), sample_moment(horizons)
    python = getattr(decide, "py_func", decide)
    compiled = decide if is_jitted(decide) else numba.njit(error_model="numpy")(decide)
    try:
        python(settings, strategy.state, moment)
        result = compiled(settings, strategy.state, moment)
    except NumbaError as error:
        raise ConfigError(f"strategy {text}: numba cannot compile it: {_meaning(error)}") from error
    except Exception as error:  # whatever a user's function may raise
        raise ConfigError(f"strategy {text}: fails on a first tick ({_said(error)})") from error
    _check_result(result, strategy.state, text)
    return compiled


def _check_result(result: Any, state: tuple[Any, ...], text: str) -> None:
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], Quotes):
        raise ConfigError(f"strategy {text}: returns {_kind(result)}; expected (Quotes, state)")
    given, returned = numba.typeof(state), numba.typeof(result[1])
    if given != returned:
        raise ConfigError(
            f"strategy {text}: returns a state of type {returned}, was given {given}; return it in the types it came in"
        )


def _kind(result: Any) -> str:
    if type(result) is tuple:
        return f"({', '.join(type(one).__name__ for one in result)})"
    return type(result).__name__


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _meaning(error: NumbaError) -> str:
    """numba's first line that says what is wrong, and the line of the file where it is."""
    lines = [" ".join(line.split()) for line in re.sub(r"\x1b\[[\d;]*m", "", str(error)).splitlines()]
    telling = [line for line in lines if not PREAMBLE.search(line)] or [type(error).__name__]
    said = " ".join(telling[:2]) if telling[0].endswith(":") else telling[0]
    places = [found[1] for line in lines if (found := re.search(r'^File "[^"]*", line (\d+)', line))]
    return f"{said[:200]} (line {places[0]})" if places else said[:200]
