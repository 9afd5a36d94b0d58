"""What an exported file says about itself, and how one is opened: the contract between `export` and the predictor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoarb_jax.errors import ExportError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

CLASSES = ("down", "neutral", "up")
FORMAT = "2"
PREFIX = "nanoarb."
CHECKSUM = f"{PREFIX}sha256"


@dataclass(frozen=True)
class ModelInfo:
    """Metadata of an exported model.

    Args:
        kind: "window" or "step".
        version: of the checkpoint's weights.
        window: ticks per window, and of the warm-up of a step.
        horizons: in ticks.
        feature_schema, feature_names: what the input holds, in order.
        preset: size of the model.
        precision: of the weight matrices, "fp32", "fp16" or "int8".
        opset: ONNX operator set.
        optimized: rewritten by onnxruntime, with operators of its own.
        states: shape of every state input of a step, "batch" for a dynamic axis; empty for a window.
        data: how the training data were made: `config` as in a checkpoint (None: not known), and `series`, the scales
            of their features by their names – `tick_size`, `quantity_scale` and `spread_scale`.
        software: versions it was made with.
    """

    kind: str
    version: str
    window: int
    horizons: tuple[int, ...]
    feature_schema: str
    feature_names: tuple[str, ...]
    preset: str
    precision: str
    opset: int
    optimized: bool
    states: Mapping[str, tuple[int | str, ...]]
    data: Mapping[str, Any]
    software: dict[str, str]


def checksum(model: onnx.ModelProto) -> str:
    """sha256 over the whole model, its metadata included, save the entry that holds this very checksum."""
    bare = type(model)()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    bare.metadata_props.extend(entry for entry in model.metadata_props if entry.key != CHECKSUM)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def write_metadata(model: onnx.ModelProto, info: ModelInfo) -> None:
    """Put `info` and the checksum into the model's metadata."""
    entries = {
        "format": FORMAT,
        "kind": info.kind,
        "version": info.version,
        "window": str(info.window),
        "horizons": json.dumps(info.horizons),
        "classes": json.dumps(CLASSES),
        "feature_schema": info.feature_schema,
        "feature_names": json.dumps(info.feature_names),
        "preset": info.preset,
        "precision": info.precision,
        "opset": str(info.opset),
        "optimized": json.dumps(info.optimized),
        "states": json.dumps(info.states),
        "data": json.dumps(info.data),
        "software": json.dumps(info.software),
    }
    for key, value in entries.items():
        model.metadata_props.add(key=f"{PREFIX}{key}", value=value)
    model.metadata_props.add(key=CHECKSUM, value=checksum(model))


def read_model(path: str | Path) -> tuple[bytes, ModelInfo]:
    """Read and verify an exported file.

    Returns:
        the file's bytes, and its metadata.

    Raises:
        ExportError: missing, truncated, altered, with data outside the file, or not made by `export`.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        content = Path(path).read_bytes()
        if content[1:8] == b"BRAONAN":  # little-endian "NANOARB"
            raise ExportError(f"{path}: weights of the native step; use backend 'native', or export another kind")
        model = onnx.load_model_from_string(content)
    except OSError as error:
        raise ExportError(
            f"{path}: cannot be read ({error.strerror}); give a file made by nanoarb-jax export"
        ) from error
    except DecodeError as error:
        raise ExportError(f"{path}: not an ONNX file, or truncated; export it anew") from error
    tensors = (tensor for graph in (model.graph, *model.functions) for tensor in _tensors(graph))
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        raise ExportError(f"{path}: keeps weights outside the file, which is refused; export it anew")
    entries = {e.key.removeprefix(PREFIX): e.value for e in model.metadata_props if e.key.startswith(PREFIX)}
    if entries.get("format") != FORMAT:
        raise ExportError(
            f"{path}: holds no nanoarb-jax metadata of format {FORMAT}, it is truncated or of other make; "
            "give a file made by nanoarb-jax export"
        )
    if entries.get("sha256") != checksum(model):
        raise ExportError(f"{path}: fails its checksum, it was altered or damaged; export it anew")
    return content, ModelInfo(
        kind=entries["kind"],
        version=entries["version"],
        window=int(entries["window"]),
        horizons=tuple(json.loads(entries["horizons"])),
        feature_schema=entries["feature_schema"],
        feature_names=tuple(json.loads(entries["feature_names"])),
        preset=entries["preset"],
        precision=entries["precision"],
        opset=int(entries["opset"]),
        optimized=json.loads(entries["optimized"]),
        states={name: tuple(shape) for name, shape in json.loads(entries["states"]).items()},
        data=json.loads(entries["data"]),
        software=json.loads(entries["software"]),
    )


def _tensors(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.TensorProto]:
    """Every constant of a graph, those of graphs nested in it included."""
    yield from getattr(graph, "initializer", ())  # functions have none
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield attribute.t
        yield from attribute.tensors
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)


def load_session(content: bytes, name: str | Path = "model") -> onnxruntime.InferenceSession:
    """An onnxruntime session for low latency: one thread, sequential, all graph optimisations.

    Args:
        content: of an ONNX file.
        name: of it, for the error.

    Raises:
        ExportError: onnxruntime cannot run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # looking after every node for buffers to reuse costs a step a tenth of its time, and a window an eighth
    options.enable_mem_reuse = False
    # int8 weights are restored here and once, instead of at every call, or by products that round the activations too
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds have no common base
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExportError(
            f"{name}: onnxruntime {onnxruntime.__version__} cannot run it ({line[:200]}); export it anew"
        ) from error
