"""Tiny training runs for tests: their data and settings, how to stop one, and what it means that two are the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from nanoarb_jax.artifacts.checkpoint import load_checkpoint
from nanoarb_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.training.loop import Progress
from nanoarb_jax.training.update import Update

HORIZONS = (2, 5, 10)
DATA = DataConfig(feature_set="lob44", horizons=HORIZONS, threshold_ticks=0.5, threshold_spreads=0.0)
DATASET = Dataset(
    tuple(make_stream(synthetic_books(2_000 + 200 * i, i, name=f"market_{i}"), DATA) for i in range(2)), DATA, []
)
MODEL = ModelConfig(hidden_dim=8, d_state=4, num_layers=1, horizons=HORIZONS, window=16)
STREAM = TrainConfig(
    epochs=3, batch_size=4, chunk_length=32, lr=0.03, checkpoint_every=9, ema_decay=0.9, input_jitter=0.0,
    tensorboard=False,
)  # fmt: skip


def config_of(settings: TrainConfig) -> Config:
    return Config(MODEL, DATA, settings)


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


VALIDATED = {"validation_loss": {"mean": 0.5}, "validation_mcc": {"mean": 0.5}}


def count_only(*_: Any, **__: Any) -> Update:
    """In place of `make_update`: nothing is learnt, so that nothing need be compiled."""
    return lambda state, batch: state._replace(update=state.update + 1)
