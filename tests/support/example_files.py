"""The files that docstring examples name, small and simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nanoarb_jax.artifacts.checkpoint import load_checkpoint
from nanoarb_jax.cli.data import write_synthetic
from nanoarb_jax.exporters import export_window

ROOT = Path(__file__).parents[2]
FI2010_ROWS = 144 + 5  # features and labels


def write_example_files(folder: Path) -> None:
    """What a user has after the commands that the examples name, and files of other makers."""
    (folder / "checkpoints").symlink_to(ROOT / "checkpoints")
    write_synthetic(folder / "books", rows=1_500, streams=1, seed=0)
    write_synthetic(folder / "feeds", rows=3_000, streams=1, seed=0, events=True)
    export_window(load_checkpoint(folder / "checkpoints" / "nano"), folder / "window.onnx")
    np.savez(folder / "weights.npz", **torch_tensors())
    np.savetxt(folder / "Train_Dst_NoAuction_ZScore_CF_7.txt", fi2010_columns(500))


def torch_tensors(hidden: int = 4, state: int = 2, rank: int = 1) -> dict[str, np.ndarray]:
    """A one-layer model of the PyTorch original: tensors by name, in PyTorch layout."""
    inner, half = 2 * hidden, hidden // 2
    shapes = {
        "input_proj.weight": (hidden, 44), "input_proj.bias": (hidden,),
        "input_norm.weight": (hidden,), "input_norm.bias": (hidden,),
        "layers.0.A_log": (state,), "layers.0.D": (inner,),
        "layers.0.in_proj.weight": (2 * inner, hidden),
        "layers.0.conv1d.weight": (inner, 1, 4), "layers.0.conv1d.bias": (inner,),
        "layers.0.x_proj.weight": (rank + 2 * state, inner),
        "layers.0.dt_proj.weight": (inner, rank), "layers.0.dt_proj.bias": (inner,),
        "layers.0.out_proj.weight": (hidden, inner),
        "norms.0.weight": (hidden,), "norms.0.bias": (hidden,),
    }  # fmt: skip
    for i in range(3):
        shapes |= {f"output_heads.{i}.0.weight": (half, hidden), f"output_heads.{i}.0.bias": (half,)}
        shapes |= {f"output_heads.{i}.3.weight": (3, half), f"output_heads.{i}.3.bias": (3,)}
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def fi2010_columns(events: int) -> np.ndarray:
    """(149, events): normalised features, then labels 1, 2, 3 at five horizons."""
    rng = np.random.default_rng(0)
    return np.vstack([rng.normal(size=(FI2010_ROWS - 5, events)), rng.integers(1, 4, (5, events))])
