"""Shape of a model, and its presets."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from nanoarb_jax.config.checks import check_horizons, check_types, require
from nanoarb_jax.errors import ConfigError

CLASS_NAMES = ("down", "neutral", "up")  # what a model forecasts at each horizon, in the order of labels 0, 1, 2

# feature sets that a model may read, and how many features each has per tick; `nanoarb_jax.features` defines them
FEATURE_COUNTS = {"lob44": 44, "flow": 101}


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a `MambaLOB`. The defaults are the `base` preset.

    Args:
        feature_set: what the model reads at every tick. "lob44" or "flow": the raw features of that set, which its
            first stage turns into stationary, scale-free inputs. A number: so many features without names, read as they
            are (weights of the PyTorch original, or numbers that are normalised already).
        hidden_dim: width of the residual stream.
        d_state: SSM states per channel.
        d_conv: width of the causal depthwise convolution, in ticks.
        expand: d_inner / hidden_dim.
        num_layers: Mamba blocks.
        horizons: prediction horizons in ticks, ascending.
        num_classes: 3 – down, neutral, up.
        dropout: dropout rate, on block outputs and inside the heads, in training only.
        dt_rank: rank of the Δ projection; None means ceil(hidden_dim / 16), as in the Mamba paper.
        window: ticks in a window of the window model; also the warm-up of a fresh state.
        linear_term: add to the logits a linear map of the last features and of the inputs. The command adapt fits it to
            an instrument.
    """

    feature_set: Literal["lob44", "flow"] | int = "lob44"
    hidden_dim: int = 128
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    num_layers: int = 4
    horizons: tuple[int, ...] = (10, 50, 100)
    num_classes: int = 3
    dropout: float = 0.1
    dt_rank: int | None = None
    window: int = 100
    linear_term: bool = False

    def __post_init__(self) -> None:
        check_types("model", self)
        check_horizons("model", self)
        features = self.feature_set
        counted = type(features) is int and features >= 1
        expected = '"lob44", "flow" or a number of features, at least 1'
        require(counted or features in ("lob44", "flow"), "model.feature_set", features, expected)
        for name in ("hidden_dim", "d_state", "d_conv", "expand", "num_layers", "num_classes", "window"):
            value = getattr(self, name)
            require(value >= 1, f"model.{name}", value, "an integer of at least 1")
        require(self.d_conv >= 2, "model.d_conv", self.d_conv, "at least 2 ticks")
        require(self.num_classes == 3, "model.num_classes", self.num_classes, "3 (down, neutral, up)")
        require(0.0 <= self.dropout < 1.0, "model.dropout", self.dropout, "a rate in [0, 1)")
        require(self.dt_rank is None or self.dt_rank >= 1, "model.dt_rank", self.dt_rank, "None or at least 1")

    @property
    def input_dim(self) -> int:
        """Raw features per tick."""
        return self.feature_set if isinstance(self.feature_set, int) else FEATURE_COUNTS[self.feature_set]

    @property
    def input_transform(self) -> Literal["lob44", "flow", "identity"]:
        """What the model's first stage makes of them; "identity": nothing."""
        return "identity" if isinstance(self.feature_set, int) else self.feature_set

    @property
    def d_inner(self) -> int:
        return self.expand * self.hidden_dim

    @property
    def rank(self) -> int:
        """dt_rank with its default resolved."""
        return self.dt_rank if self.dt_rank is not None else math.ceil(self.hidden_dim / 16)

    @staticmethod
    def preset(name: str) -> ModelConfig:
        """The named size: `base` (about 500k parameters), `small` (76k) or `nano` (4k).

        Raises:
            ConfigError: the name is none of the presets.
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise ConfigError(f"unknown preset {name!r}: expected one of {', '.join(PRESETS)}")
        return PRESETS[name]

    @property
    def preset_name(self) -> str:
        """The preset that has this shape, whatever its dropout, features and linear term, or "custom"."""
        for name, preset in PRESETS.items():
            bare = dataclasses.replace(self, dropout=preset.dropout, linear_term=False)
            same_shape = dataclasses.replace(bare, feature_set=preset.feature_set) == preset
            if same_shape and self.feature_set in FEATURE_COUNTS:
                return name
        return "custom"


PRESETS: dict[str, ModelConfig] = {
    "base": ModelConfig(),
    "small": ModelConfig(hidden_dim=64, num_layers=2),
    "nano": ModelConfig(hidden_dim=16, d_state=8, num_layers=1),
}
