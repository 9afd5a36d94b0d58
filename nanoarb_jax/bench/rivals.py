"""Rivals of the model's size: what the same budget costs in a Transformer, and in the PyTorch original."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import jax
import numpy as np
from flax import nnx

from nanoarb_jax.serving.backends.jax.step import CPU_OPTIONS  # isort: skip – first: it sets JAX up before anything computes
from nanoarb_jax.bench.measure import Candidate
from nanoarb_jax.bench.model_paths import Windowed, jax_window
from nanoarb_jax.bench.torch_window import random_tensors, torch_window
from nanoarb_jax.bench.transformer import Cache, TransformerLOB
from nanoarb_jax.config import ModelConfig


class CachedTransformer:
    """The Transformer tick by tick, keys and values of the last `length` ticks kept on the device."""

    def __init__(self, model: TransformerLOB, length: int):
        definition, weights = nnx.split(model)
        self._cache = model.initial_cache(1, length)

        def step(x: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
            logits, cache = nnx.merge(definition, weights).step(x[None], cache)
            return jax.nn.softmax(logits[0]), cache

        x = jax.ShapeDtypeStruct((model.config.input_dim,), np.float32)
        options = CPU_OPTIONS if jax.default_backend() == "cpu" else None
        self._step = jax.jit(step, donate_argnums=1).lower(x, self._cache).compile(options)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probabilities (h, c) of one more tick."""
        probabilities, self._cache = self._step(features, self._cache)
        return np.asarray(probabilities)


def rivals(config: ModelConfig, transformer: TransformerLOB) -> list[Candidate]:
    """The Transformer over windows and with a cache, jitted; the PyTorch original over windows, eager."""
    length, features = config.window, config.input_dim
    return [
        Candidate("transformer_window", "window", lambda: jax_window(transformer, length, features)),
        Candidate("transformer_step", "step", lambda: CachedTransformer(transformer, length)),
        Candidate("torch_window", "window", lambda: Windowed(torch_window(config), length, features)),
    ]


def describe_rivals(config: ModelConfig, transformer: TransformerLOB) -> dict[str, Any]:
    """Their sizes."""
    weights = jax.tree.leaves(nnx.state(transformer, nnx.Param))
    return {
        "transformer": {
            "parameters": sum(leaf.size for leaf in weights),
            "layers": len(transformer.blocks),
            "width": config.hidden_dim,
            "feed_forward": transformer.feed_forward,
            "heads": transformer.blocks[0].heads,
        },
        "torch": {
            "parameters": sum(tensor.numel() for tensor in random_tensors(config).values()),
            "version": metadata.version("torch"),
            "threads": 1,
        },
    }
