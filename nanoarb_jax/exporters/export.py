"""The three exports: a file is made, compared with the JAX model, and written if it is equal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

import numpy as np

from nanoarb_jax.artifacts.card import FeatureSchema, ModelCard, software_versions
from nanoarb_jax.artifacts.checkpoint import Checkpoint, named_arrays
from nanoarb_jax.data.provenance import FACTS
from nanoarb_jax.data.stored import SIZES
from nanoarb_jax.errors import ExportError
from nanoarb_jax.exporters.accuracy import Accuracy, compare, compare_native
from nanoarb_jax.exporters.checks import DEFAULT_OPSET, PACKAGES, check_accuracy, claim_output
from nanoarb_jax.exporters.constants import fold
from nanoarb_jax.exporters.precision import Precision, lower_precision, optimize
from nanoarb_jax.exporters.samples import choose_samples
from nanoarb_jax.exporters.trace import state_shapes, step_graph, window_graph
from nanoarb_jax.files import new_file
from nanoarb_jax.serving.backends.native import NativeStep, pack
from nanoarb_jax.serving.backends.native.file import native_file
from nanoarb_jax.serving.backends.onnx.file import write_metadata

if TYPE_CHECKING:
    import onnx

    from nanoarb_jax.data.dataset import Dataset

KEPT = ("name", "instrument", *SIZES, *FACTS)  # of a stream: what a live input needs, and what was learnt from


@dataclass(frozen=True)
class ExportResult:
    """What was written and how far it is from the JAX model; a native file has no nodes."""

    path: Path
    bytes: int
    nodes: int | None
    accuracy: Accuracy


class OnnxOptions(TypedDict, total=False):
    """Keyword arguments of `export_window` and `export_step`.

    Attributes:
        precision: of the weight matrices, see `precision.py`; "fp32" if left out.
        opset: ONNX operator set, 17 (if left out) to 23.
        optimized: write the graph that onnxruntime makes of it, which only onnxruntime can run.
        data: labelled series whose test parts the file is compared on; a seeded simulated market if left out.
        parity_data: raw feature streams (b, l, f) to compare on instead.
    """

    precision: Precision
    opset: int
    optimized: bool
    data: Dataset | None
    parity_data: np.ndarray | None


def export_window(checkpoint: Checkpoint, path: str | Path, **options: Unpack[OnnxOptions]) -> ExportResult:
    """Write the window model as ONNX: features (batch, window, f) → logits and probabilities (batch, h, c).

    Normalisation is inside the graph: the file takes raw features. It is checked with `onnx.checker` and against the
    JAX model; a file that fails is not kept.

    Args:
        checkpoint: the model.
        path: `.onnx` file to make; must not exist.
        **options: see `OnnxOptions`.

    Raises:
        OutputError: the file exists or cannot be written.
        ExportError: see `claim_output`; the graph cannot be built, or disagrees with JAX.
        DataError: `data` has other features or horizons.
    """
    return _export_onnx("window", checkpoint, Path(path), **options)


def export_step(checkpoint: Checkpoint, path: str | Path, **options: Unpack[OnnxOptions]) -> ExportResult:
    """Write one tick of the model as ONNX: features and states → logits, probabilities and the next states.

    States go in and come out, nothing is kept inside; `OnnxStep` binds them. Before the first tick every state is zero.
    Afterwards `previous` is the features of the tick before, `started` is 1, and every other state is its output
    `…_next`. docs/onnx.md has the loop.

    Args:
        checkpoint, path: see `export_window`; compared tick by tick, the state carried.
        **options: see `OnnxOptions`. With `optimized` the graph is for one stream, its states without a batch axis: a
            tenth faster. Without, the batch is dynamic.

    Raises:
        OutputError, ExportError, DataError: see `export_window`.
    """
    return _export_onnx("step", checkpoint, Path(path), **options)


def export_native(
    checkpoint: Checkpoint,
    path: str | Path,
    *,
    precision: str = "fp32",
    data: Dataset | None = None,
    parity_data: np.ndarray | None = None,
) -> ExportResult:
    """Write the native step's weights: a file that `StepPredictor` serves without JAX, and any language can map.

    Args:
        checkpoint, path: see `export_step`.
        precision: of the weight matrices: "fp32", "bf16" or "int8".
        data, parity_data: see `OnnxOptions`.

    Raises:
        ConfigError: no such precision.
        OutputError, ExportError, DataError: see `export_window`.
    """
    path, config, version = Path(path), checkpoint.config, checkpoint.version
    claim_output(path, opset=None)
    weights = pack(named_arrays(checkpoint.model), config, precision)
    samples, measured_on = choose_samples(checkpoint.model, data, parity_data)
    accuracy = compare_native(NativeStep(weights, config, version), checkpoint.model, samples, measured_on)
    check_accuracy(path, precision, accuracy)
    content = native_file(weights, config, version, data=_exported_data(checkpoint), software=software_versions())
    _write(path, content)
    return ExportResult(path, len(content), None, accuracy)


def _export_onnx(
    kind: Literal["window", "step"],
    checkpoint: Checkpoint,
    path: Path,
    precision: Precision = "fp32",
    opset: int = DEFAULT_OPSET,
    optimized: bool = False,
    data: Dataset | None = None,
    parity_data: np.ndarray | None = None,
) -> ExportResult:
    claim_output(path, opset)
    if precision not in get_args(Precision):
        raise ExportError(f"precision {precision!r} of an ONNX file: expected one of {', '.join(get_args(Precision))}")
    model = checkpoint.model
    samples, measured_on = choose_samples(model, data, parity_data)
    graph = window_graph(model, opset) if kind == "window" else step_graph(model, opset, single=optimized)
    if optimized:
        graph = optimize(graph)
    lower_precision(graph, fold(model), precision)
    card = ModelCard(
        kind=kind,
        version=checkpoint.version,
        config=checkpoint.config,
        features=FeatureSchema.of(checkpoint.config),
        precision=precision,
        data=_exported_data(checkpoint),
        software=software_versions(*PACKAGES),
        opset=opset,
        optimized=optimized,
        states=state_shapes(model, optimized) if kind == "step" else None,
    )
    accuracy = compare(graph.SerializeToString(), card, model, samples, measured_on)
    check_accuracy(path, precision, accuracy)
    content = _sealed(graph, card)
    _write(path, content)
    return ExportResult(path, len(content), len(graph.graph.node), accuracy)


def _exported_data(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a file says of the data its model was trained on: how they were made, their scales, and which they were."""
    told = {name: checkpoint.data[name] for name in ("config", "initial", "teacher") if name in checkpoint.data}
    streams = [{name: stream[name] for name in KEPT if name in stream} for stream in checkpoint.data.get("streams", [])]
    return {**told, "streams": streams}


def _sealed(graph: onnx.ModelProto, card: ModelCard) -> bytes:
    """The content of an ONNX file that says what it is."""
    graph.producer_name, graph.producer_version = "nanoarb-jax", card.software["nanoarb-jax"]
    write_metadata(graph, card)
    return graph.SerializeToString(deterministic=True)


def _write(path: Path, content: bytes) -> None:
    with new_file(path, "export") as file:
        file.write(content)
