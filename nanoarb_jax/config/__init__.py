"""Settings: frozen dataclasses for model, data and training, presets, TOML in and out. No arrays, and no JAX.

>>> nj.ModelConfig.preset("small").d_inner
128
"""

from nanoarb_jax.config.data import DataConfig, session_time, time_zone
from nanoarb_jax.config.input import InputSpec
from nanoarb_jax.config.model import CLASS_NAMES, PRESETS, ModelConfig
from nanoarb_jax.config.tables import Config, config_from_dict, load_config
from nanoarb_jax.config.train import TrainConfig

__all__ = [
    "CLASS_NAMES",
    "PRESETS",
    "Config",
    "DataConfig",
    "InputSpec",
    "ModelConfig",
    "TrainConfig",
    "config_from_dict",
    "load_config",
    "session_time",
    "time_zone",
]
