"""The latency picture draws every path, and refuses what it would overwrite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from nanoarb_jax.bench.measure import statistics
from nanoarb_jax.errors import OutputError
from nanoarb_jax.reports.latency import _time, latency_picture

KINDS = {
    "jax_window": "window", "onnx_window_int8": "window", "native_step_inloop": "step", "book_apply": "stage",
    "null": "floor", "weight_read": "floor",
}  # fmt: skip


@pytest.fixture
def result() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    samples = {path: rng.lognormal(place, 0.3, 200) for place, path in enumerate(KINDS)}
    rows = [
        {"path": p, "kind": k, "repeats": 10 * (k == "step") + 1, **statistics(samples[p])} for p, k in KINDS.items()
    ]
    return {
        "model": {"preset": "nano", "parameters": 4041},
        "rows": rows,
        "samples_us": {path: values.tolist() for path, values in samples.items()},
    }


def test_every_path_is_in_it(result: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "latency.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # words as words
        latency_picture(result, path)
    drawn = path.read_text()
    for words in ("jax_window", "onnx_window_int8", "native_step_inloop (means of 11)", "book_apply"):
        assert f">{words}<" in drawn
    assert ">empty JAX call<" in drawn and ">weights read once<" in drawn and "null" not in drawn
    assert "nano preset (4,041 parameters)" in drawn
    median = next(row["p50_us"] for row in result["rows"] if row["path"] == "book_apply")
    assert f">{_time(median)}, p99 " in drawn
    with pytest.raises(OutputError, match="exists already"):
        latency_picture(result, path)


@pytest.mark.parametrize(
    ("us", "text"),
    [(0.0454, "45.4 ns"), (0.9996, "1 µs"), (28.31, "28.3 µs"), (999.7, "1 ms"), (12_560, "12.6 ms"), (3e6, "3 s")],
)
def test_times_have_a_unit(us: float, text: str) -> None:
    assert _time(us) == text
