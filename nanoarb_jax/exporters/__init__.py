"""Checkpoint to one self-contained file, ONNX or native, proven equal to the JAX model before it is kept.

`form.py` arranges the model for tracing, `trace.py` makes it a graph, `precision.py` makes that smaller or
onnxruntime's own, `accuracy.py` compares the result with JAX.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nanoarb_jax.artifacts.checkpoint import Checkpoint, named_arrays, software_versions
from nanoarb_jax.errors import ExportError
from nanoarb_jax.exporters.accuracy import (
    Accuracy,
    Sample,
    compare,
    compare_native,
    labelled_samples,
    synthetic_sample,
)
from nanoarb_jax.exporters.form import fold
from nanoarb_jax.exporters.precision import Precision, lower_precision, optimize
from nanoarb_jax.exporters.trace import state_shapes, step_graph, window_graph
from nanoarb_jax.serving.backends.native import NativeStep, pack
from nanoarb_jax.serving.backends.native.file import native_file
from nanoarb_jax.serving.backends.onnx.file import ModelInfo, write_metadata
from nanoarb_jax.serving.schema import named_features

if TYPE_CHECKING:
    import onnx

    from nanoarb_jax.data.dataset import Dataset
    from nanoarb_jax.model.mamba import MambaLOB

Kind = Literal["window", "step"]
# largest |difference of probabilities| from JAX that a file may have, and share of directions that may be others
TOLERANCES = {"fp32": 1e-5, "fp16": 5e-3, "bf16": 5e-3, "int8": 2e-2}
CHANGED = 0.01
OPSETS = range(17, 24)
PACKAGES = ("jax2onnx", "onnx", "onnxruntime")
SCALES = ("tick_size", "quantity_scale", "spread_scale")  # that a live feature extractor needs
ONNX_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class ExportResult:
    """What was written and how far it is from the JAX model; a native file has no nodes."""

    path: Path
    bytes: int
    nodes: int | None
    accuracy: Accuracy


def export_window(
    checkpoint: Checkpoint,
    path: str | Path,
    *,
    precision: Precision = "fp32",
    opset: int = 17,
    optimized: bool = False,
    data: Dataset | None = None,
    parity_data: np.ndarray | None = None,
) -> ExportResult:
    """Write the window model as ONNX: features (batch, window, f) → logits and probabilities (batch, h, c).

    Normalisation is inside the graph: the file takes raw features. It is checked with `onnx.checker` and against the
    JAX model on windows of `data`; a file that fails is not kept.

    Args:
        checkpoint: the model.
        path: `.onnx` file to make; must not exist.
        precision: of the weight matrices, see `precision.py`.
        opset: ONNX operator set, 17 to 23.
        optimized: write the graph that onnxruntime makes of it, which only onnxruntime can run.
        data: labelled series whose test parts it is compared on; a seeded simulated market where None.
        parity_data: raw feature streams (b, l, f) to compare on instead.

    Raises:
        ExportError: see `claim_output`; the graph cannot be built, or disagrees with JAX; the file cannot be written.
        DataError: `data` has other features or horizons.
    """
    return _export("window", checkpoint, Path(path), precision, opset, optimized, data, parity_data)


def export_step(
    checkpoint: Checkpoint,
    path: str | Path,
    *,
    precision: Precision = "fp32",
    opset: int = 17,
    optimized: bool = False,
    data: Dataset | None = None,
    parity_data: np.ndarray | None = None,
) -> ExportResult:
    """Write one tick of the model as ONNX: features and states → logits, probabilities and the next states.

    States go in and come out, nothing is kept inside; `OnnxStep` binds them. Before the first tick states are zero and
    `previous` is the first tick's features; afterwards it is the tick's before.

    Args:
        checkpoint, path, precision, opset, data, parity_data: see `export_window`; compared tick by tick, the state
            carried.
        optimized: write a graph for one stream, its states without a batch axis, as onnxruntime rewrites it: a tenth
            faster, and only onnxruntime can run it. Without, the batch is dynamic.

    Raises:
        ExportError, DataError: see `export_window`.
    """
    return _export("step", checkpoint, Path(path), precision, opset, optimized, data, parity_data)


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
        checkpoint, path, data, parity_data: see `export_step`; compared tick by tick, the state carried.
        precision: of the weight matrices: "fp32", "bf16" or "int8".

    Raises:
        ConfigError: no such precision.
        ExportError, DataError: see `export_window`.
    """
    path = Path(path)
    claim_output(path, opset=None)
    weights = pack(named_arrays(checkpoint.model), checkpoint.config, precision)
    samples, measured_on = _samples(checkpoint.model, data, parity_data)
    step = NativeStep(weights, checkpoint.config, checkpoint.version)
    accuracy = compare_native(step, checkpoint.model, samples, measured_on)
    _check(path, precision, accuracy)
    content = native_file(
        weights, checkpoint.config, checkpoint.version, data=_data_of(checkpoint), software=software_versions()
    )
    _write_new(path, content)
    return ExportResult(path, len(content), None, accuracy)


