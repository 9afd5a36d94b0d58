"""Options made of a settings dataclass: one for each setting, described where the setting is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from nanoarb_jax.cli.settings_options import Given, settings_of, settings_options
from nanoarb_jax.config import DataConfig, ModelConfig, TrainConfig
from nanoarb_jax.config.checks import require
from nanoarb_jax.errors import ConfigError, SettingError


@dataclass(frozen=True)
class Brew:
    """How tea is made.

    Args:
        minutes: time that
            it draws; 0: none. Longer is bitter.
        leaf: kind of leaf.
        milk: add milk.
        spoons_of_sugar: sugar; None: as the guest likes.
        cups: for whom.
    """

    minutes: float = 3.0
    leaf: Literal["green", "black"] = "green"
    milk: bool = False
    spoons_of_sugar: int | None = None
    cups: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        require(self.minutes > 0, "brew.minutes", self.minutes, "more than 0")
        require(not self.milk or self.leaf == "black", "brew.milk", self.milk, "false with green leaves")


def brew(*arguments: str) -> tuple[Any, Given | None]:
    """Exit and settings of a command with these options."""
    app, seen = typer.Typer(rich_markup_mode=None), list[Given]()

    @app.command()
    @settings_options(*settings_of("brew", Brew))
    def command(*, hot: bool = False, given: Given, cold: bool = False) -> None:
        """Make tea."""
        seen.append(given)
        Brew(**given["brew"])

    result = CliRunner().invoke(app, list(arguments))
    return result, seen[0] if seen else None


def test_only_what_is_given() -> None:
    assert brew()[1] == {"brew": {}}
    given = {"minutes": 4.5, "leaf": "black", "milk": True, "spoons_of_sugar": 0, "cups": (3, 4)}
    options = ("--minutes", "4.5", "--leaf", "black", "--milk", "--spoons-of-sugar", "0", "--cups", "3,4")
    assert brew(*options)[1] == {"brew": given}
    assert brew("--no-milk")[1] == {"brew": {"milk": False}}


def test_help() -> None:
    said = brew("--help")[0].output
    words = " ".join(said.split())
    assert "Time that it draws; 0: none. [default: 3]" in words and "bitter" not in said
    assert "--leaf [green|black] Kind of leaf. [default: green]" in words
    assert "--milk / --no-milk Add milk. [default: no]" in words
    assert "Sugar; None: as the guest likes. [default: None]" in words and "For whom. [default: 1,2]" in words
    places = [said.index(f"--{name}") for name in ("hot", "minutes", "leaf", "milk", "spoons-of-sugar", "cups", "cold")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--minutes", "-1"), "--minutes -1: expected more than 0"),
        (("--minutes", "-0.25"), "--minutes -0.25: expected more than 0"),
        (("--milk",), "--milk: expected false with green leaves"),
        (("--cups", "a"), "--cups a: expected whole numbers"),
    ],
)
def test_errors_name_the_option(options: tuple[str, ...], message: str) -> None:
    error = brew(*options)[0].exception
    assert isinstance(error, ConfigError) and str(error).startswith(message)


def test_errors_about_other_settings_name_the_key() -> None:
    @settings_options(*settings_of("brew", Brew, ["milk"]))
    def command(*, given: Given) -> None:
        Brew(minutes=-1, **given["brew"])

    with pytest.raises(SettingError, match=r"^brew\.minutes=-1: expected more than 0$"):
        command(milk=True)


def test_every_setting_is_described() -> None:
    for settings in (TrainConfig, DataConfig, ModelConfig):
        for setting in settings_of("table", settings):
            assert setting.description.endswith(".") and "`" not in setting.description, setting
            assert 10 < len(setting.description) <= 120, setting
