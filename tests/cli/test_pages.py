"""Commands on the pages exist: those in blocks of shell parse as a whole, options in sentences belong to a command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import pairwise, product
from typing import Any

import pytest
from typer.core import TyperCommand
from typer.main import get_command
from typer.testing import CliRunner

from nanoarb_jax.cli.main import app
from support.pages import blocks, pages, spans

PROGRAM = re.compile(r"(?:\S*/)?nanoarb-jax (\S.*)")
CHOICES = re.compile(r"(--[\w-]+) +[\[<]([\w-]+(?:\|[\w-]+)+)[\]>]")  # in a command's help
PLACEHOLDER = re.compile(r"[A-Z]|…")  # FILE, RUN, …: anything may stand there


def shell_lines(page: str) -> Iterator[tuple[str, str]]:
    """Every command of ours in blocks of shell: its arguments, and the comment behind it."""
    for block in (code for language in ("sh", "bash", "console") for code in blocks(page, language)):
        for line in block.replace("\\\n", " ").splitlines():
            code, _, comment = line.partition(" #")
            for part in re.split(r"&&|[|;>]", code):
                if found := PROGRAM.search(part):
                    yield found[1].strip(), comment.strip()


@cache
def commands() -> dict[str, Any]:
    """{"train": command, "data": group, "data prepare": command} of all."""
    found: dict[str, Any] = dict(get_command(app).commands)  # type: ignore[attr-defined]
    for name, command in list(found.items()):
        found |= {f"{name} {inner}": one for inner, one in getattr(command, "commands", {}).items()}
    return found


def command_of(words: list[str]) -> str | None:
    """The command that the words begin with: a group's by two of them, the group itself where nothing follows."""
    grouped = hasattr(commands().get(words[0]), "commands") and len(words) > 1 and not words[1].startswith("-")
    name = " ".join(words[: 1 + grouped])
    return name if name in commands() else None


def alternatives(words: list[str]) -> list[list[str]]:
    """`evaluate|export --checkpoint DIR` and `registry add|list` as the commands that they stand for."""
    named = 0 if words[0].startswith("-") else 1 + (len(words) > 1 and not words[1].startswith("-"))
    return [[*first, *words[named:]] for first in product(*(word.split("|") for word in words[:named]))]


@cache
def options(name: str) -> dict[str, frozenset[str]]:
    """{spelling: its choices, none where anything may stand} of a command, and those that every command has."""
    shown = CliRunner().invoke(app, [*name.split(), "--help"]).output
    choices = {option: frozenset(some.split("|")) for option, some in re.findall(CHOICES, shown)}
    named = (one for option in commands()[name].params for one in (*option.opts, *option.secondary_opts))
    return {one: choices.get(one, frozenset()) for one in (*named, "--help")}


def check(words: list[str], known: dict[str, frozenset[str]]) -> None:
    """Every option there is known, and what follows it is one of its choices, if it has such."""
    for word, following in pairwise([*words, "--"]):
        if word.startswith("--"):
            assert word in known, word
            if known[word] and not following.startswith("--") and not PLACEHOLDER.search(following):
                assert set(following.split("|")) <= known[word], f"{word} {following}"


@pytest.mark.parametrize("page", pages())
def test_shell_blocks_parse(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed as the command line is, everything but run."""
    ran: list[str] = []
    monkeypatch.setattr(TyperCommand, "invoke", lambda self, context: ran.append(self.name))
    for line, comment in shell_lines(page):
        ran.clear()
        words = shlex.split(line)
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0 and len(ran) == 1, f"{line}\n{result.output}"
        name = command_of(words)
        assert name is not None, line
        check(words, options(name))
        check(re.findall(r"[^\s;,`()]+", comment), options(name))


@pytest.mark.parametrize("page", pages())
def test_options_in_sentences_exist(page: str) -> None:
    """`nanoarb-jax …` wherever it stands, a command's name with options, and options by themselves, of any command."""
    every = {option: choices for name in commands() for option, choices in options(name).items()}
    for span in spans(page):
        program = PROGRAM.search(span)
        for words in alternatives((program[1] if program else span).split()):
            name = command_of(words)
            assert name is not None or not program, span
            if name is not None and (program or "--" in span):
                check(words, options(name))
            elif words[0].startswith("--"):
                check(words[:1], every)


def test_commands_are_found() -> None:
    assert ("quickstart", "") in list(shell_lines("README.md"))
    assert sum(len(list(shell_lines(page))) for page in pages()) > 20
