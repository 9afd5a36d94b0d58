"""Where a JAX step's time goes: parts of a `base` step compiled by themselves, each a call of its own.

    python benchmarks/jax_step_profile.py --json benchmarks/results/jax_step_profile.json

Every part includes what an empty call costs (`empty call`); take it off to add parts up.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from nanoarb_jax.serving.backends.jax.step import CPU_OPTIONS, JaxStep  # isort: skip – first: it sets JAX up
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from nanoarb_jax.artifacts.checkpoint import named_arrays
from nanoarb_jax.bench import one_core
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.simulation.market import synthetic_books

ROUNDS, CALLS = 15, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with one_core():
        result = {"preset": "base", "p50_us": profile()}
    for name, us in result["p50_us"].items():
        print(f"{name:<44}{us:8.1f} µs")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def profile() -> dict[str, float]:
    """Median µs of a call, interleaved rounds."""
    config = ModelConfig.preset("base")
    model = MambaLOB(config, rngs=nnx.Rngs(0))
    weights, states = named_arrays(model), config.num_layers
    tick = lob44(synthetic_books(1, seed=0), quantity_scale=100.0)[0]
    step = JaxStep(model, "profile")
    blocks = [
        {n.split(".", 2)[2]: a for n, a in weights.items() if n.startswith(f"blocks.{i}.")} for i in range(states)
    ]
    decay = [-np.exp(block["A_log"]).T for block in blocks]

    def products(x: jax.Array) -> jax.Array:
        for w in blocks:
            uz = x @ w["in_proj.kernel"]
            u, low = uz[: config.d_inner], (uz[: config.d_inner] @ w["x_proj.kernel"])[: config.rank]
            x = x + (u * (low @ w["dt_proj.kernel"]) + uz[config.d_inner :]) @ w["out_proj.kernel"]
        return x

    def recurrences(u: jax.Array, *h: jax.Array) -> tuple[jax.Array, ...]:
        new = []
        for before, a in zip(h, decay, strict=True):
            delta, B, C = jax.nn.softplus(u), u[: config.d_state], u[config.d_state : 2 * config.d_state]
            new.append(jnp.exp(delta[None] * a) * before + jnp.einsum("n,d->nd", B, delta * u))
            u = (C @ new[-1]) * jax.nn.silu(u)
        return u, *new

    def handing_over(u: jax.Array, *h: jax.Array) -> tuple[jax.Array, ...]:
        return u, *(0.5 * before for before in h)

    hidden, inner = np.ones(config.hidden_dim, np.float32), np.full(config.d_inner, 0.1, np.float32)
    calls: dict[str, Callable[[], object]] = {
        "empty call": stateless(lambda x: x + 1, hidden),
        "matrix-vector products of the layers": stateless(products, hidden),
        "states of the layers handed over and back": carried(handing_over, inner, decay),
        "the same, with recurrence, softplus, gate": carried(recurrences, inner, decay),
        "the whole step": lambda: step.step(tick),
    }
    return medians(calls)


def medians(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median µs of each, in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            for _ in range(CALLS):
                began = time.perf_counter_ns()
                call()
                times[name].append((time.perf_counter_ns() - began) / 1e3)
    return {name: float(np.median(values)) for name, values in times.items()}


def stateless(function: Callable[..., jax.Array], x: np.ndarray) -> Callable[[], object]:
    """A compiled call from numpy to numpy."""
    compiled = jax.jit(function).lower(x).compile(CPU_OPTIONS)
    return lambda: np.asarray(compiled(x))


def carried(
    function: Callable[..., tuple[jax.Array, ...]], x: np.ndarray, like: list[np.ndarray]
) -> Callable[[], object]:
    """A compiled call that takes a state over and gives it back."""
    state = tuple(jnp.zeros(a.shape, jnp.float32) for a in like)
    compiled = jax.jit(function, donate_argnums=tuple(range(1, 1 + len(like)))).lower(x, *state).compile(CPU_OPTIONS)

    def call() -> object:
        nonlocal state
        y, *after = compiled(x, *state)
        state = tuple(after)
        return np.asarray(y)

    return call


if __name__ == "__main__":
    main()
