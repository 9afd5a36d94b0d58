"""The model: one recurrence in three guises, causal, with the initial values and sizes of the design."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nanoarb_jax.config import PRESETS, ModelConfig
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.model.mamba import BlockState, MambaLOB, ModelState, dropout
from nanoarb_jax.simulation.market import synthetic_books
from support.random_model import random_model

CONFIGS = {
    "nano": ModelConfig.preset("nano"),
    "small": ModelConfig.preset("small"),
    "narrow base": ModelConfig(hidden_dim=32),
    "identity": ModelConfig(
        feature_set=10, hidden_dim=20, d_state=3, d_conv=3, expand=1, num_layers=2, horizons=(7, 8), dt_rank=5,
    ),
}  # fmt: skip
BATCH, TICKS = 2, 24
pytestmark = pytest.mark.usefixtures("compile_quickly")


class Case(NamedTuple):
    """A model, something for it to read, and its compiled functions."""

    model: MambaLOB
    x: np.ndarray  # (b, l, f)
    scan: Callable[..., tuple[jax.Array, ModelState]]
    step: Callable[..., tuple[jax.Array, ModelState]]

    def fresh(self) -> ModelState:
        return self.model.initial_state(BATCH)


@functools.cache
def case(name: str) -> Case:
    config = CONFIGS[name]
    model = random_model(config)
    if config.input_transform == "lob44":
        x = np.stack([lob44(synthetic_books(TICKS, seed), 4.0) for seed in range(BATCH)])
    else:
        x = np.random.default_rng(2).normal(size=(BATCH, TICKS, config.input_dim)).astype(np.float32)
    return Case(model, x, jax.jit(lambda x, state: model.scan(x, state)), jax.jit(model.step))


@functools.cache
def whole(name: str) -> tuple[jax.Array, ModelState]:
    """All ticks in one scan."""
    return case(name).scan(case(name).x, case(name).fresh())


def assert_near(measured: Any, expected: Any) -> None:
    """To 1e-5, leaf by leaf; relative where large, since a state holds raw prices too."""
    for one, other in zip(jax.tree.leaves(measured), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def in_chunks(name: str, edges: Sequence[int]) -> tuple[jax.Array, ModelState]:
    one = case(name)
    state, parts = one.fresh(), []
    for start, stop in pairwise(edges):
        logits, state = one.scan(one.x[:, start:stop], state)
        parts.append(logits)
    return jnp.concatenate(parts, axis=1), state


@pytest.mark.parametrize("name", CONFIGS)
def test_chunks_and_steps_and_the_window_are_one_scan(name: str) -> None:
    one, (logits, end) = case(name), whole(name)
    assert logits.shape == (BATCH, TICKS, len(one.model.config.horizons), 3) and logits.dtype == jnp.float32
    assert 0.3 < np.abs(logits).max() < 30  # so that 1e-5 means something
    assert_near(in_chunks(name, (0, 8, 16, 24)), (logits, end))
    state = one.fresh()
    for t in range(TICKS):
        now, state = one.step(one.x[:, t], state)
        assert_near(now, logits[:, t])
    assert_near(state, end)
    assert_near(jax.jit(lambda x: one.model(x))(one.x), logits[:, -1])


def test_chunks_of_any_length() -> None:
    """Every way to cut five ticks, most pieces shorter than the convolution."""
    expected = in_chunks("nano", (0, 5))
    assert_near(expected[0], whole("nano")[0][:, :5])
    for cuts in itertools.chain.from_iterable(itertools.combinations(range(1, 5), n) for n in range(1, 5)):
        assert_near(in_chunks("nano", (0, *cuts, 5)), expected)


def test_defaults_of_scan() -> None:
    """No state is a fresh one, and recomputing states for the gradient changes nothing."""
    one = case("identity")
    assert_near(jax.jit(lambda x: one.model.scan(x, checkpoint_ticks=7))(one.x), whole("identity"))


@pytest.mark.parametrize("name", ["nano", "identity"])
def test_nothing_comes_from_the_future(name: str) -> None:
    one, (before, _) = case(name), whole(name)
    for cut in (1, 9, TICKS - 1):
        changed = one.x.copy()
        changed[:, cut:] *= np.linspace(1, 2, one.x.shape[-1])
        after, _ = one.scan(changed, one.fresh())
        np.testing.assert_array_equal(after[:, :cut], before[:, :cut])
        assert (after[:, cut] != before[:, cut]).any(axis=(1, 2)).all()


@pytest.mark.parametrize("name", ["nano", "identity"])
def test_nothing_comes_from_another_stream(name: str) -> None:
    one, (before, end) = case(name), whole(name)
    changed = one.x.copy()
    changed[1] *= np.linspace(1, 2, one.x.shape[-1])
    after, state = one.scan(changed, one.fresh())
    np.testing.assert_array_equal(after[0], before[0])
    for was, now in zip(jax.tree.leaves(end), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(was[0], now[0])
    assert (after[1] != before[1]).any()
    alone, _ = one.scan(one.x[:1], one.model.initial_state(1))
    assert_near(alone[0], before[0])


def test_a_stream_that_has_not_started_has_no_previous_tick() -> None:
    one = case("nano")
    other = one.fresh()._replace(previous=jnp.full((BATCH, 44), 123.0))
    np.testing.assert_array_equal(one.scan(one.x, other)[0], whole("nano")[0])
    np.testing.assert_array_equal(one.step(one.x[:, 0], other)[0], one.step(one.x[:, 0], one.fresh())[0])
    _, end = whole("nano")
    assert (end.started == 1).all()
    np.testing.assert_array_equal(end.previous, one.x[:, -1])


def test_dropout_only_with_a_key() -> None:
    one = case("nano")
    scan = jax.jit(lambda key: one.model.scan(one.x, dropout_key=key)[0])
    first, again, other = (scan(jax.random.key(i)) for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != whole("nano")[0]).mean() > 0.9 and (first != other).mean() > 0.9


def test_dropout_keeps_the_mean() -> None:
    x = jnp.ones((100, 200))
    dropped = dropout(x, 0.2, jax.random.key(0))
    np.testing.assert_allclose(np.unique(dropped), [0.0, 256 / 205])  # a rate of 51 / 256
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    # draws of one word are independent, and a last axis need not be whole words
    kept = np.asarray(dropout(jnp.ones((20_000, 6)), 0.5, jax.random.key(1))) > 0
    np.testing.assert_allclose(np.corrcoef(kept.T), np.eye(6), atol=0.03)
    assert dropout(x, 0.2, None) is x and dropout(x, 0.0, jax.random.key(0)) is x


def test_initial_values() -> None:
    model, other = (MambaLOB(dataclasses.replace(CONFIGS["nano"], num_layers=2), rngs=nnx.Rngs(i)) for i in (0, 1))
    for block in model.blocks:
        np.testing.assert_allclose(np.exp(block.A_log[...]), np.tile(np.arange(1, 9), (32, 1)), rtol=1e-6)
        np.testing.assert_array_equal(block.D[...], np.ones(32))
    biases = np.concatenate([block.dt_proj.bias[...] for m in (model, other) for block in m.blocks])
    delta = np.asarray(jax.nn.softplus(biases))
    assert delta.min() >= 0.999e-3 and delta.max() <= 0.1001
    # log-uniform: half of them in each half of the logarithmic range, and near both ends
    assert 0.35 < (delta < 1e-2).mean() < 0.65
    assert delta.min() < 1.5e-3 and delta.max() > 0.07
    for kernel in (lambda block: block.in_proj.kernel[...], lambda block: block.dt_proj.bias[...]):
        assert (kernel(model.blocks[0]) != kernel(other.blocks[0])).any()
        assert (kernel(model.blocks[0]) != kernel(model.blocks[1])).any()


# the PyTorch original of the base size has 481,993: ours reads 55 channels, not 44 features, and has an A per channel
@pytest.mark.parametrize(
    ("name", "parameters"), [("base", 481_993 + 11 * 128 + 4 * 255 * 16), ("small", 75_785), ("nano", 4_041)]
)
def test_parameter_counts(name: str, parameters: int) -> None:
    model = nnx.eval_shape(lambda: MambaLOB(PRESETS[name], rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))) == parameters


def test_bfloat16_operands_are_close() -> None:
    one = case("small")
    rounded = random_model(CONFIGS["small"], jnp.bfloat16)
    logits, state = jax.jit(lambda x: rounded.scan(x))(one.x)
    expected, _ = whole("small")
    assert logits.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((state, nnx.state(rounded))))
    difference = np.abs(logits - expected)
    assert 1e-4 < difference.max() < 0.03 * np.abs(expected).max()


def test_finite_for_any_raw_input() -> None:
    one, rng = case("nano"), np.random.default_rng(0)
    for x in (
        rng.normal(size=one.x.shape),
        1e6 * rng.normal(size=one.x.shape),
        np.zeros(one.x.shape),
        1e-30 * rng.normal(size=one.x.shape),
    ):
        logits, state = one.scan(x.astype(np.float32), one.fresh())
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((logits, state)))


def test_state_arrays_are_buffers_of_their_own() -> None:
    """A compiled step may take over every array of the state it is given."""
    one = case("narrow base")
    state = one.fresh()
    assert [block.ssm.shape for block in state.blocks] == [(BATCH, 16, 64)] * 4
    assert [block.conv.shape for block in state.blocks] == [(BATCH, 3, 64)] * 4
    leaves = jax.tree.leaves(state)
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves) == 10
    donating = jax.jit(one.model.step, donate_argnums=1)
    _, after = donating(one.x[:, 0], state)
    assert all(leaf.is_deleted() for leaf in leaves)
    assert isinstance(after.blocks[0], BlockState)
    again, _ = donating(one.x[:, 1], after)
    assert_near(again, whole("narrow base")[0][:, 1])


def test_an_offset_of_the_inputs() -> None:
    """Without a transform, the same as other features; a stream has its own."""
    model = random_model(ModelConfig(feature_set=5, hidden_dim=8, d_state=4, num_layers=1))
    rng = np.random.default_rng(0)
    x, offset = rng.normal(size=(2, 7, 5)).astype(np.float32), rng.normal(size=(2, 5)).astype(np.float32)
    logits, _ = model.scan(x, input_offset=jnp.asarray(offset))
    np.testing.assert_allclose(logits, model.scan(x + offset[:, None])[0], rtol=1e-5, atol=1e-6)
