"""The model card: what every file of a model says of it, spelled alike in checkpoints, ONNX files and native files.

    checkpoint.json    the card's entries beside those of the folder
    ONNX               the metadata property `nanoarb.card`, as JSON
    native             the JSON that follows the weights

Imports no JAX: exported files are served without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Literal

from nanoarb_jax.artifacts.older import OLDER_FORMATS, respell
from nanoarb_jax.config import CLASS_NAMES, InputSpec, ModelConfig, config_from_dict
from nanoarb_jax.errors import ConfigError
from nanoarb_jax.features.feature_set import feature_set_of

FORMAT = 3  # the formats before it were numbered by kind of file, see `older.py`
Kind = Literal["checkpoint", "window", "step", "native"]


@dataclass(frozen=True)
class FeatureSchema:
    """The features that a model reads.

    Args:
        schema: name of the feature set.
        names: of the features, in order.
        hash: see `names_hash`.
    """

    schema: str
    names: tuple[str, ...]
    hash: str

    @staticmethod
    def of(config: ModelConfig) -> FeatureSchema | None:
        """What this version computes for a model of this config; None: it reads features that have no names."""
        found = feature_set_of(config.input_dim)
        return None if found is None else FeatureSchema(found.name, found.names, found.hash)


class TrainedOn:
    """What a card and a checkpoint tell of the training data: they have `data`, as in `ModelCard`, and `config`."""

    data: Mapping[str, Any]
    config: ModelConfig

    @property
    def input(self) -> InputSpec | None:
        """What the model reads; None where nothing is known of its training data, or its features have no names."""
        made, features = self.data.get("config"), FeatureSchema.of(self.config)
        if made is None or features is None:
            return None
        # settings that a file does not know yet have the value that they had when it was written: the default
        known = {one.name: made[one.name] for one in dataclasses.fields(InputSpec) if one.name in made}
        return InputSpec(**known | {"feature_set": features.schema})

    @property
    def learnt(self) -> list[Mapping[str, Any]]:
        """All streams that the weights know of: the model's own, and those of the checkpoints it learnt from.

        {"name", "instrument", …} of each, see `data.provenance.how_learnt`; earlier versions noted names alone.
        """
        found = list(self.data.get("streams", []))
        for origin in ("initial", "teacher"):
            streams = self.data.get(origin, {}).get("streams", [])
            found += [{"name": stream} if isinstance(stream, str) else stream for stream in streams]
        return found


@dataclass(frozen=True)
class ModelCard(TrainedOn):
    """What a file says of the model in it. Entries that a kind does not have are None.

    Args:
        kind: "checkpoint", "window" and "step" (ONNX), or "native".
        version: of the weights, see `model_version`.
        config: shape of the model.
        features: that it reads; None where they have no names.
        precision: of the weight matrices: "fp32", "fp16", "bf16" or "int8".
        data: how the training data were made. `config`: the settings of the dataset; `streams`: of each its `name`,
            `instrument`, `tick_size`, `lot_size`, `quantity_scale` and `spread_scale`, in a checkpoint also rows, parts
            and label thresholds, and what tells later whether some data were among it, see
            `data.provenance`; `initial` and `teacher`: version of the checkpoints it learnt from, and their streams.
        software: versions it was made with.
        metrics: of the validation part (checkpoint).
        training: settings of the training, and the update and epoch that were kept (checkpoint).
        opset: ONNX operator set (ONNX).
        optimized: rewritten by onnxruntime, with operators that only it has (ONNX).
        states: shape of every state input, "batch" for a dynamic axis (ONNX step).
    """

    kind: Kind
    version: str
    config: ModelConfig
    features: FeatureSchema | None
    precision: str = "fp32"
    data: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    opset: int | None = None
    optimized: bool | None = None
    states: Mapping[str, tuple[int | str, ...]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        some_kinds = ("metrics", "training", "opset", "optimized", "states")
        return {
            "format": FORMAT,
            "kind": self.kind,
            "version": self.version,
            "preset": self.config.preset_name,
            "config": dataclasses.asdict(self.config),
            "classes": CLASS_NAMES,
            "features": None if self.features is None else dataclasses.asdict(self.features),
            "precision": self.precision,
            "input": None if self.input is None else dataclasses.asdict(self.input),
            "data": dict(self.data),
            "software": dict(self.software),
            **{name: getattr(self, name) for name in some_kinds if getattr(self, name) is not None},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelCard:
        """The card of plain values, also of those that older versions wrote. Other entries among them are ignored.

        Raises:
            ConfigError: a format, a config or features that this version does not know.
        """
        check_format(values)
        if values["format"] in OLDER_FORMATS:
            values = respell(values)
        given = {field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values}
        given["config"] = _config(values["config"])
        if values["features"] is not None:
            given["features"] = FeatureSchema(**values["features"] | {"names": tuple(values["features"]["names"])})
        if "states" in values:
            given["states"] = {name: tuple(shape) for name, shape in values["states"].items()}
        card = cls(**given)
        _check_features(card)
        return card


def check_format(values: Mapping[str, Any]) -> None:
    """Refuse a card whose format this version does not know.

    Raises:
        ConfigError: it is neither today's format nor an older one.
    """
    met = values.get("format")
    if met != FORMAT and met not in OLDER_FORMATS:
        raise ConfigError(f"format {met} met, {FORMAT} expected; update nanoarb-jax")


def _config(values: Mapping[str, Any]) -> ModelConfig:
    try:
        return config_from_dict({"model": dict(values), "data": {"horizons": values["horizons"]}}, "model").model
    except ConfigError as error:
        raise ConfigError(f"its config is of another version ({error})") from error


def _check_features(card: ModelCard) -> None:
    """Refuse a model whose features are not what this version computes under their name."""
    computed = FeatureSchema.of(card.config)
    if card.features != computed:
        met, ours = (f"{one.schema} ({one.hash})" if one else "unnamed" for one in (card.features, computed))
        name = card.features.schema if card.features else "unnamed"
        raise ConfigError(f"made for other {name} features than this version computes: {met}, here {ours}")


def software_versions(*more: str) -> dict[str, str]:
    """Versions of the packages that a result depends on, and of some more."""
    packages = ("nanoarb-jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy", *more)
    return {name: metadata.version(name) for name in packages}