def claim_output(path: Path, opset: int | None = 17) -> None:
    """Fail before the work, not after it, if the file cannot be made.

    Args:
        path: file to make.
        opset: of an ONNX file; None for a native one.

    Raises:
        ExportError: it exists, the opset is not supported, or a package that only exports need is not installed.
    """
    if path.exists():
        raise ExportError(f"{path}: exists already and is never overwritten; give another name or remove it first")
    if opset is None:
        return
    if opset not in OPSETS:
        raise ExportError(f"opset {opset}: expected {OPSETS.start} to {OPSETS.stop - 1}; leave it out for the default")
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ExportError(f"{path}: exporting needs {package}, which is not installed; pip install {package}")


def _export(
    kind: Kind,
    checkpoint: Checkpoint,
    path: Path,
    precision: Precision,
    opset: int,
    optimized: bool,
    data: Dataset | None,
    parity_data: np.ndarray | None,
) -> ExportResult:
    claim_output(path, opset)
    if precision not in ONNX_PRECISIONS:
        raise ExportError(f"precision {precision!r}: expected one of {', '.join(ONNX_PRECISIONS)}")
    model = checkpoint.model
    samples, measured_on = _samples(model, data, parity_data)
    graph = window_graph(model, opset) if kind == "window" else step_graph(model, opset, single=optimized)
    if optimized:
        graph = optimize(graph)
    lower_precision(graph, fold(model), precision)
    info = _info(kind, checkpoint, precision, opset, optimized)
    accuracy = compare(graph.SerializeToString(), info, model, samples, measured_on)
    _check(path, precision, accuracy)
    return _write(path, graph, info, accuracy)


def _samples(model: MambaLOB, data: Dataset | None, parity_data: np.ndarray | None) -> tuple[list[Sample], str]:
    """What to compare on, and what that is in words."""
    if parity_data is not None:
        return [Sample(x, None) for x in parity_data], "given streams"
    if data is not None:
        return labelled_samples(model, data), f"test part of {len(data.streams)} series"
    return [synthetic_sample(model)], "a simulated market, seed 0"


def _check(path: Path, precision: str, accuracy: Accuracy) -> None:
    """Refuse what is too far from the model; a difference that is no number is."""
    difference, allowed = accuracy.max_probability_difference, TOLERANCES[precision]
    if not difference <= allowed:
        raise ExportError(
            f"{path}: not written: its probabilities differ from the JAX model by {difference:.1e} on "
            f"{accuracy.measured_on}, over {allowed:.0e}; try another precision or opset, and report it if it is fp32"
        )
    if accuracy.changed_directions > CHANGED:
        raise ExportError(
            f"{path}: not written: {accuracy.changed_directions:.1%} of its directions are not the JAX model's on "
            f"{accuracy.measured_on}, over {CHANGED:.0%}; try another precision"
        )


def _info(kind: Kind, checkpoint: Checkpoint, precision: Precision, opset: int, optimized: bool) -> ModelInfo:
    config = checkpoint.config
    schema, names = named_features(config.input_dim)
    return ModelInfo(
        kind=kind,
        version=checkpoint.version,
        window=config.window,
        horizons=config.horizons,
        feature_schema=schema,
        feature_names=names,
        preset=config.preset_name,
        precision=precision,
        opset=opset,
        optimized=optimized,
        states=state_shapes(checkpoint.model, optimized) if kind == "step" else {},
        data=_data_of(checkpoint),
        software=software_versions() | {name: metadata.version(name) for name in PACKAGES},
    )


def _data_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a file says of the data its model was trained on: how they were made, and in which scales."""
    series = {
        stream["name"]: {name: stream[name] for name in SCALES if name in stream}
        for stream in checkpoint.data.get("streams", [])
    }
    return {"config": checkpoint.data.get("config"), "series": series}


def _write(path: Path, graph: onnx.ModelProto, info: ModelInfo, accuracy: Accuracy) -> ExportResult:
    graph.producer_name, graph.producer_version = "nanoarb-jax", info.software["nanoarb-jax"]
    write_metadata(graph, info)
    content = graph.SerializeToString(deterministic=True)
    _write_new(path, content)
    return ExportResult(path, len(content), len(graph.graph.node), accuracy)


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
