"""Predict short-term price moves from a limit order book, tick by tick (see README.md).

    import nanoarb_jax as nj
    model = nj.MambaLOB(nj.ModelConfig.preset("small"), rngs=nnx.Rngs(0))

Names load on first use, so that `nanoarb_jax.market` and the ONNX predictor never import JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanoarb_jax.config import Config, DataConfig, InputSpec, ModelConfig, TrainConfig
    from nanoarb_jax.data.dataset import open_dataset
    from nanoarb_jax.data.events import read_events
    from nanoarb_jax.data.instrument import Instrument
    from nanoarb_jax.data.windows import create_training_samples
    from nanoarb_jax.features.live import LobFeatureExtractor
    from nanoarb_jax.market.book.order_book import OrderBook
    from nanoarb_jax.market.event import EVENT, mark_messages
    from nanoarb_jax.market.series import BookSeries
    from nanoarb_jax.model.losses import transaction_cost_aware_loss
    from nanoarb_jax.model.mamba import MambaLOB
    from nanoarb_jax.model.ssm import selective_scan, selective_step
    from nanoarb_jax.model.torch_compat import load_torch_state_dict
    from nanoarb_jax.serving.batching import MicroBatcher
    from nanoarb_jax.serving.live import LivePredictor
    from nanoarb_jax.serving.metrics import ModelMetrics
    from nanoarb_jax.serving.prediction import Prediction
    from nanoarb_jax.serving.predictor import StepPredictor
    from nanoarb_jax.serving.swap import ModelRegistry
    from nanoarb_jax.serving.window import WindowPredictor
    from nanoarb_jax.trading.strategy import MlStrategy, Signal

__version__ = "0.1.0"

_HOME = {
    "open_dataset": "data.dataset",
    "mark_messages": "market.event",
    "read_events": "data.events",
    "LivePredictor": "serving.live",
    "Instrument": "data.instrument",
    "InputSpec": "config",
    "Config": "config",
    "DataConfig": "config",
    "ModelConfig": "config",
    "TrainConfig": "config",
    "create_training_samples": "data.windows",
    "BookSeries": "market.series",
    "EVENT": "market.event",
    "LobFeatureExtractor": "features.live",
    "OrderBook": "market.book.order_book",
    "transaction_cost_aware_loss": "model.losses",
    "MambaLOB": "model.mamba",
    "selective_scan": "model.ssm",
    "selective_step": "model.ssm",
    "load_torch_state_dict": "model.torch_compat",
    "MicroBatcher": "serving.batching",
    "ModelMetrics": "serving.metrics",
    "ModelRegistry": "serving.swap",
    "Prediction": "serving.prediction",
    "StepPredictor": "serving.predictor",
    "WindowPredictor": "serving.window",
    "MlStrategy": "trading.strategy",
    "Signal": "trading.strategy",
}

__all__ = [
    "EVENT",
    "BookSeries",
    "Config",
    "DataConfig",
    "InputSpec",
    "Instrument",
    "LivePredictor",
    "LobFeatureExtractor",
    "MambaLOB",
    "MicroBatcher",
    "MlStrategy",
    "ModelConfig",
    "ModelMetrics",
    "ModelRegistry",
    "OrderBook",
    "Prediction",
    "Signal",
    "StepPredictor",
    "TrainConfig",
    "WindowPredictor",
    "create_training_samples",
    "load_torch_state_dict",
    "mark_messages",
    "open_dataset",
    "read_events",
    "selective_scan",
    "selective_step",
    "transaction_cost_aware_loss",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'nanoarb_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"nanoarb_jax.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
