"""What an exported file says about itself, and how one is opened: the contract between `export` and the predictor."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoarb_jax.errors import ExportError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

CLASSES = ("down", "neutral", "up")
FORMAT = "1"


@dataclass(frozen=True)
class ModelInfo:
    """Metadata of an exported model.

    Args:
        kind: "window".
        version: of the checkpoint's weights.
        window: ticks per window, and the warm-up.
        horizons: in ticks.
        feature_schema, feature_names: what the input holds, in order.
        preset: size of the model.
        software: versions it was made with.
    """

    kind: str
    version: str
    window: int
    horizons: tuple[int, ...]
    feature_schema: str
    feature_names: tuple[str, ...]
    preset: str
    software: dict[str, str]


def weights_checksum(model: onnx.ModelProto) -> str:
    """sha256 over the graph's nodes and constants, whatever the metadata says."""
    bare = type(model)()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
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
        "software": json.dumps(info.software),
        "sha256": weights_checksum(model),
    }
    for key, value in entries.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = f"nanoarb.{key}", value


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
        model = onnx.load_model_from_string(content)
    except OSError as error:
        raise ExportError(
            f"{path}: cannot be read ({error.strerror}); give a file made by nanoarb-jax export"
        ) from error
    except DecodeError as error:
        raise ExportError(f"{path}: not an ONNX file, or truncated; export it anew") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ExportError(f"{path}: keeps weights outside the file, which is refused; export it anew")
    entries = {e.key.removeprefix("nanoarb."): e.value for e in model.metadata_props if e.key.startswith("nanoarb.")}
    if entries.get("format") != FORMAT:
        raise ExportError(f"{path}: no nanoarb-jax metadata of format {FORMAT}; give a file made by nanoarb-jax export")
    if entries.get("sha256") != weights_checksum(model):
        raise ExportError(f"{path}: fails its checksum, it was altered or damaged; export it anew")
    return content, ModelInfo(
        kind=entries["kind"],
        version=entries["version"],
        window=int(entries["window"]),
        horizons=tuple(json.loads(entries["horizons"])),
        feature_schema=entries["feature_schema"],
        feature_names=tuple(json.loads(entries["feature_names"])),
        preset=entries["preset"],
        software=json.loads(entries["software"]),
    )


def load_session(model: str | Path | bytes) -> onnxruntime.InferenceSession:
    """An onnxruntime session for low latency: one thread, sequential, all graph optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    source: Any = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
