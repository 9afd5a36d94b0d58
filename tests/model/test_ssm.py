"""The recurrence against the Mamba authors' reference, a plain twin, and itself tick by tick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nanoarb_jax as nj
from support.examples import examples

pytestmark = pytest.mark.usefixtures("compile_quickly")
compiled = jax.jit(nj.selective_scan, static_argnames="checkpoint_ticks")


def relative(measured: Any, expected: Any) -> float:
    """The larger of the two relative differences: in norm, and of the worst element."""
    difference, size = np.asarray(measured, np.float64) - expected, np.asarray(expected, np.float64)
    return max(np.linalg.norm(difference) / np.linalg.norm(size), np.abs(difference).max() / np.abs(size).max())


def twin(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, h: Any) -> tuple[np.ndarray, np.ndarray]:
    """The recurrence as the paper writes it, in float64."""
    h, y = np.array(h, np.float64), np.zeros(u.shape)
    for t in range(u.shape[1]):
        for b in range(u.shape[0]):
            for d in range(u.shape[2]):
                h[b, d] = np.exp(delta[b, t, d] * A[d]) * h[b, d] + delta[b, t, d] * B[b, t] * u[b, t, d]
                y[b, t, d] = C[b, t] @ h[b, d] + D[d] * u[b, t, d]
    return y, h


def inputs(b: int, length: int, d: int, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: array.astype(np.float32)
        for name, array in {
            "u": rng.normal(size=(b, length, d)),
            "delta": rng.uniform(0.0, 2.0, (b, length, d)),
            "A": -rng.uniform(0.01, 5.0, (d, n)),
            "B": rng.normal(size=(b, length, n)),
            "C": rng.normal(size=(b, length, n)),
            "D": rng.normal(size=d),
            "initial_state": rng.normal(size=(b, d, n)),
        }.items()
    }


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "selective_scan_reference.npz") as file:
        return dict(file)


def as_reference(checkpoint_ticks: int | None) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Our scan in the reference's layout (B, D, L), with its softplus before and its gate behind."""

    def run(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, delta_bias: Any) -> tuple[jax.Array, jax.Array]:
        u, delta, B, C, z = (jnp.swapaxes(a, 1, 2) for a in (u, delta, B, C, z))
        delta = jax.nn.softplus(delta + delta_bias[None, None, :])
        y, last = nj.selective_scan(u, delta, A, B, C, D, checkpoint_ticks=checkpoint_ticks)
        return jnp.swapaxes(y * jax.nn.silu(z), 1, 2), last

    return run


@pytest.mark.parametrize("checkpoint_ticks", [None, 5])  # 5 does not divide the 64 ticks
def test_reference_and_its_gradients(reference: dict[str, np.ndarray], checkpoint_ticks: int | None) -> None:
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    run = as_reference(checkpoint_ticks)

    def weighted(*arguments: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        out, last = run(*arguments)
        return jnp.sum(out * reference["cotangent"]), (out, last)

    derive = jax.jit(jax.grad(weighted, argnums=tuple(range(len(names))), has_aux=True))
    gradients, (out, last) = derive(*(reference[name] for name in names))
    assert relative(out, reference["out"]) <= 1e-4
    assert relative(last, reference["last_state"]) <= 1e-4
    for name, gradient in zip(names, gradients, strict=True):
        assert relative(gradient, reference[f"grad_{name}"]) <= 1e-4, name


@settings(deadline=None, max_examples=examples(10), database=None)
@given(
    b=st.integers(1, 3),
    length=st.integers(1, 12),
    d=st.integers(1, 4),
    n=st.integers(1, 5),
    checkpoint_ticks=st.none() | st.integers(1, 13),
    seed=st.integers(0, 99),
)
def test_plain_twin(b: int, length: int, d: int, n: int, checkpoint_ticks: int | None, seed: int) -> None:
    given_ = inputs(b, length, d, n, seed)
    y, last = nj.selective_scan(**given_, checkpoint_ticks=checkpoint_ticks)
    expected, expected_last = twin(*given_.values())
    assert y.shape == (b, length, d) and last.shape == (b, d, n)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last, expected_last, rtol=1e-4, atol=1e-5)


