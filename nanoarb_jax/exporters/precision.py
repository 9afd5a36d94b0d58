"""A traced graph with smaller weights, and with onnxruntime's own fusions.

Only matrices get smaller; sums, states and everything between them stay float32.

fp16: weights at rest are float16, and a Cast behind each. int8: weights are int8 with a float32 scale per output
channel, and a DequantizeLinear behind each. Both are standard ONNX, both make the file smaller and not faster:
`load_session` has onnxruntime restore the weights once, at load. float16 products are slower than float32 ones on a
CPU; onnxruntime's int8 products gain nothing at one row and round the other operand too, which tripled the error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from nanoarb_jax.errors import ExportError
from nanoarb_jax.exporters.constants import Form
from nanoarb_jax.files import first_line

if TYPE_CHECKING:
    import onnx

Precision = Literal["fp32", "fp16", "int8"]
PRODUCTS = ("Gemm", "MatMul", "FusedGemm", "FusedMatMul")


def optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph as onnxruntime rewrites it, with operators (`com.microsoft`) that only onnxruntime has.

    Its "extended" level: what holds on every CPU. A session adds what is special to the machine when it loads the file.

    Raises:
        ExportError: onnxruntime cannot run the graph.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3  # it warns of hardware-specific operators, which this level has none of
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own kinds have no common base
            raise ExportError(
                f"onnxruntime cannot optimise the graph ({first_line(error)}); leave optimized, on the "
                "command line --optimize, out"
            ) from error
        return onnx.load_model(path)


def lower_precision(model: onnx.ModelProto, form: Form, precision: Precision) -> None:
    """Store the weight matrices of a graph as `precision` says."""
    from onnx import numpy_helper

    if precision == "fp32":
        return
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes, restored = [], set()
    for node in graph.node:
        name = node.input[1] if node.op_type in PRODUCTS else ""
        weights = constants.get(name)
        if weights is None or weights.ndim != 2 or any(np.array_equal(weights, one) for one in _kept_exact(form)):
            nodes.append(node)
            continue
        if name not in restored:
            restored.add(name)
            nodes.append(_store(graph, name, weights, precision))
        nodes.append(node)
    stored = [tensor for tensor in graph.initializer if tensor.name not in restored]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(stored)
    graph.node.extend(nodes)


def _store(graph: onnx.GraphProto, name: str, weights: np.ndarray, precision: Precision) -> onnx.NodeProto:
    """Add the smaller weights to the graph; the node that restores them under their name."""
    import onnx
    from onnx import numpy_helper

    stored, scales = f"{name}_{precision}", f"{name}_scale"
    if precision == "fp16":
        graph.initializer.append(numpy_helper.from_array(weights.astype(np.float16), stored))
        return onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT)
    scale = np.maximum(np.abs(weights).max(axis=0), np.finfo(np.float32).tiny * 127) / np.float32(127)
    graph.initializer.append(numpy_helper.from_array(np.rint(weights / scale).astype(np.int8), stored))
    graph.initializer.append(numpy_helper.from_array(scale, scales))
    return onnx.helper.make_node("DequantizeLinear", [stored, scales], [name], axis=1)


def _kept_exact(form: Form) -> Iterator[np.ndarray]:
    """Small matrices whose error would cost more than their bytes: the input's channels, Δ, the logits."""
    if form.channels is not None:
        yield from (form.channels.numerator, form.channels.denominator)
    yield from (block.dt for block in form.blocks)
    yield form.heads_out
