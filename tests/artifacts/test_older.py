"""Files of earlier formats, written by the code of that time, load and predict what they predicted then.

`older/` holds a checkpoint of format 1, native files of format 1 and ONNX files of format 2, of small random models of
the 44 `lob44` features or of 5 features without names, and in `probabilities.npz` ticks of both and what each model
said of them, tick by tick.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.artifacts.card import FORMAT, FeatureSchema, ModelCard
from nanoarb_jax.artifacts.checkpoint import MANIFEST, load_checkpoint
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.serving.loading import read_card
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.window import WindowPredictor

OLDER = Path(__file__).parent / "older"
NAMED = ModelConfig(hidden_dim=8, d_state=4, num_layers=2, horizons=(3, 9), window=6)
UNNAMED = ModelConfig(feature_set=5, hidden_dim=8, d_state=4, num_layers=1, horizons=(3,), window=6)
SCALES = {"tick_size": 0.1, "quantity_scale": 3.0, "spread_scale": 2.5}
MADE = {"feature_set": "lob44", "clock": "bbo"}  # data config of the models of `lob44` features

# file: kind, backend that serves it, config
FILES = {
    "checkpoint": ("checkpoint", "native", NAMED),
    "window.onnx": ("window", "onnx", NAMED),
    "step.native": ("native", "native", NAMED),
    "unnamed_step.onnx": ("step", "onnx", UNNAMED),
    "unnamed_step.native": ("native", "native", UNNAMED),
}


@pytest.mark.parametrize("name", FILES)
def test_they_predict_what_they_predicted(name: str) -> None:
    kind, backend, config = FILES[name]
    with np.load(OLDER / "probabilities.npz") as file:
        ticks, expected = file["lob44" if config is NAMED else "five"], file[name]
    path = OLDER / name
    predictor = WindowPredictor.load(path) if kind == "window" else StepPredictor.load(path, backend)
    met = [predictor.update(tick).probabilities for tick in ticks]
    np.testing.assert_allclose(met, expected, rtol=0, atol=1e-6)  # the same bits on the machine that wrote them


@pytest.mark.parametrize("name", FILES)
def test_their_cards_are_read_in_the_spelling_of_today(name: str) -> None:
    kind, backend, config = FILES[name]
    card = read_card(OLDER / name, backend)
    assert (card.kind, card.precision, card.features) == (kind, "fp32", FeatureSchema.of(config))
    assert len(card.version) == 12 and "nanoarb-jax" in card.software
    served = (card.config.input_dim, card.config.window, card.config.horizons, card.config.preset_name)
    assert served == (config.input_dim, config.window, config.horizons, "custom")
    if kind in ("checkpoint", "native"):  # an ONNX file of format 2 does not say more of the shape
        assert card.config == config
    if config is NAMED:
        assert [stream["name"] for stream in card.learnt] == ["x"] and SCALES.items() <= card.data["streams"][0].items()
        assert card.data["config"] == MADE
    else:
        assert [stream["name"] for stream in card.learnt] == [] and "config" not in card.data
    if kind == "step":
        assert (card.opset, card.optimized) == (17, False)
        assert card.states == {"previous": ("batch", 5), "conv": ("batch", 3, 16), "ssm_0": ("batch", 4, 16)}
    again = json.loads(json.dumps(card.to_dict()))
    assert again["format"] == FORMAT and ModelCard.from_dict(again) == card


def test_an_older_checkpoint_keeps_what_it_says() -> None:
    loaded, written = load_checkpoint(OLDER / "checkpoint"), json.loads((OLDER / "checkpoint" / MANIFEST).read_text())
    assert (loaded.config, loaded.version) == (NAMED, written["version"])
    assert (loaded.metrics, loaded.data, loaded.training) == ({"loss": 1.25}, written["data"], {"epoch": 3})
