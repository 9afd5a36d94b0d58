"""Tick by tick the predictors say what the model says of the stream, and no bad tick, file or snapshot harms them."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.external_data_helper import convert_model_to_external_data

from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint
from nanoarb_jax.errors import CheckpointError, ConfigError, DataError, ExportError
from nanoarb_jax.features.lob44 import FEATURE_NAMES, lob44
from nanoarb_jax.serving.backends.native import NativeStep
from nanoarb_jax.serving.backends.onnx.file import CARD, CHECKSUM, checksum, read_model
from nanoarb_jax.serving.prediction import Prediction
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.window import WindowPredictor
from nanoarb_jax.simulation.market import synthetic_books
from support.examples import examples

WINDOW = 100
TICKS = lob44(synthetic_books(2 * WINDOW + 130, seed=5), quantity_scale=50.0)
Predictor = StepPredictor | WindowPredictor


@pytest.fixture(scope="module")
def checkpoint(nano_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(nano_checkpoint)


@pytest.fixture(scope="module", params=["native", "jax"])
def step(request: pytest.FixtureRequest, nano_checkpoint: Path) -> StepPredictor:
    return StepPredictor.load(nano_checkpoint, request.param)


@pytest.fixture(scope="module")
def window(nano_onnx: Path) -> WindowPredictor:
    return WindowPredictor.load(nano_onnx)


@pytest.fixture(scope="module", params=["native", "jax", "window"])
def any_predictor(request: pytest.FixtureRequest, nano_checkpoint: Path) -> Predictor:
    if request.param == "window":
        return request.getfixturevalue("window")
    return StepPredictor.load(nano_checkpoint, request.param)


@pytest.fixture
def predictor(any_predictor: Predictor) -> Predictor:
    any_predictor.reset()
    return any_predictor


def probabilities(predictor: Predictor, ticks: np.ndarray) -> np.ndarray:
    return np.array([predictor.update(tick).probabilities for tick in ticks])


def test_step_equals_scan(checkpoint: Checkpoint, step: StepPredictor) -> None:
    step.reset()
    logits, _ = nnx.jit(lambda model, x: model.scan(x))(checkpoint.model, TICKS[None])
    np.testing.assert_allclose(probabilities(step, TICKS), jax.nn.softmax(logits[0]), atol=1e-5)


def test_it_says_what_loading_took(step: StepPredictor) -> None:
    assert step.load_seconds is not None and step.load_seconds > 0
    assert StepPredictor(step._backend).load_seconds is None


def test_scoring_many_ticks_is_updating_with_each(step: StepPredictor) -> None:
    ticks = np.concatenate([TICKS, TICKS[::-1]])  # longer than a chunk
    step.reset()
    expected = probabilities(step, ticks)
    step.reset()
    met = np.concatenate([step.score(ticks[:7]), step.score(ticks[7:300]), step.score(ticks[300:].tolist())])
    assert met.dtype == np.float32 and step.ticks == len(ticks)
    np.testing.assert_allclose(met, expected, rtol=0, atol=2e-6)
    assert step.score(ticks[:0]).shape == (0, 3, 3)
    blob = step.snapshot()
    strange = ticks[:3].copy()
    strange[1, 5] = np.inf
    refused = {r"shape \(\d+, 9\)": ticks[:, :9], r"shape \(44,\)": ticks[0], r"features\[1, 5\]=inf": strange}
    for words, wrong in refused.items():
        with pytest.raises(DataError, match=words):
            step.score(wrong)
    assert step.snapshot() == blob


def test_window_equals_the_model_on_the_last_ticks(checkpoint: Checkpoint, window: WindowPredictor) -> None:
    """At every tick, also where the ring buffer wraps; before it is full, the first tick is repeated in front."""
    window.reset()
    padded = np.concatenate([np.repeat(TICKS[:1], WINDOW - 1, axis=0), TICKS])
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=0).swapaxes(1, 2)
    logits = nnx.jit(lambda model, x: model(x))(checkpoint.model, windows)
    np.testing.assert_allclose(probabilities(window, TICKS), jax.nn.softmax(logits), atol=1e-4)


def test_ready_once_the_window_is_full(predictor: Predictor) -> None:
    assert [predictor.update(tick).ready for tick in TICKS[: WINDOW + 2]] == [False] * (WINDOW - 1) + [True] * 3


def test_reset_forgets(predictor: Predictor) -> None:
    before = probabilities(predictor, TICKS[: WINDOW + 5])
    predictor.reset()
    assert not predictor.update(TICKS[0]).ready
    predictor.reset()
    np.testing.assert_array_equal(probabilities(predictor, TICKS[: WINDOW + 5]), before)


def test_what_a_prediction_holds(predictor: Predictor, checkpoint: Checkpoint) -> None:
    for tick in TICKS[:20]:
        prediction = predictor.update(tick)
        assert isinstance(prediction, Prediction)
        direction, confidence, p, ready, version = prediction
        assert (direction.dtype, confidence.dtype, p.dtype) == (np.int8, np.float32, np.float32)
        assert (direction.shape, confidence.shape, p.shape) == ((3,), (3,), (3, 3))
        np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-6)
        np.testing.assert_array_equal(confidence, p.max(axis=1))
        np.testing.assert_array_equal(direction, p.argmax(axis=1) - 1)
        assert set(direction.tolist()) <= {-1, 0, 1}
        assert ready is False and version == checkpoint.version


def test_predictions_are_not_overwritten_by_later_ones(predictor: Predictor) -> None:
    first = predictor.update(TICKS[0])
    kept = first.probabilities.copy()
    probabilities(predictor, TICKS[1:20])
    np.testing.assert_array_equal(first.probabilities, kept)


@pytest.mark.parametrize("kind", [list, np.float64, np.float32])
def test_any_kind_of_number_will_do(predictor: Predictor, kind: Callable[..., object]) -> None:
    expected = predictor.update(TICKS[0]).probabilities
    predictor.reset()
    np.testing.assert_array_equal(predictor.update(kind(TICKS[0])).probabilities, expected)


def with_value(i: int, value: float) -> list[float]:
    tick = TICKS[50].tolist()
    tick[i] = value
    return tick


@pytest.mark.parametrize(
    ("tick", "words"),
    [
        (with_value(7, np.nan), ["features[7]=nan", "finite", "skip this tick"]),
        (with_value(0, -np.inf), ["features[0]=-inf", "finite", "skip this tick"]),
        (with_value(43, 1e300), ["features[43]=inf", "finite float32"]),
        (TICKS[50][:40], ["shape (40,)", "expected (44,)"]),
        (TICKS[50:51], ["shape (1, 44)", "expected (44,)"]),
        (1.0, ["shape ()", "expected (44,)"]),
        (["a"] * 44, ["expected the numbers of one tick", "'a'"]),
        ([[1.0], [1.0, 2.0]], ["expected the numbers of one tick"]),
    ],
)
def test_a_wrong_tick_leaves_the_state_as_it_was(predictor: Predictor, tick: object, words: list[str]) -> None:
    expected = probabilities(predictor, TICKS[:30])
    predictor.reset()
    probabilities(predictor, TICKS[:20])
    with pytest.raises(DataError) as caught:
        predictor.update(tick)
    assert all(word in str(caught.value) for word in words), caught.value
    assert predictor.ticks == 20
    np.testing.assert_array_equal(probabilities(predictor, TICKS[20:30]), expected[20:])


def test_huge_but_finite_features_pass(predictor: Predictor) -> None:
    assert np.isfinite(predictor.update(with_value(5, 1e30)).probabilities).all()


def test_unknown_backend_and_missing_files(nano_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="backend 'torch': expected one of native, jax, onnx"):
        StepPredictor.load(nano_checkpoint, backend="torch")
    with pytest.raises(ConfigError, match="precision 'bf16': backend 'jax' has none"):
        StepPredictor.load(nano_checkpoint, backend="jax", precision="bf16")
    with pytest.raises(ConfigError, match="precision 'fp4': expected one of fp32, bf16, int8"):
        StepPredictor.load(nano_checkpoint, precision="fp4")
    with pytest.raises(CheckpointError, match="no such folder"):
        StepPredictor.load(tmp_path / "nowhere")
    with pytest.raises(ExportError, match=r"No such file.*nanoarb-jax export"):
        WindowPredictor.load(tmp_path / "nowhere.onnx")


# Snapshots


@pytest.fixture(scope="module")
def other(step: StepPredictor, nano_checkpoint: Path) -> StepPredictor:
    """Another process, as far as a snapshot can tell."""
    return StepPredictor.load(nano_checkpoint, "native" if isinstance(step._backend, NativeStep) else "jax")


@settings(max_examples=examples(20))
@given(split=st.integers(0, 130), strayed=st.integers(0, 5))
def test_a_snapshot_goes_on_bit_for_bit(step: StepPredictor, other: StepPredictor, split: int, strayed: int) -> None:
    step.reset()
    probabilities(step, TICKS[:split])
    blob = step.snapshot()
    expected = [step.update(tick) for tick in TICKS[split : split + 10]]
    probabilities(other, TICKS[:strayed])
    other.restore(blob)
    assert other.snapshot() == blob and other.ticks == split
    for tick, wanted in zip(TICKS[split : split + 10], expected, strict=True):
        met = other.update(tick)
        np.testing.assert_array_equal(met.probabilities, wanted.probabilities)
        assert met.ready == wanted.ready


def archive(**changes: object) -> Callable[[bytes], bytes]:
    """Rewrites a snapshot with some entries changed, or left out where None."""

    def rewrite(blob: bytes) -> bytes:
        with np.load(io.BytesIO(blob)) as file:
            entries = {**file, **{k: v(file[k]) if callable(v) else v for k, v in changes.items()}}
        buffer = io.BytesIO()
        np.savez(buffer, **{key: value for key, value in entries.items() if value is not None})
        return buffer.getvalue()

    return rewrite


def array_file(blob: bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda blob: b"", "damaged"),
        (lambda blob: b"not a snapshot", "damaged"),
        (lambda blob: blob[:-30], "damaged"),
        (lambda blob: blob[: len(blob) // 2], "damaged"),
        (lambda blob: blob[:900] + b"\xff" * 8 + blob[908:], "damaged"),
        (array_file, "damaged"),
        (archive(state=None), "damaged"),
        (archive(ticks=np.zeros(2)), "damaged"),
        (archive(ticks=-1), "damaged"),
        (archive(version="0123456789ab"), "'0123456789ab'.*load the model it was taken from"),
        (archive(format=99), "format 99"),
        (archive(state=lambda s: s[:-1]), "expected finite float32"),
        (archive(state=lambda s: s.astype(np.float64)), "expected finite float32"),
        (archive(state=lambda s: s * np.float32(np.nan)), "expected finite float32"),
    ],
)
def test_a_damaged_or_foreign_snapshot_leaves_the_state_as_it_was(
    step: StepPredictor, spoil: Callable[[bytes], bytes], words: str
) -> None:
    step.reset()
    probabilities(step, TICKS[:12])
    blob = step.snapshot()
    with pytest.raises(DataError, match=words):
        step.restore(spoil(blob))
    assert step.snapshot() == blob and step.ticks == 12


@settings(max_examples=examples(100))
@given(data=st.data())
def test_any_damage_to_a_snapshot_is_refused_or_harmless(step: StepPredictor, data: st.DataObject) -> None:
    step.reset()
    probabilities(step, TICKS[:3])
    blob = step.snapshot()
    at, bit = data.draw(st.integers(0, len(blob) - 1)), data.draw(st.integers(0, 7))
    with contextlib.suppress(DataError):
        step.restore(blob[:at] + bytes([blob[at] ^ (1 << bit)]) + blob[at + 1 :])
    assert step.snapshot() == blob


# Exported files


def test_one_thread_in_order(window: WindowPredictor) -> None:
    options = window._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert window._session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.subprocess
def test_an_exported_file_is_served_without_jax(nano_onnx: Path) -> None:
    code = f"""
