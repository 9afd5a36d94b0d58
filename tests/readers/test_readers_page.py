"""docs/readers.md: the reader that it writes reads the file that it shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import nanoarb_jax as nj
from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.readers import sources
from support.pages import blocks, read

PAGE = "docs/readers.md"


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "FORMATS", sources.FORMATS)  # put back afterwards
    names: dict[str, Any] = {}
    for code in blocks(PAGE, "python"):
        exec(compile(code, PAGE, "exec"), names)
    (shown,) = re.findall(r"```text\n(.*?)```", read(PAGE), re.DOTALL)
    path = tmp_path / "x.acme"
    path.write_text(shown)
    (source,) = sources.find_sources([path])
    books, report = read_books(source, DataConfig())
    assert (source.format, report.format, report.trades) == ("acme", "acme", 1)
    assert books.mid.tolist() == [100.25, 100.25] and books.bid_lots[:, 0].tolist() == [3, 1]
    assert books.ts_ns.tolist() == [1_735_700_000_000_000_000, 1_735_700_000_250_000_000]
    assert len(nj.read_events(path)) == 5
    path.write_text(shown + "1735700001000,level,up,1,1\n")
    with pytest.raises(DataError, match=r"x.acme, line 6: .*expected time,kind,side"):
        nj.read_events(path)
