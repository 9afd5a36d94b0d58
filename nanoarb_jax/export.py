"""Checkpoint to ONNX: one self-contained file, proven equal to the JAX model before it is kept.

The only module that imports jax2onnx.
"""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from importlib import metadata
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
PACKAGES = ("jax2onnx", "onnx", "onnxruntime")
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
        ExportError: see `claim_output`; the graph cannot be built, or disagrees with JAX; the file cannot be written.
    """
    path = Path(path)
    claim_output(path, opset)
    windows = parity_data if parity_data is not None else parity_windows(checkpoint.model)
    graph = window_graph(checkpoint.model, opset)
    write_metadata(graph, _info(checkpoint))
    content = graph.SerializeToString(deterministic=True)
    differences = _differences(checkpoint.model, content, windows)
    if not max(differences) <= TOLERANCE:
        raise ExportError(
            f"{path}: not written: it differs from the JAX model by {max(differences):.1e}, over {TOLERANCE:.0e}; "
            "try another opset, and report it"
        )
    _write_new(path, content)
    return ExportResult(path, len(content), len(graph.graph.node), *differences)


def claim_output(path: Path, opset: int = 17) -> None:
    """Fail before the work, not after it, if the file cannot be made.

    Raises:
        ExportError: it exists, the opset is not supported, or a package that only exports need is not installed.
    """
    if path.exists():
        raise ExportError(f"{path}: exists already and is never overwritten; give another name or remove it first")
    if opset not in OPSETS:
        raise ExportError(f"opset {opset}: expected {OPSETS.start} to {OPSETS.stop - 1}; leave it out for the default")
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ExportError(f"{path}: exporting needs {package}, which is not installed; pip install {package}")


def _info(checkpoint: Checkpoint) -> ModelInfo:
    config = checkpoint.config
    known = config.input_dim == len(FEATURE_NAMES)
    return ModelInfo(
        kind="window",
        version=checkpoint.version,
        window=config.window,
        horizons=config.horizons,
        feature_schema=FEATURE_SCHEMA if known else "unnamed",
        feature_names=FEATURE_NAMES if known else tuple(f"feature_{i}" for i in range(config.input_dim)),
        preset=config.preset_name,
        software=software_versions() | {name: metadata.version(name) for name in PACKAGES},
    )


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet; one that fails half-way is removed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror}); give another name") from error
    try:
        with file:
            file.write(content)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # jax2onnx reads flax parameters in the old way
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
    """Windows to compare on, (batch, window, f): a seeded synthetic market, or noise where features have no names."""
    from nanoarb_jax.market.features import lob44
    from nanoarb_jax.market.synthetic import synthetic_books

    config = model.config
    shape = (batch, config.window, config.input_dim)
    if config.input_dim != len(FEATURE_NAMES):
        return np.random.default_rng(0).standard_normal(shape, np.float32)
    return lob44(synthetic_books(batch * config.window, seed=0), quantity_scale=100.0).reshape(shape)


def _differences(model: MambaLOB, content: bytes, windows: np.ndarray) -> tuple[float, float]:
    """Largest differences of logits and of probabilities between the file and the model."""
    logits, probabilities = load_session(content).run(list(OUTPUTS), {INPUT: windows})
    with jax.default_device(jax.devices("cpu")[0]):  # a GPU rounds the operands of float32 products
        expected = np.asarray(nnx.jit(lambda model, x: model(x))(model, windows))
    return (
        float(np.abs(logits - expected).max()),
        float(np.abs(probabilities - np.asarray(jax.nn.softmax(expected))).max()),
    )
