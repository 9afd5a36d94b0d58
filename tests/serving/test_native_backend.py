"""The native step is the JAX model's step: at every shape and precision, from Python, compiled code and C."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.errors import TypingError
from numpy.typing import NDArray
from typer.testing import CliRunner

from float64_twin import Float64Twin
from nanoarb_jax.artifacts.checkpoint import load_checkpoint, named_arrays, save_checkpoint
from nanoarb_jax.cli.main import app
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ConfigError, DataError, ExportError
from nanoarb_jax.exporters import checks, export_native
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.features.flow import FLOW_NAMES, flow
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.model.torch_compat import load_torch_state_dict
from nanoarb_jax.serving.backends.jax.step import JaxStep
from nanoarb_jax.serving.backends.native import (
    NativeStep,
    initial_state,
    initial_states,
    pack,
    step,
    step_address,
    step_all,
    step_each,
)
from nanoarb_jax.serving.backends.native.file import native_file, read_native_file
from nanoarb_jax.serving.backends.native.layout import (
    HEADER_BYTES,
    MAGIC,
    PRECISIONS,
    Header,
    aligned,
    read_header,
    state_offsets,
    weight_offsets,
)
from nanoarb_jax.serving.backends.native.matmul import matmul_one
from nanoarb_jax.serving.backends.native.matrices import stored_matrix
from nanoarb_jax.serving.backends.native.memory import address
from nanoarb_jax.serving.backends.native.state import views
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.simulation.market import synthetic_books
from support.examples import examples
from support.random_model import random_model

pytestmark = pytest.mark.usefixtures("compile_quickly")
TICKS = lob44(synthetic_books(400, seed=11), quantity_scale=80.0)
NANO = ModelConfig.preset("nano")
FLOW = dataclasses.replace(NANO, feature_set="flow")
# nothing here is a multiple of 16, nor of 4
ODD = ModelConfig(hidden_dim=23, d_state=5, d_conv=3, expand=3, num_layers=2, dt_rank=3, horizons=(1, 2, 3, 5, 8, 13))
PLAIN = ModelConfig(feature_set=7, hidden_dim=40, d_conv=2, num_layers=1, horizons=(4,))
ADAPTED, ADAPTED_ODD, ADAPTED_PLAIN, ADAPTED_FLOW = (
    dataclasses.replace(config, linear_term=True) for config in (NANO, ODD, PLAIN, FLOW)
)


@cache
def arrays_of(config: ModelConfig) -> dict[str, NDArray[np.float32]]:
    return named_arrays(random_model(config))


@cache
def expected(config: ModelConfig) -> NDArray[np.float32]:
    """The JAX model's probabilities of the ticks, (n, h, c)."""
    logits, _ = nnx.jit(lambda model, x: model.scan(x))(random_model(config), ticks_of(config)[None])
    return np.asarray(jax.nn.softmax(logits[0]))


@cache
def flow_ticks() -> NDArray[np.float32]:
    return flow(synthetic_books(400, seed=11), quantity_scale=80.0, spread_scale=1.5)


def ticks_of(config: ModelConfig) -> NDArray[np.float32]:
    if config.input_dim in (44, 101):
        return TICKS if config.input_dim == 44 else flow_ticks()
    return np.random.default_rng(2).normal(size=(200, config.input_dim)).astype(np.float32)


def native(config: ModelConfig, precision: str = "fp32") -> NativeStep:
    return NativeStep(pack(arrays_of(config), config, precision), config, "v")


@pytest.mark.parametrize("name", ["base", "small", "nano"])
def test_presets_equal_the_model(name: str) -> None:
    config = ModelConfig.preset(name)
    np.testing.assert_allclose(native(config).scan(TICKS), expected(config), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "config",
    [ODD, PLAIN, FLOW, ADAPTED, ADAPTED_ODD, ADAPTED_PLAIN, ADAPTED_FLOW],
    ids=["odd", "plain", "flow", "adapted", "adapted odd", "adapted plain", "adapted flow"],
)
def test_any_shape_equals_the_model(config: ModelConfig) -> None:
    np.testing.assert_allclose(native(config).scan(ticks_of(config)), expected(config), rtol=0, atol=2e-6)


