"""An exported file is valid, says what it is, equals the JAX model – or is not there at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import nnx

from nanoarb_jax.artifacts.card import FeatureSchema
from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint, model_version, named_arrays
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ExportError, NanoarbError, OutputError
from nanoarb_jax.exporters import checks, export, export_step, export_window
from nanoarb_jax.exporters.constants import fold
from nanoarb_jax.exporters.trace import FEATURES, OUTPUTS
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.features.flow import FLOW_NAMES, flow
from nanoarb_jax.features.lob44 import FEATURE_NAMES, lob44
from nanoarb_jax.model.torch_compat import load_torch_state_dict
from nanoarb_jax.serving.backends.onnx.file import read_model
from nanoarb_jax.serving.backends.onnx.session import load_session
from nanoarb_jax.serving.window import WindowPredictor
from nanoarb_jax.simulation.market import synthetic_books
from support.random_model import random_model

pytestmark = pytest.mark.usefixtures("compile_quickly")
TINY = ModelConfig(
    feature_set=10,
    hidden_dim=8,
    d_state=4,
    num_layers=2,
    horizons=(3, 9),
    window=20,
)


def checkpoint_of(config: ModelConfig) -> Checkpoint:
    model = random_model(config)
    return Checkpoint(model, model_version(named_arrays(model)))


@pytest.fixture(scope="module")
def nano(nano_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(nano_checkpoint)


@pytest.fixture(scope="module")
def tiny() -> Checkpoint:
    return checkpoint_of(TINY)


def books(batch: int, window: int = 100) -> np.ndarray:
    """Raw features of a market that the export was not checked on."""
    return lob44(synthetic_books(batch * window, seed=9, tick_size=0.01), 7.0).reshape(batch, window, -1)


def assert_equals_jax(path: Path, checkpoint: Checkpoint, x: np.ndarray) -> None:
    logits, probabilities = onnxruntime.InferenceSession(path).run(list(OUTPUTS), {FEATURES: x})
    expected = np.asarray(nnx.jit(lambda model, x: model(x))(checkpoint.model, x))
    assert logits.shape == expected.shape and logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(probabilities, jax.nn.softmax(expected), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_equals_jax_at_any_batch(nano_onnx: Path, nano: Checkpoint, batch: int) -> None:
    onnx.checker.check_model(onnx.load(nano_onnx), full_check=True)
    assert_equals_jax(nano_onnx, nano, books(batch))


def test_several_layers_and_a_window_of_one_tick(tmp_path: Path) -> None:
    """All layers but the last recur; a window of one tick has no past."""
    for window, layers in ((30, 3), (1, 2)):
        config = dataclasses.replace(ModelConfig.preset("nano"), window=window, num_layers=layers)
        checkpoint, path = checkpoint_of(config), tmp_path / f"{window}.onnx"
        export_window(checkpoint, path)
        assert_equals_jax(path, checkpoint, books(2, window))


def test_large_steps_of_time(tmp_path: Path) -> None:
    """A softplus beyond what its exponential can hold."""
    checkpoint = checkpoint_of(dataclasses.replace(ModelConfig.preset("nano"), window=5))
    bias = checkpoint.model.blocks[0].dt_proj.bias
    bias[...] = bias[...].at[::2].set(120.0)
    export_window(checkpoint, tmp_path / "large.onnx")
    assert_equals_jax(tmp_path / "large.onnx", checkpoint, books(2, 5))


@pytest.mark.parametrize("opset", [21, 23])
def test_later_opsets(tmp_path: Path, opset: int) -> None:
    config = dataclasses.replace(ModelConfig.preset("nano"), window=30)
    path, checkpoint = tmp_path / "later.onnx", checkpoint_of(config)
    assert export_window(checkpoint, path, opset=opset).accuracy.max_probability_difference <= 1e-5
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert_equals_jax(path, checkpoint, books(2, window=30))


def test_weights_of_the_pytorch_original(shared: Path, tmp_path: Path) -> None:
    """Their features go in raw: nothing is normalised."""
    with np.load(shared / "golden" / "mamba_lob_torch_tiny.npz") as file:
        model = load_torch_state_dict({n.removeprefix("state/"): file[n] for n in file if n.startswith("state/")})
        x, expected = file["x"], file["logits"]
    path = tmp_path / "golden.onnx"
    export_window(Checkpoint(model, "golden"), path, parity_data=x)
    (logits,) = onnxruntime.InferenceSession(path).run(["logits"], {FEATURES: x})
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_features_without_names(tiny: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    accuracy = export_window(tiny, path).accuracy
    assert accuracy.mcc is None and accuracy.mcc_change is None, "noise has no labels"
    assert_equals_jax(path, tiny, np.random.default_rng(3).normal(size=(5, 20, 10)).astype(np.float32))
    predictor = WindowPredictor.load(path)
    assert predictor.update(np.ones(10)).probabilities.shape == (2, 3)
    entries = entries_of(onnx.load(path))
    assert not {"feature_schema", "feature_names"} & set(entries)
    card = read_model(path)[1]
    assert card.features is None and card.config == TINY


def test_flow_features(tmp_path: Path) -> None:
    """And the file says how they are to be made: feature set, clock, and in which scales."""
    config = dataclasses.replace(TINY, num_layers=1, feature_set="flow")
    scales = {"tick_size": 0.1, "quantity_scale": 3.0, "spread_scale": 2.5}
    data = {"config": {"feature_set": "flow", "clock": "bbo"}, "streams": [{"name": "x", "rows": 9, **scales}]}
    checkpoint, path = Checkpoint(random_model(config), "flow", data=data), tmp_path / "flow.onnx"
    x = flow(synthetic_books(60, seed=9), 7.0, spread_scale=2.5).reshape(3, 20, 101)
    export_window(checkpoint, path, parity_data=x[:1])
    assert_equals_jax(path, checkpoint, x)
    entries = entries_of(onnx.load(path))
    assert (entries["feature_schema"], entries["feature_names"]) == ("flow", json.dumps(FLOW_NAMES))
    card = read_model(path)[1]
    assert card.data == {"config": data["config"], "streams": [{"name": "x", **scales}]}
    assert card.config == config and card.features == FeatureSchema.of(config)


def entries_of(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key.removeprefix("nanoarb."): entry.value for entry in model.metadata_props}


def shapes_of(values: Any) -> dict[str, list[str | int]]:
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def test_metadata(nano_onnx: Path, nano: Checkpoint) -> None:
    model = onnx.load(nano_onnx)
    entries = entries_of(model)
    assert len(entries.pop("sha256")) == 64
    card = json.loads(entries.pop("card"))
    software = card.pop("software")
    assert {"nanoarb-jax", "jax", "flax", "numpy", "jax2onnx", "onnx", "onnxruntime"} <= set(software)
    assert (model.producer_name, model.producer_version) == ("nanoarb-jax", software["nanoarb-jax"])
    assert card == {
        "format": 3,
        "kind": "window",
        "version": nano.version,
        "preset": "nano",
        "config": dataclasses.asdict(nano.config) | {"horizons": [10, 50, 100]},
        "classes": ["down", "neutral", "up"],
        "features": {"schema": "lob44", "names": list(FEATURE_NAMES), "hash": FEATURE_SETS["lob44"].hash},
        "precision": "fp32",
        "input": None,
        "data": {"streams": []},
        "opset": 17,
        "optimized": False,
    }
    assert entries == {
        "format": "3",
        "kind": "window",
        "version": nano.version,
        "window": "100",
        "horizons": "[10, 50, 100]",
        "classes": '["down", "neutral", "up"]',
        "feature_schema": "lob44",
        "feature_names": json.dumps(FEATURE_NAMES),
        "preset": "nano",
        "precision": "fp32",
    }
    assert shapes_of([*model.graph.input, *model.graph.output]) == {
        "features": ["batch", 100, 44],
        "logits": ["batch", 3, 3],
        "probabilities": ["batch", 3, 3],
    }


def test_result_and_the_same_again(nano_onnx: Path, nano: Checkpoint, tmp_path: Path) -> None:
    result = export_window(nano, tmp_path / "new" / "folder" / "again.onnx")
    assert result.path.read_bytes() == nano_onnx.read_bytes()
    assert result.bytes == nano_onnx.stat().st_size
    assert result.nodes == len(onnx.load(nano_onnx).graph.node)
    accuracy = result.accuracy
    assert 0 <= result.accuracy.max_logit_difference < 1e-5 and 0 <= result.accuracy.max_probability_difference < 1e-5
    assert (accuracy.ticks, accuracy.changed_directions, accuracy.mcc_change) == (64, 0, 0)
    assert accuracy.mcc is not None and -1 <= accuracy.mcc <= 1


def test_every_product_has_its_summand(nano_onnx: Path) -> None:
    """No Gemm multiplies a summand by zero, and no constant is left unused."""
    graph = onnx.load(nano_onnx).graph
    assert not [
        a for node in graph.node for a in node.attribute if a.name == "beta" and a.f == 0 and len(node.input) > 2
    ]
    assert {tensor.name for tensor in graph.initializer} <= {name for node in graph.node for name in node.input}


# Precision


@pytest.mark.parametrize("write", [export_window, export_step])
@pytest.mark.parametrize(("precision", "stored"), [("fp16", np.float16), ("int8", np.int8)])
def test_smaller_weights(nano: Checkpoint, tmp_path: Path, write: Any, precision: Any, stored: type) -> None:
    whole, small = (write(nano, tmp_path / f"{p}.onnx", precision=p) for p in ("fp32", precision))
    assert 1e-6 < small.accuracy.max_probability_difference <= checks.TOLERANCES[precision]
    assert small.accuracy.changed_directions <= checks.CHANGED
    assert small.bytes < whole.bytes
    model = onnx.load(small.path)
    onnx.checker.check_model(model, full_check=True)
    assert entries_of(model)["precision"] == precision
    assert {entry.domain for entry in model.opset_import} == {""}, "standard operators only"
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    block = nano.model.blocks[0]
    shapes = {a.shape for a in weights if a.dtype == stored}
    assert (
        np.asarray(block.out_proj.kernel[...]).shape in shapes and np.asarray(block.x_proj.kernel[...]).shape in shapes
    )
    assert (88, 55) not in shapes, "the channels of the input stay exact"


@pytest.mark.parametrize("preset", [None, "nano"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_linear_term(preset: str | None, precision: Any, tmp_path: Path) -> None:
    """Of the last tick's inputs, and exact in every precision."""
    config = TINY if preset is None else dataclasses.replace(ModelConfig.preset(preset), window=30)
    checkpoint, path = checkpoint_of(dataclasses.replace(config, linear_term=True)), tmp_path / "adapted.onnx"
    export_window(checkpoint, path, precision=precision)
    if precision == "fp32":
        noise = np.random.default_rng(3).normal(size=(3, config.window, config.input_dim)).astype(np.float32)
        assert_equals_jax(path, checkpoint, noise if config is TINY else books(3, config.window))
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    out = fold(checkpoint.model).heads_out
    assert any(array.dtype == np.float32 and np.array_equal(array, out) for array in weights)


