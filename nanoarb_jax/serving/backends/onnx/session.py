"""How onnxruntime runs an exported file: set up for the latency of one stream on one core."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nanoarb_jax.artifacts.card import ModelCard
from nanoarb_jax.errors import ExportError
from nanoarb_jax.files import first_line
from nanoarb_jax.serving.backends.onnx.file import read_model

if TYPE_CHECKING:
    import onnxruntime


def open_session(path: str | Path, kind: str) -> tuple[onnxruntime.InferenceSession, ModelCard]:
    """A session of an exported file, and its card.

    Args:
        path: of the file.
        kind: that it must be of: "window" or "step".

    Raises:
        ExportError: of another kind; see also `read_model` and `load_session`.
    """
    content, card = read_model(path)
    if card.kind != kind:
        raise ExportError(f"{path}: a {card.kind} model, expected a {kind} one; export it with --kind {kind}")
    return load_session(content, path), card


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
    # looking for buffers to reuse after every node takes a tenth of the time of a step, and an eighth of a window's
    options.enable_mem_reuse = False
    # int8 weights are restored to float32 once, at load, instead of at every call; without this, onnxruntime may also
    # use products that round the activations
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds have no common base
        raise ExportError(
            f"{name}: onnxruntime {onnxruntime.__version__} cannot run it ({first_line(error)}); export it anew"
        ) from error
