"""The picture of the own-data curve: every judge at every duration, what is far off named at the edge."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest

from nanoarb_jax.errors import OutputError
from nanoarb_jax.reports.own_data import LINES, own_data_picture
from support.own_data import curve


def test_every_judge_is_in_it(tmp_path: Path) -> None:
    losses = {judge: [0.9 + 0.01 * i, 0.8, 0.7, 0.6] for i, judge in enumerate(LINES)}
    losses["gradient_boosting"][0] = 7.25
    path = tmp_path / "curve.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # words as words
        own_data_picture(curve(losses), path)
    drawn = path.read_text()
    for line in LINES.values():
        assert f">{line['label']}<" in drawn
    for words in ("10 ticks ahead", "100 ticks ahead", "all", "5", "15", "↑ 7.15", "↑ 7.35"):
        assert f">{words}<" in drawn, words
    assert "mean over 2 series, the same everywhere" in drawn
    with pytest.raises(OutputError, match="exists already"):
        own_data_picture(curve(losses), path)


def test_judges_that_are_missing_are_not_drawn(tmp_path: Path) -> None:
    path = tmp_path / "curve.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        own_data_picture(curve({"model": [0.9] * 4, "adapted": [0.8] * 4}), path)
    assert ">adapted<" in path.read_text() and "boosting" not in path.read_text() and "↑" not in path.read_text()