def test_weights_of_the_pytorch_original(shared: Path) -> None:
    with np.load(shared / "golden" / "mamba_lob_torch_tiny.npz") as file:
        model = load_torch_state_dict({n.removeprefix("state/"): file[n] for n in file if n.startswith("state/")})
        x, logits = file["x"], file["logits"]
    backend = NativeStep(pack(named_arrays(model), model.config), model.config, "golden")
    for window, wanted in zip(x, logits, strict=True):
        backend.reset()
        np.testing.assert_allclose(backend.scan(window)[-1], jax.nn.softmax(wanted), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 5e-3), ("int8", 2e-2)])
@pytest.mark.parametrize("config", [NANO, ODD, FLOW, ADAPTED], ids=["nano", "odd", "flow", "adapted"])
def test_narrow_weights_stay_close(config: ModelConfig, precision: str, tolerance: float) -> None:
    met = native(config, precision).scan(ticks_of(config))
    assert 1e-6 < np.abs(met - expected(config)).max() <= tolerance
    assert (met.argmax(-1) == expected(config).argmax(-1)).mean() >= 0.98


@njit
def matmul(block, kind, x, outputs, plus, y):  # type: ignore[no-untyped-def]
    matmul_one(address(block), kind, address(x), x.size, outputs, address(plus), address(y))


@settings(max_examples=examples(20))
@given(st.integers(1, 9), st.integers(1, 11), st.sampled_from(PRECISIONS), st.integers(0, 2**32 - 1))
def test_a_product_is_that_of_the_stored_weights(fours: int, sixteens: int, precision: str, seed: int) -> None:
    """And these are at most half a step of their format from the weights."""
    rng, rows, outputs = np.random.default_rng(seed), 4 * fours, 16 * sixteens
    weights = (rng.normal(size=(rows, outputs)) * rng.choice([0.0, 1e-6, 1.0, 30.0], outputs)).astype(np.float32)
    scales, cells = stored_matrix(weights, precision)
    block = aligned(scales.nbytes + cells.nbytes)
    block[:] = np.concatenate([scales.view(np.uint8), cells.view(np.uint8)])
    plus, y = rng.normal(size=(2, outputs)).astype(np.float32)
    kind = {"fp32": np.float32(0), "bf16": np.uint16(0), "int8": np.int8(0)}[precision]
    stored = np.empty_like(weights)
    for row in range(rows):  # one product with a unit vector reads one row
        matmul(block, kind, np.eye(rows, dtype=np.float32)[row], outputs, np.zeros_like(plus), stored[row])
    step = {"fp32": 0.0, "bf16": 2.0**-8 * np.abs(weights), "int8": np.abs(weights).max(axis=0) / 127 / 2}[precision]
    assert (np.abs(stored - weights) <= step * 1.001 + 1e-30).all()
    x = rng.normal(size=rows).astype(np.float32)
    matmul(block, kind, x, outputs, plus, y)
    exact = x.astype(np.float64) @ stored + plus
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5 * np.abs(stored).max())


def test_an_unknown_precision() -> None:
    with pytest.raises(ConfigError, match="precision 'fp4': expected one of fp32, bf16, int8"):
        pack(arrays_of(NANO), NANO, "fp4")


# Ways to call it


@njit
def strategy(weights, state, features, probabilities):  # type: ignore[no-untyped-def]
    for i in range(features.shape[0]):
        step(weights, state, features[i], probabilities[i])


@pytest.mark.parametrize("config", [NANO, ADAPTED], ids=["nano", "adapted"])
def test_every_way_to_call_it_is_the_same(config: ModelConfig) -> None:
    backend, n = native(config), len(TICKS)
    once = np.array([backend.step(tick) for tick in TICKS])
    inside, all_at_once, from_c = (np.empty_like(once) for _ in range(3))
    strategy(backend.weights, initial_state(backend.weights), TICKS, inside)
    step_all(backend.weights, initial_state(backend.weights), TICKS, all_at_once)
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(step_address())
    state = initial_state(backend.weights)
    for i in range(n):
        call(*(a.ctypes.data for a in (backend.weights, state, TICKS[i], from_c[i])))
    for other in (inside, all_at_once, from_c):
        np.testing.assert_array_equal(other, once)


