"""Checkpoint to ONNX: one self-contained file, proven equal to the JAX model before it is kept.

The only module that imports jax2onnx.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from flax import nnx

from nanoarb_jax.checkpoint import Checkpoint, software_versions
from nanoarb_jax.errors import ExportError
from nanoarb_jax.market.features import FEATURE_NAMES, FEATURE_SCHEMA
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.serving.onnx_file import ModelInfo, load_session, write_metadata

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-4
OPSETS = range(17, 24)
INPUT, OUTPUTS = "features", ("logits", "probabilities")


@dataclass(frozen=True)
class ExportResult:
    """What was written and how far it is from the JAX model."""

    path: Path
    bytes: int
    nodes: int
    max_logit_difference: float
    max_probability_difference: float


def export_window(
    checkpoint: Checkpoint, path: str | Path, *, opset: int = 17, parity_data: np.ndarray | None = None
) -> ExportResult:
    """Write the window model as ONNX: features (batch, window, f) → logits and probabilities (batch, h, c).

    Normalisation is inside the graph: the file takes raw features. It is checked with `onnx.checker` and against the
    JAX model on a few windows; a file that fails is not kept.

    Args:
        checkpoint: the model.
        path: `.onnx` file to make; must not exist.
        opset: ONNX operator set, 17 to 23.
        parity_data: raw feature windows (batch, window, f) to compare on; seeded synthetic books where None.

    Raises:
        ExportError: the file exists, the opset is not supported, or the graph disagrees with JAX.
    """
    path = Path(path)
    if path.exists():
        raise ExportError(f"{path}: exists already; give another --output or remove it first")
    if opset not in OPSETS:
        raise ExportError(f"opset {opset}: expected {OPSETS.start} to {OPSETS.stop - 1}")
    windows = parity_data if parity_data is not None else parity_windows(checkpoint.model)
    graph = window_graph(checkpoint.model, opset)
    config = checkpoint.config
    write_metadata(
        graph,
        ModelInfo(
            kind="window",
            version=checkpoint.version,
            window=config.window,
            horizons=config.horizons,
            feature_schema=FEATURE_SCHEMA,
            feature_names=tuple(FEATURE_NAMES),
            preset=config.preset_name,
            software=software_versions(),
        ),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".onnx", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(graph.SerializeToString())
        differences = _differences(checkpoint.model, Path(scratch), windows)
        if not max(differences) <= TOLERANCE:
            raise ExportError(
                f"{path}: not written: it differs from the JAX model by {max(differences):.1e}, over {TOLERANCE:.0e}"
            )
        os.chmod(scratch, 0o644)
        os.link(scratch, path)  # unlike a rename, never replaces a file that came up meanwhile
    finally:
        os.unlink(scratch)
    return ExportResult(path, path.stat().st_size, len(graph.graph.node), *differences)


def window_graph(model: MambaLOB, opset: int) -> onnx.ModelProto:
    """The window model as an ONNX graph with a dynamic batch, checked by `onnx.checker`."""
    import onnx
    from jax2onnx import to_onnx

    definition, state = nnx.split(model)

    def window(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = nnx.merge(definition, state)(x)
        return logits, jax.nn.softmax(logits)

    config = model.config
    try:
        graph = to_onnx(
            window,
            inputs=[("batch", config.window, config.input_dim)],
            model_name="mamba_lob_window",
            opset=opset,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
        )
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, NotImplementedError, ValueError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(f"opset {opset}: the graph cannot be built ({line[:200]}); try another --opset") from error
    return graph


def parity_windows(model: MambaLOB, batch: int = 4) -> np.ndarray:
    """Windows of a seeded synthetic market to compare on, (batch, window, f)."""
    from nanoarb_jax.market.features import lob44
    from nanoarb_jax.market.synthetic import synthetic_books

    config = model.config
    features = lob44(synthetic_books(batch * config.window, seed=0), quantity_scale=100.0)
    return features.reshape(batch, config.window, -1)[..., : config.input_dim]


def _differences(model: MambaLOB, path: Path, windows: np.ndarray) -> tuple[float, float]:
    session = load_session(path)
    logits, probabilities = session.run(list(OUTPUTS), {INPUT: windows})
    expected = np.asarray(model(jax.numpy.asarray(windows)))
    return (
        float(np.abs(logits - expected).max()),
        float(np.abs(probabilities - np.asarray(jax.nn.softmax(expected))).max()),
    )
