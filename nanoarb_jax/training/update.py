"""One update of the weights, as a pure jitted function of the training state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from nanoarb_jax.config import TrainConfig
from nanoarb_jax.model.losses import transaction_cost_aware_loss
from nanoarb_jax.model.mamba import MambaLOB, ModelState
from nanoarb_jax.model.transform import Statistic
from nanoarb_jax.training.optimizer import average_weights
from nanoarb_jax.training.plan import Batch

# ticks between the states kept for the backward pass; on a CPU 16 was fastest of 8, 16, 32
CHECKPOINT_TICKS = 16


class TrainState(NamedTuple):
    """All that changes from update to update."""

    update: jax.Array  # () int32, updates done
    params: Any
    average: Any  # moving average of params
    optimizer: Any
    carried: ModelState  # state of each lane after its last chunk
    loss: jax.Array  # () sum over the epoch's updates, kept on the device so that no update waits for the host


Update = Callable[[TrainState, Batch], TrainState]


def initial_state(model: MambaLOB, optimizer: optax.GradientTransformation, lanes: int) -> TrainState:
    """The state before the first update."""
    params = nnx.state(model, nnx.Param)
    own = jax.tree.map(jnp.copy, params)  # donated later: the model keeps its arrays
    average = jax.tree.map(jnp.copy, params)
    return TrainState(
        jnp.zeros((), jnp.int32), own, average, optimizer.init(own), model.initial_state(lanes), jnp.zeros(())
    )


def make_update(
    model: MambaLOB, optimizer: optax.GradientTransformation, config: TrainConfig, class_weights: jax.Array | None
) -> Update:
    """Compile the update.

    Args:
        model: gives the structure and the frozen statistics; its parameters are not read.
        optimizer: see `make_optimizer`.
        config: objective, loss, averaging and seed.
        class_weights: (c,) or None.

    Returns:
        `(state, batch) -> state`; the state passed in is donated.
    """
    graph, _, *frozen = nnx.split(model, nnx.Param, Statistic)

    def loss_of(params: Any, state: TrainState, batch: Batch) -> tuple[jax.Array, ModelState]:
        net = nnx.merge(graph, params, *frozen)
        key = jax.random.fold_in(jax.random.key(config.seed), state.update)
        carried = jax.tree.map(lambda a: _clear(a, batch.fresh), state.carried)
        logits, carried = net.scan(
            batch.features, carried, dropout_key=key, checkpoint_ticks=CHECKPOINT_TICKS
        )  # (s, l, h, c)
        labels, magnitudes = batch.labels, batch.magnitudes
        if config.objective == "window":
            logits, labels, magnitudes = logits[:, -1:], labels[:, -1:], magnitudes[:, -1:]
        logits, labels = logits.reshape(-1, *logits.shape[2:]), labels.reshape(-1, labels.shape[-1])
        if config.loss == "cost-aware":
            loss = transaction_cost_aware_loss(
                logits,
                labels,
                magnitudes.reshape(labels.shape),
                spread_penalty=config.spread_penalty,
                slippage_estimate=config.slippage_estimate,
                class_weights=class_weights,
            )
        else:
            loss = transaction_cost_aware_loss(
                logits, labels, spread_penalty=0.0, slippage_estimate=0.0, class_weights=class_weights
            )
        return loss, carried

    def update(state: TrainState, batch: Batch) -> TrainState:
        (loss, carried), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params, state, batch)
        changes, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, changes)
        average = average_weights(params, state.average, state.update, config.ema_decay)
        return TrainState(state.update + 1, params, average, optimizer_state, carried, state.loss + loss)

    return jax.jit(update, donate_argnums=0)


def _clear(array: jax.Array, fresh: jax.Array) -> jax.Array:
    """Zero the lanes that start anew."""
    return jnp.where(fresh.reshape(-1, *(1,) * (array.ndim - 1)), 0.0, array)