@pytest.mark.parametrize("config", [NANO, ODD, FLOW, ADAPTED], ids=["nano", "odd", "flow", "adapted"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_many_instruments_are_as_many_streams(config: ModelConfig, precision: str) -> None:
    """Some tick and some do not, in groups of four and what is left; others' states stay bit for bit."""
    backend, ticks, rng = native(config, precision), ticks_of(config), np.random.default_rng(0)
    states = initial_states(backend.weights, 7)
    read: list[list[int]] = [[] for _ in range(7)]
    for i in range(60):
        rows = rng.permutation(7)[: rng.integers(1, 8)]
        for row in rows:
            read[row].append(i + 30 * row)
        met, others = np.empty((len(rows), backend.horizons, 3), np.float32), np.delete(np.arange(7), rows)
        before = states[others].copy()
        step_each(backend.weights, states, rows * states.shape[1], ticks[i + 30 * rows], met)
        np.testing.assert_array_equal(states[others], before)
    newest = dict(zip(rows.tolist(), met, strict=True))
    for row, seen in enumerate(read):
        backend.reset()
        alone = backend.scan(ticks[seen])[-1]
        kept = np.s_[: read_header(backend.weights).state]
        np.testing.assert_allclose(states[row][kept], backend.packed_state[kept], rtol=1e-4, atol=1e-5)
        if row in newest:
            np.testing.assert_allclose(newest[row], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("config", [NANO, ODD, PLAIN, FLOW, ADAPTED], ids=["nano", "odd", "plain", "flow", "adapted"])
def test_it_reads_and_writes_nothing_beyond_its_arrays(config: ModelConfig, precision: str) -> None:
    """Features that end before a whole vector, and neighbours of state and output, by the C entry."""
    backend, f, h = native(config, precision), config.input_dim, len(config.horizons)
    tick = ticks_of(config)[0]
    fenced, out = np.full(f + 32, np.nan, np.float32), np.full(3 * h + 32, 7.0, np.float32)
    fenced[16 : 16 + f] = tick
    room = len(initial_state(backend.weights))
    state = aligned(4 * (room + 32)).view(np.float32)
    state[:16] = state[-16:] = 7.0
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(step_address())
    call(*(a.ctypes.data for a in (backend.weights, state[16:], fenced[16:], out[16:])))
    inner = np.s_[16 : 16 + 3 * h]
    assert (np.delete(out, inner) == 7.0).all() and (state[:16] == 7.0).all() and (state[-16:] == 7.0).all()
    assert np.isfinite(state).all()
    np.testing.assert_array_equal(out[inner].reshape(h, 3), backend.step(tick))


def test_arrays_with_gaps_and_other_numbers_are_refused() -> None:
    """The kernel reads by address: what does not lie in one piece would be read wrong, without a word."""
    backend = native(NANO)
    state, out = initial_state(backend.weights), np.empty((3, 3), np.float32)
    for features in (np.asfortranarray(TICKS)[0], TICKS[:2].astype(np.float64)[0]):
        with pytest.raises(TypingError, match="expected a C-contiguous array of float32"):
            step(backend.weights, state, features, out)


def test_predictors_take_features_however_they_lie(nano_checkpoint: Path) -> None:
    predictor, wide, fixed = StepPredictor.load(nano_checkpoint), np.asfortranarray(TICKS), TICKS.copy()
    fixed.setflags(write=False)
    expected = predictor.score(TICKS[:20])
    for ticks in (wide, fixed, TICKS[::-1][::-1]):
        predictor.reset()
        np.testing.assert_array_equal([predictor.update(tick).probabilities for tick in ticks[:20]], expected)
        predictor.reset()
        np.testing.assert_array_equal(predictor.score(ticks[:20]), expected)


def test_weights_that_are_none() -> None:
    good = pack(arrays_of(NANO), NANO)
    for bad in (good[:-1], good[:100], np.zeros(10_000, np.uint8), good.view(np.float32), "weights"):
        with pytest.raises(DataError, match="native weights"):
            initial_state(bad)  # type: ignore[arg-type]


def test_the_layout_is_that_of_files_already_exported() -> None:
    """They have no offsets in them: where their parts lie follows from the header alone."""
    header = read_header(pack(arrays_of(NANO), NANO))
    assert header == (MAGIC, 0, 25280, 416, 704, 44, 1, 64, 16, 16, 32, 8, 4, 1, 32, 1, 3, 16, 16, 0)
    assert MAGIC == 0x4E414E4F41524202
    at = (256, 768, 4992, 5120, 13504, 0, 4608, 5248, 9472, 10240, 11392, 18624, 22080, 25280, 25280)
    assert weight_offsets(header) == at
    assert state_offsets(header)[:6] == (0, 16, 64, 352, 0, 96)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_linear_term_is_added_at_the_end(precision: str) -> None:
    """All else lies as it does without one, so nothing tells a buffer without one from those of earlier versions."""
    arrays = arrays_of(ADAPTED)
    whole, without = pack(arrays, ADAPTED, precision), pack(arrays, NANO, precision)
    np.testing.assert_array_equal(whole[HEADER_BYTES : len(without)], without[HEADER_BYTES:])
    words, header = without[:HEADER_BYTES].view(np.int64), read_header(without)
    assert (header.term, read_header(whole).term) == (0, 1) and not words[Header._fields.index("term") :].any()
    assert len(whole) - len(without) == 4 * header.logits * (1 + header.inputs + header.hidden)
    with pytest.raises(DataError, match="term is 1, the config's is 0; pack them anew"):
        NativeStep(whole, NANO, "v")


def test_weights_of_another_shape_than_the_config(tmp_path: Path) -> None:
    fewer = dataclasses.replace(NANO, horizons=(10,))
    with pytest.raises(DataError, match="horizons is 3, the config's is 1"):
        NativeStep(pack(arrays_of(NANO), NANO), fewer, "v")
    path = tmp_path / "forged"
    path.write_bytes(native_file(pack(arrays_of(NANO), NANO), fewer, "v"))
    with pytest.raises(ExportError, match="horizons is 3"):
        NativeStep.load(path)


# Numbers at the edges


@pytest.mark.parametrize(
    ("width", "transform", "linear_term"),
    [(1, "lob44", False), (2, "lob44", True), (3, "lob44", False), (3, "flow", False), (3, "flow", True)],
)
def test_very_narrow_models(width: int, transform: Any, linear_term: bool) -> None:
    narrow = ModelConfig(hidden_dim=width, d_state=3, num_layers=1, horizons=(1,), linear_term=linear_term)
    config = dataclasses.replace(narrow, feature_set=transform)
    twin, ticks = Float64Twin(arrays_of(config), config), ticks_of(config)[:100]
    exact = [twin.step(tick) for tick in ticks]
    np.testing.assert_allclose(native(config).scan(ticks), exact, rtol=0, atol=1e-5)


def test_a_faded_state_is_zero_not_denormal() -> None:
    """Nothing drives the state: what fades must vanish, since many machines are slow with denormal numbers."""
    silent = {name: 0 * a if name.endswith("x_proj.kernel") else a for name, a in arrays_of(PLAIN).items()}
    backend = NativeStep(pack(silent, PLAIN), PLAIN, "v")
    flat = backend.state()
    backend.set_state(np.ones_like(flat))
    seen = []
    for _ in range(50):
        backend.scan(ticks_of(PLAIN))
        seen.append(np.concatenate([h.ravel() for h in views(backend.packed_state, PLAIN).recurrences]))
    sizes = np.abs(np.array(seen))
    assert (sizes[0] > 0).any() and (sizes[-1] == 0).all()
    assert not ((sizes > 0) & (sizes < 1e-30)).any()


@settings(max_examples=examples(30))
@given(st.booleans(), st.integers(0, 85), st.sampled_from([0.0, -1.0, 1e-30, 1e20, -1e20, 3e37]))
def test_any_finite_features_give_probabilities(lob44: bool, column: int, value: float) -> None:
    config = NANO if lob44 else FLOW
    backend, tick = native(config), ticks_of(config)[0].copy()
    tick[column % len(tick)] = value
    for _ in range(3):
        p = backend.step(tick)
    assert np.isfinite(p).all() and np.isfinite(backend.packed_state).all()
    np.testing.assert_allclose(p.sum(-1), 1.0, atol=1e-6)


# States and files


@pytest.mark.parametrize("config", [NANO, ODD, FLOW, ADAPTED], ids=["nano", "odd", "flow", "adapted"])
def test_states_are_those_of_the_jax_step(config: ModelConfig) -> None:
    ours, theirs, ticks = native(config), JaxStep(random_model(config), "v"), ticks_of(config)
    ours.scan(ticks[:50])
    theirs.set_state(ours.state())
    np.testing.assert_array_equal(theirs.state(), ours.state())
    np.testing.assert_allclose(ours.scan(ticks[50:80]), theirs.scan(ticks[50:80]), rtol=0, atol=2e-6)
    np.testing.assert_allclose(ours.state(), theirs.state(), rtol=1e-4, atol=1e-5)
    ours.set_state(theirs.state())
    np.testing.assert_array_equal(ours.state(), theirs.state())


def test_a_snapshot_moves_between_backends(nano_checkpoint: Path) -> None:
    here, there = StepPredictor.load(nano_checkpoint, "native"), StepPredictor.load(nano_checkpoint, "jax")
    here.score(TICKS[:120])
    there.restore(here.snapshot())
    assert there.ticks == 120
    np.testing.assert_allclose(
        there.update(TICKS[120]).probabilities, here.update(TICKS[120]).probabilities, rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_file_is_served_as_the_checkpoint(nano_checkpoint: Path, tmp_path: Path, precision: str) -> None:
    checkpoint = load_checkpoint(nano_checkpoint)
    weights = pack(named_arrays(checkpoint.model), checkpoint.config, precision)
    path = tmp_path / "model.native"
    path.write_bytes(native_file(weights, checkpoint.config, checkpoint.version))
    served, loaded = StepPredictor.load(path), StepPredictor.load(nano_checkpoint, "native", precision)
    assert served.version == checkpoint.version and served.warm_up == 100
    np.testing.assert_array_equal(served.score(TICKS), loaded.score(TICKS))
    # a program of another language maps the file and passes its start
    np.testing.assert_array_equal(np.frombuffer(path.read_bytes(), np.uint8)[: len(weights)], weights)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_an_adapted_checkpoint_and_its_file(tmp_path: Path, precision: Any) -> None:
    path = save_checkpoint(tmp_path / "adapted", random_model(ADAPTED_ODD))
    accuracy = export_native(load_checkpoint(path), tmp_path / "model.native", precision=precision).accuracy
    assert accuracy.max_probability_difference <= checks.TOLERANCES[precision]
    served, loaded = StepPredictor.load(tmp_path / "model.native"), StepPredictor.load(path, "native", precision)
    np.testing.assert_array_equal(served.score(TICKS), loaded.score(TICKS))
    reference = StepPredictor.load(path, "jax").score(TICKS)
    served.reset()
    np.testing.assert_allclose(served.score(TICKS), reference, rtol=0, atol=checks.TOLERANCES[precision])


@pytest.mark.subprocess
def test_a_file_is_served_without_jax(nano_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.native"
    path.write_bytes(native_file(pack(arrays_of(NANO), NANO), NANO, "v"))
    code = f"""
import sys
from nanoarb_jax import StepPredictor
print(StepPredictor.load({str(path)!r}).update(range(44)).probabilities.shape)
assert not {{"jax", "jaxlib", "flax", "onnx"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(3, 3)\n", "")


def test_a_file_says_what_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "flow"
    path.write_bytes(native_file(pack(arrays_of(FLOW), FLOW), FLOW, "v"))
    features = read_native_file(path).card.features
    assert features is not None and (features.schema, features.names) == ("flow", FLOW_NAMES)
    np.testing.assert_array_equal(NativeStep.load(path).scan(flow_ticks()), native(FLOW).scan(flow_ticks()))
    shorter = dataclasses.replace(FEATURE_SETS["flow"], names=FLOW_NAMES[:-1])
    monkeypatch.setitem(FEATURE_SETS, "flow", shorter)
    with pytest.raises(ExportError, match="made for other flow features than this version computes"):
        NativeStep.load(path)


def test_a_spoilt_file_is_refused(tmp_path: Path) -> None:
    content = native_file(pack(arrays_of(NANO), NANO), NANO, "v")
    path = tmp_path / "spoilt"
    for spoilt, words in (
        (content[:-1], "truncated"),
        (content[:3000], "truncated"),
        (content[:5000] + bytes([content[5000] ^ 1]) + content[5001:], "altered"),
        (content.replace(b'"nano"', b'"mini"'), "altered"),
        (b"", "not a file of native weights"),
        (b"PK" + content, "not a file of native weights"),
    ):
        path.write_bytes(spoilt)
        with pytest.raises(ExportError, match=words) as caught:
            read_native_file(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ExportError, match="cannot be read"):
        read_native_file(tmp_path / "nowhere")


@pytest.mark.subprocess
def test_it_says_what_compiling_took(tmp_path: Path) -> None:
    """And that it was kept: the second process fetches what the first compiled."""
    path = tmp_path / "model.native"
    path.write_bytes(native_file(pack(arrays_of(NANO), NANO), NANO, "v"))
    code = f"""
from nanoarb_jax.serving.backends.native import NativeStep
native = NativeStep.load({str(path)!r})
print(native.compiled_anew, native.compile_seconds > 0)
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment).stdout
        for _ in range(2)
    ]
    assert said == ["True True\n", "False True\n"]


# Export


@pytest.mark.parametrize("precision", PRECISIONS)
def test_export_writes_what_is_served(nano_checkpoint: Path, tmp_path: Path, precision: str) -> None:
    path, figures = tmp_path / "made.native", tmp_path / "figures.json"
    arguments = ["export", "--checkpoint", nano_checkpoint, "--output", path, "--kind", "native"]
    result = CliRunner().invoke(app, [*map(str, arguments), "--precision", precision, "--json", str(figures)])
    assert result.exit_code == 0, result.output
    met = json.loads(figures.read_text())
    assert met["bytes"] == path.stat().st_size and met["max_probability_difference"] <= checks.TOLERANCES[precision]
    expected = StepPredictor.load(nano_checkpoint, "native", precision).score(TICKS)
    np.testing.assert_array_equal(StepPredictor.load(path).score(TICKS), expected)


def test_export_refuses(nano_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = ["export", "--checkpoint", str(nano_checkpoint), "--output", str(tmp_path / "x"), "--kind"]
    for options, words in (
        (["native", "--opset", "18"], "--opset 18: --kind native is no ONNX file"),
        (["native", "--optimize"], "--optimize: --kind native is no ONNX file"),
        (["native", "--precision", "fp16"], "precision 'fp16': expected one of fp32, bf16, int8"),
        (["step", "--precision", "bf16"], "precision 'bf16' of an ONNX file: expected one of fp32, fp16, int8"),
    ):
        result = CliRunner().invoke(app, [*start, *options])
        assert (result.exit_code, result.stdout) == (2, "") and words in result.stderr
    monkeypatch.setitem(checks.TOLERANCES, "bf16", 1e-9)
    with pytest.raises(ExportError, match="not written: its probabilities differ from the JAX model by"):
        export_native(load_checkpoint(nano_checkpoint), tmp_path / "x", precision="bf16")
    assert not list(tmp_path.iterdir())
