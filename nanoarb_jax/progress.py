"""How long work says what it is doing: it is handed a function that takes a line of text."""

from __future__ import annotations

from collections.abc import Callable

Note = Callable[[str], None]


def silent(text: str) -> None:
    """A `Note` that nobody reads."""
