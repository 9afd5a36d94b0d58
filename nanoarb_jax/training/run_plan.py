"""What a run is going to do, worked out from settings, data and devices alone: nothing is read or written here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nanoarb_jax.artifacts.checkpoint import Checkpoint
from nanoarb_jax.config import Config
from nanoarb_jax.data.dataset import Dataset, check_fit
from nanoarb_jax.data.provenance import provenance
from nanoarb_jax.data.streams import Stream, describe_stream
from nanoarb_jax.training.device import default_batch, matmul_dtype
from nanoarb_jax.training.lineage import origin
from nanoarb_jax.training.plan import EpochPlan, TrainingSession, plan_streams, plan_windows, training_sessions

# how an instrument's share of an epoch grows with its rows
_SHARE_POWER = {"rows": 1.0, "root": 0.5, "instrument": 0.0}


@dataclass(frozen=True)
class RunPlan:
    """A run's settings and data, and the sizes that follow from them.

    Attributes:
        config: the settings.
        dataset: labelled streams.
        devices: that share the lanes of an update; the first one also does the work that is not shared.
        ticks: rows per lane and update.
        sessions: whose rows are trained on; those that are shorter than a chunk or window are left out.
        lanes: parallel streams, or windows, of an update.
        updates_per_epoch: the same in every epoch.
    """

    config: Config
    dataset: Dataset
    devices: tuple[jax.Device, ...]
    ticks: int
    sessions: tuple[TrainingSession, ...]
    lanes: int
    updates_per_epoch: int

    @property
    def windows(self) -> bool:
        """Whether lanes are independent windows, of which only the last tick is labelled."""
        return self.config.train.objective == "window"

    @property
    def device(self) -> jax.Device:
        return self.devices[0]

    @property
    def device_name(self) -> str:
        """Kind of the devices, such as "gpu:NVIDIA H200"."""
        return f"{self.device.platform}:{self.device.device_kind}"

    @property
    def mesh(self) -> Mesh | None:
        """The devices as JAX shares arrays over them; None for one alone."""
        return Mesh(np.array(self.devices), ("data",)) if len(self.devices) > 1 else None

    @property
    def dtype(self) -> jnp.dtype:
        """Of the projections' operands."""
        return matmul_dtype(self.config.train.matmul_dtype, self.device)

    @property
    def updates(self) -> int:
        """Updates of all epochs together."""
        return self.updates_per_epoch * self.config.train.epochs

    @property
    def labelled_ticks(self) -> int:
        """Ticks of an update that have a loss."""
        return self.lanes * (1 if self.windows else self.ticks)

    def epoch(self, epoch: int) -> EpochPlan:
        """Which rows the updates of an epoch see; the same whenever it is asked for."""
        return _plan_epoch(self.config, self.dataset, self.devices, self.ticks, self.sessions, epoch)


def plan_run(config: Config, dataset: Dataset, devices: Sequence[jax.Device]) -> RunPlan:
    """Work out the sizes of a run.

    Raises:
        ConfigError: fewer lanes than devices × `accumulate`.
        DataError: the data do not fit the model, or a stream is too short.
    """
    check_fit(dataset, config.model)
    ticks, sessions = trained_sessions(config, dataset.streams)
    updates, lanes = _plan_epoch(config, dataset, devices, ticks, sessions, 0).start.shape
    return RunPlan(config, dataset, tuple(devices), ticks, sessions, lanes, updates)


def trained_sessions(config: Config, streams: Sequence[Stream]) -> tuple[int, tuple[TrainingSession, ...]]:
    """Rows per lane and update, and the sessions of the streams that are long enough for them.

    Raises:
        DataError: see `training_sessions`.
    """
    ticks, setting = config.train.chunk_length, "train.chunk_length"
    if config.train.objective == "window":
        ticks, setting = config.model.window, "model.window"
    return ticks, training_sessions(streams, ticks, setting, config.train.burn_in)


def _plan_epoch(
    config: Config,
    dataset: Dataset,
    devices: Sequence[jax.Device],
    ticks: int,
    sessions: Sequence[TrainingSession],
    epoch: int,
) -> EpochPlan:
    train, windows = config.train, config.train.objective == "window"
    streams, firsts, lengths = (np.array(column) for column in zip(*sessions, strict=True))
    lanes = train.batch_size or default_batch(devices[0], int(lengths.sum()), ticks, windows, len(devices))
    names = [dataset.streams[number].instrument for number in streams]
    plan = (plan_windows if windows else plan_streams)(
        lengths.tolist(),
        ticks,
        lanes,
        np.random.default_rng([train.seed, epoch]),
        instruments=None if train.sampling == "rows" else names,
        power=_SHARE_POWER[train.sampling],
        multiple=len(devices) * train.accumulate,
    )
    return plan._replace(stream=streams[plan.stream], start=firsts[plan.stream] + plan.start)


def describe_run(dataset: Dataset, learnt_from: Mapping[str, Checkpoint]) -> dict[str, Any]:
    """What a run learns from, as plain JSON values: its streams, how they were made, and versions of checkpoints.

    Args:
        dataset: labelled streams.
        learnt_from: "initial" and "teacher", where there are any, see `lineage.load_learnt_from`.
    """
    streams = [describe_stream(stream, dataset.horizons) | provenance(stream) for stream in dataset.streams]
    record = {"streams": streams, "config": dataclasses.asdict(dataset.config)}
    record |= {name: origin(checkpoint) for name, checkpoint in learnt_from.items()}
    return json.loads(json.dumps(record))  # as it reads back from run.json, so that a resumed run can compare
