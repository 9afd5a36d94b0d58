"""Options made of the settings' dataclasses, so that a setting is named, typed and described in one place.

    @settings_options(*settings_of("train", TrainConfig), *settings_of("model", ModelConfig, ["dropout"]))
    def train(*, data: Path, given: Given, config: Path | None = None) -> None: ...

`train` then has an option for each of these settings in place of `given`: `--batch-size` for `batch_size`. It is called
with those that the user gave, `{"train": {"batch_size": 8}, "model": {}}`; the others keep the value of a file or their
default. An error about one of them names the option.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import Parameter
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from nanoarb_jax.errors import ConfigError, SettingError

from .options import parse_counts

Given = dict[str, dict[str, Any]]  # {table: {setting: value}} of the options that the user gave
Command = Callable[..., None]


@dataclass(frozen=True)
class Setting:
    """A field of a settings dataclass that is an option.

    Args:
        table: of the configuration file.
        name: of the field.
        kind: its type, without None.
        default: value that holds where neither option nor file gives one.
        description: a sentence.
    """

    table: str
    name: str
    kind: Any
    default: object
    description: str

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    def parameter(self) -> Parameter:
        """Of a typer command: None unless the user gives it."""
        kind, names, metavar = self.kind, [self.option], None
        if kind is bool:
            names = [f"{self.option}/--no-{self.option.removeprefix('--')}"]
        elif get_origin(kind) is Literal:  # the dataclass refuses other words
            kind, metavar = str, f"[{'|'.join(get_args(kind))}]"
        elif get_origin(kind) is tuple:
            kind, metavar = str, "INTEGER,…"
        info = typer.Option(*names, metavar=metavar, help=f"{self.description}  [default: {_text(self.default)}]")
        return Parameter(self.name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, info])

    def value(self, given: Any) -> Any:
        """The setting's value of what the command line gives."""
        return parse_counts(self.option, given) if get_origin(self.kind) is tuple else given

    def typed(self, value: object) -> str:
        """The option with a value, as a user types it: "--lr -1", "--no-mirror"."""
        if isinstance(value, bool):
            return self.option if value else f"--no-{self.option.removeprefix('--')}"
        return f"{self.option} {_text(value)}"


def settings_of(table: str, settings: type, names: Iterable[str] | None = None, start: object = None) -> list[Setting]:
    """The settings of a dataclass; with `names` these alone, with `start` with its values for defaults.

    Each is described by the first sentence about it in the part "Args:" of the dataclass's docstring.
    """
    hints, sentences = get_type_hints(settings), _sentences(settings)
    wanted = None if names is None else set(names)
    return [
        Setting(
            table,
            field.name,
            _without_none(hints[field.name]),
            getattr(start, field.name, field.default),
            sentences.get(field.name, ""),
        )
        for field in dataclasses.fields(settings)
        if wanted is None or field.name in wanted
    ]


def settings_options(*settings: Setting) -> Callable[[Command], Command]:
    """Give a command an option for each setting, in place of its parameter `given`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_settings(**arguments: Any) -> None:
            typed = [(setting, arguments.pop(setting.name)) for setting in settings]
            given: Given = {setting.table: {} for setting in settings}
            for setting, text in typed:
                if text is not None:
                    given[setting.table][setting.name] = setting.value(text)
            try:
                command(**arguments, given=given)
            except SettingError as error:
                raise _named_by_option(error, given, settings) from error

        return replace_parameter(with_settings, command, "given", [setting.parameter() for setting in settings])

    return decorate


def replace_parameter(wrapper: Command, command: Command, name: str, options: Iterable[Parameter]) -> Command:
    """Give a wrapper of a command the command's parameters, with `options` in the place of one of them."""
    parameters: list[Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        replaced = parameter.name == name
        parameters += options if replaced else [parameter.replace(kind=Parameter.KEYWORD_ONLY)]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return wrapper


def _named_by_option(error: SettingError, given: Given, settings: Iterable[Setting]) -> ConfigError:
    """The error with its option for a name, if the user gave that option."""
    for setting in settings:
        if error.key == f"{setting.table}.{setting.name}" and setting.name in given[setting.table]:
            return ConfigError(f"{setting.typed(error.value)}: expected {error.expected}")
    return error


def _sentences(settings: type) -> dict[str, str]:
    """{field: the first sentence about it in the docstring}, with a capital letter and a full stop."""
    _, _, arguments = (inspect.getdoc(settings) or "").partition("Args:\n")
    found = {}
    for name, entry in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE):
        sentence = " ".join(entry.split()).partition(". ")[0].removesuffix(".")
        found[name] = f"{sentence[0].upper()}{sentence[1:]}."
    return found


def _without_none(hint: Any) -> Any:
    """The type in `X | None`."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(hint) else hint


def _text(value: object) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
