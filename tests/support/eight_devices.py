"""Checks of data-parallel training, run by test_devices.py where JAX sees eight devices: eight_devices.py FOLDER"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from nanoarb_jax.config import TrainConfig
from nanoarb_jax.model.transform import InputTransform
from nanoarb_jax.training import build, loop
from nanoarb_jax.training.advance import make_advance
from nanoarb_jax.training.batch import Picks, TrainingRows
from nanoarb_jax.training.update import initial_state, make_update
from support.random_model import random_model
from support.training_runs import DATASET, MODEL, STREAM, Stopped, config_of, states, stop_at
from support.updates import STEP, TICKS, Summing, batch_of

LANES = 16


def check_update() -> None:
    """One update of the real model, from states that are not 0: at once on one device, in two groups on eight."""
    model = random_model(dataclasses.replace(MODEL, horizons=(2, 5), dropout=0.0))
    optimizer, results = optax.sgd(STEP), []
    fresh = np.array([False, True] * (LANES // 2))
    rows = TrainingRows(*(column.reshape(LANES * TICKS, -1) for column in batch_of(0, list(fresh))[:3]))
    start = TICKS * np.arange(LANES, dtype=np.int32)
    lanes = Picks(start, fresh, np.full(LANES, 0.5, np.float32), np.where(fresh, 0, TICKS).astype(np.int32))
    picks = Picks(*(np.stack([column, column]) for column in lanes))
    for groups, mesh in ((1, None), (2, Mesh(np.array(jax.devices()), ("data",)))):
        config = TrainConfig(input_jitter=0.0, loss="cross-entropy", accumulate=groups)
        state = initial_state(model, optimizer, LANES)
        state = state._replace(carried=jax.tree.map(lambda a: a + 0.1, state.carried))
        advance = make_advance(make_update(model, optimizer, config, None), TICKS, config, mesh)
        results.append(advance(state, rows, picks, 1))
    for one, eight in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, eight, rtol=1e-5, atol=1e-5)
    assert_shared_out(results[1])


def assert_shared_out(state: Any) -> None:
    for lanes in jax.tree.leaves(state.carried):
        assert {shard.data.shape[0] for shard in lanes.addressable_shards} == {LANES // 8}
    for leaf in jax.tree.leaves(state._replace(carried=None)):
        assert leaf.sharding.is_fully_replicated and len(leaf.sharding.device_set) == 8


class Stub(Summing):
    """`Summing` with all that a run asks of a model: to compile the real one for every run would take a minute."""

    def __init__(self, config: Any, **_: Any):
        super().__init__(0, horizons=3)
        self.config, self.transform = config, InputTransform("identity", 44)


def first_of(make: Callable[..., Any]) -> Callable[..., Any]:
    """Every run has equal settings, so that what the first compiled serves all."""
    made: list[Any] = []

    def once(*arguments: Any, **settings: Any) -> Any:
        made.append(make(*arguments, **settings))
        return made[0]

    return once


def check_runs(folder: Path) -> None:
    """Runs under accumulation: one that is let go through, and one that is stopped and resumed."""
    build.MambaLOB, loop.LOOK_EVERY = Stub, 1  # type: ignore[misc, assignment]
    build.make_advance, build.make_score = first_of(build.make_advance), first_of(build.make_score)
    streams = tuple(s._replace(train=(0, 400), validation=(400, 500)) for s in DATASET.streams)
    data = dataclasses.replace(DATASET, streams=streams)
    settings = dataclasses.replace(
        STREAM, epochs=1, batch_size=19, chunk_length=16, accumulate=2, checkpoint_every=1, calibrate=False
    )
    config = config_of(settings)
    whole = loop.train(config, data, folder / "whole")
    assert (whole.devices, whole.updates, whole.ticks) == (8, 3, 3 * LANES * 16)  # 19 rounded down
    try:
        loop.train(config, data, folder / "resumed", on_update=stop_at(2))
    except Stopped:
        run = loop._open_run(config, data, folder / "resumed", True, jax.devices())
        assert_shared_out(run.state)
        run.close()
    loop.train(config, data, folder / "resumed", resume=True)
    kept, resumed = states(folder / "whole"), states(folder / "resumed")
    assert kept.keys() == {"2", "3"} and kept == resumed  # bit for bit


if __name__ == "__main__":
    assert len(jax.devices()) == 8
    jax.config.update("jax_disable_most_optimizations", True)
    check_update()
    check_runs(Path(sys.argv[1]))
