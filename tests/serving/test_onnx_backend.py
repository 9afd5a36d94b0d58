"""A step in onnxruntime carries its state as JAX does, in buffers that are bound once."""

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
from typer.testing import CliRunner

from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint, model_version, named_arrays
from nanoarb_jax.cli.main import app
from nanoarb_jax.config import DataConfig, ModelConfig
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.errors import DataError, ExportError
from nanoarb_jax.exporters import export_step, export_window
from nanoarb_jax.features.flow import FLOW_NAMES, flow
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.model.mamba import ModelState
from nanoarb_jax.serving.backends.onnx.file import read_model
from nanoarb_jax.serving.backends.onnx.step import OnnxStep
from nanoarb_jax.serving.window import WindowPredictor
from nanoarb_jax.simulation.market import synthetic_books
from support.random_model import random_model

pytestmark = pytest.mark.usefixtures("compile_quickly")
TICKS = lob44(synthetic_books(300, seed=5), quantity_scale=50.0)
TWO_LAYERS = ModelConfig(hidden_dim=12, d_state=4, d_conv=3, num_layers=2, horizons=(5, 20), window=20)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    model = random_model(TWO_LAYERS)
    return Checkpoint(model, model_version(named_arrays(model)))


@pytest.fixture(scope="module", params=["any batch", "one stream"])
def path(request: pytest.FixtureRequest, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("step")
    return export_step(checkpoint, folder / "step.onnx", optimized=request.param == "one stream").path


@pytest.fixture
def step(path: Path) -> OnnxStep:
    return OnnxStep.load(path)


def scan(checkpoint: Checkpoint, x: np.ndarray) -> tuple[np.ndarray, ModelState]:
    logits, state = nnx.jit(lambda model, x: model.scan(x))(checkpoint.model, x)
    return np.asarray(jax.nn.softmax(logits)), state


def flat(state: ModelState) -> np.ndarray:
    """The order of `Backend.state`."""
    parts = [state.previous, state.started, *(b.conv for b in state.blocks), *(b.ssm for b in state.blocks)]
    return np.concatenate([np.ravel(part) for part in parts])


def test_equals_the_scan_with_its_state_carried(checkpoint: Checkpoint, step: OnnxStep) -> None:
    expected, state = scan(checkpoint, TICKS[None])
    np.testing.assert_allclose([step.step(tick) for tick in TICKS], expected[0], atol=1e-5)
    np.testing.assert_allclose(step.state(), flat(state), rtol=1e-4, atol=1e-5)
    step.reset()
    np.testing.assert_allclose(step.scan(TICKS), expected[0], atol=1e-5)


def test_flow_features(tmp_path: Path) -> None:
    model = random_model(dataclasses.replace(TWO_LAYERS, feature_set="flow"))
    checkpoint, path = Checkpoint(model, "flow"), tmp_path / "step.onnx"
    accuracy = export_step(checkpoint, path).accuracy
    assert accuracy.max_probability_difference <= 1e-5 and accuracy.mcc is not None
    ticks, card = flow(synthetic_books(300, seed=5), 50.0, spread_scale=2.5), read_model(path)[1]
    np.testing.assert_allclose(OnnxStep.load(path).scan(ticks), scan(checkpoint, ticks[None])[0][0], atol=1e-5)
    assert card.features is not None and (card.features.schema, card.features.names) == ("flow", FLOW_NAMES)


def test_is_a_backend(checkpoint: Checkpoint, step: OnnxStep) -> None:
    assert (step.features, step.window, step.version) == (44, 20, checkpoint.version)
    first = step.step(TICKS[0])
    kept = first.copy()
    assert first.shape == (2, 3) and first.dtype == np.float32
    step.scan(TICKS[1:5])
    np.testing.assert_array_equal(first, kept)
    last = step.step(TICKS[5])
    np.testing.assert_allclose(jax.nn.softmax(step.logits), last, atol=1e-6)


@pytest.mark.parametrize("ticks", [0, 1, 2, 7])
def test_a_state_goes_on_elsewhere(path: Path, step: OnnxStep, ticks: int) -> None:
    """At odd and even ticks, which leave it in different buffers, and before the first."""
    step.scan(TICKS[:ticks])
    state = step.state()
    assert state.dtype == np.float32 and state[44] == (ticks > 0)
    other = OnnxStep.load(path)
    other.scan(TICKS[50:53])
    other.set_state(state)
    np.testing.assert_array_equal(other.state(), state)
    np.testing.assert_array_equal(other.scan(TICKS[ticks : ticks + 20]), step.scan(TICKS[ticks : ticks + 20]))
    assert state[0] == (TICKS[ticks - 1][0] if ticks else 0), "a state is a copy"


def test_reset_forgets(step: OnnxStep) -> None:
    before = step.scan(TICKS[:9])
    step.reset()
    assert not step.state().any()
    np.testing.assert_array_equal(step.scan(TICKS[:9]), before)


def test_a_foreign_state_leaves_it_as_it_was(step: OnnxStep) -> None:
    step.scan(TICKS[:3])
    state = step.state()
    for wrong in (state[:-1], state.astype(np.float64), state * np.float32(np.nan), state[None]):
        with pytest.raises(DataError, match=r"expected finite float32\("):
            step.set_state(wrong)
    np.testing.assert_array_equal(step.state(), state)


def test_its_buffers_stay_where_they_are(step: OnnxStep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state that a tick writes is the array that the next one reads: nothing is bound anew."""
    monkeypatch.setattr(onnxruntime.IOBinding, "bind_ortvalue_output", None)
    monkeypatch.setattr(onnxruntime.InferenceSession, "io_binding", None)
    arrays = [id(array) for states in step._states for array in states.values()]
    step.scan(TICKS[:4])
    assert arrays == [id(array) for states in step._states for array in states.values()]
    np.testing.assert_array_equal(step._x[1][0], TICKS[3])
    assert all(states["ssm_0"].any() for states in step._states)


def test_any_number_of_streams_at_once(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """What the file of any batch says of its inputs is enough to run it with onnxruntime alone."""
    path = export_step(checkpoint, tmp_path / "step.onnx").path
    session, streams = onnxruntime.InferenceSession(path), TICKS.reshape(3, 100, 44)[:, :30]
    states = {entry.key: entry.value for entry in onnx.load(path).metadata_props if entry.key == "nanoarb.states"}[
        "nanoarb.states"
    ]
    shapes = {name: [3 if axis == "batch" else axis for axis in shape] for name, shape in json.loads(states).items()}
    feeds = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()} | {"previous": streams[:, 0]}
    met = []
    for tick in streams.swapaxes(0, 1):
        out = dict(
            zip([o.name for o in session.get_outputs()], session.run(None, {"features": tick, **feeds}), strict=True)
        )
        met.append(out["probabilities"])
        feeds = {"previous": tick, **{name: out[f"{name}_next"] for name in feeds if name != "previous"}}
    np.testing.assert_allclose(np.array(met).swapaxes(0, 1), scan(checkpoint, streams)[0], atol=1e-5)


def test_an_optimised_file_is_onnxruntimes_own(checkpoint: Checkpoint, tmp_path: Path) -> None:
    plain, own = (export_step(checkpoint, tmp_path / f"{o}.onnx", optimized=o) for o in (False, True))
    assert own.nodes < plain.nodes
    model = onnx.load(own.path)
    assert "com.microsoft" in {node.domain for node in model.graph.node}
    assert not {node.domain for node in onnx.load(plain.path).graph.node} - {""}
    window = export_window(checkpoint, tmp_path / "window.onnx", optimized=True)
    assert WindowPredictor.load(window.path).update(TICKS[0]).probabilities.shape == (2, 3)


def test_kinds_are_told_apart(path: Path, nano_onnx: Path) -> None:
    with pytest.raises(ExportError, match="a step model, expected a window one"):
        WindowPredictor.load(path)
    with pytest.raises(ExportError, match="a window model, expected a step one; export it with --kind step"):
        OnnxStep.load(nano_onnx)


def test_accuracy_on_labelled_data(nano_checkpoint: Path, tmp_path: Path) -> None:
    nano = load_checkpoint(nano_checkpoint)
    streams = [
        make_stream(synthetic_books(rows, seed=rows), DataConfig(feature_set="lob44")) for rows in (3_000, 2_000)
    ]
    data = Dataset(tuple(streams), DataConfig(feature_set="lob44"), [])
    accuracy = export_step(nano, tmp_path / "step.onnx", precision="int8", data=data).accuracy
    assert accuracy.measured_on == "test part of 2 series"
    lengths = [max(stream.test[1] - stream.test[0], 100) for stream in streams]
    assert accuracy.ticks == sum(lengths)
    assert accuracy.mcc is not None and accuracy.mcc_change is not None and abs(accuracy.mcc_change) < 0.05
    with pytest.raises(DataError, match="labels at horizons"):
        other = random_model(TWO_LAYERS)
        export_step(Checkpoint(other, "other"), tmp_path / "other.onnx", data=data)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step.onnx"]


def test_command(nano_checkpoint: Path, tmp_path: Path) -> None:
    """The options reach the library, and what it costs in accuracy is said and written."""
    start = ["export", "--checkpoint", str(nano_checkpoint), "--kind", "step"]
    options = ["--output", str(tmp_path / "a.onnx"), "--precision", "int8", "--optimize", "--opset", "18"]
    result = CliRunner().invoke(app, [*start, *options, "--json", str(tmp_path / "a.json")])
    assert (result.exit_code, result.stderr) == (0, "")
    figures = json.loads((tmp_path / "a.json").read_text())
    assert {key: figures[key] for key in ("kind", "precision", "opset", "optimized")} == {
        "kind": "step", "precision": "int8", "opset": 18, "optimized": True,
    }  # fmt: skip
    assert 0 < figures["max_probability_difference"] <= 2e-2 and figures["changed_directions"] <= 0.01
    assert f"{figures['max_probability_difference']:.1e} (probabilities)" in result.stdout
    assert f"{figures['mcc_change']:+.4f} in the file" in result.stdout
    assert figures["measured_on"] == "a simulated market, seed 0" and figures["measured_on"] in result.stdout
    card = read_model(tmp_path / "a.onnx")[1]
    assert card.states is not None
    assert (card.precision, card.opset, card.optimized, card.states["ssm_0"]) == ("int8", 18, True, (8, 32))
    missing = CliRunner().invoke(app, [*start, "--output", str(tmp_path / "b.onnx"), "--data", str(tmp_path / "none")])
    assert missing.exit_code == 2 and "none" in missing.stderr and not (tmp_path / "b.onnx").exists()
