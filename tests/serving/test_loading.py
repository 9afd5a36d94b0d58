"""What a path holds is known from its card; the model in it is not loaded for that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nanoarb_jax.artifacts.checkpoint import load_checkpoint
from nanoarb_jax.errors import CheckpointError, ExportError
from nanoarb_jax.serving.loading import read_card


def test_a_checkpoint_and_an_exported_file_tell_of_the_same_model(nano_checkpoint: Path, nano_onnx: Path) -> None:
    checkpoint = load_checkpoint(nano_checkpoint)
    folder, file = read_card(nano_checkpoint, "native"), read_card(nano_onnx, "onnx")
    assert (folder.kind, file.kind) == ("checkpoint", "window")
    for card in (folder, file):
        assert (card.version, card.config) == (checkpoint.version, checkpoint.config)
    assert folder.features == file.features


def test_what_is_no_model(nano_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        read_card(tmp_path / "nowhere", "native")
    with pytest.raises(ExportError, match="an ONNX step goes with backend 'onnx'"):
        read_card(nano_onnx, "native")


@pytest.mark.subprocess
def test_the_card_of_an_exported_file_needs_no_jax(nano_onnx: Path) -> None:
    code = f"""
import sys
from nanoarb_jax.serving.loading import read_card
print(read_card({str(nano_onnx)!r}, "onnx").kind)
assert not {{"jax", "jaxlib", "flax", "onnxruntime"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("window\n", "")
