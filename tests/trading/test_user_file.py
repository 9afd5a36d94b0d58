"""A user's own strategy: taken in every form that is offered, and what is wrong with one said in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from numba.extending import is_jitted

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.trading.contract import NO_QUOTES, Quotes, as_tuple
from nanoarb_jax.trading.taker import TakerNumbers, TakerSettings
from nanoarb_jax.trading.user_file import load_strategy, sample_moment
from support.moments import HORIZONS, moment, probabilities
from support.pages import blocks

PRELUDE = """\
from typing import NamedTuple
import numba
from nanoarb_jax.trading.contract import NO_QUOTES, Quotes, Strategy
"""
FOLLOW = """
def decide(settings, state, moment):
    if moment.ready and moment.probabilities[0, 2] >= settings.threshold:
        return Quotes(moment.ask_ticks, settings.order_qty, 0, 0.0, True), state
    return NO_QUOTES, state
"""
COUNTED = """
class Settings(NamedTuple):
    every: int
class Count(NamedTuple):
    ticks: int
def count(settings, state, moment):
    if state.ticks % settings.every == 0:
        return Quotes(moment.bid_ticks, 1.0, 0, 0.0, False), Count(state.ticks + 1)
    return NO_QUOTES, Count(state.ticks + 1)
decide = Strategy(count, Settings(2), Count(0), "every second")
"""


def write(folder: Path, code: str) -> str:
    path = folder / "my.py"
    path.write_text(PRELUDE + code, encoding="utf-8")
    return f"{path}:decide"


def test_a_function_gets_the_settings_of_the_taker(tmp_path: Path) -> None:
    strategy = load_strategy(write(tmp_path, FOLLOW), TakerSettings(threshold=0.7, order_qty=2.0), HORIZONS)
    assert strategy.name == "my.py:decide" and is_jitted(strategy.decide)
    assert isinstance(strategy.settings, TakerNumbers) and strategy.state == ()
    sure = moment(probabilities=probabilities(0.1, 0.8))
    assert strategy.decide(strategy.settings, (), sure) == (Quotes(101, 2.0, 0, 0.0, True), ())
    assert strategy.decide(strategy.settings, (), moment()) == (NO_QUOTES, ())


def test_a_compiled_function_is_taken_as_it_is(tmp_path: Path) -> None:
    code = FOLLOW.replace("def", "@numba.njit(fastmath=True)\ndef")
    strategy = load_strategy(write(tmp_path, code), TakerSettings(), HORIZONS)
    assert strategy.decide.targetoptions["fastmath"]


def test_a_strategy_with_settings_and_state_of_its_own(tmp_path: Path) -> None:
    strategy = load_strategy(write(tmp_path, COUNTED), TakerSettings(), HORIZONS)
    assert strategy.name == "every second" and is_jitted(strategy.decide)
    state, bought = strategy.state, []
    for _ in range(4):
        quotes, state = strategy.decide(as_tuple(strategy.settings), state, moment())
        bought.append(quotes.buy_qty)
    assert bought == [1.0, 0.0, 1.0, 0.0]


def test_the_page_s_own_strategy(tmp_path: Path) -> None:
    (code,) = blocks("docs/strategies.md", "python")
    assert len(code.splitlines()) <= 30
    (tmp_path / "my.py").write_text(code, encoding="utf-8")
    strategy = load_strategy(f"{tmp_path}/my.py:strategy", TakerSettings(), HORIZONS)
    rising = moment(probabilities=probabilities(0.1, 0.8))
    state = strategy.state
    for _ in range(3):
        quotes, state = strategy.decide(as_tuple(strategy.settings), state, rising)
    assert quotes == Quotes(101, 1.0, 0, 0.0, True)
    held = moment(position=1.0, probabilities=probabilities(0.3, 0.3))
    assert strategy.decide(as_tuple(strategy.settings), state, held)[0] == Quotes(0, 0.0, 100, 1.0, True)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def other(settings, state, moment):\n    return NO_QUOTES, state", "no 'decide' in .*my.py; it has other"),
        ("decide = 3", "a int; expected a function or a Strategy"),
        ("def decide(settings, moment):\n    return NO_QUOTES, ()", r"takes \(settings, moment\); expected three"),
        ("def decide(:", r"my.py cannot be run \(SyntaxError: invalid syntax"),
        ("import nothing_of_that_name", r"my.py cannot be run \(ModuleNotFoundError: No module named 'nothing"),
        ("def decide(settings, state, moment):\n    return NO_QUOTES", r"returns Quotes; expected \(Quotes, state\)"),
        (
            "def decide(settings, state, moment):\n    return NO_QUOTES, (1.0,)",
            r"returns a state of type UniTuple\(float64 x 1\), was given Tuple\(\)",
        ),
        (
            "def decide(settings, state, moment):\n    return NO_QUOTES, settings.nothing",
            "fails on a first tick .AttributeError: 'TakerNumbers' object has no attribute 'nothing'",
        ),
        (
            "def decide(settings, state, moment):\n    return NO_QUOTES, moment.probabilities[9, 0]",
            "fails on a first tick .IndexError: index 9 is out of bounds",
        ),
        (
            "import json\ndef decide(settings, state, moment):\n    json.dumps(1)\n    return NO_QUOTES, state",
            r"my.py:decide: numba cannot compile it: Unknown attribute 'dumps' of type Module\(.*\(line 6\)$",
        ),
        (
            "def decide(settings, state, moment):\n    return (NO_QUOTES, 'a' + 1) if moment.tick < 0 else "
            "(NO_QUOTES, state)",
            r"numba cannot compile it: No implementation of function .* found for signature: >>> add\(.*\(line 5\)$",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        load_strategy(write(tmp_path, code), TakerSettings(), HORIZONS)
    assert "\n" not in str(refused.value) and str(refused.value).startswith(f"strategy {tmp_path}/my.py:decide: ")


@pytest.mark.parametrize("text", ["my.py", ":decide", "my.py:", "my.py:a.b"])
def test_the_text_is_a_file_and_a_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected FILE.py:NAME, e.g. my.py:decide"):
        load_strategy(text, TakerSettings(), HORIZONS)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file gone\.py"):
        load_strategy("gone.py:decide", TakerSettings(), HORIZONS)
    (tmp_path / "my.txt").write_text(FOLLOW)
    with pytest.raises(ConfigError, match=r"my\.txt is not a Python file"):
        load_strategy(f"{tmp_path}/my.txt:decide", TakerSettings(), HORIZONS)


def test_the_sample_is_a_moment_of_the_loop_s_types() -> None:
    met = sample_moment(3)
    assert met.probabilities.shape == (3, 3) and met.probabilities.dtype == "float32" and met.ready
