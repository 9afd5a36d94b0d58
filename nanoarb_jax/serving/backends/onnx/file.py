"""An exported ONNX file: one self-contained model, its card and a checksum over both in its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nanoarb_jax.artifacts.card import FORMAT, ModelCard, check_format
from nanoarb_jax.config import CLASS_NAMES
from nanoarb_jax.errors import ConfigError, ExportError

if TYPE_CHECKING:
    import onnx

PREFIX = "nanoarb."
CARD, CHECKSUM = f"{PREFIX}card", f"{PREFIX}sha256"
NATIVE_START = b"BRAONAN"  # bytes 1 to 7 of a native file: "NANOARB" in little-endian order


def checksum(model: onnx.ModelProto) -> str:
    """sha256 over the whole model, its metadata included, save the entry that holds this very checksum."""
    bare = type(model)()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    bare.metadata_props.extend(entry for entry in model.metadata_props if entry.key != CHECKSUM)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def write_metadata(model: onnx.ModelProto, card: ModelCard) -> None:
    """Put the card and the checksum into the model's metadata.

    `nanoarb.card` is what `read_model` reads. The other entries repeat what one needs to run the file with onnxruntime
    alone.
    """
    entries = {
        "format": str(FORMAT),
        "card": json.dumps(card.to_dict()),
        "kind": card.kind,
        "version": card.version,
        "preset": card.config.preset_name,
        "precision": card.precision,
        "window": str(card.config.window),
        "horizons": json.dumps(card.config.horizons),
        "classes": json.dumps(CLASS_NAMES),
    }
    if card.features is not None:
        entries |= {"feature_schema": card.features.schema, "feature_names": json.dumps(card.features.names)}
    if card.states is not None:
        entries["states"] = json.dumps(card.states)
    for key, value in entries.items():
        model.metadata_props.add(key=f"{PREFIX}{key}", value=value)
    model.metadata_props.add(key=CHECKSUM, value=checksum(model))


def read_model(path: str | Path) -> tuple[bytes, ModelCard]:
    """Read and verify an exported file.

    Returns:
        the file's bytes, and its card.

    Raises:
        ExportError: missing, truncated, altered, with data outside the file, not made by `export`, or for a config or
            features of another version.
    """
    content, model = _parse(path)
    entries = {e.key.removeprefix(PREFIX): e.value for e in model.metadata_props if e.key.startswith(PREFIX)}
    # format 2 had no card, but each of its entries in a property of its own
    values = json.loads(entries["card"]) if "card" in entries else entries
    try:
        check_format(values)
    except ConfigError as error:
        raise ExportError(
            f"{path}: holds no nanoarb-jax metadata of a format that this version reads, it is truncated or of other "
            "make; give a file made by nanoarb-jax export"
        ) from error
    if entries.get("sha256") != checksum(model):
        raise ExportError(f"{path}: fails its checksum, it was altered or damaged; export it anew")
    try:
        return content, ModelCard.from_dict(values)
    except ConfigError as error:
        raise ExportError(f"{path}: {error}; export it anew") from error


def _parse(path: str | Path) -> tuple[bytes, onnx.ModelProto]:
    """Bytes and model of a file that holds all of its weights."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        content = Path(path).read_bytes()
        if content[1:8] == NATIVE_START:
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
    return content, model


def _tensors(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.TensorProto]:
    """Every constant of a graph, those of graphs nested in it included."""
    yield from getattr(graph, "initializer", ())  # functions have none
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield attribute.t
        yield from attribute.tensors
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)
