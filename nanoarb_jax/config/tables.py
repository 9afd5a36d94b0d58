"""The three tables of a configuration file, read from TOML and written to it."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nanoarb_jax.config.checks import require
from nanoarb_jax.config.data import DataConfig
from nanoarb_jax.config.model import FEATURE_COUNTS, ModelConfig
from nanoarb_jax.config.train import TrainConfig
from nanoarb_jax.errors import ConfigError, SettingError

Settings = TypeVar("Settings", ModelConfig, DataConfig, TrainConfig)

# what differs between the sizes in how the shipped checkpoints were trained, see docs/training.md
_RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "base": {"model": {"dropout": 0.3}, "train": {}},
    "small": {"model": {"dropout": 0.3}, "train": {"epochs": 10, "lr": 5e-3}},
    "nano": {"model": {"dropout": 0.0}, "train": {"epochs": 20, "lr": 1e-2}},
}


# settings that earlier versions had, and what to do about a file that names one
_REMOVED = {
    "train.spread_penalty": "the cost-aware loss charges the spread of every tick instead; leave it out",
    "train.slippage_estimate": "the cost-aware loss charges slippage_ticks instead; leave it out",
}


def _recipe_model(preset: str) -> ModelConfig:
    shape = ModelConfig.preset(preset)
    return dataclasses.replace(shape, feature_set=DataConfig.feature_set, **_RECIPES[preset]["model"])


@dataclass(frozen=True)
class Config:
    """The three tables of a configuration file. The defaults are `Config.recipe("base")`."""

    model: ModelConfig = field(default_factory=lambda: _recipe_model("base"))
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        require(
            self.model.horizons == self.data.horizons,
            "model.horizons", self.model.horizons, f"the label horizons data.horizons={self.data.horizons}",
        )  # fmt: skip
        read, made = self.model.feature_set, self.data.feature_set
        unnamed = isinstance(read, int)  # so many features, whatever they are
        require(unnamed or read == made, "model.feature_set", read, f'that of data.feature_set="{made}", or a number')

    @staticmethod
    def recipe(preset: str) -> Config:
        """How a model of this size is best trained, as far as is known: as the shipped one.

        Raises:
            ConfigError: the name is none of the presets.

        >>> from nanoarb_jax.config import Config
        >>> Config.recipe("nano").train.epochs
        20
        """
        return Config(_recipe_model(preset), train=TrainConfig(**_RECIPES[preset]["train"]))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def to_toml(self) -> str:
        """A TOML text that `load_config` reads back to the same settings (None, the default, is left out)."""
        tables = []
        for table, values in self.to_dict().items():
            given = {key: value for key, value in values.items() if value is not None}
            # a JSON scalar or list is also a TOML one
            lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]
            tables.append("\n".join([f"[{table}]", *lines]))
        return "\n\n".join(tables) + "\n"


def config_from_dict(tables: dict[str, Any], source: str) -> Config:
    """Build a `Config` from plain tables.

    The table `model` may name a `preset`, whose recipe then holds where the tables do not say otherwise. Where one of
    `model` and `data` names a feature set and the other does not say, it holds for both.

    Args:
        tables: {"model" | "data" | "train": {key: value}}; what they leave out keeps its default.
        source: of the tables, for errors.

    Raises:
        ConfigError: unknown table or key, or a value out of range.
    """
    known = ("model", "data", "train")
    for table, values in tables.items():
        if table not in known:
            raise ConfigError(f"{source}: unknown table {table!r}: expected {', '.join(known)}")
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: {table}={values!r}: expected a table, [{table}] and keys below it")
    model, data, train = (dict(tables.get(table, {})) for table in known)
    start = Config.recipe(model.pop("preset", "base"))
    model = _with_feature_set(model)
    if model.get("feature_set") in tuple(FEATURE_COUNTS):
        data.setdefault("feature_set", model["feature_set"])
    data_config = _settings("data", start.data, data, source)
    model_config = _settings("model", start.model, {"feature_set": data_config.feature_set, **model}, source)
    return Config(model_config, data_config, _settings("train", start.train, train, source))


def _settings(table: str, start: Settings, values: dict[str, Any], source: str) -> Settings:
    """The settings with these values changed."""
    names = {setting.name for setting in dataclasses.fields(start)}
    unknown = sorted(set(values) - names)
    if unknown:
        expected = _REMOVED.get(f"{table}.{unknown[0]}", f"expected one of {', '.join(sorted(names))}")
        raise ConfigError(f"{source}: unknown key {unknown[0]!r} in [{table}]: {expected}")
    return dataclasses.replace(start, **values)


def _with_feature_set(model: dict[str, Any]) -> dict[str, Any]:
    """The table `model` with the `feature_set` that it says; older files say `input_transform` and `input_dim`."""
    rest = {key: value for key, value in model.items() if key not in ("input_transform", "input_dim")}
    if len(rest) == len(model):
        return rest
    transform, features = model.get("input_transform", "lob44"), model.get("input_dim", 44)
    if transform == "identity":
        return {**rest, "feature_set": features}
    count = FEATURE_COUNTS.get(transform, features) if isinstance(transform, str) else features
    if "input_dim" in model:
        require(features == count, "model.input_dim", features, f'{count} for input_transform "{transform}"')
    return {**rest, "feature_set": transform}


def load_config(path: str | Path) -> Config:
    """Read a TOML file with tables [model], [data], [train]; what it leaves out keeps its default.

    Raises:
        ConfigError: the file is missing, not TOML, or holds an unknown key or bad value.
    """
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"config {path}: cannot be read ({error.strerror}); give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path}: not valid TOML ({error})") from error
    try:
        return config_from_dict(tables, str(path))
    except SettingError as error:
        raise ConfigError(f"{path}: {error}") from error