def test_defaults_are_no_skip_and_a_zero_state() -> None:
    given_ = inputs(2, 7, 3, 4)
    given_ |= {"D": np.zeros_like(given_["D"]), "initial_state": np.zeros_like(given_["initial_state"])}
    bare = {name: given_[name] for name in ("u", "delta", "A", "B", "C")}
    for one, other in zip(nj.selective_scan(**bare), nj.selective_scan(**given_), strict=True):
        np.testing.assert_array_equal(one, other)
    tick = [given_["u"][:, 0], given_["delta"][:, 0], given_["A"], given_["B"][:, 0], given_["C"][:, 0]]
    y, _ = nj.selective_step(*tick, None, given_["initial_state"])
    np.testing.assert_allclose(y, nj.selective_scan(**bare)[0][:, 0], rtol=1e-6)


def test_is_a_lax_scan() -> None:
    given_ = inputs(1, 8, 2, 2)
    for checkpoint_ticks, length in ((None, 8), (3, 3)):
        jaxpr = jax.make_jaxpr(lambda g, c=checkpoint_ticks: nj.selective_scan(**g, checkpoint_ticks=c))(given_).jaxpr
        if checkpoint_ticks is not None:  # inside the function with a gradient of its own
            jaxpr = next(e for e in jaxpr.eqns if e.primitive.name == "custom_vjp_call").params["call_jaxpr"].jaxpr
        scans = [equation for equation in jaxpr.eqns if equation.primitive.name == "scan"]
        assert [scan.params["length"] for scan in scans] == [length]


def test_steps_and_chained_scans_are_one_scan() -> None:
    given_ = inputs(2, 24, 5, 4)
    y, last = compiled(**given_)
    A, D = given_["A"], given_["D"]
    step = jax.jit(nj.selective_step)
    state = jnp.asarray(given_["initial_state"])
    for t in range(24):
        u_t, delta_t, B_t, C_t = (given_[name][:, t] for name in ("u", "delta", "B", "C"))
        y_t, state = step(u_t, delta_t, A, B_t, C_t, D, state)
        np.testing.assert_allclose(y_t, y[:, t], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(state, last, rtol=1e-5, atol=1e-5)

    for cut in (1, 10, 23):
        parts = [{k: a[:, s] if k in ("u", "delta", "B", "C") else a for k, a in given_.items()}
                 for s in (slice(None, cut), slice(cut, None))]  # fmt: skip
        first, state = nj.selective_scan(**parts[0])
        second, state = nj.selective_scan(**(parts[1] | {"initial_state": state}))
        np.testing.assert_allclose(np.concatenate([first, second], axis=1), y, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(state, last, rtol=1e-5, atol=1e-5)


def test_gradient_reaches_the_initial_state() -> None:
    given_ = inputs(1, 6, 2, 3)

    def total(state: Any, checkpoint_ticks: int | None) -> jax.Array:
        rest = given_ | {"initial_state": state}
        return jnp.sum(nj.selective_scan(**rest, checkpoint_ticks=checkpoint_ticks)[0])

    plain, chunked = (jax.grad(total)(jnp.asarray(given_["initial_state"]), ticks) for ticks in (None, 4))
    # dy_t/dh_0 = C_t · exp(A · ΣΔ), the sum up to and with tick t
    decay = np.exp(np.cumsum(given_["delta"], axis=1)[..., None] * given_["A"])  # (b, l, d, n)
    expected = np.einsum("bln,bldn->bdn", given_["C"], decay)
    assert relative(plain, expected) <= 1e-4
    assert relative(chunked, expected) <= 1e-4
