"""One update of a tiny model, and the same written plainly."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from nanoarb_jax.config import ModelConfig, TrainConfig
from nanoarb_jax.model.mamba import MambaLOB, ModelState
from nanoarb_jax.model.transform import Statistic
from nanoarb_jax.training.batch import Batch
from nanoarb_jax.training.update import TrainState, Update, make_update
from support.random_model import random_model

LANES, TICKS, STEP = 3, 20, 0.1


def small(dropout: float = 0.0) -> MambaLOB:
    return random_model(ModelConfig(hidden_dim=8, d_state=4, num_layers=1, horizons=(2, 5), dropout=dropout))


def batch_of(seed: int, fresh: list[bool]) -> Batch:
    rng, lanes = np.random.default_rng(seed), len(fresh)
    return Batch(
        rng.normal(size=(lanes, TICKS, 44)).astype(np.float32),
        rng.integers(0, 3, (lanes, TICKS, 2)).astype(np.int32),
        rng.uniform(0.5, 2, (lanes, TICKS, 2)).astype(np.float32),
        np.array(fresh),
        np.ones((lanes, TICKS), bool),
    )


FIRST, SECOND = batch_of(0, [True] * LANES), batch_of(1, [False, True, False])


class Twin(NamedTuple):
    """What an update should compute, written plainly."""

    model: MambaLOB
    settings: TrainConfig
    class_weights: Any = None
    logit_offset: Any = np.zeros((2, 3), np.float32)
    counted: Any = np.ones((LANES, TICKS), bool)

    def scan(self, params: Any, batch: Batch, carried: ModelState, key: Any = None) -> tuple[jax.Array, ModelState]:
        graph, _, statistics = nnx.split(self.model, nnx.Param, Statistic)
        return nnx.merge(graph, params, statistics).scan(batch.features, carried, dropout_key=key)

    def loss(self, params: Any, batch: Batch, carried: ModelState, key: Any = None) -> jax.Array:
        logits, _ = self.scan(params, batch, carried, key)
        rows = slice(-1, None) if self.settings.objective == "window" else slice(None)
        logits, labels, weights = (a[:, rows].reshape(-1, *a.shape[2:]) for a in (logits, *batch[1:3]))
        each = weights * optax.softmax_cross_entropy_with_integer_labels(logits + self.logit_offset[None], labels)
        if self.class_weights is not None:
            each *= self.class_weights[labels]
        return each[self.counted[:, rows].ravel()].mean()


def clear(state: ModelState, lane: int) -> ModelState:
    return jax.tree.map(lambda a: a.at[lane].set(0.0), state)


def copied(state: TrainState) -> TrainState:
    """The update takes over what it is given."""
    return jax.tree.map(jnp.copy, state)


def compiled(*arguments: Any, **settings: Any) -> Update:
    """`make_update` as a run compiles it: the state is donated."""
    return jax.jit(make_update(*arguments, **settings), donate_argnums=0)


def assert_near(measured: Any, expected: Any) -> None:
    for one, other in zip(jax.tree.leaves(measured), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


class Summing(nnx.Module):
    """The least model with a state, quick to compile: logits of the sum of all features so far."""

    def __init__(self, seed: int, horizons: int = 2):
        self.kernel = nnx.Param(jax.random.normal(jax.random.key(seed), (44, 3 * horizons)) / 44)

    def initial_state(self, batch: int) -> jax.Array:
        return jnp.zeros((batch, 44))

    def scan(self, x: jax.Array, state: jax.Array, **_: Any) -> tuple[jax.Array, jax.Array]:
        sums = state[:, None] + jnp.cumsum(x, axis=1)
        return jnp.tanh(sums @ self.kernel[...]).reshape(*x.shape[:2], -1, 3), sums[:, -1]
