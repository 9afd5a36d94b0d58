"""Long-running functions report what they are doing to a function of the caller that takes a line of text."""

from __future__ import annotations

from collections.abc import Callable

Note = Callable[[str], None]


def silent(text: str) -> None:
    """The `Note` of callers that do not want to hear of progress."""
