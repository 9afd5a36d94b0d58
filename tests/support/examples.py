"""How many generated examples a property is tried on: a fifth for every change, all of them with `--all-examples`."""

from __future__ import annotations

ALWAYS = 5  # no property is tried on fewer

every_one = False  # set by conftest.py before the tests are read


def examples(count: int) -> int:
    """Of the `count` that a property asks for, those of this run."""
    return count if every_one else max(ALWAYS, count // 5)
