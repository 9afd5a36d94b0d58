"""Checkpoints that a run learns from: the teacher of a distillation, and the initial weights of a fine-tuning."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from nanoarb_jax.artifacts.checkpoint import Checkpoint, load_checkpoint
from nanoarb_jax.config import Config, ModelConfig
from nanoarb_jax.data.provenance import FACTS
from nanoarb_jax.errors import CheckpointError, SettingError


def load_learnt_from(config: Config, dtype: jnp.dtype) -> dict[str, Checkpoint]:
    """The checkpoints that a run learns from, as its settings name them: "initial" and "teacher", where there are any.

    Raises:
        CheckpointError, SettingError: see `load_initial` and `load_teacher`.
    """
    found = {"initial": load_initial(config, dtype), "teacher": load_teacher(config, dtype)}
    return {name: checkpoint for name, checkpoint in found.items() if checkpoint is not None}


def load_teacher(config: Config, dtype: jnp.dtype) -> Checkpoint | None:
    """The teacher that the settings name, if any.

    It reads the same raw features as the student and keeps its own training statistics. A teacher that was trained on
    the student's validation or test rows would pass on what it learnt from them.

    Args:
        config: settings of the student's run.
        dtype: of the projections' operands, see `MambaLOB`.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        SettingError: it predicts other horizons or reads other features than the student.
    """
    name, student = config.train.teacher, config.model
    if name is None:
        return None
    teacher = _load("teacher", name, dtype)
    for setting, what in (("horizons", "predicts horizons {}"), ("input_dim", "reads {} features per tick")):
        met, expected = getattr(teacher.config, setting), getattr(student, setting)
        if met != expected:
            like = f"a checkpoint that {what.format(expected)} like the student, not {met}"
            raise SettingError("train.teacher", name, f"{like}; give one trained on data prepared alike")
    return teacher


def load_initial(config: Config, dtype: jnp.dtype) -> Checkpoint | None:
    """The checkpoint that the settings' run begins from, if any: its weights, and its frozen input statistics.

    The statistics stay as they are, since the weights were learnt on inputs that they standardised: with other ones the
    same weights would compute another function, before a single update. The inputs are scale-free, so the statistics
    also serve an instrument that they were not measured on.

    Args:
        config: settings of the new run.
        dtype: of the projections' operands, see `MambaLOB`.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        SettingError: its model has another shape than the run's; dropout may differ.
    """
    name = config.train.init
    if name is None:
        return None
    initial = _load("init", name, dtype)
    met, expected = _shape(initial.config), _shape(config.model)
    for setting, value in expected.items():
        if met[setting] != value:
            like = f"a checkpoint with model.{setting}={value!r} like the run's, not {met[setting]!r}"
            remedy = "give the run the shape of the checkpoint, or data prepared as its were"
            raise SettingError("train.init", name, f"{like}; {remedy}")
    return initial


def origin(checkpoint: Checkpoint) -> dict[str, Any]:
    """What run.json says about a checkpoint that a run learns from: version, and streams it was trained on.

    Of a stream that is what tells whether some data were among it, see `data.provenance`.
    """
    kept = ("name", "instrument", *FACTS)
    streams = [{key: stream[key] for key in kept if key in stream} for stream in checkpoint.learnt]
    return {"version": checkpoint.version, "streams": streams}


def _load(setting: str, name: str, dtype: jnp.dtype) -> Checkpoint:
    try:
        return load_checkpoint(name, dtype)
    except CheckpointError as error:
        raise CheckpointError(f"train.{setting}: {error}") from error


def _shape(model: ModelConfig) -> dict[str, Any]:
    """All that must agree for one model to take the weights of another."""
    shape = dataclasses.asdict(dataclasses.replace(model, dt_rank=model.rank))
    return {setting: value for setting, value in shape.items() if setting != "dropout"}
