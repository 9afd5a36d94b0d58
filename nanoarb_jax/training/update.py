"""One update of the weights, as a pure function of the training state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nanoarb_jax.config import TrainConfig
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.model.losses import distillation_loss, weighted_cross_entropy
from nanoarb_jax.model.mamba import MambaLOB, ModelState
from nanoarb_jax.model.transform import Statistic
from nanoarb_jax.training.batch import Batch
from nanoarb_jax.training.optimizer import average_weights

# ticks between the states kept for the backward pass; on a CPU 4 was fastest of 2, 4, 8, 16
CHECKPOINT_TICKS = 4
_JITTER = 2**31 - 1  # folded into the key, so that the jitter's random numbers are others than dropout's


class TrainState(NamedTuple):
    """All that changes from update to update."""

    update: Any  # () int32, updates done
    params: Any
    average: Any  # moving average of params
    optimizer: Any
    carried: Any  # ModelState of each lane after its last chunk
    teacher: Any  # ModelState, the same of the teacher; None without one
    loss: Any  # () sum over the epoch's updates, kept on the device so that no update waits for the host


Update = Callable[[TrainState, Batch], TrainState]


def initial_state(
    model: MambaLOB, optimizer: optax.GradientTransformation, lanes: int, teacher: MambaLOB | None = None
) -> TrainState:
    """The state before the first update."""
    params = nnx.state(model, nnx.Param)
    own = jax.tree.map(jnp.copy, params)  # copied, since updates donate their state and the model must keep its arrays
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


class Shardings(NamedTuple):
    """Where arrays lie on several devices: lanes are shared out, the rest is everywhere."""

    state: TrainState
    everywhere: NamedSharding
    lanes: NamedSharding  # (s, ...)
    updates: NamedSharding  # (u, s, ...)


def shardings(mesh: Mesh) -> Shardings:
    """On the devices of a mesh with the axis "data"."""
    everywhere, lanes, updates = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",), (None, "data")))
    state = TrainState(everywhere, everywhere, everywhere, everywhere, lanes, lanes, everywhere)
    return Shardings(state, everywhere, lanes, updates)


class _Lanes(NamedTuple):
    """Some lanes of an update: what they are shown, and the states that they begin with."""

    batch: Batch
    carried: ModelState
    teacher: Any


Totals = tuple[jax.Array, jax.Array]  # known labels and counted ticks of all lanes of an update
States = tuple[ModelState, Any]  # of the student and of the teacher
LanesLoss = Callable[[Any, _Lanes, jax.Array, Totals], tuple[jax.Array, States]]
# (parameters, lanes, key, totals) -> ((loss, states), gradients), as `jax.value_and_grad` returns them
Gradient = Callable[[Any, _Lanes, jax.Array, Totals], tuple[tuple[jax.Array, States], Any]]


def make_update(
    model: MambaLOB,
    optimizer: optax.GradientTransformation,
    config: TrainConfig,
    class_weights: jax.Array | None,
    teacher: MambaLOB | None = None,
    *,
    logit_offset: jax.Array | None = None,
) -> Update:
    """Build the update.

    Args:
        model: gives the structure and the frozen statistics; its parameters are not read.
        optimizer: see `make_optimizer`.
        config: objective, loss, averaging, seed, and in how many groups the lanes are worked through.
        class_weights: (c,) or None.
        teacher: scans the same chunks as the student, forward only, without dropout and with a state of its own; the
            loss is then `teacher_weight` parts `distillation_loss` and the rest the loss against the labels.
        logit_offset: (h, c), added to the logits that the labels are compared with; None: 0.

    Returns:
        `(state, batch) -> state`, to be compiled, see `make_advance`.
    """
    ticks = slice(-1 if config.objective == "window" else None, None)
    loss = _make_loss(model, config, class_weights, teacher, logit_offset, ticks)
    gradient: Gradient = jax.value_and_grad(loss, has_aux=True)
    if config.accumulate > 1:
        gradient = _in_groups(gradient, config.accumulate)

    def update(state: TrainState, batch: Batch) -> TrainState:
        key = jax.random.fold_in(jax.random.key(config.seed), state.update)
        totals = jnp.sum(_known_labels(batch)[:, ticks] >= 0), jnp.sum(batch.counted[:, ticks])
        lanes = _Lanes(batch, state.carried, state.teacher)
        (loss, states), gradients = gradient(state.params, lanes, key, totals)
        changes, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, changes)
        average = average_weights(params, state.average, state.update, config.ema_decay)
        return TrainState(state.update + 1, params, average, optimizer_state, *states, state.loss + loss)

    return update


def _make_loss(
    model: MambaLOB,
    config: TrainConfig,
    class_weights: jax.Array | None,
    teacher: MambaLOB | None,
    logit_offset: jax.Array | None,
    ticks: slice,
) -> LanesLoss:
    """The share that some lanes have in the loss of an update, and the states after them.

    Shares of all lanes add up to the loss: each is a mean over the samples of its lanes, times the part that these are
    of all samples. Arguments are those of `make_update`; `ticks` are those of a chunk that have a loss.
    """
    graph, _, *frozen = nnx.split(model, nnx.Param, Statistic)

    def loss_of(params: Any, lanes: _Lanes, key: jax.Array, totals: Totals) -> tuple[jax.Array, States]:
        batch, teacher_state = lanes.batch, None
        logits, carried = nnx.merge(graph, params, *frozen).scan(
            batch.features,
            _clear(lanes.carried, batch.fresh),
            dropout_key=key,
            input_offset=_jitter(config.input_jitter, key, model, len(batch.features)),
            checkpoint_ticks=CHECKPOINT_TICKS,
        )  # (s, l, h, c)
        logits = _samples(logits, ticks)
        labels, weights = (_samples(a, ticks) for a in (_known_labels(batch), batch.weights))
        adjusted = logits if logit_offset is None else logits + logit_offset[None]
        loss = weighted_cross_entropy(adjusted, labels, weights, class_weights) * _share(labels >= 0, totals[0])
        if teacher is not None:
            teacher_logits, teacher_state = teacher.scan(batch.features, _clear(lanes.teacher, batch.fresh))
            counted, teacher_logits = (_samples(a, ticks) for a in (batch.counted, teacher_logits))
            distance = distillation_loss(logits, teacher_logits, config.teacher_temperature, counted)
            weight = config.teacher_weight
            loss = (1 - weight) * loss + weight * distance * _share(counted, totals[1])
        return loss, (carried, teacher_state)

    return loss_of


def _in_groups(gradient: Gradient, groups: int) -> Gradient:
    """The same gradient, worked out for one group of lanes after another and added up, in less memory.

    Each group has its own forward and backward pass, and dropout of its own.
    """

    def grouped(params: Any, lanes: _Lanes, key: jax.Array, totals: Totals) -> tuple[tuple[jax.Array, States], Any]:
        def add(sums: Any, group: tuple[jax.Array, _Lanes]) -> tuple[Any, States]:
            number, some = group
            (loss, states), gradients = gradient(params, some, jax.random.fold_in(key, number), totals)
            return jax.tree.map(jnp.add, sums, (loss, gradients)), states

        numbered = jnp.arange(groups), jax.tree.map(lambda a: _grouped(a, groups), lanes)
        nothing = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        (loss, gradients), states = jax.lax.scan(add, nothing, numbered)
        return (loss, jax.tree.map(_joined, states)), gradients

    return grouped


def _jitter(size: float, key: jax.Array, model: MambaLOB, lanes: int) -> jax.Array | None:
    """A random offset for each lane and input of the model; None where there is no jitter."""
    if size == 0:
        return None
    return size * jax.random.normal(jax.random.fold_in(key, _JITTER), (lanes, model.transform.output_dim))


def _known_labels(batch: Batch) -> jax.Array:
    """Labels (s, l, h); those of ticks that do not count in the loss are unknown, too."""
    return jnp.where(batch.counted[..., None], batch.labels, UNDEFINED)


def _samples(array: jax.Array, ticks: slice) -> jax.Array:
    """These ticks of all lanes, as samples of one axis: (s, l, ...) to (b, ...)."""
    return array[:, ticks].reshape(-1, *array.shape[2:])


def _share(mask: jax.Array, total: jax.Array) -> jax.Array:
    """The part that the samples of a mask are of `total`: a mean over them weighs that much in the mean over all."""
    return jnp.sum(mask) / jnp.maximum(total, 1)


def _grouped(lanes: jax.Array, groups: int) -> jax.Array:
    """(s, ...) to (groups, s / groups, ...): every groups-th lane together, so that each device has some of each."""
    return jnp.moveaxis(lanes.reshape(-1, groups, *lanes.shape[1:]), 1, 0)


def _joined(groups: jax.Array) -> jax.Array:
    """The lanes in their own order again: the inverse of `_grouped`."""
    return jnp.moveaxis(groups, 0, 1).reshape(-1, *groups.shape[2:])


def _clear(state: ModelState, fresh: jax.Array) -> ModelState:
    """Zero the lanes that start anew."""
    return jax.tree.map(lambda a: jnp.where(fresh.reshape(-1, *(1,) * (a.ndim - 1)), 0.0, a), state)