def test_int8_weights_are_off_by_half_a_step_at_most(nano: Checkpoint, tmp_path: Path) -> None:
    model = onnx.load(export_window(nano, tmp_path / "int8.onnx", precision="int8").path)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    expected = np.asarray(nano.model.blocks[0].out_proj.kernel[...])
    restored = [
        constants[node.input[0]] * constants[node.input[1]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and constants[node.input[0]].shape == expected.shape
    ]
    step = np.abs(expected).max(axis=0) / 127
    assert any((np.abs(weights - expected) <= 0.5001 * step).all() for weights in restored)


def test_weights_are_restored_at_load(nano: Checkpoint, tmp_path: Path) -> None:
    """Not at every call, nor by a product that rounds its other operand too."""
    path = export_step(nano, tmp_path / "int8.onnx", precision="int8").path
    options = load_session(path.read_bytes()).get_session_options()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options)
    kinds = {node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node}
    assert not kinds & {"DequantizeLinear", "MatMulNBits"}


# Refusals


def refused(
    words: str, checkpoint: Checkpoint, path: Path, kind: type[NanoarbError] = ExportError, **options: Any
) -> None:
    before = sorted(path.parent.iterdir()) if path.parent.is_dir() else None
    with pytest.raises(kind, match=words) as caught:
        export_window(checkpoint, path, **options)
    assert "\n" not in str(caught.value)
    assert before == (sorted(path.parent.iterdir()) if path.parent.is_dir() else None)


