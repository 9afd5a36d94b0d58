"""The passes over a traced graph leave what it computes as it was."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nanoarb_jax.exporters.graph import absorb_summands, drop_unused

RNG = np.random.default_rng(0)
CONSTANTS = {
    "a": RNG.normal(size=(4, 4)).astype(np.float32),
    "b": RNG.normal(size=(4, 4)).astype(np.float32),
    "zeros": np.zeros(4, np.float32),
    "ones": np.ones(4, np.float32),
}


def gemm(x: str, weights: str, y: str, summand: str = "zeros") -> onnx.NodeProto:
    return helper.make_node("Gemm", [x, weights, summand], [y], beta=0.0 if summand == "zeros" else 1.0)


def graph_of(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4])

    constants = [numpy_helper.from_array(array, name) for name, array in CONSTANTS.items()]
    graph = helper.make_graph(nodes, "g", [value("x")], [value(name) for name in outputs], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})


node = helper.make_node


@pytest.mark.parametrize(
    ("nodes", "outputs", "left"),
    [
        # a bias, a residual, and a product that is itself the summand of another
        ([gemm("x", "a", "p"), node("Add", ["p", "ones"], ["y"])], ("y",), ["Gemm"]),
        ([gemm("x", "a", "p"), node("Add", ["x", "p"], ["y"])], ("y",), ["Gemm"]),
        ([gemm("x", "a", "p"), gemm("x", "b", "q"), node("Add", ["p", "q"], ["y"])], ("y",), ["Gemm", "Gemm"]),
        # the summand is computed after the product
        (
            [gemm("x", "a", "p"), node("Relu", ["x"], ["r"]), node("Add", ["p", "r"], ["y"])], ("y",), ["Relu", "Gemm"],
        ),
        # a product that is read twice, one that is an output, and one that has a summand already stay
        (
            [gemm("x", "a", "p"), node("Add", ["p", "ones"], ["q"]), node("Mul", ["p", "q"], ["y"])],
            ("y",),
            ["Gemm", "Add", "Mul"],
        ),
        ([gemm("x", "a", "p"), node("Add", ["p", "ones"], ["y"])], ("p", "y"), ["Gemm", "Add"]),
        ([gemm("x", "a", "p", "ones"), node("Add", ["p", "x"], ["y"])], ("y",), ["Gemm", "Add"]),
    ],
)  # fmt: skip
def test_a_gemm_takes_the_summand_behind_it(
    nodes: list[onnx.NodeProto], outputs: tuple[str, ...], left: list[str]
) -> None:
    model = graph_of(*nodes, outputs=outputs)
    expected = run(model)
    absorb_summands(model.graph)
    drop_unused(model.graph)
    assert [one.op_type for one in model.graph.node] == left
    read = {name for one in model.graph.node for name in one.input}
    assert {tensor.name for tensor in model.graph.initializer} == read & CONSTANTS.keys()
    for met, wanted in zip(run(model), expected, strict=True):
        np.testing.assert_allclose(met, wanted, rtol=1e-6, atol=1e-6)
