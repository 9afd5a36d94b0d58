"""What several commands print and write: lines, progress, JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from nanoarb_jax.files import claim_file, new_file
from nanoarb_jax.progress import Note, silent

JsonOption = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures to this file.")]

console = Console()


def say(line: str) -> None:
    """Print a line as it is: brackets in a path are no markup, and nothing is broken where it leaves the screen."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def noting(doing: str) -> Iterator[Note]:
    """A line on the terminal that says how far it is, written only when told: no thread that would disturb timings."""
    if not console.is_terminal:
        yield silent
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda text: live.update(Text(f"{doing}: {text}"), refresh=True)


@contextmanager
def bar(doing: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on the terminal, told (done, in all, what is being done)."""
    from rich.progress import Progress

    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(doing)
        yield lambda done, total, name: progress.update(task, completed=done, total=total, description=name)


def claim_json(path: Path | None) -> None:
    """Fail before the work, not after it, if the file of `--json` cannot be made; see `files.claim_file`."""
    if path is not None:
        claim_file(path, "--json")


def write_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write the figures where `--json` asked for them, rows of plain numbers on one line."""
    if path is None:
        return
    text = json.dumps(figures, indent=1)
    text = re.sub(r'\[[^\[\]{}"]+\]', lambda row: " ".join(row[0].split()), text)
    with new_file(path, "--json") as file:
        file.write(f"{text}\n".encode())