import sys
from nanoarb_jax.serving.window import WindowPredictor
print(WindowPredictor.load({str(nano_onnx)!r}).update(range(44)).probabilities.shape)
assert not {{"jax", "jaxlib", "flax"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(3, 3)\n", "")


@cache
def exported(path: Path) -> onnx.ModelProto:
    return onnx.load(path)


def copy_of(path: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(exported(path))
    return model


def seal(model: onnx.ModelProto) -> bytes:
    """The file with a checksum that fits again."""
    entry = next(entry for entry in model.metadata_props if entry.key == CHECKSUM)
    entry.value = checksum(model)
    return model.SerializeToString()


def altered_weights(model: onnx.ModelProto) -> bytes:
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.raw_data = weights.raw_data[:-1] + bytes([weights.raw_data[-1] ^ 1])
    return model.SerializeToString()


def change_card(model: onnx.ModelProto, old: str, new: str) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == CARD)
    assert old in entry.value
    entry.value = entry.value.replace(old, new)


def altered_metadata(model: onnx.ModelProto) -> bytes:
    next(entry for entry in model.metadata_props if entry.key == "nanoarb.horizons").value = "[1, 2, 3]"
    return model.SerializeToString()


def altered_card(model: onnx.ModelProto) -> bytes:
    change_card(model, "[10, 50, 100]", "[1, 2, 3]")
    return model.SerializeToString()


def external_weights(model: onnx.ModelProto) -> bytes:
    convert_model_to_external_data(model, size_threshold=0)
    return seal(model)


def external_weights_inside(model: onnx.ModelProto) -> bytes:
    """In a graph nested in a node, where a shallow look would miss it."""
    inner = onnx.helper.make_tensor("hidden", onnx.TensorProto.FLOAT, [1], [0.0])
    inner.data_location = onnx.TensorProto.EXTERNAL
    model.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH).g.initializer.append(inner)
    return seal(model)


def of_other_make(model: onnx.ModelProto) -> bytes:
    del model.metadata_props[:]
    return model.SerializeToString()


def of_another_kind(model: onnx.ModelProto) -> bytes:
    change_card(model, '"window", "version"', '"step", "version"')
    return seal(model)


def of_other_features(model: onnx.ModelProto) -> bytes:
    change_card(model, "microprice", "last_price")
    return seal(model)


def of_a_later_format(model: onnx.ModelProto) -> bytes:
    change_card(model, '"format": 3', '"format": 4')
    return seal(model)


def of_another_config(model: onnx.ModelProto) -> bytes:
    change_card(model, '"d_state"', '"colour"')
    return seal(model)


def that_cannot_run(model: onnx.ModelProto) -> bytes:
    model.graph.node[0].op_type = "Imagined"
    return seal(model)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (altered_weights, "fails its checksum"),
        (altered_metadata, "fails its checksum"),
        (altered_card, "fails its checksum"),
        (external_weights, "outside the file"),
        (external_weights_inside, "outside the file"),
        (of_other_make, "no nanoarb-jax metadata"),
        (of_another_kind, "a step model, expected a window one"),
        (of_other_features, "other lob44 features"),
        (of_a_later_format, "no nanoarb-jax metadata of a format that this version reads"),
        (of_another_config, "its config is of another version .*unknown key 'colour'"),
        (that_cannot_run, "cannot run it"),
        (lambda model: b"", "no nanoarb-jax metadata"),
        (lambda model: b"\x00not a model", "not an ONNX file"),
    ],
)
def test_a_spoilt_file_is_refused(
    nano_onnx: Path, tmp_path: Path, spoil: Callable[[onnx.ModelProto], bytes], words: str
) -> None:
    path = tmp_path / "spoilt.onnx"
    path.write_bytes(spoil(copy_of(nano_onnx)))
    with pytest.raises(ExportError, match=words) as caught:
        WindowPredictor.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=examples(25))
@given(share=st.floats(0, 0.9999))
def test_a_truncated_file_is_refused(nano_onnx: Path, tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = tmp_path_factory.mktemp("cut") / "cut.onnx"
    content = nano_onnx.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ExportError, match="truncated"):
        WindowPredictor.load(path)


def test_what_a_file_says_about_itself(nano_onnx: Path, checkpoint: Checkpoint) -> None:
    _, card = read_model(nano_onnx)
    assert (card.kind, card.version, card.config) == ("window", checkpoint.version, checkpoint.config)
    assert (card.config.window, card.config.horizons, card.config.preset_name) == (WINDOW, (10, 50, 100), "nano")
    assert card.features is not None and (card.features.schema, card.features.names) == ("lob44", FEATURE_NAMES)
    assert {"nanoarb-jax", "jax", "jax2onnx", "onnx", "onnxruntime"} <= set(card.software)