def test_nothing_is_overwritten(tiny: Checkpoint, tmp_path: Path) -> None:
    taken = tmp_path / "taken.onnx"
    taken.write_text("mine")
    refused("exists already and is never overwritten", tiny, taken, OutputError)
    refused("exists already", tiny, tmp_path, OutputError)
    refused("no such folder", tiny, taken / "below.onnx", OutputError)
    assert taken.read_text() == "mine"


def test_a_file_that_comes_up_meanwhile_stays(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, build = tmp_path / "model.onnx", export.window_graph

    def slow(model: object, opset: int) -> onnx.ModelProto:
        path.write_text("theirs")
        return build(tiny.model, opset)

    monkeypatch.setattr(export, "window_graph", slow)
    with pytest.raises(OutputError, match="exists already"):
        export_window(tiny, path)
    assert path.read_text() == "theirs"


@pytest.mark.parametrize("opset", [0, 16, 24])
def test_opsets_out_of_range(tiny: Checkpoint, tmp_path: Path, opset: int) -> None:
    refused(f"opset {opset}: expected 17 to 23", tiny, tmp_path / "model.onnx", opset=opset)


def test_an_unknown_precision(tiny: Checkpoint, tmp_path: Path) -> None:
    refused(
        "precision 'int4' of an ONNX file: expected one of fp32, fp16, int8",
        tiny,
        tmp_path / "model.onnx",
        precision="int4",
    )


def test_a_graph_that_disagrees_leaves_no_file(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, build = checkpoint_of(dataclasses.replace(TINY, num_layers=1)), export.window_graph
    with monkeypatch.context() as patched:
        patched.setattr(export, "window_graph", lambda model, opset: build(other.model, opset))
        refused(r"differ from the JAX model by .*, over 1e-05", tiny, tmp_path / "model.onnx")
    for precision in ("fp16", "int8"):
        with monkeypatch.context() as patched:
            patched.setitem(checks.TOLERANCES, precision, 1e-7)
            refused(r"differ from the JAX model by .*, over 1e-07", tiny, tmp_path / "model.onnx", precision=precision)
    monkeypatch.setattr(checks, "CHANGED", -1.0)
    refused("0.0% of its directions are not the JAX model's on", tiny, tmp_path / "model.onnx")


def test_not_a_number_is_not_equal(tiny: Checkpoint, tmp_path: Path) -> None:
    streams = np.zeros((2, 20, 10), np.float32)
    streams[0] = np.nan
    refused("differ from the JAX model by nan", tiny, tmp_path / "model.onnx", parity_data=streams)


def test_a_missing_package_is_named(tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PACKAGES", ("json", "an_onnx_exporter"))
    refused("exporting needs an_onnx_exporter, .*pip install an_onnx_exporter", tiny, tmp_path / "model.onnx")
