"""The teacher of a distillation: a checkpoint whose probabilities a smaller model learns."""

from __future__ import annotations

import jax.numpy as jnp

from nanoarb_jax.checkpoint import Checkpoint, load_checkpoint
from nanoarb_jax.config import Config
from nanoarb_jax.errors import CheckpointError, ConfigError


def load_teacher(config: Config, dtype: jnp.dtype) -> Checkpoint | None:
    """The teacher that the settings name, if any.

    It reads the same raw features as the student and keeps its own training statistics. Its probabilities know what it
    was trained on: one that saw the student's validation or test rows would tell of them.

    Args:
        config: settings of the student's run.
        dtype: of the projections' operands, see `MambaLOB`.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        ConfigError: it predicts other horizons or reads other features than the student.
    """
    name, student = config.train.teacher, config.model
    if name is None:
        return None
    try:
        teacher = load_checkpoint(name, dtype)
    except CheckpointError as error:
        raise CheckpointError(f"teacher: {error}") from error
    for setting, what in (("horizons", "predicts horizons {}"), ("input_dim", "reads {} features per tick")):
        met, expected = getattr(teacher.config, setting), getattr(student, setting)
        if met != expected:
            raise ConfigError(
                f"teacher {name}: {what.format(met)}, the student {expected}; give one trained on data prepared alike"
            )
    return teacher
