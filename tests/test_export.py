"""An exported file is valid, says what it is, equals the JAX model – or is not there at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import nnx
from random_model import random_model

from nanoarb_jax import export
from nanoarb_jax.checkpoint import Checkpoint, load_checkpoint, model_version, named_arrays
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ExportError
from nanoarb_jax.export import INPUT, OUTPUTS, export_window
from nanoarb_jax.market.features import FEATURE_NAMES, lob44
from nanoarb_jax.market.synthetic import synthetic_books
from nanoarb_jax.model.torch_compat import load_torch_state_dict
from nanoarb_jax.serving.onnx import WindowPredictor

pytestmark = pytest.mark.usefixtures("compile_quickly")
TINY = ModelConfig(
    input_dim=10, hidden_dim=8, d_state=4, num_layers=1, horizons=(3, 9), window=20, input_transform="identity"
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
    logits, probabilities = onnxruntime.InferenceSession(path).run(list(OUTPUTS), {INPUT: x})
    expected = np.asarray(nnx.jit(lambda model, x: model(x))(checkpoint.model, x))
    assert logits.shape == expected.shape and logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(probabilities, jax.nn.softmax(expected), atol=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
def test_equals_jax_at_any_batch(nano_onnx: Path, nano: Checkpoint, batch: int) -> None:
    onnx.checker.check_model(onnx.load(nano_onnx), full_check=True)
    assert_equals_jax(nano_onnx, nano, books(batch))


@pytest.mark.parametrize("opset", [21, 23])
def test_later_opsets(tmp_path: Path, opset: int) -> None:
    path, checkpoint = (
        tmp_path / "later.onnx",
        checkpoint_of(dataclasses.replace(ModelConfig.preset("nano"), window=30)),
    )
    result = export_window(checkpoint, path, opset=opset)
    assert max(result.max_logit_difference, result.max_probability_difference) <= export.TOLERANCE
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
    (logits,) = onnxruntime.InferenceSession(path).run(["logits"], {INPUT: x})
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert onnx.load(path).metadata_props[0].key == "nanoarb.format"


def test_features_without_names(tiny: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    export_window(tiny, path)
    assert_equals_jax(path, tiny, np.random.default_rng(3).normal(size=(5, 20, 10)).astype(np.float32))
    predictor = WindowPredictor.load(path)
    assert predictor.update(np.ones(10)).probabilities.shape == (2, 3)
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert entries["nanoarb.feature_schema"] == "unnamed"
    assert json.loads(entries["nanoarb.feature_names"]) == [f"feature_{i}" for i in range(10)]


def test_metadata(nano_onnx: Path, nano: Checkpoint) -> None:
    model = onnx.load(nano_onnx)
    entries = {entry.key.removeprefix("nanoarb."): entry.value for entry in model.metadata_props}
    assert len(entries["sha256"]) == 64
    software = json.loads(entries["software"])
    assert {"nanoarb-jax", "jax", "flax", "numpy", "jax2onnx", "onnx", "onnxruntime"} <= set(software)
    assert {key: value for key, value in entries.items() if key not in ("sha256", "software")} == {
        "format": "1",
        "kind": "window",
        "version": nano.version,
        "window": "100",
        "horizons": "[10, 50, 100]",
        "classes": '["down", "neutral", "up"]',
        "feature_schema": "lob44",
        "feature_names": json.dumps(FEATURE_NAMES),
        "preset": "nano",
    }
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {"features": ["batch", 100, 44], "logits": ["batch", 3, 3], "probabilities": ["batch", 3, 3]}


def test_result_and_the_same_again(nano_onnx: Path, nano: Checkpoint, tmp_path: Path) -> None:
    result = export_window(nano, tmp_path / "new" / "folder" / "again.onnx")
    assert result.path.read_bytes() == nano_onnx.read_bytes()
    assert result.bytes == nano_onnx.stat().st_size
    assert result.nodes == len(onnx.load(nano_onnx).graph.node)
    assert 0 <= result.max_logit_difference < 1e-5 and 0 <= result.max_probability_difference < 1e-5


def refused(words: str, checkpoint: Checkpoint, path: Path, **options: int) -> None:
    before = sorted(path.parent.iterdir()) if path.parent.is_dir() else None
    with pytest.raises(ExportError, match=words) as caught:
        export_window(checkpoint, path, **options)
    assert "\n" not in str(caught.value)
    assert before == (sorted(path.parent.iterdir()) if path.parent.is_dir() else None)


def test_nothing_is_overwritten(tiny: Checkpoint, tmp_path: Path) -> None:
    taken = tmp_path / "taken.onnx"
    taken.write_text("mine")
    refused("exists already and is never overwritten", tiny, taken)
    refused("exists already", tiny, tmp_path)
    refused("cannot be written", tiny, taken / "below.onnx")
    assert taken.read_text() == "mine"


def test_a_file_that_comes_up_meanwhile_stays(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, build = tmp_path / "model.onnx", export.window_graph

    def slow(model: object, opset: int) -> onnx.ModelProto:
        path.write_text("theirs")
        return build(tiny.model, opset)

    monkeypatch.setattr(export, "window_graph", slow)
    with pytest.raises(ExportError, match="File exists"):
        export_window(tiny, path)
    assert path.read_text() == "theirs"


@pytest.mark.parametrize("opset", [0, 16, 24])
def test_opsets_out_of_range(tiny: Checkpoint, tmp_path: Path, opset: int) -> None:
    refused(f"opset {opset}: expected 17 to 23", tiny, tmp_path / "model.onnx", opset=opset)


def test_a_graph_that_disagrees_leaves_no_file(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(export, "TOLERANCE", -1.0)
        refused("not written: it differs from the JAX model", tiny, tmp_path / "model.onnx")
    other, build = checkpoint_of(dataclasses.replace(TINY, num_layers=2)), export.window_graph
    monkeypatch.setattr(export, "window_graph", lambda model, opset: build(other.model, opset))
    refused(r"differs from the JAX model by .*, over 1e-04", tiny, tmp_path / "model.onnx")


def test_not_a_number_is_not_equal(tiny: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="differs from the JAX model by nan"):
        export_window(tiny, tmp_path / "model.onnx", parity_data=np.full((1, 20, 10), np.nan, np.float32))
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PACKAGES", ("json", "an_onnx_exporter"))
    refused("exporting needs an_onnx_exporter, .*pip install an_onnx_exporter", tiny, tmp_path / "model.onnx")
