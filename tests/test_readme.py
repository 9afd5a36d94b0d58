"""The README's own Python, pasted: it runs, and its live loop makes the ticks that training made."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FILES = {"btcusdt_20240807.gz": "btcusdt_20240718.gz", "btcusdt_20240808.gz": "btcusdt_20240808.gz"}


def snippets(page: str) -> list[str]:
    """The blocks of Python on a page."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/live.md", "docs/data.md"])
def test_python(page: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as a reader would paste them, beside the files that they name."""
    for name, real in FILES.items():
        shutil.copy(shared / "data" / "binance" / "usdm" / real, tmp_path / name)
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    counted: list[int] = []
    found = snippets(page)
    assert found
    for code in found:
        exec(compile(code, page, "exec"), names)
        if "live" in names:
            counted.append(names["live"].ticks)
    assert 6_036 in counted or "live" not in names  # as many as `data prepare` makes of that day
