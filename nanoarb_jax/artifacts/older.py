"""Cards as earlier versions wrote them, put into today's spelling. Only `ModelCard.from_dict` needs it.

    checkpoint format 1   no `kind` and no `precision`; `versions` instead of `software`
    native format 1       `data.series` by name instead of `data.streams`; made-up names for features without names
    ONNX format 2         likewise; a text for every entry; no config, but what serving needs of it

The spelling of a config itself, `input_transform` and `input_dim`, is understood by `config_from_dict`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nanoarb_jax.config import PRESETS
from nanoarb_jax.features.feature_set import names_hash

ONNX = "2"
OLDER_FORMATS = (1, ONNX)
UNNAMED = "unnamed"  # how native and ONNX files called features without names


def respell(values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a card in an older format, as today's format has them."""
    if values["format"] == ONNX:
        return _onnx(values)
    return _native(values) if values.get("kind") == "native" else _checkpoint(values)


def _checkpoint(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "kind": "checkpoint", "software": values["versions"]}


def _native(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "features": _named(values["features"]), "data": _data(values["data"])}


def _onnx(values: Mapping[str, Any]) -> dict[str, Any]:
    texts = ("kind", "version", "precision")
    names = json.loads(values["feature_names"])
    features = _named({"schema": values["feature_schema"], "names": names, "hash": names_hash(names)})
    return {
        **{name: values[name] for name in texts},
        **{name: json.loads(values[name]) for name in ("opset", "optimized", "states", "software")},
        "features": features,
        "data": _data(json.loads(values["data"])),
        "config": {
            # the shape of a model that is no preset is not in the file; serving does not need it, and 1 stands for it
            **({"preset": values["preset"]} if values["preset"] in PRESETS else {"hidden_dim": 1}),
            "feature_set": len(names) if features is None else features["schema"],
            "horizons": tuple(json.loads(values["horizons"])),
            "window": json.loads(values["window"]),
        },
    }


def _named(features: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return None if features["schema"] == UNNAMED else features


def _data(data: Mapping[str, Any]) -> dict[str, Any]:
    streams = [{"name": name, **scales} for name, scales in data["series"].items()]
    return {"streams": streams} if data["config"] is None else {"config": data["config"], "streams": streams}
