"""What a run computes with: the model and the compiled functions around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from flax import nnx

from nanoarb_jax.artifacts.checkpoint import Checkpoint
from nanoarb_jax.evaluation.scoring import Score, make_score
from nanoarb_jax.model.mamba import MambaLOB, abstract_model
from nanoarb_jax.training.advance import Advance, make_advance
from nanoarb_jax.training.balance import class_weights, log_prior
from nanoarb_jax.training.normalise import fit_transform
from nanoarb_jax.training.optimizer import make_optimizer
from nanoarb_jax.training.run_plan import RunPlan
from nanoarb_jax.training.source import Source, make_source
from nanoarb_jax.training.update import TrainState, initial_state, make_update, shardings


class RunParts(NamedTuple):
    """What a run computes with."""

    model: MambaLOB  # gives structure, statistics and shapes; holds the weights that were saved last
    advance: Advance  # makes some updates
    source: Source  # gives them their rows
    score: Score  # log-probabilities, for validation
    placement: Any  # device or shardings where the state stays


def build_run(plan: RunPlan, learnt_from: Mapping[str, Checkpoint]) -> tuple[RunParts, TrainState]:
    """Build a run's parts and the state before its first update.

    Args:
        plan: sizes, settings and data.
        learnt_from: "initial" weights and a "teacher", where there are any.
    """
    train, streams = plan.config.train, plan.dataset.streams
    model = _initial_model(plan, learnt_from.get("initial"))
    teacher = learnt_from["teacher"].model if "teacher" in learnt_from else None
    optimizer = make_optimizer(train, plan.updates)
    weights = class_weights(streams) if train.class_weights else None
    offset = train.logit_adjustment * log_prior(streams) if train.logit_adjustment else None
    mesh = plan.mesh
    placement, everywhere = (plan.device, plan.device) if mesh is None else shardings(mesh)[:2]
    update = make_update(model, optimizer, train, weights, teacher, logit_offset=offset)
    parts = RunParts(
        model=model,
        advance=make_advance(update, plan.ticks, train, mesh),
        source=make_source(streams, plan.ticks, train, lambda rows: jax.device_put(rows, everywhere)),
        score=make_score(model),
        placement=placement,
    )
    return parts, initial_state(model, optimizer, plan.lanes, teacher)


def _initial_model(plan: RunPlan, initial: Checkpoint | None) -> MambaLOB:
    """The model of the checkpoint to begin from, with its statistics; or new weights and those of the training rows."""
    if initial is not None:
        model = abstract_model(plan.config.model, plan.dtype)
        nnx.update(model, nnx.state(initial.model))
        return model
    model = MambaLOB(plan.config.model, rngs=nnx.Rngs(plan.config.train.seed), dtype=plan.dtype)
    fit_transform(model, plan.dataset.streams)
    return model
