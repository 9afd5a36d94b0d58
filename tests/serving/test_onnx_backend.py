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
from nanoarb_jax.serving.backends.onnx.file import read_model, write_metadata
from nanoarb_jax.serving.backends.onnx.step import OnnxStep
from nanoarb_jax.serving.predictor import StepPredictor
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


@pytest.mark.parametrize("optimized", [False, True])
def test_a_linear_term(checkpoint: Checkpoint, optimized: bool, tmp_path: Path) -> None:
    adapted = Checkpoint(random_model(dataclasses.replace(TWO_LAYERS, linear_term=True)), "adapted")
    without, with_term = (
        export_step(one, tmp_path / f"{one.version}.onnx", optimized=optimized) for one in (checkpoint, adapted)
    )
    assert with_term.nodes == (without.nodes or 0) + 1
    expected = scan(adapted, TICKS[None])[0][0]
    np.testing.assert_allclose(OnnxStep.load(with_term.path).scan(TICKS), expected, atol=1e-5)


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


class Loop:
    """The loop of a caller who has onnxruntime alone: the file's own metadata and all zeros are enough to start."""

    def __init__(self, path: Path, batch: int = 1):
        self.session = onnxruntime.InferenceSession(path)
        self.names = [output.name for output in self.session.get_outputs()]
        metadata = self.session.get_modelmeta().custom_metadata_map
        shapes = {
            name: [batch if axis == "batch" else axis for axis in shape]
            for name, shape in json.loads(metadata["nanoarb.states"]).items()
        }
        self.feeds = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}

    def step(self, ticks: np.ndarray) -> np.ndarray:
        """Probabilities (b, h, c) of one tick of each stream (b, f)."""
        out = dict(zip(self.names, self.session.run(None, {"features": ticks, **self.feeds}), strict=True))
        kept = {name: out[f"{name}_next"] for name in self.feeds if name not in ("previous", "started")}
        self.feeds = {"previous": ticks, "started": np.ones((len(ticks), 1), np.float32), **kept}
        return out["probabilities"]


@pytest.mark.parametrize("before", [0.0, 123.0, np.nan, -np.inf])
def test_a_stream_starts_from_zeros(checkpoint: Checkpoint, path: Path, before: float) -> None:
    """Whatever `previous` holds then."""
    loop = Loop(path)
    assert list(loop.feeds)[:2] == ["previous", "started"]
    loop.feeds["previous"][:] = before
    met = np.array([loop.step(tick[None])[0] for tick in TICKS])
    np.testing.assert_allclose(met, scan(checkpoint, TICKS[None])[0][0], atol=1e-5)
    predictor = StepPredictor(OnnxStep.load(path))
    np.testing.assert_allclose(met, [predictor.update(tick).probabilities for tick in TICKS], atol=1e-6)


def test_streams_that_start_at_different_ticks(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """In one call of the file of any batch, `started` says of each stream whether this is its first tick."""
    path = export_step(checkpoint, tmp_path / "step.onnx").path
    starts, stop = (0, 7, 8), 30
    loop, met = Loop(path, batch=3), []
    streams = TICKS.reshape(3, 100, 44)[:, :stop]
    for i, ticks in enumerate(streams.swapaxes(0, 1)):
        for stream, start in enumerate(starts):
            if i == start:
                for state in loop.feeds.values():
                    state[stream] = 0
                loop.feeds["previous"][stream] = np.nan
        met.append(loop.step(ticks.copy()))
    for stream, start in enumerate(starts):
        expected = scan(checkpoint, streams[stream, start:][None])[0][0]
        np.testing.assert_allclose(np.array(met)[start:, stream], expected, atol=1e-5)


def without_started(path: Path, to: Path) -> Path:
    """The file as earlier versions wrote it: no input `started`, and `previous` as it is given."""
    model = onnx.load(path)
    (where,) = (node for node in model.graph.node if node.op_type == "Where")
    nodes = [node for node in model.graph.node if where.input[0] not in node.output and node != where]
    for node in nodes:
        inputs = ["previous" if name == where.output[0] else name for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
    inputs = [value for value in model.graph.input if value.name != "started"]
    del model.graph.node[:], model.graph.input[:], model.metadata_props[:]
    model.graph.node.extend(nodes)
    model.graph.input.extend(inputs)
    card = read_model(path)[1]
    assert card.states is not None
    states = {name: shape for name, shape in card.states.items() if name != "started"}
    write_metadata(model, dataclasses.replace(card, states=states))
    onnx.save(model, to)
    return to


def test_a_file_without_started_is_served_as_before(
    checkpoint: Checkpoint, path: Path, step: OnnxStep, tmp_path: Path
) -> None:
    older = OnnxStep.load(without_started(path, tmp_path / "older.onnx"))
    expected = scan(checkpoint, TICKS[None])[0][0]
    np.testing.assert_allclose(older.scan(TICKS), expected, atol=1e-5)
    older.reset()
    np.testing.assert_allclose(older.scan(TICKS[:7]), expected[:7], atol=1e-5)
    step.set_state(older.state())  # the two go on from each other's states
    np.testing.assert_allclose(step.scan(TICKS[7:20]), expected[7:20], atol=1e-5)
    older.set_state(step.state())
    np.testing.assert_allclose(older.scan(TICKS[20:]), expected[20:], atol=1e-5)


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
