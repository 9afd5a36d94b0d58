"""Many updates in one call: the device works through them without asking the host for anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from nanoarb_jax.config import TrainConfig
from nanoarb_jax.training.batch import Picks, TrainingRows, gather
from nanoarb_jax.training.update import TrainState, Update, shardings

Advance = Callable[[TrainState, TrainingRows, Picks, Any], TrainState]


def make_advance(update: Update, ticks: int, config: TrainConfig, mesh: Mesh | None = None) -> Advance:
    """Compile a loop of updates.

    Args:
        update: see `make_update`.
        ticks: rows per lane and update.
        config: see `gather`.
        mesh: devices that share the lanes, see `shardings`; XLA adds up their gradients. None: one device.

    Returns:
        `(state, rows, picks of up to k updates, how many of them to make) -> state`; the state passed in is donated.
        It is one program for any number of updates, so the result does not depend, in any bit, on how a run is cut into
        calls.
    """
    shared = None if mesh is None else shardings(mesh)

    def advance(state: TrainState, rows: TrainingRows, picks: Picks, count: Any) -> TrainState:
        def one(i: Any, state: TrainState) -> TrainState:
            batch = gather(rows, jax.tree.map(lambda a: a[i], picks), ticks, config)
            if shared is not None:
                batch = jax.lax.with_sharding_constraint(batch, shared.lanes)
            return update(state, batch)

        return jax.lax.fori_loop(0, count, one, state)

    if shared is None:
        return jax.jit(advance, donate_argnums=0)
    placed = (shared.state, shared.everywhere, shared.updates, shared.everywhere)
    return jax.jit(advance, donate_argnums=0, in_shardings=placed, out_shardings=shared.state)
