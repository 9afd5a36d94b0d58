"""docs/table.md: its examples run, and its words are those that are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nanoarb_jax.readers.table import words
from nanoarb_jax.readers.table.feed import PAGE
from support.pages import blocks, read, spans

pytest.importorskip("pyarrow", reason="needs the package pyarrow")

NAMES = {name for span in spans(PAGE) for name in re.split(r"[\s,]+", span)}


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    examples = blocks(PAGE, "python")
    assert len(examples) == 4
    for code in examples:
        exec(compile(code, PAGE, "exec"), names)


def test_columns_and_words_are_on_the_page() -> None:
    """Of what is refused, one column for each reason."""
    assert {*words.RECEIVED, *words.EXCHANGE, "order_id", "is_snapshot", "flags", "bought", "sold"} <= NAMES
    known = {word for table in words.KINDS.values() for word in table if len(word) > 1}
    assert known - NAMES == {"none"}
    for reason in {*words.REFUSED.values()}:
        assert NAMES & {name for name, its in words.REFUSED.items() if its == reason}


def test_the_page_is_short() -> None:
    assert len(read(PAGE).splitlines()) <= 140
