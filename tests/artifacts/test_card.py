"""A card is read back as it was written, and refused where this version does not know what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nanoarb_jax.artifacts.card import FORMAT, FeatureSchema, Kind, ModelCard, software_versions
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ConfigError

FLOW = ModelConfig(feature_set="flow", hidden_dim=8, dt_rank=2, horizons=(3, 9))
PLAIN = ModelConfig(feature_set=5, hidden_dim=4)
DATA = {"config": {"clock": "bbo"}, "streams": [{"name": "a", "tick_size": 0.25}, {"name": "b"}]}
OF_KIND: dict[Kind, dict[str, Any]] = {
    "checkpoint": {"metrics": {"loss": 1.0}, "training": {"lr": 1e-3}},
    "native": {"precision": "bf16"},
    "window": {"precision": "fp16", "opset": 18, "optimized": False},
    "step": {"opset": 17, "optimized": True, "states": {"previous": (1, 86), "conv": ("batch", 3, 16)}},
}


def card_of(kind: Kind, config: ModelConfig = FLOW) -> ModelCard:
    software = software_versions()
    return ModelCard(kind, "0a1b", config, FeatureSchema.of(config), data=DATA, software=software, **OF_KIND[kind])


@pytest.mark.parametrize("config", [FLOW, PLAIN], ids=["flow", "plain"])
@pytest.mark.parametrize("kind", OF_KIND)
def test_round_trip(kind: Kind, config: ModelConfig) -> None:
    card = card_of(kind, config)
    values = json.loads(json.dumps(card.to_dict()))
    assert ModelCard.from_dict(values | {"sha256": "of the file it is in"}) == card
    assert values["format"] == FORMAT and values["classes"] == ["down", "neutral", "up"]
    assert {"metrics", "training", "opset", "optimized", "states"} & values.keys() == OF_KIND[kind].keys() - {
        "precision"
    }
    assert [stream["name"] for stream in card.learnt] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": FORMAT + 1}, f"format {FORMAT + 1} met, {FORMAT} expected; update nanoarb-jax"),
        ({"format": None}, "format None met"),
        ({"config": {"horizons": [3, 9], "colour": 1}}, "its config is of another version .*unknown key 'colour'"),
        ({"config": {"horizons": [3, 9], "hidden_dim": 0}}, "its config is of another version .*hidden_dim=0"),
        ({"features": None}, r"made for other unnamed features than this version computes: unnamed, here flow \("),
        ({"features": {"schema": "flow", "names": ["x"], "hash": "0"}}, r"made for other flow features .*: flow \(0\)"),
    ],
)
def test_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ModelCard.from_dict(json.loads(json.dumps(card_of("native").to_dict())) | change)
