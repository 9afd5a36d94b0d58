"""What is done to a graph once it is traced."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def absorb_summands(graph: onnx.GraphProto) -> None:
    """Move the bias or residual of every Gemm into it: jax2onnx leaves it in an Add behind the Gemm.

    A Gemm takes part if it has no summand yet, or one that is all zeros, and if only that Add reads its product. It
    then stands in the place of the Add, behind whatever computes the summand.
    """
    _drop_zero_summands(graph)
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    gemms = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "Gemm" and len(node.input) == 2 and uses[node.output[0]] == 1
    }
    absorbed: set[str] = set()  # products of Gemms that have moved into the place of their Add
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        product = next((name for name in node.input if name in gemms), None) if node.op_type == "Add" else None
        if product is None:
            nodes.append(node)
            continue
        absorbed.add(product)
        (summand,) = (name for name in node.input if name != product)
        nodes.append(_with_summand(gemms.pop(product), summand, node.output[0]))
    kept = [node for node in nodes if node.output[0] not in absorbed]
    del graph.node[:], graph.value_info[:]  # the shapes on record name products that are gone
    graph.node.extend(kept)


def _drop_zero_summands(graph: onnx.GraphProto) -> None:
    """Leave out the summand of every Gemm that adds nothing but zeros."""
    from onnx import numpy_helper

    zero = {tensor.name for tensor in graph.initializer if not np.any(numpy_helper.to_array(tensor))}
    for node in graph.node:
        if node.op_type == "Gemm" and len(node.input) == 3 and node.input[2] in zero:
            del node.input[2:]


def _with_summand(gemm: onnx.NodeProto, summand: str, output: str) -> onnx.NodeProto:
    """A copy of a Gemm that adds a summand to its product."""
    joined = type(gemm)()
    joined.CopyFrom(gemm)
    joined.input.append(summand)
    # jax2onnx multiplies the summand that it has no use for by zero; the default is 1
    joined.attribute.remove(next(attribute for attribute in joined.attribute if attribute.name == "beta"))
    joined.output[0] = output
    return joined


def drop_unused(graph: onnx.GraphProto) -> None:
    """Drop the constants that no node reads."""
    used = {name for node in graph.node for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
