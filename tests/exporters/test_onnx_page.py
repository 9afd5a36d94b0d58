"""The Python of docs/onnx.md, pasted: with onnxruntime alone it gives what the predictors give."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from nanoarb_jax.artifacts.checkpoint import Checkpoint
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.exporters import export_native, export_step, export_window
from nanoarb_jax.features.flow import FLOW_NAMES, flow
from nanoarb_jax.serving.backends.onnx.step import OnnxStep
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.window import WindowPredictor
from nanoarb_jax.simulation.market import synthetic_books
from support.random_model import random_model

pytestmark = pytest.mark.usefixtures("compile_quickly")
PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
CONFIG = ModelConfig(feature_set="flow", hidden_dim=12, d_state=4, d_conv=3, num_layers=2, horizons=(5, 20), window=20)


@pytest.fixture(scope="module")
def ticks() -> NDArray[np.float32]:
    return flow(synthetic_books(120, seed=5), 50.0, spread_scale=2.5)


def snippets() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("optimized", [False, True])
def test_the_loop(optimized: bool, ticks: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One snippet after the other, beside the files that they name."""
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint(random_model(CONFIG), "random")
    for write, name in ((export_step, "step.onnx"), (export_window, "window.onnx")):
        write(checkpoint, tmp_path / name, parity_data=ticks[None], optimized=optimized)
    np.save("ticks.npy", ticks)
    names: dict[str, Any] = {}
    step, window = snippets()
    assert "nanoarb_jax" not in step + window
    exec(compile(step, PAGE, "exec"), names)

    predictor = StepPredictor(OnnxStep.load("step.onnx"))
    expected = [predictor.update(tick).probabilities for tick in ticks]
    np.testing.assert_allclose(names["probabilities"], expected, atol=1e-6)
    native = StepPredictor.load(export_native(checkpoint, tmp_path / "model.native", parity_data=ticks[None]).path)
    np.testing.assert_allclose(names["probabilities"], native.score(ticks), atol=1e-5)
    assert (names["names"], names["horizons"]) == (list(FLOW_NAMES), [5, 20])
    again = [names["stream"].step(tick) for tick in ticks]  # the page has started it anew
    np.testing.assert_array_equal(again, names["probabilities"])

    exec(compile(window, PAGE, "exec"), names)
    windows = WindowPredictor.load("window.onnx")
    last = [windows.update(tick).probabilities for tick in ticks][-1]
    np.testing.assert_allclose(names["of_last_tick"][0], last, atol=1e-6)


@pytest.mark.parametrize("optimized", [False, True])
def test_names_and_shapes(optimized: bool, ticks: NDArray[np.float32], tmp_path: Path) -> None:
    """Both tables of the page, row by row, are what the files say of themselves."""
    checkpoint = Checkpoint(random_model(CONFIG), "random")
    met, metadata = {}, {}
    for kind, write in (("window", export_window), ("step", export_step)):
        path = tmp_path / f"{kind}.onnx"
        write(checkpoint, path, parity_data=ticks[None], optimized=optimized)
        model = onnx.load(path)
        for value in (*model.graph.input, *model.graph.output):
            assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        met[kind] = [shapes_of(model.graph.input), shapes_of(model.graph.output)]
        metadata = {entry.key: entry.value for entry in model.metadata_props}
    row: int | str = 1 if optimized else "batch"
    batch = () if optimized else ("batch",)
    heads = {"logits": (row, 2, 3), "probabilities": (row, 2, 3)}
    states = {"conv": (*batch, 2, 48), "ssm_0": (*batch, 4, 24), "ssm_1": (*batch, 4, 24)}
    assert met["step"] == [
        {"features": (row, 101), "previous": (row, 101), "started": (row, 1), **states},
        heads | {f"{name}_next": shape for name, shape in states.items()},
    ]
    assert met["window"] == [{"features": ("batch", 20, 101)}, {name: ("batch", 2, 3) for name in heads}]
    assert {name: tuple(shape) for name, shape in json.loads(metadata["nanoarb.states"]).items()} == {
        "previous": (row, 101), "started": (row, 1), **states,
    }  # fmt: skip


def shapes_of(values: Any) -> dict[str, tuple[int | str, ...]]:
    return {v.name: tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
