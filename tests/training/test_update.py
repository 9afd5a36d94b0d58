"""One update of the weights: the loss, the state carried on, the optimizer."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from nanoarb_jax.artifacts.checkpoint import named_arrays
from nanoarb_jax.config import TrainConfig
from nanoarb_jax.training.batch import Batch
from nanoarb_jax.training.optimizer import average_weights, decay_mask, make_optimizer
from nanoarb_jax.training.update import _jitter, initial_state
from support.updates import (
    FIRST,
    LANES,
    SECOND,
    STEP,
    TICKS,
    Summing,
    Twin,
    assert_near,
    clear,
    compiled,
    copied,
    small,
)

KERNELS = {
    "input_proj.kernel", "blocks.0.in_proj.kernel", "blocks.0.conv_kernel", "blocks.0.x_proj.kernel",
    "blocks.0.dt_proj.kernel", "blocks.0.out_proj.kernel", "heads.kernel_in", "heads.kernel_out",
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("compile_quickly")


BURNT = np.arange(TICKS)[None] >= np.array([[TICKS // 2], [0], [0]])


def test_streams_carry_their_state_and_cut_the_gradient() -> None:
    model = small()
    before = {name: array.copy() for name, array in named_arrays(model).items()}
    settings = TrainConfig(input_jitter=0.0, ema_decay=0.5)
    twin, optimizer = Twin(model, settings), optax.sgd(STEP)
    loss_and_gradient = jax.jit(jax.value_and_grad(twin.loss))
    update, start = compiled(model, optimizer, settings, None), initial_state(model, optimizer, LANES)
    params, given = start.params, copied(start)

    one = update(given, FIRST)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((given.params, given.carried)))
    loss, gradient = loss_and_gradient(params, FIRST, model.initial_state(LANES))
    assert_near(one.loss, loss)
    after = jax.tree.map(lambda p, g: p - STEP * g, params, gradient)
    assert_near(one.params, after)
    _, carried = jax.jit(twin.scan)(params, FIRST, model.initial_state(LANES))
    assert_near(one.carried, carried)
    assert_near(one.average, jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, params, after))
    assert int(one.update) == 1

    # the second chunk goes on from the states of the first, as they are: no gradient into how they came about
    two = update(copied(one), SECOND)
    loss, gradient = loss_and_gradient(one.params, SECOND, clear(one.carried, lane=1))
    assert_near(two.loss - one.loss, loss)
    assert_near(two.params, jax.tree.map(lambda p, g: p - STEP * g, one.params, gradient))
    for wrong in (one.carried, model.initial_state(LANES)):  # lane 1 not cleared; nothing carried
        assert abs(float(loss_and_gradient(one.params, SECOND, wrong)[0] - loss)) > 6e-5

    # and the model that gave the structure keeps its weights
    assert all(np.array_equal(array, before[name]) for name, array in named_arrays(model).items())


def test_windows_count_their_last_tick_only() -> None:
    model, settings = small(), TrainConfig(input_jitter=0.0, objective="window")
    optimizer = optax.sgd(STEP)
    update = compiled(model, optimizer, settings, None)
    start = initial_state(model, optimizer, LANES)
    fresh = FIRST._replace(fresh=np.ones(LANES, bool))
    one = update(copied(start), fresh)
    assert_near(one.loss, jax.jit(Twin(model, settings).loss)(start.params, fresh, model.initial_state(LANES)))
    for field in ("labels", "weights"):
        other = getattr(SECOND, field).copy()
        other[:, -1] = getattr(FIRST, field)[:, -1]
        changed = fresh._replace(**{field: other})
        assert_near(update(copied(start), changed), one)
    # windows are independent: whatever is left in the lanes does not matter
    again = update(copied(start)._replace(carried=jax.tree.map(jnp.ones_like, start.carried)), fresh)
    assert_near(again, one)


def test_cross_entropy_class_weights_and_dropout() -> None:
    """Also logits adjusted per horizon, and a lane whose first half is burn-in."""
    model, settings = small(dropout=0.5), TrainConfig(input_jitter=0.0, loss="cross-entropy", seed=5)
    weights, optimizer = jnp.array([3.0, 0.5, 1.5]), optax.sgd(STEP)
    offset = jnp.array([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]])
    update = compiled(model, optimizer, settings, weights, logit_offset=offset)
    start = initial_state(model, optimizer, LANES)
    loss_of = jax.jit(lambda class_weights, *given: Twin(model, settings, class_weights, offset, BURNT).loss(*given))
    losses = []
    for number in (0, 7):
        state = copied(start)._replace(update=jnp.int32(number))
        key = jax.random.fold_in(jax.random.key(5), number)
        losses.append(float(update(state, FIRST._replace(counted=BURNT)).loss))
        assert losses[-1] == pytest.approx(float(loss_of(weights, start.params, FIRST, start.carried, key)), rel=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-3
    unweighted = loss_of(jnp.ones(3), start.params, FIRST, start.carried, key)
    assert abs(float(unweighted) - losses[1]) > 1e-3


def test_groups_of_lanes_come_to_the_same() -> None:
    """Two groups of two lanes: their gradients weigh as their known labels do, and each lane goes on from its own."""
    model: Any = Summing(0)
    teacher: Any = Summing(1)
    first, second = (Batch(*(np.concatenate([a, -a[:1] if a.dtype == np.float32 else a[:1]]) for a in batch))
                     for batch in (FIRST, SECOND))  # fmt: skip
    first.labels[0], second.counted[1, :15] = -1, False
    settings, optimizer, states = (
        TrainConfig(input_jitter=0.0, teacher="teacher", teacher_weight=0.4),
        optax.sgd(STEP),
        [],
    )
    for groups in (1, 2):
        config = dataclasses.replace(settings, accumulate=groups)
        update = compiled(model, optimizer, config, None, teacher)
        states.append(update(update(initial_state(model, optimizer, LANES + 1, teacher), first), second))
    assert_near(*states)
    assert np.abs(states[0].params["kernel"][...] - model.kernel[...]).max() > 1e-3


def by_name(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(tree))
    return {".".join(str(part.key) for part in path): leaf for path, leaf in leaves}


def test_weight_decay_is_for_kernels_only() -> None:
    params = nnx.state(small(), nnx.Param)
    assert {name for name, decays in by_name(decay_mask(params)).items() if decays} == KERNELS
    others = set(by_name(params)) - KERNELS
    assert {"blocks.0.A_log", "blocks.0.D", "blocks.0.dt_proj.bias", "blocks.0.conv_bias", "norms.0.scale",
            "input_norm.bias", "heads.bias_in", "heads.bias_out"} < others  # fmt: skip
    # what an update without a gradient changes is what decays
    optimizer = make_optimizer(TrainConfig(warmup_fraction=0.0), updates=10)
    state, zero = optimizer.init(params), jax.tree.map(jnp.zeros_like, params)
    update = jax.jit(optimizer.update)
    for _ in range(2):  # the first has a rate of 0
        changes, state = update(zero, state, params)
    assert {name for name, change in by_name(changes).items() if np.asarray(change).any()} == KERNELS


def test_schedule() -> None:
    """Read off the decay: without a gradient, a kernel of 1 changes by -rate · weight_decay."""
    config = TrainConfig(lr=0.5, warmup_fraction=0.2, final_lr_fraction=0.1, weight_decay=0.25)
    optimizer, params = make_optimizer(config, updates=20), {"kernel": jnp.ones(1)}
    state, rates = optimizer.init(params), []
    for _ in range(21):
        changes, state = optimizer.update({"kernel": jnp.zeros(1)}, state, params)
        rates.append(-float(changes["kernel"][0]) / 0.25)
    cosine = [0.5 * (0.1 + 0.9 * (1 + math.cos(math.pi * i / 16)) / 2) for i in range(17)]
    np.testing.assert_allclose(rates, [0.0, 0.125, 0.25, 0.375, *cosine], rtol=1e-5, atol=1e-7)


def test_gradients_are_clipped_together() -> None:
    optimizer, params = make_optimizer(TrainConfig(clip_norm=1.0), 10), {"a": jnp.zeros(3), "b": jnp.zeros(2)}

    def moment(size: float) -> Any:
        gradient = {"a": jnp.full(3, size), "b": jnp.full(2, 2 * size)}
        return optimizer.update(gradient, optimizer.init(params), params)[1][1][0].mu

    norm = math.sqrt(3 + 8)
    for size in (1.0, 1e6):
        np.testing.assert_allclose(moment(size)["b"], 0.1 * 2 / norm, rtol=1e-5)
    np.testing.assert_allclose(moment(0.01)["b"], 0.1 * 0.02, rtol=1e-5)


@pytest.mark.parametrize("beta2", [0.0, 0.99, 0.999])
def test_decay_of_squared_gradients(beta2: float) -> None:
    optimizer, params = make_optimizer(TrainConfig(beta2=beta2), 10), {"a": jnp.zeros(1)}
    _, state = optimizer.update({"a": jnp.full(1, 0.5)}, optimizer.init(params), params)
    np.testing.assert_allclose(state[1][0].nu["a"], (1 - beta2) * 0.25, rtol=1e-4)
    assert TrainConfig().beta2 == 0.99


def test_average_forgets_the_initial_weights() -> None:
    average = jnp.zeros(1)
    for update in range(200):
        average = average_weights(jnp.ones(1), average, jnp.int32(update), decay=0.99)
        if update == 0:
            assert float(average[0]) == pytest.approx(0.9)
    assert float(average[0]) > 0.999
    settled = average_weights(jnp.ones(1), jnp.zeros(1), jnp.int32(10**6), decay=0.99)
    assert float(settled[0]) == pytest.approx(0.01, rel=1e-4)


def test_jitter_is_an_offset_for_each_lane_and_input() -> None:
    key, model = jax.random.key(3), small()
    assert _jitter(0.0, key, model, 2) is None
    one, other = _jitter(0.5, key, model, 400), _jitter(0.5, jax.random.fold_in(key, 1), model, 400)
    assert one is not None and one.shape == (400, 55) and not np.allclose(one, other)
    np.testing.assert_allclose([np.mean(one), np.std(one)], [0.0, 0.5], atol=0.01)
