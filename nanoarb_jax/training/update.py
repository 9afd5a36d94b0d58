"""One update of the weights, as a pure jitted function of the training state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from nanoarb_jax.config import TrainConfig
from nanoarb_jax.market.labels import UNDEFINED
from nanoarb_jax.model.losses import distillation_loss, expected_pnl_loss, transaction_cost_aware_loss
from nanoarb_jax.model.mamba import MambaLOB, ModelState
from nanoarb_jax.model.transform import Statistic
from nanoarb_jax.training.batch import Batch
from nanoarb_jax.training.optimizer import average_weights

# ticks between the states kept for the backward pass; on a CPU 8 was fastest of 4, 8, 16
CHECKPOINT_TICKS = 8


class TrainState(NamedTuple):
    """All that changes from update to update."""

    update: jax.Array  # () int32, updates done
    params: Any
    average: Any  # moving average of params
    optimizer: Any
    carried: ModelState  # state of each lane after its last chunk
    teacher: Any  # ModelState, the same of the teacher; None without one
    loss: jax.Array  # () sum over the epoch's updates, kept on the device so that no update waits for the host


Update = Callable[[TrainState, Batch], TrainState]


def initial_state(
    model: MambaLOB, optimizer: optax.GradientTransformation, lanes: int, teacher: MambaLOB | None = None
) -> TrainState:
    """The state before the first update."""
    params = nnx.state(model, nnx.Param)
    own = jax.tree.map(jnp.copy, params)  # donated later: the model keeps its arrays
    average = jax.tree.map(jnp.copy, params)
    return TrainState(
        update=jnp.zeros((), jnp.int32),
        params=own,
        average=average,
        optimizer=optimizer.init(own),
        carried=model.initial_state(lanes),
        teacher=None if teacher is None else teacher.initial_state(lanes),
        loss=jnp.zeros(()),
    )


def make_update(
    model: MambaLOB,
    optimizer: optax.GradientTransformation,
    config: TrainConfig,
    class_weights: jax.Array | None,
    teacher: MambaLOB | None = None,
    *,
    logit_offset: jax.Array | None = None,
) -> Update:
    """Compile the update.

    Args:
        model: gives the structure and the frozen statistics; its parameters are not read.
        optimizer: see `make_optimizer`.
        config: objective, loss, averaging and seed.
        class_weights: (c,) or None.
        teacher: scans the same chunks as the student, forward only, without dropout and with a state of its own; the
            loss is then `teacher_weight` parts `distillation_loss` and the rest the loss against the labels.
        logit_offset: (h, c), added to the logits that the labels are compared with; None: 0.

    Returns:
        `(state, batch) -> state`; the state passed in is donated.
    """
    graph, _, *frozen = nnx.split(model, nnx.Param, Statistic)

    def loss_of(params: Any, state: TrainState, batch: Batch, taught: jax.Array | None) -> tuple[jax.Array, ModelState]:
        net = nnx.merge(graph, params, *frozen)
        key = jax.random.fold_in(jax.random.key(config.seed), state.update)
        logits, carried = net.scan(
            batch.features, _clear(state.carried, batch.fresh), dropout_key=key, checkpoint_ticks=CHECKPOINT_TICKS
        )  # (s, l, h, c)
        last = slice(-1 if config.objective == "window" else None, None)
        labels = jnp.where(batch.counted[..., None], batch.labels, UNDEFINED)
        logits, labels, moves, costs = (_samples(a, last) for a in (logits, labels, batch.moves, batch.costs))
        adjusted = logits if logit_offset is None else logits + logit_offset[None]
        loss = label_loss(adjusted, labels, moves, costs, config, class_weights)
        if taught is not None:
            counted = _samples(batch.counted, last)
            distance = distillation_loss(logits, _samples(taught, last), config.teacher_temperature, counted)
            loss = (1 - config.teacher_weight) * loss + config.teacher_weight * distance
        return loss, carried

    def update(state: TrainState, batch: Batch) -> TrainState:
        taught = teacher_state = None
        if teacher is not None:
            taught, teacher_state = teacher.scan(batch.features, _clear(state.teacher, batch.fresh))
        (loss, carried), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params, state, batch, taught)
        changes, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, changes)
        average = average_weights(params, state.average, state.update, config.ema_decay)
        return TrainState(state.update + 1, params, average, optimizer_state, carried, teacher_state, state.loss + loss)

    return jax.jit(update, donate_argnums=0)


def label_loss(
    logits: jax.Array,
    labels: jax.Array,
    moves: jax.Array,
    costs: jax.Array,
    config: TrainConfig,
    class_weights: jax.Array | None,
) -> jax.Array:
    """The settings' loss against the labels: logits (b, h, c), the others (b, h), see `Batch`."""
    cap = config.magnitude_cap
    if config.loss == "expected-pnl":
        # cut at the costs and a fixed profit, not at a fixed move: a trade must be able to pay at any spread
        return expected_pnl_loss(logits, jnp.clip(moves, -costs - cap, costs + cap), costs, known=labels >= 0)
    if config.loss == "cross-entropy":
        return transaction_cost_aware_loss(
            logits, labels, spread_penalty=0.0, slippage_estimate=0.0, class_weights=class_weights
        )
    return transaction_cost_aware_loss(
        logits,
        labels,
        jnp.minimum(jnp.abs(moves), cap),
        spread_penalty=config.spread_penalty,
        slippage_estimate=config.slippage_estimate,
        class_weights=class_weights,
    )


def _samples(array: jax.Array, ticks: slice) -> jax.Array:
    """These ticks of all lanes in one line: (s, l, ...) to (b, ...)."""
    return array[:, ticks].reshape(-1, *array.shape[2:])


def _clear(state: ModelState, fresh: jax.Array) -> ModelState:
    """Zero the lanes that start anew."""
    return jax.tree.map(lambda a: jnp.where(fresh.reshape(-1, *(1,) * (a.ndim - 1)), 0.0, a), state)
