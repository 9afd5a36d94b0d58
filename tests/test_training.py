"""Training: it learns, it repeats itself bit for bit, also when it was stopped on the way, and it refuses what is wrong.

Every run here is of one tiny model; runs of equal settings share one compiled update through JAX's compilation cache.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from nanoarb_jax.checkpoint import MANIFEST, find_checkpoint, load_checkpoint
from nanoarb_jax.config import Config, DataConfig, ModelConfig, TrainConfig, load_config
from nanoarb_jax.dataset import Dataset, make_stream
from nanoarb_jax.errors import CheckpointError, ConfigError, DataError, DeviceError, NanoarbError, TrainingError
from nanoarb_jax.evaluation.metrics import class_prior
from nanoarb_jax.market.synthetic import synthetic_books
from nanoarb_jax.training import loop
from nanoarb_jax.training.loop import Progress, TrainResult, train

HORIZONS = (2, 5, 10)
DATA = DataConfig(horizons=HORIZONS)
DATASET = Dataset(
    tuple(make_stream(synthetic_books(1_500 + 200 * i, i, name=f"market_{i}"), DATA) for i in range(2)), DATA, []
)
MODEL = ModelConfig(hidden_dim=8, d_state=4, num_layers=1, horizons=HORIZONS, window=16)
STREAM = TrainConfig(
    epochs=3, batch_size=4, chunk_length=32, lr=0.02, checkpoint_every=5, ema_decay=0.9, tensorboard=False
)
WINDOW = dataclasses.replace(STREAM, objective="window", batch_size=100, epochs=2)


def config_of(settings: TrainConfig) -> Config:
    return Config(MODEL, DATA, settings)


@pytest.fixture(scope="module", autouse=True)
def compile_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    for name, value in zip(names, (str(tmp_path_factory.mktemp("jax")), 0.2), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module", autouse=True)
def look_at_every_update() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOOK_EVERY", 1)
        yield


class Stopped(Exception):
    """Someone pressed Ctrl-C."""


def stop_at(update: int) -> Callable[[Progress], None]:
    def on_update(progress: Progress) -> None:
        if progress.update == update:
            raise Stopped

    return on_update


def records(folder: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl less what depends on the machine's mood."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("ticks_per_second", "peak_memory_bytes")} for line in lines]


def states(folder: Path) -> dict[str, dict[str, Any]]:
    """The kept states: {update: {name: bytes}}, and what stands beside them."""
    kept = {}
    for place in (folder / "latest").iterdir():
        arrays = ocp.StandardCheckpointer().restore((place / "state").absolute())
        kept[place.name] = {name: np.asarray(array).tobytes() for name, array in arrays.items()}
        kept[place.name]["progress"] = json.loads((place / "progress" / "metadata").read_text())
    return kept


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit: every line, the best weights, and the whole states that were kept."""
    assert records(one) == records(other)
    best, again = load_checkpoint(one), load_checkpoint(other)
    assert best.path is not None and again.path is not None
    assert (best.version, best.path.name, best.metrics) == (again.version, again.path.name, again.metrics)
    kept, kept_again = states(one), states(other)
    assert kept.keys() == kept_again.keys()
    for update, arrays in kept.items():
        assert len(arrays) > 30
        assert arrays == kept_again[update], [n for n in arrays if arrays[n] != kept_again[update][n]]


class Run:
    """A finished run."""

    def __init__(self, folder: Path, settings: TrainConfig):
        self.folder, self.settings, self.progress = folder, settings, list[Progress]()
        self.lines = list[dict[str, Any]]()
        self.result: TrainResult = train(
            config_of(settings), DATASET, folder, on_update=self.progress.append, on_epoch=self.lines.append
        )


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("streams") / "run", dataclasses.replace(STREAM, tensorboard=True))


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("windows") / "run", WINDOW)


@pytest.mark.parametrize("name", ["streams", "windows"])
def test_it_learns(request: pytest.FixtureRequest, name: str) -> None:
    run: Run = request.getfixturevalue(name)
    losses = [line["loss"] for line in run.lines]
    print(losses, run.lines)
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.97 * losses[0]


def test_what_a_run_leaves(streams: Run) -> None:
    folder, result = streams.folder, streams.result
    print(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()))
