"""The Python on the pages, pasted: it runs, and README's live loop makes the ticks that training made."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nanoarb_jax.artifacts.checkpoint import load_checkpoint
from nanoarb_jax.cli.data import write_synthetic
from nanoarb_jax.exporters import export_native, export_step
from support.pages import blocks, pages

ROOT = Path(__file__).parents[1]
FEEDS = {"btcusdt_20240807.gz": "btcusdt_20240718.gz", "btcusdt_20240808.gz": "btcusdt_20240808.gz"}
ON_FEEDS = ["README.md", "docs/live.md", "docs/data.md"]
RUN_ELSEWHERE = {  # by a test of the page in its own room
    "docs/clusters.md",
    "docs/onnx.md",
    "docs/readers.md",
    "docs/strategies.md",
    "docs/table.md",
}
HOST = "127.0.0.1:8476"  # in docs/training.md


def run(snippets: list[str], page: str, names: dict[str, Any]) -> list[int]:
    """One after the other, as a reader would paste them; of each the ticks of `live` after it, if there is one."""
    ticks = []
    for code in snippets:
        exec(compile(code, page, "exec"), names)
        if "live" in names:
            ticks.append(names["live"].ticks)
    return ticks


def test_every_page_is_run() -> None:
    here = {*ON_FEEDS, "docs/serving.md", "docs/training.md"}
    assert {page for page in pages() if blocks(page, "python")} - RUN_ELSEWHERE == here


@pytest.mark.parametrize("page", ON_FEEDS)
def test_on_feeds(page: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the real feeds that they name."""
    for name, real in FEEDS.items():
        shutil.copy(shared / "data" / "binance" / "usdm" / real, tmp_path / name)
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    monkeypatch.chdir(tmp_path)
    ticks = run(blocks(page, "python"), page, {})
    assert 6_036 in ticks or not ticks  # as many as `data prepare` makes of that day


def test_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the files that the page's commands make, and its C compiled as it says."""
    page = "docs/serving.md"
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    monkeypatch.chdir(tmp_path)
    write_synthetic(Path("books"), rows=1_500, streams=1, seed=0)
    small = load_checkpoint("checkpoints/small")
    export_step(small, "step.onnx")
    export_native(small, "model.native")
    python, names = blocks(page, "python"), dict[str, Any]()
    calls_c = next(i for i, code in enumerate(python) if "libmine" in code)
    run(python[:calls_c], page, names)
    if not shutil.which("cc"):
        pytest.skip("no C compiler: what calls the step from C was not run")
    Path("mine.c").write_text("\n".join(blocks(page, "c")), encoding="utf-8")
    (compilation,) = (code for code in blocks(page, "sh") if code.startswith("cc "))
    subprocess.run(compilation, shell=True, check=True)
    run(python[calls_c:], page, names)


@pytest.mark.subprocess
def test_training(tmp_path: Path) -> None:
    """In a process of its own, as JAX asks of one that joins others."""
    page = "docs/training.md"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = "\n".join(blocks(page, "python"))
    assert HOST in script
    command = [sys.executable, "-c", script.replace(HOST, f"127.0.0.1:{port}")]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
